"""Garbage is not looked for while a command begins, and then, but more seldom than by itself."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc, sys
from packhorse.cli.main import main
usual, looks = gc.get_threshold()[0], []
gc.callbacks.append(lambda phase, about: looks.append(phase))
sys.argv = ["packhorse", "ps", "--help"]
try:
    main()
except SystemExit:
    pass
before = len(looks)
kept = [[] for _ in range(300_000)]
print(before == 0, len(looks) > 0, gc.get_threshold()[0] > usual)
"""


def test_garbage_is_looked_for_once_there_are_many_objects() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "True True True"
