"""How much something takes on disk, while it grows: looked at in small portions, so that a tree of a million files
costs no more.
"""

import mmap
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional

SHARE = 0.02  # of one core
REST_S = 1.0


class DiskUsage:
    """`bytes` on disk below a path, as of the last look that was completed; without a path, what a fetch says that it
    has.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.bytes = 0
        self.walk: "Optional[Iterator[int]]" = None
        self.sum = 0
        self.look_at = 0.0  # monotonic
        self.counter = mmap.mmap(-1, 8)  # shared with the process that fetches

    def count(self, done: int) -> None:
        """Bytes that have been fetched; called there."""
        self.counter[:] = done.to_bytes(8, "little")

    def look(self, now: float, since_s: float) -> None:
        """Go on looking for as long as the share of the time since the last call allows."""
        if not self.path:
            self.bytes = int.from_bytes(self.counter[:], "little")
        if not self.path or now < self.look_at:
            return
        if self.walk is None:
            self.walk, self.sum = blocks(self.path), 0
        stop_at = time.monotonic() + SHARE * since_s
        for size in self.walk:
            self.sum += size
            if time.monotonic() > stop_at:
                return
        self.bytes, self.walk = self.sum, None
        self.look_at = now + REST_S


def blocks(path: str) -> "Iterator[int]":
    """Bytes on disk of a file, or of each entry below a folder. What vanishes meanwhile takes nothing."""
    try:
        yield os.lstat(path).st_blocks * 512
    except OSError:
        return
    folders = [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    yield entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue


def free_bytes(path: str) -> int:
    """What is free for this user on the disk that a path is on, or would be."""
    path = os.path.abspath(path)
    while True:
        try:
            found = os.statvfs(path)
            return found.f_bavail * found.f_frsize
        except OSError:
            if path == "/":
                return 0
            path = os.path.dirname(path)
