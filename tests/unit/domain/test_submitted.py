"""Tasks as users write them, and how what is wrong with them is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.submitted import task_run

EX: dict[str, Any] = {"executors": [{"command": ["true"]}]}


@pytest.mark.parametrize(
    ("document", "names", "name"),
    [
        (EX, ["task"], ""),
        ({**EX, "name": "align"}, ["align"], "align"),
        ({**EX, "name": "two words"}, ["task"], "two words"),
        ([EX, {**EX, "name": "b"}, {"name": "task-1", "task": EX}], ["task-1-x", "b", "task-1"], ""),
        ([{**EX, "name": "b"}, {**EX, "name": "b"}], ["b", "task-2"], ""),
        ({"tasks": [EX], "name": "n"}, ["task"], "n"),
        ({"tasks": [{"name": "a", "task": EX, "after": []}]}, ["a"], ""),
    ],
)
def test_every_shape_is_a_run(document: Any, names: list[str], name: str) -> None:
    run = task_run(document)
    assert ([item.name for item in run.tasks], run.name) == (names, name)


def test_what_is_said_beside_it_goes_over_what_is_in_it() -> None:
    run = task_run({"tasks": [EX], "name": "n", "tags": {"a": "b"}}, {"name": "other"})
    assert (run.name, run.tags) == ("other", {"a": "b"})


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (3, "there is no list of tasks in it. Give a TES task, a list of tasks, or {tasks: [...]}."),
        ({}, "there is no 'tasks' in it."),
        ([], "There are no tasks to run."),
        ({"tasks": {}}, "there is no list of tasks in it."),
        ({**EX, "foo": 1}, "- field 'foo': is not a field that is known here."),
        ({"executors": [{"command": "x"}]}, "- field 'executors[0].command': expected a list (found: 'x')."),
        ({"executors": None}, "- field 'executors': expected"),
        ([EX, {"executors": [{}]}], "- task 'task-2', field 'executors[0].command': is required and missing."),
        (
            [{"name": "a", "task": {"executors": [{"comand": []}]}}],
            "- task 'a', field 'task.executors[0].comand': is not a field",
        ),
        (
            [{"name": "b c", "task": EX}],
            "- task 'b c', field 'name': 'b c' is no name of a task. It has letters, digits,",
        ),
        ([7], "- task 1: expected an object with fields, found 7."),
        ({"tasks": [EX], "nme": 2}, "- field 'nme': is not a field that is known here."),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_document(document: Any, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        task_run(document)
    assert says in str(refused.value)
    assert not any(word in str(refused.value) for word in ("Run.", "NamedTask", "AppRun", "TaskRun", "pydantic"))


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(["executors", "tasks", "task", "name", "command", "inputs", "after", "path", "x"])
    return st.dictionaries(keys, inner, max_size=4)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | nested(inner),
)


@given(ANYTHING)
def test_whatever_it_is_it_is_a_run_or_refused(document: Any) -> None:
    try:
        task_run(document)
    except InvalidRequest as refused:
        assert str(refused)
