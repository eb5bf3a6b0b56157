"""A run's progress as server-sent events: for browsers and notebooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
from starlette.concurrency import run_in_threadpool

from packhorse.api.errors import error_document, log_failure
from packhorse.api.follow import HEARTBEAT_S, event_bytes
from packhorse.domain.errors import PackhorseError, Unavailable
from packhorse.domain.views import RunView
from packhorse.engine.requests.service import UserService

#: A client is told at most so often.
PAUSE_S = 0.5
_SLICE_S = 1.0


async def progress(
    service: UserService, run_id: str, first: RunView, stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The run when it is asked for, then each time that more of its tasks are done; the last event is ``end``.

    Each has the whole view: one that was missed is not missed.
    """
    view, silent_since = first, time.monotonic()
    yield b"retry: 1000\n\n" + event_bytes("progress", str(view.done), view.model_dump(mode="json"))
    while not stopping():
        if view.ended:
            yield event_bytes("end", str(view.done), {"run": run_id})
            return
        try:
            after = await _moved(service, run_id, view.done)
        except Unavailable:
            await asyncio.sleep(_SLICE_S)
            continue
        except PackhorseError as error:  # it is shared no longer
            yield event_bytes("error", None, error_document(error))
            return
        except Exception:
            log_failure("progress_failed", run=run_id)
            return
        if after.done != view.done or after.ended:
            view, silent_since = after, time.monotonic()
            yield event_bytes("progress", str(view.done), view.model_dump(mode="json"))
            if not view.ended:
                await asyncio.sleep(PAUSE_S)
        elif time.monotonic() - silent_since >= HEARTBEAT_S:
            silent_since = time.monotonic()
            yield b": still here\n\n"


async def _moved(service: UserService, run_id: str, seen_done: int) -> RunView:
    """The run when more of it is done, or after a second."""
    loop, moved = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is closed: so is the server
            loop.call_soon_threadsafe(moved.set)

    with await run_in_threadpool(service.waiting, run_id, seen_done, tell), anyio.move_on_after(_SLICE_S):
        await moved.wait()
    return await run_in_threadpool(service.run, run_id)
