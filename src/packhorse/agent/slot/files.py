"""A slot's files: its work folder, emptied between tasks, and the capture files that its tasks write to."""

import os

from ..outcome import tail_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Set, Tuple

MB = 1 << 20


class Files:
    """Where a slot's tasks work and write."""

    def __init__(self, config: "Dict[str, Any]") -> None:
        self.work = self.work_base = str(config["work"])
        self.retired = 0  # work folders given up because they could not be emptied
        self.work_ok = False
        self.work_was = (0, 0, 0)
        self.capture_paths = [(str(out), str(err)) for out, err in config["captures"]]
        self.captures: "Dict[int, Tuple[int, int]]" = {}  # by pair; most slots never use all
        self.empty: "Set[int]" = set()  # pairs that the last task of theirs wrote nothing to

    def sizes(self, pair: int) -> "Tuple[int, int]":
        """How much the task wrote to stdout and stderr.

        Capture files that it deleted (rm -rf $TMPDIR/*) are made again.
        """
        out, err = (os.fstat(fd) for fd in self.captures[pair])
        if not (out.st_size or err.st_size):
            self.empty.add(pair)
        if out.st_nlink and err.st_nlink:
            return out.st_size, err.st_size
        old = self.captures[pair]
        self.captures[pair] = new = self.open_pair(pair)
        for before, after, size in zip(old, new, (out.st_size, err.st_size)):
            for offset in range(0, size, MB):
                os.write(after, os.pread(before, MB, offset))
            os.close(before)
        return out.st_size, err.st_size

    def take_pair(self, pair: int) -> None:
        """Capture files for a task.

        What is still in them is another's, and was not taken because somebody had removed the files.
        """
        if pair not in self.captures:
            self.captures[pair] = self.open_pair(pair)
            return
        if pair in self.empty:
            self.empty.discard(pair)
            return
        for fd in self.captures[pair]:
            if os.fstat(fd).st_size:
                os.ftruncate(fd, 0)

    def open_pair(self, pair: int) -> "Tuple[int, int]":
        """Open (make) one pair of capture files."""
        out, err = self.capture_paths[pair]
        return open_capture(out), open_capture(err)

    def tail(self, pair: int, size: int) -> "Optional[str]":
        """The end of what the task wrote to stderr."""
        return tail_text(os.pread(self.captures[pair][1], 2049, max(0, size - 2049)))

    def clean(self) -> None:
        """An empty work folder, and the slot in it.

        Where the old one cannot be emptied, a fresh one takes its place.
        """
        if self.work_ok:
            try:
                if not os.listdir(".") and identity(self.work) == self.work_was:
                    return  # as after most tasks
            except OSError:
                pass  # the task removed it
        from ..removal import empty

        self.work_ok = False
        while not empty(self.work):
            self.retired += 1
            self.work = "%s-%d" % (self.work_base, self.retired)
        os.chdir(self.work)
        self.work_was = identity(self.work)
        self.work_ok = True


def identity(folder: str) -> "Tuple[int, int, int]":
    """What changes when a task puts something else in a folder's place, or changes its mode."""
    status = os.lstat(folder)
    return status.st_dev, status.st_ino, status.st_mode


def open_capture(path: str) -> int:
    """A file for output: appending, so that neither truncating nor another writer on it leaves holes."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
