"""A server that is told to stop says so for a while, before it stops: until who sends it requests has heard."""

from __future__ import annotations

import time
from types import FrameType

import uvicorn


class DrainingServer(uvicorn.Server):
    """``drain_s`` lie between the signal and the end of listening; a second signal ends that at once."""

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._stop_at: float | None = None

    @property
    def is_draining(self) -> bool:
        """Whether it was told to stop."""
        return self.should_exit or self._stop_at is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_at is None and self._drain_s > 0:
            self._stop_at = time.monotonic() + self._drain_s
            self._captured_signals.append(sig)
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)
