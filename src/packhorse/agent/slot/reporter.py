"""A slot's line to its supervisor: fd 1, on which every report is one whole line."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


class Reporter:
    """Writes reports; acknowledgements, which a signal handler makes, never come between the parts of one."""

    def __init__(self) -> None:
        self.sending = False
        self.waiting: "List[bytes]" = []

    def send(self, data: bytes) -> None:
        """Write a report whole; acknowledgements that come up meanwhile follow it."""
        self.sending = True
        while data:
            data = data[os.write(1, data) :]
        self.sending = False
        if self.waiting:
            self.flush()

    def acknowledge(self, data: bytes) -> None:
        """Write an acknowledgement, at once or after the report that is being written."""
        self.waiting.append(data)
        if not self.sending:
            self.flush()

    def flush(self) -> None:
        """Write acknowledgements, each in one atomic write."""
        while self.waiting:
            try:
                data = self.waiting.pop(0)
            except IndexError:
                return  # the signal handler was faster
            os.write(1, data)
