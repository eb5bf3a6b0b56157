"""Tasks that go on where an earlier attempt stopped, for as long as they get on."""

from __future__ import annotations

from pathlib import Path

from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import make_app, submit, wait_for

MORE = """resources: {walltime_s: 1}
resumable: true
resume: [--resume]
progress: '^step \\d+ done'
outputs: {said: {from: stdout, type: text}}
"""


def run_to_end(room: Embedded, tmp_path: Path, script: str) -> tuple[TaskState, list[str | None], str]:
    """(state, failure of each attempt, what the last one printed) of a task that runs ``script``."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "work.sh").write_text(script)
    app = make_app(tmp_path / "app", command="[/bin/sh, '{app}/work.sh']", more=MORE)
    with room.run_engine():
        run = submit(room, app, 1)
        wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    task = room.mine.task(f"{run.id}.0")
    return task.state, [attempt.failure for attempt in task.attempts], str(task.result)


def test_it_is_started_again_as_long_as_it_gets_on(embedded: Embedded, tmp_path: Path) -> None:
    script = 'n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n; echo "step $n done $*"; [ $n -ge 3 ] || sleep 60\n'
    state, failures, said = run_to_end(embedded, tmp_path, script)
    assert (state, said) == (TaskState.COMPLETE, "step 3 done --resume")
    assert failures == ["out_of_time"] * 3 + [None], "one retry is what its class has; those that got on do not count"


def test_what_does_not_get_on_has_the_retries_of_its_class(embedded: Embedded, tmp_path: Path) -> None:
    state, failures, _ = run_to_end(embedded, tmp_path, 'echo "nothing done $*" >&2; sleep 60\n')
    assert (state, failures) == (TaskState.EXECUTOR_ERROR, ["out_of_time"] * 2)
