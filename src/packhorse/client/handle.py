"""A run in a user's hands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from packhorse.client.backend import Backend
from packhorse.client.progress import Progress
from packhorse.domain.backoff import BackOff
from packhorse.domain.errors import Unavailable
from packhorse.domain.ids import task_id
from packhorse.domain.plain import plain
from packhorse.domain.states import FAILED, TaskState
from packhorse.domain.views import RunView, TaskView, UsageView

_BAR_STEP_S = 1.0  # a bar moves that often, also while no task ends
_WAIT_S = 20.0  # else a wait is asked for again after so long
_PAUSE_S = (0.2, 5.0)  # before what did not answer is asked again: at first, and at most
_PATIENCE_S = 120.0  # with a server or database that does not answer while somebody waits
_LOG_STEP_S = (0.1, 1.0)


class RunHandle:
    """One run: wait for it, read what came out, cancel it, try its failures again."""

    def __init__(self, backend: Backend, view: RunView) -> None:
        self._backend = backend
        self.view = view

    @property
    def id(self) -> str:
        """Its name: r- and sixteen letters and digits."""
        return self.view.id

    def refresh(self) -> RunView:
        """The run as it is now."""
        self.view = self._backend.run(self.id)
        return self.view

    def wait(self, progress: bool = False, timeout_s: float | None = None) -> RunHandle:
        """Returns when every task has ended.

        ``progress`` shows a bar. Raises TimeoutError after ``timeout_s``; the run goes on.
        """
        give_up = None if timeout_s is None else time.monotonic() + timeout_s
        with self._backend.working(), Progress(self.view, shown=progress) as bar:
            view = self._patiently(self.refresh)
            step_s = _BAR_STEP_S if bar.shown else _WAIT_S
            while not view.ended:
                bar.update(self.view)
                left_s = step_s if give_up is None else give_up - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"Run {self.id} has not ended after {timeout_s:g} s; it goes on.")
                # to be told of every step costs the tasks some of their time
                seen = view.done + view.tasks // 50 if bar.shown else view.tasks
                view = self.view = self._patiently(partial(self._backend.wait, self.id, seen, min(step_s, left_s)))
            bar.update(self.view)
        return self

    def _patiently(self, ask: Callable[[], RunView]) -> RunView:
        """The answer, also of a server that is away for a while: the run goes on meanwhile, so a wait does not end
        there.
        """
        give_up, back_off = time.monotonic() + _PATIENCE_S, BackOff(*_PAUSE_S)
        while True:
            try:
                return ask()
            except Unavailable:
                now = time.monotonic()
                pause_s = back_off.failed(now)
                if now + pause_s > give_up:
                    raise
            time.sleep(pause_s)

    def results(self) -> list[dict[str, Any]]:
        """One dict per task, in order: index, task, name, step, state, params, result, files, reason."""
        return list(self._backend.results(self.id))

    def iter_results(self) -> Iterator[dict[str, Any]]:
        """``results`` in constant memory."""
        return self._backend.results(self.id)

    def table(self) -> list[dict[str, Any]]:
        """One flat dict per task: index, state, its parameters, and the fields of its result."""
        return [flat_result(row) for row in self.iter_results()]

    def to_pandas(self) -> Any:
        """``table`` as a DataFrame; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.table())

    def gathered(self) -> dict[str, Path]:
        """The outputs of tasks that gather, and of the last ones of several steps, by name."""
        return self._backend.gathered(self.id)

    def tasks(self, states: list[TaskState] | None = None) -> Iterator[TaskView]:
        """The run's tasks, in order."""
        cursor: str | None = None
        while True:
            page = self._backend.tasks(self.id, states, cursor, 1000)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def failed(self) -> list[TaskView]:
        """The tasks that failed, each with its reason."""
        return list(self.tasks(sorted(FAILED)))

    def logs(self, index: int = 0, stream: str = "stdout", *, follow: bool = False, attempt: int | None = None) -> str:
        """What a task wrote; with ``follow``, all of it until it ends. What is not UTF-8 is replaced."""
        return b"".join(self.iter_logs(index, stream, follow=follow, attempt=attempt)).decode(errors="replace")

    def iter_logs(
        self, index: int = 0, stream: str = "stdout", *, follow: bool = False, attempt: int | None = None
    ) -> Iterator[bytes]:
        """Pieces of a task's stdout or stderr, as they come."""
        return filter(None, follow_log(self._backend, task_id(self.id, index), stream, follow=follow, attempt=attempt))

    def cancel(self) -> RunView:
        """Cancels every task that has not ended, and returns when that is done."""
        self.view = self._backend.cancel_run(self.id)
        self.wait()
        return self.view

    def retry(self, client_key: str | None = None) -> RunHandle:
        """A new run of what failed or was canceled."""
        return RunHandle(self._backend, self._backend.retry(self.id, client_key))

    def usage(self) -> UsageView:
        """What the run used, and what was paid for it."""
        return self._backend.usage(self.id)

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Writes the run as one HTML page that needs nothing else, to ``path`` or RUN.html here. Returns where."""
        target = Path(f"{self.id}.html" if path is None else path)
        page = self._backend.report(self.id)
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(page)
        return part.replace(target)

    def crate(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Writes the run as an RO-Crate (Workflow Run Crate) to a new ``folder``, or RUN here. Returns where."""
        from packhorse.client.crates import unpack_crate

        target = Path(self.id if folder is None else folder)
        unpack_crate(partial(self._backend.crate, self.id), target)
        return target

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self.view.counts.items())
        return plain(f"<Run {self.id} of {self.view.app or 'tasks'}: {counts}>")

    def _repr_html_(self) -> str:
        """For notebooks."""
        import html

        view = self.refresh()
        rows = "".join(
            f"<tr><td>{html.escape(state)}</td><td>{number}</td></tr>" for state, number in view.counts.items()
        )
        title = html.escape(plain(f"{view.name or view.app or 'tasks'} ({view.id})"))
        return f"<table><caption>{title}: {view.done} of {view.tasks} done</caption>{rows}</table>"


def follow_log(
    backend: Backend, task: str, stream: str, *, follow: bool, attempt: int | None = None
) -> Iterator[bytes]:
    """Pieces of a log until its end as it is now, or, with ``follow``, until the task's end; an empty one when there
    is nothing new, for a caller to see whether anybody still wants it."""
    offset, step_s = 0, _LOG_STEP_S[0]
    while True:
        try:
            part = backend.log(task, stream, offset, attempt)
        except Unavailable:
            if not follow:
                raise
            time.sleep(_LOG_STEP_S[1])
            continue
        if part.data:
            yield part.data
        grew, offset = part.next_offset > offset, part.next_offset
        if part.ended or not (follow or grew):
            return
        if not grew:
            yield b""
            time.sleep(step_s)
        step_s = _LOG_STEP_S[0] if grew else min(_LOG_STEP_S[1], step_s * 1.5)


def flat_result(row: dict[str, Any]) -> dict[str, Any]:
    """One row of a result table.

    A name of the result that is taken gets ``result.`` before it, a parameter's ``params.``.
    """
    result = row["result"]
    fields = result if isinstance(result, dict) else {} if result is None else {"result": result}
    flat = {"index": row["index"], "state": row["state"]}
    for prefix, values in (("params", row["params"] or {"name": row["name"]}), ("result", fields)):
        for name, value in values.items():
            flat[f"{prefix}.{name}" if name in flat or not name else name] = value
    return flat
