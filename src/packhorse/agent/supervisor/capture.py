"""Output on its way from a slot's capture files to the agent's log: while a task runs, and when it has ended."""

import os

from ..journal import Appender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

    Range = Tuple[str, int, int]

STREAMS = ("out", "err")
CHUNK = 1 << 20
SPILL = 4 << 20  # beyond the limit on a task's log, this much may pile up on scratch before it is thrown away
FIRST_LOOK_S = 0.5
LAST_LOOK_S = 2.0


class Follow:
    """How far the output of one task has been copied.

    It survives a log that refuses: a retry goes on where it stopped.
    """

    def __init__(self, paths: "Tuple[str, str]", keep_all: bool) -> None:
        self.paths = paths
        self.keep_all = keep_all  # stdout is the task's result, which its slot reads when it ends
        self.copied = [0, 0]  # offset in the capture file
        self.logged = [0, 0]  # bytes in the log
        self.lost = [0, 0]  # bytes over the limit
        self.ranges: "List[Range]" = []  # copied but not journaled yet
        self.look_at = 0.0  # monotonic
        self.interval = FIRST_LOOK_S

    def copy_new(self, log: Appender, max_bytes: int) -> None:
        """Copy what a running task has written since the last look; OSError if the log refuses."""
        for stream in (0, 1):
            try:
                fd = os.open(self.paths[stream], os.O_RDWR)
            except FileNotFoundError:
                continue  # the task removed it; its slot will make it again
            try:
                self._copy(stream, fd, os.fstat(fd).st_size, log, max_bytes)
                waiting = os.fstat(fd).st_size - self.copied[stream]
                if self.logged[stream] >= max_bytes and waiting > SPILL and not (self.keep_all and stream == 0):
                    os.ftruncate(fd, 0)
                    self.lost[stream] += waiting
                    self.copied[stream] = 0
            finally:
                os.close(fd)

    def copy_rest(self, log: Appender, max_bytes: int, sizes: "Tuple[int, int]") -> None:
        """Copy what an ended task has written and empty its capture files; OSError if the log refuses."""
        for stream in (0, 1):
            if sizes[stream]:
                try:
                    fd = os.open(self.paths[stream], os.O_RDWR)
                except FileNotFoundError:
                    continue
                try:
                    self._copy(stream, fd, sizes[stream], log, max_bytes)
                    self.lost[stream] += max(0, sizes[stream] - self.copied[stream])
                    self.copied[stream] = sizes[stream]
                    self._tell_lost(stream, log)
                    os.ftruncate(fd, 0)
                finally:
                    os.close(fd)

    def take_printed(self, log: Appender, max_bytes: int, data: bytes) -> None:
        """What an ended task has written to stdout, where that is in no file; OSError if the log refuses."""
        if not self.copied[0]:
            kept = data[:max_bytes]
            self._add(0, log.append(kept), len(kept))
            self.copied[0], self.lost[0] = len(data), len(data) - len(kept)
        self._tell_lost(0, log)

    def _tell_lost(self, stream: int, log: Appender) -> None:
        if self.lost[stream]:
            note = "\n[packhorse: %d more bytes of std%s were not kept]\n" % (self.lost[stream], STREAMS[stream])
            self._add(stream, log.append(note.encode("ascii")), len(note))
            self.lost[stream] = 0

    def _copy(self, stream: int, fd: int, size: int, log: Appender, max_bytes: int) -> None:
        if size < self.copied[stream]:
            self.copied[stream] = 0  # the task truncated its own output (`> /dev/stderr` does that): begin again
        while self.copied[stream] < size and self.logged[stream] < max_bytes:
            length = min(CHUNK, size - self.copied[stream], max_bytes - self.logged[stream])
            data = os.pread(fd, length, self.copied[stream])
            if not data:
                return
            self._add(stream, log.append(data), len(data))
            self.copied[stream] += len(data)
            self.logged[stream] += len(data)

    def _add(self, stream: int, offset: int, length: int) -> None:
        name = STREAMS[stream]
        if self.ranges and self.ranges[-1][0] == name and self.ranges[-1][1] + self.ranges[-1][2] == offset:
            self.ranges[-1] = (name, self.ranges[-1][1], self.ranges[-1][2] + length)
        else:
            self.ranges.append((name, offset, length))

    def take_ranges(self) -> "List[Range]":
        """What has been copied since the last call, as (stream, offset in the log, length)."""
        taken, self.ranges = self.ranges, []
        return taken
