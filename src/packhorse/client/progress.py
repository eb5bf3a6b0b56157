"""A progress bar on a terminal or in a notebook; silence elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView


class Progress:
    """Shows how far a run is, on stderr, when ``shown`` and somebody is there to see it."""

    def __init__(self, view: RunView, *, shown: bool) -> None:
        self._view = view
        self._bar: Any = None
        self._task: Any = None
        self.shown = shown and (sys.stderr.isatty() or "ipykernel" in sys.modules)

    def __enter__(self) -> Progress:
        if self.shown:
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[detail]}"),
                progress.TimeElapsedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._view.name or self._view.id, total=self._view.tasks, detail="")
        return self

    def update(self, view: RunView) -> None:
        """The run is at ``view`` now."""
        if self._bar is not None:
            running = view.counts.get(TaskState.RUNNING, 0)
            detail = f"{running} running" + (f", [red]{view.failed} failed[/red]" if view.failed else "")
            self._bar.update(self._task, completed=view.done, total=view.tasks, detail=detail)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
