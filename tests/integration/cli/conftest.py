"""A home folder in which a run has ended whose texts would paint a terminal."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.commandline import packhorse_here

NAME = ":cross_mark: fail [red]\x1b[31m"
OUT = b"\x1b[1mout\n"
SAYS = b"\x1b[31m:cross_mark: [bold]x[/bold]\x1b]0;title\x07\nattempt 9  succeeded\n\xff\xe6\x95\xb0\n"
APP = """\
packhorse: 1
name: t
version: '1'
command: [python3, '{app}/says.py', '{i}']
parameters:
  i: {type: integer}
  s: {type: string, default: ""}
"""
PROGRAM = f"import os, sys\nos.write(2, {SAYS!r})\nos.write(1, {OUT!r})\nsys.exit(int(sys.argv[1]))\n"


@dataclass(frozen=True)
class Ended:
    """A run of two tasks, of which the second failed."""

    folder: Path
    environment: dict[str, str]
    run: str


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("ended")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM"):
        kept.pop(name, None)
    environment = {**kept, "PACKHORSE_HOME": str(folder / "home")}
    (folder / "app").mkdir()
    (folder / "app" / "app.yaml").write_text(APP)
    (folder / "app" / "says.py").write_text(PROGRAM)
    (folder / "rows.jsonl").write_text('{"i": 0, "s": "a\\u202eb"}\n{"i": 1, "s": "\\u001b[2J[b]数[/b]"}\n')
    done = packhorse_here(
        "run", "./app", "--over", "rows.jsonl", "--name", NAME, environment=environment, folder=folder
    )
    assert done.returncode == 1, done.stderr
    runs = packhorse_here("ps", "--json", environment=environment, folder=folder)
    return Ended(folder, environment, json.loads(runs.stdout)[0]["id"])
