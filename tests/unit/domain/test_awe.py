"""AWE's job documents as runs of tasks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.awe import job_state, run_of, task_name
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.states import TaskState

S = TaskState
SHOCK = "http://shock.example:7445"


def document(*tasks: dict[str, Any], **info: Any) -> dict[str, Any]:
    return {
        "info": {"pipeline": "p", "name": "j", "project": "q", "user": "u", "clientgroups": "g", **info},
        "tasks": list(tasks),
    }


def task(taskid: str, args: Any = "", **fields: Any) -> dict[str, Any]:
    command = {"name": "awe_run.pl", "args": args, "environ": {"public": {"A": "1"}}, "description": "runs"}
    return {"cmd": command, "taskid": taskid, "dependsOn": [], "totalwork": 1, "skip": 0, **fields}


def test_files_commands_and_edges() -> None:
    first = task(
        "0", "-input=@in.fna -o 'a b' --list=@in.fna.idx",
        inputs={"in.fna": {"host": SHOCK, "node": "n-1"}, "in.fna.idx": {"url": "https://x.example/i"}},
        outputs={"prep.fna": {"host": SHOCK, "node": "-"}},
    )  # fmt: skip
    second = task(
        "job_1", ["@prep.fna"], dependsOn=["0"],
        inputs=[{"filename": "prep.fna", "origin": "0", "host": SHOCK, "node": "-"}],
        outputs=[{"filename": "out.txt"}], cmd={"name": "wc", "args": ["@prep.fna"], "Dockerimage": "tool:1"},
    )  # fmt: skip
    run = run_of(document(first, second))
    assert (run.name, run.tags) == ("j", {"pipeline": "p", "project": "q", "clientgroups": "g", "user": "u"})
    a, b = run.tasks
    assert (a.name, b.name, a.needs, b.needs) == ("task-0", "task-1", [], ["task-0"])
    [step] = a.task.executors
    assert step.command == ["awe_run.pl", "-input=in.fna", "-o", "a b", "--list=in.fna.idx"] and step.env == {"A": "1"}
    assert [(one.path, one.url) for one in a.task.inputs or []] == [
        ("in.fna", "shock://shock.example:7445/node/n-1"),
        ("in.fna.idx", "https://x.example/i"),
    ]
    assert [(one.path, one.url) for one in a.task.outputs or []] == [("prep.fna", "shock://shock.example:7445")]
    assert [(one.path, one.url) for one in b.task.inputs or []] == [("prep.fna", "task://task-0/prep.fna")]
    assert [(one.path, one.url) for one in b.task.outputs or []] == [("out.txt", None)]
    assert (b.task.executors[0].command, b.task.executors[0].image) == (["wc", "prep.fna"], "tool:1")


WRONG = {
    "no object": ([], "no JSON object"),
    "no tasks": ({"info": {}}, "has no 'tasks'"),
    "no program": (document({"taskid": "0", "cmd": {}}), "has no 'name'"),
    "several units": (document(task("0", totalwork=4)), "is more than 1"),
    "skipped": (document(task("0", skip=1)), "is set"),
    "private": (document(task("0", cmd={"name": "x", "environ": {"private": {"TOKEN": "t"}}})), "private variables"),
    "quotes": (document(task("0", "'")), "cannot be taken apart"),
    "no node": (document(task("0", inputs={"a": {"host": SHOCK, "node": "-"}})), "has neither 'origin'"),
    "no file": (document(task("0", inputs=[7])), "a file without a name"),
    "NUL": (document(task("0", "a\0")), "NUL"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_run_is_told_by_task(case: str) -> None:
    said, words = WRONG[case]
    with pytest.raises(InvalidRequest) as refusal:
        run_of(said)
    assert words in str(refusal.value)


def test_names_and_states() -> None:
    assert task_name("5f1a_3") == "task-3" and task_name("a b") == "task-a-b"
    for states, word in {
        (S.QUEUED,): "queued",
        (S.QUEUED, S.COMPLETE): "in-progress",
        (S.RUNNING, S.EXECUTOR_ERROR): "in-progress",
        (S.COMPLETE, S.EXECUTOR_ERROR): "failed-permanent",
        (S.CANCELED, S.COMPLETE): "deleted",
        (S.COMPLETE,): "completed",
    }.items():
        assert job_state(dict.fromkeys(states, 1)) == word


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("taskid", "cmd", "inputs", "outputs", "dependsOn", "totalwork", "skip")
ENVIRONS = st.dictionaries(st.sampled_from(["public", "private"]), ANY)
OF_COMMANDS = ("args", "environ", "description", "Dockerimage")
COMMANDS = st.fixed_dictionaries({"name": st.just("x")}, optional=dict.fromkeys(OF_COMMANDS, ANY | ENVIRONS))
FILES = st.dictionaries(st.text(max_size=5), st.dictionaries(st.sampled_from(["host", "node", "origin", "url"]), ANY))
TASKS = st.dictionaries(st.sampled_from(FIELDS), ANY | COMMANDS | FILES)


@given(st.builds(dict, info=ANY, tasks=ANY | st.lists(TASKS, max_size=3)) | ANY)
def test_any_document_is_taken_or_refused(said: Any) -> None:
    try:
        run = run_of(said)
    except InvalidRequest:
        return
    assert len(run.tasks) == len(said["tasks"])
