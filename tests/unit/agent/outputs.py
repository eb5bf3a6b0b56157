"""A task's folders in a place of their own, for tests of what becomes of its outputs; as root and as an ordinary
user.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from packhorse.agent.outcome import Verdict
from packhorse.agent.slot.outputs.take import take_outputs

ROOT = os.geteuid() == 0
NOBODY = 65534
USERS = ["root", "user"] if ROOT else ["user"]


class Task:
    """A work folder, an out folder and a place outside of both."""

    def __init__(self, base: Path, elsewhere: Path | None = None) -> None:
        self.base = base
        self.work, self.out, self.data = base / "work", (elsewhere or base) / "runs" / "7", base / "data"
        self.work.mkdir()
        self.data.mkdir()

    def write(self, *paths: str, content: str | None = None) -> None:
        for path in paths:
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(path if content is None else content)

    def link(self, path: str, target: str | Path) -> None:
        (self.work / path).parent.mkdir(parents=True, exist_ok=True)
        (self.work / path).symlink_to(target)

    def keep(self, *paths: str | dict[str, Any], **task: Any) -> dict[str, int]:
        outputs = [path if isinstance(path, dict) else {"path": path} for path in paths]
        files = take_outputs(str(self.work), {"outputs": outputs, "out": str(self.out), **task})
        beside = {path.name for path in self.out.parent.iterdir()} if self.out.parent.exists() else set()
        assert beside <= {self.out.name, f"{self.out.name}.moves"}
        return {file["path"]: file["size"] for file in files}

    def refuse(self, *paths: str | dict[str, Any], **task: Any) -> str:
        """The message of a refusal, after which nothing has changed."""
        before = picture(self.work)
        with pytest.raises(Verdict) as caught:
            self.keep(*paths, **task)
        assert caught.value.why == "outputs"
        assert picture(self.work) == before
        assert not self.out.parent.exists() or not list(self.out.parent.iterdir())
        return caught.value.msg

    def kept(self) -> dict[str, Any]:
        return picture(self.out)


@contextmanager
def as_root() -> Iterator[None]:
    """See everything, if the tests run as root."""
    user = os.geteuid()
    if ROOT:
        os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(user)


def picture(top: Path) -> dict[str, Any]:
    """All that is below a folder: content of files, texts of links, modes."""
    with as_root():
        return {str(path.relative_to(top)): look(path) for path in sorted(top.rglob("*"))}


def look(path: Path) -> Any:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"-> {path.readlink()}"
    return stat.S_IMODE(mode) if not stat.S_ISREG(mode) else (path.read_bytes(), stat.S_IMODE(mode))


@contextmanager
def place(user: str, parent: str | None = None) -> Iterator[Path]:
    """A folder that belongs to a user; what runs meanwhile runs as that user."""
    folder = Path(tempfile.mkdtemp(prefix="outputs-", dir=parent))
    if ROOT and user == "user":
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if ROOT:
            os.seteuid(0)
        shutil.rmtree(folder)
