"""Every command in the docs is run, in order, in a fresh folder, as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'?(\w+)'?")


def commands(block: str) -> list[str]:
    """The commands of a console block: lines after ``$ ``, with continuation lines and here-documents; the rest is
    output.
    """
    found: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line[2:]
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if match := HEREDOC.search(command):
            for body in lines:
                command += "\n" + body
                if body == match[1]:
                    break
        found.append(command)
    return found


def pages_of(index: Path) -> list[Path]:
    """The pages that an index of questions links to, in its order."""
    found = re.findall(r"^\| .* \| \[[^\]]+\]\(([^)#]+\.md)\) \|$", index.read_text(encoding="utf-8"), re.MULTILINE)
    return [index.parent / name for name in found]


def text_of(index: Path) -> str:
    """The pages of an index as one: commands of a page may go on where those of the page before ended."""
    return "\n".join(page.read_text(encoding="utf-8") for page in pages_of(index))


def as_script(text: str) -> str:
    """One shell script of all blocks of a page."""
    parts = ["set -euo pipefail", "trap 'jobs -p | xargs -r kill 2>/dev/null' EXIT"]
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            parts.append(f"python3 - <<'PYTHON_BLOCK'\n{block}PYTHON_BLOCK")
        else:
            for command in commands(block):
                parts.append(f"echo {shlex.quote('+ ' + command.splitlines()[0])} >&2\n{command}")
    return "\n".join(parts) + "\n"


@pytest.mark.parametrize(
    "page",
    [
        "docs/quickstart.md",
        "docs/apps.md",
        "docs/pipelines.md",
        "docs/report.md",
        "docs/reuse.md",
        "docs/kbase.md",
        "docs/security.md",
        "docs/estimates.md",
        "docs/tes.md",
    ],
)
def test_every_command_of_a_page_runs(page: str, tmp_path: Path) -> None:
    file = REPOSITORY / page
    script = as_script(text_of(file) if pages_of(file) else file.read_text(encoding="utf-8"))
    assert script.count("\n+ ") or "echo '+ " in script, f"{page} has no commands"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
    environment |= {
        "PACKHORSE_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    folder = tmp_path / "reader"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{page}:\n{done.stderr[-3000:]}\n{done.stdout[-1000:]}"
