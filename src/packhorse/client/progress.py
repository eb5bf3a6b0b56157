"""How far a run is: a line on a terminal or in a notebook, and on a terminal one for each step that is under way; a
line now and then on a simple terminal; silence elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView, StepView
from packhorse.terminal import StatusLines, cells, is_terminal, obeys, shown, width

_STEP_S = 0.2  # the line is not written over more often
_NAME = 30  # columns of a run's name
_BAR, _SHORT_BAR = 20, 5  # signs of a bar, at most and at least
_STEPS = 12  # lines of steps at most
_STEP_NAME = 24  # columns of a step's name
_NOTEBOOK = 100  # columns; also where what does not fit is folded


class Progress:
    """Shows how far a run is, on stderr, when ``shown`` and somebody is there to see it."""

    def __init__(self, view: RunView, *, shown: bool) -> None:
        self._is_notebook = "ipykernel" in sys.modules and not is_terminal(sys.stderr)
        self.shown = shown and (is_terminal(sys.stderr) or self._is_notebook)
        self._view = view
        self._began, self._done_before = time.monotonic(), view.done
        self._line = StatusLines(sys.stderr) if self.shown and (self._is_notebook or obeys(sys.stderr)) else None
        self._at = float("-inf")
        self._tenth = -1

    def __enter__(self) -> Progress:
        self.update(self._view)
        return self

    def update(self, view: RunView) -> None:
        """The run is at ``view`` now."""
        self._view = view
        if self.shown and time.monotonic() - self._at >= _STEP_S:
            self._at = time.monotonic()
            self._show()

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self._show()
            if self._line is not None:
                self._line.end()

    def _show(self) -> None:
        columns = _NOTEBOOK if self._is_notebook or self._line is None else width(sys.stderr)
        text = progress_line(self._view, time.monotonic() - self._began, self._done_before, columns)
        if self._line is not None:
            above = [] if self._is_notebook or self._view.ended else step_lines(self._view.steps, columns)
            self._line.show(*above, text)
            return
        tenth = 10 * self._view.done // max(1, self._view.tasks)
        if tenth > self._tenth:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
            self._tenth = tenth


def progress_line(view: RunView, elapsed_s: float, done_before: int, columns: int) -> str:
    """All of it that is narrower than ``columns``; where that is little, only how many tasks are done.

    ``elapsed_s`` is since somebody waits; ``done_before`` tasks were done then.
    """
    running = view.counts.get(TaskState.RUNNING, 0)
    name, done = _cut(shown(view.name or view.id, sys.stderr), _NAME), f"{view.done:,}/{view.tasks:,}"
    failed = f"{view.failed:,} failed" if view.failed else ""
    now = ", ".join(part for part in (f"{running:,} running" if running else "", failed) if part)
    times = _clock(elapsed_s)
    if done_before < view.done < view.tasks:
        times += f", {_clock(elapsed_s * (view.tasks - view.done) / (view.done - done_before))} left"
    room = columns - 1 - cells(_joined(name, "[]", done, now, times))
    if room >= _SHORT_BAR:
        length = min(_BAR, room)
        full = length * view.done // max(1, view.tasks)
        return _joined(name, f"[{'#' * full}{'.' * (length - full)}]", done, now, times)
    for parts in ((name, done, now, times), (name, done, now), (done, now), (done, failed), (done,)):
        if cells(line := _joined(*parts)) < columns:
            return line
    return done[: max(0, columns - 1)]


def step_lines(steps: Sequence[StepView], columns: int) -> list[str]:
    """A line for each step of several that has not ended: how far it is, and what it waits for. Each is narrower than
    ``columns``.
    """
    under_way = [step for step in steps if not step.ended]
    if len(steps) < 2:
        return []
    first = sorted(under_way, key=lambda step: not (step.counts.get(TaskState.RUNNING) or step.done))[:_STEPS]
    chosen = [step for step in under_way if step in first]
    names = {step.name: _cut(shown(step.name, sys.stderr), _STEP_NAME) for step in chosen}
    longest = max((cells(name) for name in names.values()), default=0)
    lines = [_step_line(step, names[step.name], longest) for step in chosen]
    more = len(under_way) - len(chosen)
    lines += [f"and {more:,} more steps, which wait"] if more else []
    return [_cut(line, columns - 1) for line in lines]


def _step_line(step: StepView, name: str, longest: int) -> str:
    tasks = step.tasks
    of = f"{step.done:,}/{'?' if tasks is None else f'{tasks:,}'}"
    full = _SHORT_BAR * 2 * step.done // max(1, tasks or 0)
    bar = f"[{'#' * full}{'.' * (_SHORT_BAR * 2 - full)}]"
    running = step.counts.get(TaskState.RUNNING, 0)
    waits = f"waits for {shown(step.waits_for, sys.stderr)}" if step.waits_for else ""
    now = [f"{running:,} running" if running else "", f"{step.failed:,} failed" if step.failed else "", waits]
    return _joined(name + " " * (longest - cells(name)), bar, of, ", ".join(part for part in now if part))


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _cut(text: str, columns: int) -> str:
    if cells(text) <= columns:
        return text
    text = text[: 4 * max(0, columns)]
    while cells(text) > max(0, columns - 3):
        text = text[:-1]
    return (text + "...")[: max(0, columns)]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
