"""Whole processes: how long a command takes until the prompt is there again, beside imports that take as long."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from pathlib import Path

import packhorse
from bench.harness import Figures, bracketed, folder, ratio, record, timed, true_app
from bench.server import served

ROUNDS = 15
_PACKHORSE = str(Path(sys.executable).with_name("packhorse"))
_REFERENCE = [sys.executable, "-c", "import sqlalchemy, rich, typer"]


def measure() -> Figures:
    """cli_ps_ratio: ``packhorse ps`` against a server that has one run; cli_run_ratio: ``packhorse run`` of one
    ``true`` on this machine, in a home that has been used before.
    """
    # as pip does when it installs us; the packages of the reference have it
    compileall.compile_dir(Path(packhorse.__file__).parent, quiet=1)
    with folder() as home:
        app = true_app(home)
        run = [_PACKHORSE, "run", app, "--set", "i=1"]
        here = {"PACKHORSE_HOME": str(home / "here"), "PACKHORSE_CONFIG": ""}
        first = timed(lambda: _call(run, here))  # makes the database
        with served(home / "server") as server:
            there = {**here, "PACKHORSE_URL": server.url, "PACKHORSE_TOKEN": server.token}
            _call(run, there)
            of_ps = bracketed(lambda: timed(lambda: _call([_PACKHORSE, "ps"], there)), _reference, ROUNDS)
        of_run = bracketed(lambda: timed(lambda: _call(run, here)), _reference, ROUNDS)
    figures = {"cli_ps_ratio": round(ratio(of_ps), 3), "cli_run_ratio": round(ratio(of_run), 3)}
    record("cli", figures, {"ps": of_ps, "run": of_run, "first_run_s": first})
    return figures


def _reference() -> float:
    return timed(lambda: _call(_REFERENCE, {}))


def _call(command: list[str], environment: dict[str, str]) -> None:
    """Its output goes to a pipe, as none of it is to be lost where it fails."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
    subprocess.run(command, env=given | environment, capture_output=True, check=True, timeout=60)
