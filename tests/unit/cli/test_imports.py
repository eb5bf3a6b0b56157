"""A command against a server imports only what it needs: the start is most of the time that it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "PACKHORSE_URL": "http://127.0.0.1:1",  # nobody listens
        "PACKHORSE_TOKEN": "a-token",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 6, done.stderr  # it asked
    assert "httpx2" in modules
    assert _NOT_NEEDED & set(modules) == set()
