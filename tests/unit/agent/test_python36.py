"""The agent runs under the oldest Python that login nodes still have: 3.6, standard library only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import packhorse.agent

ROOT = Path(packhorse.agent.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_syntax_is_that_of_3_6(source: Path) -> None:
    ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_a_checker_of_old_pythons_agrees() -> None:
    """vermin knows in which version each syntax and each module came; what is newer stands behind a test for it
    (os.posix_spawn).
    """
    command = [
        str(Path(sys.executable).parent / "vermin"),
        "-t=3.6-",
        "--no-tips",
        "--violations",
        "--eval-annotations",
        "--exclude",
        "os.posix_spawn",
    ]
    command += ["--exclude", "os.posix_spawnp", *map(str, SOURCES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_imports_the_standard_library_only() -> None:
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names, source
            if isinstance(node, ast.ImportFrom):  # nor does a relative import leave the agent's folder
                assert node.level <= len(source.relative_to(ROOT).parts), source
