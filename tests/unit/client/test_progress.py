"""How far a run is, in one line."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from packhorse import terminal
from packhorse.client import progress
from packhorse.client.progress import Progress, progress_line
from packhorse.domain.plain import plain
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView, StepView


def view(done: int, tasks: int, *, failed: int = 0, running: int = 0, name: str = "assembly") -> RunView:
    counts = {TaskState.COMPLETE: done - failed, TaskState.EXECUTOR_ERROR: failed, TaskState.RUNNING: running}
    run = "r-0123456789abcdef"
    return RunView(
        id=run,
        name=name,
        user="ana",
        app="t@1",
        created_at=0.0,
        ended_at=None,
        retry_of=None,
        tasks=tasks,
        counts=counts,
    )


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def watched(patch: pytest.MonkeyPatch, term: str = "xterm") -> Screen:
    seen = Screen()
    patch.setattr("sys.stderr", seen)
    patch.setenv("TERM", term)
    patch.setenv("COLUMNS", "80")
    return seen


def test_a_million_tasks() -> None:
    line = progress_line(view(250_000, 1_000_000, failed=12, running=128), 3600, 0, 120)
    assert line == "assembly  [#####...............]  250,000/1,000,000  128 running, 12 failed  1:00:00, 3:00:00 left"
    assert "[###################.]  999,999/1,000,000" in progress_line(view(999_999, 1_000_000), 3600, 0, 120)
    assert "[####################]  1,000,000/1,000,000  1:00:00" in progress_line(
        view(1_000_000, 1_000_000), 3600, 0, 120
    )


def test_what_is_left_is_reckoned_from_what_was_done_while_somebody_waited() -> None:
    assert progress_line(view(60, 100), 10, 50, 80).endswith("0:00:10, 0:00:40 left")
    assert progress_line(view(50, 100), 10, 50, 80).endswith("0:00:10")


@given(st.text(st.characters()), st.integers(0, 10**6), st.integers(0, 200))
def test_it_is_one_line_that_is_narrower_than_the_terminal(name: str, done: int, columns: int) -> None:
    line = progress_line(view(done, 10**6, failed=done // 3, name=name), 10, 0, columns)
    assert cell_len(line) < max(1, columns) or line == ""
    assert plain(line) == line
    if columns > 20:
        assert f"{done:,}/1,000,000" in line


def test_the_line_is_written_over_and_its_end_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    monkeypatch.setattr(progress, "_STEP_S", 0.0)
    with Progress(view(0, 3, name=":x: [red]\x1b[31m"), shown=True) as bar:
        bar.update(view(1, 3, running=2, name=":x: [red]\x1b[31m"))
        terminal.write_line(seen, "a warning")
        bar.update(view(3, 3, failed=1, name=":x: [red]\x1b[31m"))
    text = seen.getvalue()
    assert set(text) & {"\x1b", "\t"} == set()
    lines = [line.rstrip(" \b") for line in text.replace("\n", "\r").split("\r")]
    assert lines[1].startswith(":x: [red]\\x1b[31m  [....................]  0/3")
    assert "a warning" in lines, "on a line of its own"
    assert lines[lines.index("a warning") + 1].startswith(":x: [red]\\x1b[31m  [######.............]  1/3  2 running")
    assert text.endswith("\n") and "3/3  1 failed" in lines[-2]


def step(name: str, tasks: int | None, waits_for: str | None = None, **counts: int) -> StepView:
    by_state = {TaskState[state]: number for state, number in counts.items()}
    return StepView(name=name, site="local", tasks=tasks, counts=by_state, waits_for=waits_for)


STEPS = [
    step("index", 1, COMPLETE=1),
    step("align", 100, "2 tasks of 'trim'", COMPLETE=40, EXECUTOR_ERROR=1, RUNNING=2, QUEUED=57),
    step("search", None, "the list of 'split'"),
    step("matrix", 1, "59 tasks of 'align'", QUEUED=1),
]


def test_each_step_that_is_under_way_has_a_line_with_what_it_waits_for() -> None:
    assert progress.step_lines(STEPS, 80) == [
        "align   [####......]  41/100  2 running, 1 failed, waits for 2 tasks of 'trim'",
        "search  [..........]  0/?  waits for the list of 'split'",
        "matrix  [..........]  0/1  waits for 59 tasks of 'align'",
    ]
    assert progress.step_lines(STEPS[:2], 30)[0] == "align  [####......]  41/10..."
    assert progress.step_lines(STEPS[1:2], 80) == [], "the run's own line says it"


def test_of_many_steps_those_are_shown_that_run() -> None:
    many = [step(f"s{number}", 1, "x", QUEUED=1) for number in range(30)] + [step("last", 1, RUNNING=1)]
    lines = progress.step_lines(many, 80)
    assert len(lines) == 13 and lines[-2].startswith("last") and lines[-1] == "and 19 more steps, which wait"


@given(st.text(st.characters()), st.integers(0, 100))
def test_lines_of_steps_are_narrower_than_the_terminal(name: str, columns: int) -> None:
    lines = progress.step_lines([step(name, 5, name, RUNNING=1), step("b", 5, RUNNING=1)], columns)
    assert all(cell_len(line) < max(1, columns) or line == "" for line in lines)
    assert all(plain(line) == line for line in lines)


def test_lines_of_steps_are_written_over_and_gone_when_the_run_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    monkeypatch.setattr(progress, "_STEP_S", 0.0)
    with Progress(view(1, 3).model_copy(update={"steps": STEPS}), shown=True) as bar:
        terminal.write_line(seen, "a warning")
        bar.update(view(3, 3).model_copy(update={"steps": STEPS, "ended_at": 1.0}))
    text = seen.getvalue()
    up = "\r\x1b[3A\x1b[J"
    assert text.startswith("align   [####") and text.split(up)[1].startswith("a warning\nalign   [####")
    assert text.split(up)[2].startswith("assembly  [####################]  3/3") and "align" not in text.split(up)[2]


def test_it_is_throttled_and_the_end_is_shown_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    with Progress(view(0, 10_000), shown=True) as bar:
        for done in range(10_001):
            bar.update(view(done, 10_000))
    assert seen.getvalue().count("\r") < 20
    assert "10,000/10,000" in seen.getvalue()


def test_a_simple_terminal_gets_a_line_for_each_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch, "dumb")
    monkeypatch.setattr(progress, "_STEP_S", 0.0)
    with Progress(view(0, 100), shown=True) as bar:
        for done in range(101):
            bar.update(view(done, 100))
    lines = seen.getvalue().splitlines()
    assert len(lines) == 11 and "100/100" in lines[-1]
    assert "\r" not in seen.getvalue()


def test_no_terminal_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = io.StringIO()
    monkeypatch.setattr("sys.stderr", nobody)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress(view(0, 3), shown=True) as bar:
        bar.update(view(3, 3))
        assert not bar.shown
    assert nobody.getvalue() == ""


def test_a_notebook_gets_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = io.StringIO()
    monkeypatch.setattr("sys.stderr", cell)
    monkeypatch.setitem(progress.sys.modules, "ipykernel", progress)
    with Progress(view(0, 3, name="[red]\x1b"), shown=True) as bar:
        bar.update(view(3, 3, name="[red]\x1b"))
    assert "[red]\\x1b  [####################]  3/3" in cell.getvalue()
    assert "\x1b" not in cell.getvalue()
