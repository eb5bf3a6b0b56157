"""Writes a run as an RO-Crate: one archive with its report, its apps, its tables, its results and its last files."""

from __future__ import annotations

import errno
import hashlib
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from packhorse.domain.apparchive import unpack_app
from packhorse.domain.errors import NotFound, TooMany
from packhorse.domain.text import dumps, holdable
from packhorse.engine.requests.reporting import facts_of
from packhorse.engine.requests.rerun import RUN_FILE, again, app_folders, table_name
from packhorse.engine.requests.rerundoc import RunDocument
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.results import iter_results
from packhorse.report.crate import (
    APP,
    METADATA,
    OUTPUT,
    PREVIEW,
    README,
    RESULTS,
    TABLE,
    WORKFLOW,
    CrateFile,
    crate_metadata,
    readme,
)
from packhorse.report.page import render_page
from packhorse.store.database import Database, NoRoom
from packhorse.store.reports import last_files
from packhorse.store.steps import app_archive, steps_of_run

_JSON, _LINES, _ANY = "application/json", "application/x-ndjson", "application/octet-stream"
_PIECE = 1 << 20
MAX_TASKS = 100  # of a step whose files are taken along
MAX_BYTES = 2_000_000_000  # of files of the last steps
AT_ONCE = 4  # crates that a process makes: each takes a thread, and a processor and a disk for a while
_AGAIN_S = 10.0

_places = threading.BoundedSemaphore(AT_ONCE)


def write_crate(
    database: Database,
    steps: Steps,
    run: Any,
    output: Callable[[str, str], Path],
    target: IO[bytes],
    now: float,
) -> None:
    """Writes a zip archive to ``target``. ``output`` says where a file (task, path) is on this machine.

    Raises NoRoom, and TooMany where others are being made.
    """
    if not _places.acquire(blocking=False):
        told = f"{AT_ONCE} crates are being made here now."
        raise TooMany(told, hint="Ask again when one of them is done.", after_s=_AGAIN_S)
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            _write(database, steps, run, output, _Crate(archive, now), now)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(f"There is no room for the crate: {error.strerror}.", hint="Make room in TMPDIR.") from None
    finally:
        _places.release()


def _write(
    database: Database, steps: Steps, run: Any, output: Callable[[str, str], Path], crate: _Crate, now: float
) -> None:
    with database.read() as connection:
        facts = facts_of(connection, steps, run, now)
        rows = steps_of_run(connection, run.seq)
        known = [steps.of(connection, row.seq) for row in rows]
        folders = app_folders(known)
        document = RunDocument(connection, run, rows, known)
        text = dumps(document.document(), indent=1)
        crate.add(RUN_FILE, WORKFLOW, "The run, as it can be asked for again", _JSON, [text.encode()])
        for step, values in document.tables():
            lines = (f"{line}\n".encode() for line in values)
            name = step.row.name
            crate.add(table_name(step), TABLE, f"Values of the tasks of {name}", _LINES, lines, name)
        _add_apps(crate, connection, folders)
        last = list(last_files(connection, run.seq, MAX_TASKS))
    lines = (f"{dumps(one)}\n".encode() for one in iter_results(database, [row.seq for row in rows]))
    crate.add("results.jsonl", RESULTS, "Results of all tasks", _LINES, lines)
    _add_outputs(crate, last, output, run.id)
    in_place = replace(facts, again=again(run, known, "."))  # it is read in the crate itself
    crate.put(README, [readme(in_place).encode()])
    crate.put(PREVIEW, [render_page(in_place).encode()])
    crate.put(METADATA, [crate_metadata(facts, crate.files, folders).encode()])


class _Crate:
    """An archive, and what is in it."""

    def __init__(self, archive: zipfile.ZipFile, now: float) -> None:
        self._archive = archive
        self._at = time.gmtime(now)[:6]
        self.files: list[CrateFile] = []

    def add(
        self,
        path: str,
        kind: str,
        name: str,
        media_type: str,
        pieces: Iterable[bytes],
        of: str = "",
        *,
        executable: bool = False,
    ) -> None:
        """A file that the metadata tell of; one of two that are to have the same name gets another."""
        while path in self._archive.NameToInfo:
            path += "~"
        sha256, length = self.put(path, pieces, executable=executable)
        self.files.append(CrateFile(path, kind, name, media_type, length, sha256, of))

    def put(self, path: str, pieces: Iterable[bytes], *, executable: bool = False) -> tuple[str, int]:
        """Writes a file as its pieces come; returns its SHA-256 and how many bytes it has."""
        entry = zipfile.ZipInfo(path, self._at)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = (0o100755 if executable else 0o100644) << 16
        digest, length = hashlib.sha256(), 0
        with self._archive.open(entry, "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                length += len(piece)
        return digest.hexdigest(), length


def _add_apps(crate: _Crate, connection: sa.Connection, folders: dict[str, str]) -> None:
    for digest, folder in folders.items():
        for file in unpack_app(app_archive(connection, digest), digest):
            path = holdable(f"{folder}/{file.path}")
            crate.add(path, APP, file.path, _ANY, [file.content], digest, executable=file.executable)


def _add_outputs(
    crate: _Crate, last: Sequence[tuple[str, int, str, int]], output: Callable[[str, str], Path], run_id: str
) -> None:
    """The files of steps that no other follows, while there are few tasks and not too many bytes."""
    left = MAX_BYTES
    for step, index, path, size in last:
        left -= size
        if left < 0:
            return
        try:
            found = output(f"{run_id}.{index}", path)
            if found.is_file():
                name = holdable(f"outputs/{step}/{index}/{path}")
                crate.add(name, OUTPUT, path, _ANY, _pieces(found), step)
        except (NotFound, OSError):
            continue  # it has gone since; results.jsonl names it


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
