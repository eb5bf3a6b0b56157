"""An engine room, an app that sums up a file, and runs of it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packhorse.domain.run import AppRun
from packhorse.domain.views import RunView, TaskDetail
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import wait_for
from tests.fixtures.truth import assert_each_ended_once

DATA = b"".join(b"%07d\n" % number for number in range(250_000))  # 2 MB
OTHER = DATA[::-1]


@contextmanager
def running(home: Path, **options: Any) -> Iterator[Embedded]:
    """An engine room at work; afterwards every task must have ended once."""
    room = Embedded(home, linger_s=0.5, **options)
    with room.run_engine():
        yield room
    assert_each_ended_once(room)
    room.close()


def summing_app(folder: Path, more: str = "", argument: str = "{file}") -> str:
    """Prints the SHA-256 of the file that it is given, and its name."""
    app = folder / "app"
    app.mkdir()
    command = f"[/bin/sh, -c, 'sha256sum < $0 | cut -c1-64; basename $0', '{argument}']"
    parameters = "parameters:\n  file: {type: file, optional: true}\noutputs:\n  sum: {from: stdout, type: text}\n"
    (app / "app.yaml").write_text(f"packhorse: 1\nname: sum\nversion: '1'\ncommand: {command}\n{parameters}{more}")
    return str(app)


def submit(room: Embedded, app: str, *urls: str, **options: Any) -> RunView:
    """A run with a task for each URL; without any, one task without a file."""
    rows = [{"file": url} for url in urls] or [{}]
    return room.mine.submit(AppRun(app=app, over=rows, **options))


def end_of(room: Embedded, run: RunView, timeout_s: float = 40) -> RunView:
    """The run when it has ended."""
    wait_for(lambda: room.mine.run(run.id).ended, timeout_s, "the run's end")
    return room.mine.run(run.id)


def results(room: Embedded, run: RunView) -> list[str]:
    """What its tasks printed, as 'sha256 name'."""
    return [" ".join(str(row["result"]).split()) for row in room.mine.results(run.id)]


def first_task(room: Embedded, run: RunView) -> TaskDetail:
    """The run's first task."""
    return room.mine.task(f"{run.id}.0")


def sha(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()


def archive(**files: bytes) -> bytes:
    """A .tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
