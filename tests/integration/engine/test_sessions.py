"""Sessions: one process, or one shell, that serves many tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.states import TaskState
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import make_app, submit, wait_for
from tests.fixtures.truth import assert_each_ended_once

WORKER = """
import json, os, sys
for line in sys.stdin:
    request = json.loads(line)
    number = int(request["arguments"][0])
    if number == 7:
        print("about to die", file=sys.stderr, flush=True)
        os.abort()
    if number == 11:
        print("this is no answer", flush=True)
        continue
    code = 3 if number == 13 else 0
    output = json.dumps({"pid": os.getpid(), "square": number * number})
    print(json.dumps({"exitCode": code, "output": output, "requestId": request["requestId"]}), flush=True)
"""


@pytest.fixture
def room(home: Path) -> Iterator[Embedded]:
    room = Embedded(home, linger_s=10)  # one agent for all tasks, also where the machine is busy
    with room.run_engine():
        yield room
    assert_each_ended_once(room)
    room.close()


def ended(room: Embedded, run_id: str) -> None:
    wait_for(lambda: room.mine.run(run_id).ended, 60, "the run's end")


def test_a_worker_serves_many_and_its_death_fails_only_the_task_it_served(room: Embedded, tmp_path: Path) -> None:
    more = "session: worker\narguments: ['{i}']\noutputs:\n  answer: {from: stdout, type: json}\n"
    app = make_app(tmp_path / "app", command="[python3, '{app}/worker.py']", more=more)
    (tmp_path / "app" / "worker.py").write_text(WORKER)
    run = submit(room, app, 300)
    ended(room, run.id)
    rows = list(room.mine.results(run.id))
    failed = {row["index"]: row["reason"] for row in rows if row["state"] != "COMPLETE"}
    assert set(failed) == {7, 11, 13}
    assert failed[13] == "It ended with exit code 3."
    assert [row["result"]["square"] for row in rows if row["index"] not in failed] == [
        n * n for n in range(300) if n not in failed
    ]
    processes = Counter(row["result"]["pid"] for row in rows if row["index"] not in failed)
    assert len(processes) <= 2 + 2, "two slots, and one restart for each death"
    died = room.mine.task(f"{run.id}.7").attempts[0]
    assert died.failure == "app"
    assert "about to die" in (died.evidence or {})["stderr_tail"]


def test_a_shell_runs_many_commands_each_with_its_own_output_and_code(room: Embedded, tmp_path: Path) -> None:
    app = make_app(
        tmp_path / "app",
        command="""[/bin/sh, -c, 'echo "it is $0; $PPID" ; echo oops >&2; exit $(($0 % 3))', '{i}']""",
        more="session: shell\n",
    )
    run = submit(room, app, 60)
    ended(room, run.id)
    tasks = room.mine.tasks(run.id, limit=100).items
    assert [task.exit_code for task in tasks] == [index % 3 for index in range(60)]
    assert room.mine.run(run.id).counts == {TaskState.COMPLETE: 20, TaskState.EXECUTOR_ERROR: 40}
    said = [room.mine.log(task.id, "stdout").data.decode() for task in tasks]
    assert all(text.startswith(f"it is {index}; ") for index, text in enumerate(said))
    assert room.mine.log(tasks[5].id, "stderr").data == b"oops\n"
