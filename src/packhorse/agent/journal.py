"""The two files that an agent appends to: its journal of records and its log of output.

Neither loses anything to a full disk.
"""

import _thread
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

FLUSH_S = 0.02
SYNC_S = 1.0
RETRY_S = 0.5


class Appender:
    """A file with one writer.

    What could not be written whole is taken back, so that a retry writes the same bytes at the same place.

    `pwrite` is os.pwrite; tests replace it to make disks fail.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self.end = os.fstat(self.fd).st_size
        self.pwrite = os.pwrite
        self.dirty = False

    def append(self, data: bytes) -> int:
        """Write all of `data`; returns the offset where it begins. OSError: nothing of it is in the file."""
        begin, view = self.end, memoryview(data)
        offset = begin
        try:
            while view:
                done = self.pwrite(self.fd, view, offset)
                offset += done
                view = view[done:]
        except OSError:
            self._take_back(begin)
            raise
        self.end = offset
        self.dirty = True
        return begin

    def _take_back(self, end: int) -> None:
        try:
            os.ftruncate(self.fd, end)
        except OSError:
            # ESTALE: the file server was restarted; the retry needs a handle that it knows. Offsets are ours, not the
            # handle's.
            try:
                fresh = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            except OSError:
                return
            os.close(self.fd)
            self.fd = fresh

    def sync(self) -> None:
        """Make what was appended durable, and visible to other hosts of a network filesystem."""
        if self.dirty:
            self.dirty = False
            try:
                os.fdatasync(self.fd)
            except OSError:
                self.dirty = True  # and the next append will tell whether the file is still usable


class Journal:
    """Records, buffered for up to FLUSH_S. While the disk refuses them they stay in memory and `healthy` is False."""

    def __init__(self, path: str) -> None:
        self.file = Appender(path)
        self.buffer: "List[bytes]" = []
        self.healthy = True
        self.flush_at = float("inf")  # monotonic
        self.error = ""

    def add(self, record: "Dict[str, Any]") -> None:
        """Append a record; keys whose value is None are left out."""
        kept = {key: value for key, value in record.items() if value is not None}
        self.add_line(json.dumps(kept, separators=(",", ":")).encode("ascii"))

    def add_line(self, line: bytes) -> None:
        """Append a record that is already one JSON object in one line."""
        if not self.buffer:
            self.flush_at = time.monotonic() + FLUSH_S
        self.buffer.append(line)

    def flush(self) -> bool:
        """Write what is buffered, all of it or nothing; False if the disk refuses (it is tried again after RETRY_S)."""
        if not self.buffer:
            return True
        try:
            self.file.append(b"\n".join(self.buffer) + b"\n")
        except OSError as error:
            self.healthy, self.error = False, str(error)
            self.flush_at = time.monotonic() + RETRY_S
            return False
        self.buffer = []
        self.healthy = True
        self.flush_at = float("inf")
        return True


def complain(text: str) -> None:
    """Tell the batch job's output. That may be on the disk that is full: saying so must not end the agent."""
    try:
        os.write(2, ("packhorse agent: %s\n" % text).encode("utf-8", "replace"))
    except OSError:
        pass


def sync_forever(files: "List[Appender]", interval_s: float = SYNC_S) -> None:
    """fdatasync files in a thread of its own: on a busy disk it takes seconds, and nobody needs to wait for it."""

    def run() -> None:
        while True:
            time.sleep(interval_s)
            for file in files:
                file.sync()

    _thread.start_new_thread(run, ())
