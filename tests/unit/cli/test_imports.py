"""A command imports only what it needs: the start is most of the time that it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

#: Slow to import, and of use only to who runs tasks here, or submits a run.
_NOT_NEEDED = {
    "alembic",
    "asyncssh",
    "boto3",
    "fastapi",
    "packhorse.domain.config",
    "packhorse.domain.run",
    "packhorse.engine",
    "packhorse.sites",
    "packhorse.staging",
    "packhorse.store",
    "rich",
    "sqlalchemy",
    "structlog",
    "uvicorn",
    "yaml",
}
#: Of use to servers, to sites elsewhere, and to databases of before.
_NOT_NEEDED_HERE = {
    "alembic",
    "asyncssh",
    "awscrt",
    "boto3",
    "fastapi",
    "httpcore2",
    "httpx2",
    "packhorse.api",
    "packhorse.client.backends",
    "packhorse.client.pipeline",
    "packhorse.engine.images.imageloop",
    "packhorse.engine.images.preparing",
    "packhorse.domain.accessviews",
    "packhorse.engine.requests.accept_documents",
    "packhorse.engine.requests.accept_pipeline",
    "packhorse.engine.requests.again",
    "packhorse.engine.requests.doctor",
    "packhorse.engine.requests.estimating",
    "packhorse.engine.requests.histories",
    "packhorse.engine.requests.ownsecrets",
    "packhorse.engine.requests.taskviews",
    "packhorse.engine.sizing.estimator",
    "packhorse.engine.steps.kbase",
    "packhorse.http.client",
    "packhorse.sites.runtimes.podman",
    "packhorse.sites.runtimes.shifter",
    "packhorse.sites.schedulers.slurm",
    "packhorse.sites.transports.ssh",
    "rich",
    "sqlalchemy.dialects.postgresql",
    "uvicorn",
}
_PROGRAM = """
import json, sys
sys.argv[0] = "packhorse"
from packhorse.cli.main import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    "command",
    [["ps"], ["ps", "r-0123456789abcdef"], ["show", "r-0123456789abcdef"], ["apps"], ["sites"]],
    ids=" ".join,
)
def test_a_command_against_a_server_imports_nothing_that_runs_tasks(command: list[str], tmp_path: Path) -> None:
    environ = {"PACKHORSE_URL": "http://127.0.0.1:1", "PACKHORSE_TOKEN": "a-token"}  # nobody listens
    code, modules = imports_of(command, tmp_path, environ)
    assert code == 6  # it asked
    assert "httpx2" in modules
    assert _NOT_NEEDED & modules == set()


def test_a_run_on_this_machine_imports_nothing_for_servers_and_other_sites(tmp_path: Path) -> None:
    manifest = tmp_path / "app.yaml"
    manifest.write_text("packhorse: 1\nname: 'true'\nversion: '1'\ncommand: [/bin/true]\n")
    environ = {"PACKHORSE_HOME": str(tmp_path / "home"), "PACKHORSE_CONFIG": ""}
    for is_first in (True, False):  # which makes the database, and the agent's file
        code, modules = imports_of(["run", str(manifest)], tmp_path, environ)
        assert code == 0
        assert "sqlalchemy" in modules
        if not is_first:
            assert _NOT_NEEDED_HERE & modules == set()


def imports_of(command: list[str], home: Path, environ: Mapping[str, str]) -> tuple[int, set[str]]:
    """Exit code of a command, and the modules that it imported."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command],
        env={**given, "HOME": str(home), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)
