"""Looks whether everything that runs need is there, and says what to do about what is not."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from packhorse.domain.errors import PackhorseError
from packhorse.domain.ids import new_id
from packhorse.domain.views import Check
from packhorse.engine.lease import NAME
from packhorse.http.settings import BadSetting, describe
from packhorse.sites.agentfile import agent_file
from packhorse.sites.base import JobState, Shape, SubmitRejected
from packhorse.sites.runtimes.registry import RUNTIMES, runtime
from packhorse.sites.site import Site, not_configured
from packhorse.store import leases
from packhorse.store.database import Database
from packhorse.store.runs import open_runs_by_site

_ENOUGH_FREE = 1_000_000_000
_JOB_PATIENCE_S = 120.0
_VERSION = re.compile(r"\d+\.\d+[.\d]*")
_NEEDS_PYTHON = "The agent needs Python 3.6 or newer at the site; set 'python' of the site to its path."


def examine(database: Database, sites: Sequence[Site]) -> list[Check]:
    """One check per thing, in the order in which a task needs them."""
    version = sys.version.split()[0]
    checks = [
        Check(
            name="python", ok=sys.version_info >= (3, 11), detail=version, hint="Packhorse needs Python 3.11 or newer."
        )
    ]
    checks += _store(database, {site.name for site in sites})
    checks += _network()
    for site in sites:
        checks += examine_site(site, with_job=False)
    return checks


def examine_site(site: Site, *, with_job: bool) -> list[Check]:
    """Walks through what a task needs at a site, up to the first thing that is missing; ``with_job`` submits a real,
    empty job.
    """
    steps: list[tuple[str, str, Callable[[Site], str]]] = [
        ("connection", "Is the host up, and is what [sites] says of it right?", _connect),
        ("folder", "Choose another 'root', or let this user write there.", _folder),
        ("python", _NEEDS_PYTHON, _python),
        ("agent", "The agent is copied below 'root'.", _agent),
        ("scheduler", "Can this user run its commands there, in a shell without a terminal?", _scheduler),
        ("containers", "", _containers),
    ]
    if with_job:
        steps.append(("job", "Submit a job there by hand with the same account and queue.", _job))
    return list(_walk(site, steps))


def _walk(site: Site, steps: list[tuple[str, str, Callable[[Site], str]]]) -> Iterator[Check]:
    for what, hint, step in steps:
        name = f"{site.name}: {what}"
        try:
            yield Check(name=name, ok=True, detail=step(site))
        except (PackhorseError, OSError, SubmitRejected, _Wrong) as error:
            said = (
                error.message
                if isinstance(error, PackhorseError)
                else _words(error)
                if isinstance(error, OSError)
                else str(error)
            )
            own_hint = error.hint if isinstance(error, PackhorseError) else ""
            yield Check(name=name, ok=False, detail=str(said or error), hint=own_hint or hint)
            return  # what follows needs this


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


class _Wrong(Exception):
    """A check failed; the message says how."""


def _store(database: Database, sites: Collection[str]) -> list[Check]:
    """The database, and whether every open run is at one of ``sites``."""
    try:
        with database.write() as connection:
            holder = leases.view(connection, NAME).holder
        with database.read() as connection:
            at = open_runs_by_site(connection)
    except PackhorseError as error:
        return [
            Check(
                name="database", ok=False, detail=error.message, hint="Is the server up, and may this user write there?"
            )
        ]
    where = database.url.render_as_string(hide_password=True)
    checks = [Check(name="database", ok=True, detail=f"{where}, {'an engine leads' if holder else 'no engine runs'}")]
    for site in sorted(at.keys() - sites):
        waiting = f"{not_configured(site)} {at[site]} open {'run waits' if at[site] == 1 else 'runs wait'} for it."
        hint = "Add it to packhorse.toml again with the same root, or cancel the runs."
        checks.append(Check(name="open runs", ok=False, detail=waiting, hint=hint))
    return checks


def _network() -> list[Check]:
    """Proxies and certificates that this process was started with; none where there is nothing to say."""
    try:
        said = describe(os.environ)
    except BadSetting as error:
        return [
            Check(
                name="network",
                ok=False,
                detail=f"{error}.",
                hint=f"Mend or unset {error.variable}, and start Packhorse again.",
            )
        ]
    return [Check(name="network", ok=True, detail=said)] if said else []


def _connect(site: Site) -> str:
    began = time.monotonic()
    result = site.transport.run(["uname", "-n"], timeout_s=15.0)
    if result.exit_code != 0:
        raise _Wrong(f"'uname' ended with exit code {result.exit_code}: {result.stderr.strip()}")
    return f"{result.stdout.strip()}, answers in {(time.monotonic() - began) * 1000:.0f} ms"


def _folder(site: Site) -> str:
    site.transport.make_folder(site.root)
    probe = f"{site.root}/.doctor-{os.getpid()}"
    site.transport.write(probe, b"ok")
    if site.transport.read(probe) != b"ok":
        raise _Wrong(f"{site.root} does not keep what is written there")
    site.transport.remove(probe)
    said = site.transport.run(["df", "-Pk", "--", site.root]).stdout.splitlines()
    free = int(said[-1].split()[3]) * 1024 if len(said) > 1 else None
    if free is not None and free < _ENOUGH_FREE:
        raise _Wrong(f"{site.root} has only {free / 1e9:.1f} GB free, and outputs and logs go there")
    return site.root + (f", {free / 1e9:.1f} GB free" if free is not None else "")


def _python(site: Site) -> str:
    code = "import sys; print('.'.join(map(str, sys.version_info[:3]))); sys.exit(sys.version_info < (3, 6))"
    result = site.transport.run([site.python, "-I", "-S", "-c", code])
    if result.exit_code != 0:
        raise _Wrong(f"{site.python} {result.stdout.strip() or result.stderr.strip()}")
    return f"{site.python} {result.stdout.strip()}"


def _agent(site: Site) -> str:
    path = site.bring_agent()
    return f"{path.rpartition('/')[2]}, {len(agent_file()[1]) / 1000:.0f} kB"


def _scheduler(site: Site) -> str:
    limits = site.limits()
    if not limits:
        raise _Wrong("It has no queue that is up and has nodes.")
    first = limits[0]
    queue = f"queue '{first.queue}': " if first.queue else ""
    nodes = f"{first.nodes} nodes of " if first.nodes > 1 else ""
    return f"{queue}{nodes}{first.cores} cores, {first.memory_mb / 1000:.1f} GB"


def _containers(site: Site) -> str:
    """The container runtimes that the login node has. None is no fault: tasks run on the host's own programs."""
    found = []
    for program in filter(None, (runtime(name).program for name in RUNTIMES)):
        # ch-run says nothing without USER, which a connection may lack; env says 127 of what is not there
        result = site.transport.run(["env", "USER=packhorse", program, "--version"], timeout_s=15.0)
        if result.exit_code == 0:
            found.append(f"{program} {''.join(_VERSION.findall(result.stdout + result.stderr)[:1])}".strip())
    return ", ".join(found) or "none found"


def _job(site: Site) -> str:
    """An allocation without tasks: its agent starts, finds nothing to do, and stops."""
    token = new_id("doctor")
    shape = Shape(1, min(500, site.limits()[0].memory_mb), 60.0)
    job = site.job(token, shape)
    began = time.monotonic()
    site.prepare_spool(token, shape)
    site.transport.append(f"{job.spool}/control.jsonl", b'{"close": true}\n')
    job_id = site.scheduler.submit(site.transport, job)
    says = ""
    try:
        while time.monotonic() - began < _JOB_PATIENCE_S:
            status = site.scheduler.poll(site.transport, [job_id])[job_id]
            says = status.reason or status.native_state
            if status.state is JobState.ENDED:
                break
            time.sleep(1.0)
        else:
            raise _Wrong(f"Job {job_id} did not end within {_JOB_PATIENCE_S:g} s ({says}).")
        journals = site.transport.names(f"{job.spool}/journal")
        if not journals:
            printed = site.transport.read(f"{job.spool}/job.out", 0, 500).decode(errors="replace").strip()
            raise _Wrong(f"Job {job_id} ended ({says}) and its agent never started: {printed}")
        return f"job {job_id} ran its agent and ended after {time.monotonic() - began:.1f} s"
    finally:
        site.scheduler.cancel(site.transport, [job_id])
        site.transport.remove(job.spool)
