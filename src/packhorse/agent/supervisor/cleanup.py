"""The supervisor ends what a dead slot has left in a container runtime, one command after the other, without waiting
for them.

A command that fails is run once more, since the runtime may have been at it itself.
"""

import os
import time

from ..spawn import find_program, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

COMMAND_S = 60.0


class Cleanup:
    """Commands to be run, and the one that runs (`pid`, 0 if none does)."""

    def __init__(self) -> None:
        self.waiting: "List[List[str]]" = []
        self.pid = 0
        self.again: "Optional[List[str]]" = None  # the command that runs, if it may fail once
        self.give_up_at = 0.0  # monotonic

    def add(self, commands: "List[List[str]]") -> None:
        """Run these too."""
        self.waiting.extend(commands)

    def poll(self, now: float) -> None:
        """See whether the one that runs has ended, and start the next."""
        if self.pid:
            try:
                done, status = os.waitpid(self.pid, os.WNOHANG)
                if not done:
                    if now > self.give_up_at:
                        os.killpg(self.pid, 9)
                    return
            except OSError:
                status = 0  # it has been reaped
            self.pid = 0
            if status and self.again:
                self.start(self.again, now)
                self.again = None
        while self.waiting and not self.pid:
            self.again = self.waiting.pop(0)
            self.start(self.again, now)

    def start(self, argv: "List[str]", now: float) -> None:
        """Start one command, if that can be done."""
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self.pid = start(find_program(argv[0], os.environ), argv, os.environ, null, null, null)
            self.give_up_at = now + COMMAND_S
        except OSError:
            pass
        finally:
            os.close(null)

    def finish(self, timeout_s: float) -> None:
        """Run what is left; the agent is about to end."""
        now = time.monotonic()
        deadline = now + timeout_s
        while now < deadline:
            self.poll(now)
            if not self.pid:
                return
            time.sleep(0.005)
            now = time.monotonic()
