"""The checksums of input files of the engine's machine: each is computed once while its file is as it was."""

from __future__ import annotations

import hashlib
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from packhorse.store.lookups import FileLook, known_sums

_SMALL = 4_000_000  # bytes of a file that is read at once, while that takes no longer than
_AT_ONCE_S = 0.3
_AT_A_TIME = 2  # large ones
_PIECE = 1 << 20
_REMEMBERED = 100_000


@dataclass
class Found:
    """What is known of files: checksums by path, or why there is none; of the others it is not known yet."""

    sums: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class FileSums:
    """Checksums of files. ``tell`` is called when more are known. What is ``new`` is to be kept in the store."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._turn = threading.Lock()
        self._known: OrderedDict[FileLook, str] = OrderedDict()
        self._new: dict[FileLook, str] = {}
        self._failed: dict[FileLook, str] = {}
        self._under_way: set[FileLook] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._stop = threading.Event()

    def of(self, connection: sa.Connection, paths: Collection[str]) -> Found:
        """What is known of ``paths``; what is not is being computed from now on."""
        found = Found()
        looks: dict[str, FileLook] = {}
        for path in sorted(set(paths)):
            try:
                looks[path] = _look(path)
            except OSError as error:
                found.problems[path] = f"the file '{path}' cannot be read: {error.strerror}"
            except ValueError as error:
                found.problems[path] = str(error)
        with self._turn:
            unknown = [look for look in looks.values() if look not in self._known]
        if unknown:
            self._remember(known_sums(connection, unknown))
            self._compute(unknown)
        with self._turn:
            for path, look in looks.items():
                if (known := self._known.get(look)) is not None:
                    found.sums[path] = known
                elif (failed := self._failed.pop(look, None)) is not None:
                    found.problems[path] = f"the file '{path}' cannot be read: {failed}"
        return found

    def new(self) -> dict[FileLook, str]:
        """What was computed since the last call."""
        with self._turn:
            new, self._new = self._new, {}
        return new

    def stop(self) -> None:
        """Ends what is under way; it is begun again when it is asked for."""
        self._stop.set()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._threads = None
        self._under_way.clear()
        self._stop.clear()

    def _compute(self, looks: Collection[FileLook]) -> None:
        """Small files now, as far as there is time; the others in threads."""
        give_up = time.monotonic() + _AT_ONCE_S
        for look in looks:
            with self._turn:
                if look in self._known or look in self._under_way:
                    continue
                self._under_way.add(look)
            if look.size <= _SMALL and time.monotonic() < give_up:
                self._work(look)
                continue
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="checksums")
            self._threads.submit(self._work_and_tell, look)

    def _work_and_tell(self, look: FileLook) -> None:
        self._work(look)
        self._tell()

    def _work(self, look: FileLook) -> None:
        try:
            known = _sum_of(look.path, self._stop)
            is_still = known is not None and _look(look.path) == look
        except OSError as error:
            with self._turn:
                self._failed[look] = error.strerror or str(error)
                self._under_way.discard(look)
            return
        with self._turn:
            self._under_way.discard(look)
            if known is not None and is_still:  # else it changed meanwhile, and is looked at again
                self._new[look] = known
                self._keep(look, known)

    def _remember(self, known: dict[FileLook, str]) -> None:
        with self._turn:
            for look, sha256 in known.items():
                self._keep(look, sha256)

    def _keep(self, look: FileLook, sha256: str) -> None:
        self._known[look] = sha256
        self._known.move_to_end(look)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _look(path: str) -> FileLook:
    """Raises OSError, and ValueError for what is no file."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"'{path}' is no file, and only of files the content is compared")
    return FileLook(path, status.st_size, status.st_mtime_ns)


def _sum_of(path: str, stop: threading.Event) -> str | None:
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            if stop.is_set():
                return None
    return digest.hexdigest()
