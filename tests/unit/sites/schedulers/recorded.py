"""What Slurm printed on the test cluster (tests/recorded/slurm), as results of commands."""

from __future__ import annotations

from pathlib import Path

from packhorse.sites.base import CommandResult

FOLDER = Path(__file__).parents[3] / "recorded" / "slurm"
TEXTS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.suffix == ".txt")


def text(name: str) -> str:
    return (FOLDER / name).read_text()


def result(name: str) -> CommandResult:
    """A command that failed is kept as its exit code in the first line, then what it complained about."""
    content = text(f"{name}.txt")
    code, _, words = content.partition("\n")
    return CommandResult(int(code), "", words) if code.isdigit() and "|" not in code else CommandResult(0, content, "")
