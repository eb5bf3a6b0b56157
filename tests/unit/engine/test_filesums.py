"""Checksums of input files: computed once while a file is as it was."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from packhorse.engine.reuse import filesums
from packhorse.engine.reuse.filesums import FileSums
from packhorse.store.database import Database
from packhorse.store.lookups import keep_sums
from packhorse.store.migrate import ensure_schema


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/store.db")
    ensure_schema(database)
    return database


def sums(of: FileSums, database: Database, *paths: Path) -> dict[str, str]:
    with database.write() as connection:
        found = of.of(connection, [str(path) for path in paths]).sums
        keep_sums(connection, of.new())
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read."""
    seen: list[str] = []
    real = filesums._sum_of

    def counted(path: str, stop: threading.Event) -> str | None:
        seen.append(path)
        return real(path, stop)

    monkeypatch.setattr(filesums, "_sum_of", counted)
    return seen


def test_a_file_is_read_once_while_it_is_as_it_was(tmp_path: Path, database: Database, reads: list[str]) -> None:
    file = tmp_path / "reads"
    file.write_bytes(b"one")
    digest = hashlib.sha256(b"one").hexdigest()
    first = FileSums(lambda: None)
    for of in (first, first, FileSums(lambda: None)):  # the last as after a restart
        assert sums(of, database, file, file) == {str(file): digest}
    assert len(reads) == 1
    file.write_bytes(b"two")
    assert sums(first, database, file) == {str(file): hashlib.sha256(b"two").hexdigest()}
    os.utime(file, ns=(1, 1))
    assert sums(FileSums(lambda: None), database, file) == {str(file): hashlib.sha256(b"two").hexdigest()}
    assert len(reads) == 3


def test_large_files_are_read_beside_and_told_of(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesums, "_SMALL", 2)
    told = threading.Event()
    of = FileSums(told.set)
    file = tmp_path / "large"
    file.write_bytes(b"many")
    sums(of, database, file)
    assert told.wait(10)
    assert sums(of, database, file) == {str(file): hashlib.sha256(b"many").hexdigest()}
    of.stop()


def test_what_cannot_be_read_is_told(tmp_path: Path, database: Database) -> None:
    with database.read() as connection:
        found = FileSums(lambda: None).of(connection, [str(tmp_path / "gone"), str(tmp_path)])
    assert found.problems == {
        str(tmp_path / "gone"): f"the file '{tmp_path}/gone' cannot be read: No such file or directory",
        str(tmp_path): f"'{tmp_path}' is no file, and only of files the content is compared",
    }
