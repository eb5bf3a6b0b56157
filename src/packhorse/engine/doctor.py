"""Looks whether everything that runs need is there, and says what to do about what is not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from packhorse.domain.errors import PackhorseError
from packhorse.domain.views import Check
from packhorse.engine.lease import NAME
from packhorse.sites.agentfile import agent_file
from packhorse.sites.site import Site
from packhorse.store import leases
from packhorse.store.database import Database

_ENOUGH_FREE = 1_000_000_000


def examine(database: Database, sites: Sequence[Site]) -> list[Check]:
    """One check per thing, in the order in which a task needs them."""
    checks = [
        Check(name="python", ok=sys.version_info >= (3, 11), detail=sys.version.split()[0], hint="Packhorse needs Python 3.11 or newer.")
    ]
    checks.append(_database(database))
    for site in sites:
        checks += [_root(site), _python(site), _agent(site)]
    return checks


def _database(database: Database) -> Check:
    try:
        with database.write() as connection:
            holder = leases.view(connection, NAME).holder
    except PackhorseError as error:
        return Check(name="database", ok=False, detail=error.message, hint="Is the server up, and may this user write there?")
    where = database.url.render_as_string(hide_password=True)
    return Check(name="database", ok=True, detail=f"{where}, {'an engine leads' if holder else 'no engine runs'}")


def _root(site: Site) -> Check:
    name = f"{site.name}: folder"
    try:
        site.transport.make_folder(site.root)
        probe = f"{site.root}/.doctor-{os.getpid()}"
        site.transport.write(probe, b"ok")
        site.transport.remove(probe)
        free = shutil.disk_usage(site.root).free
    except OSError as error:
        return Check(
            name=name, ok=False, detail=f"{site.root}: {error.strerror}", hint="Choose another root, or let this user write there."
        )
    ok = free >= _ENOUGH_FREE
    return Check(
        name=name, ok=ok, detail=f"{site.root}, {free / 1e9:.1f} GB free", hint="" if ok else "Free some space: outputs and logs go there."
    )


def _python(site: Site) -> Check:
    name = f"{site.name}: python"
    code = "import sys; print('.'.join(map(str, sys.version_info[:3]))); sys.exit(sys.version_info < (3, 6))"
    try:
        result = site.transport.run([site.python, "-I", "-S", "-c", code])
    except OSError as error:
        return Check(
            name=name, ok=False, detail=f"{site.python}: {error.strerror}", hint="The agent needs Python 3.6 or newer at the site."
        )
    return Check(name=name, ok=result.exit_code == 0, detail=f"{site.python} {result.stdout.strip()}", hint="The agent needs 3.6 or newer.")


def _agent(site: Site) -> Check:
    name, data = agent_file()
    detail = f"{name}, {len(data) / 1000:.0f} kB; {site.cores} cores, {site.memory_mb / 1000:.1f} GB"
    return Check(name=f"{site.name}: agent", ok=True, detail=detail)
