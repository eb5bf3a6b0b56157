"""Runs of several steps: what is refused before anything is written, how it is said, and what is accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.graph import MAX_STEPS
from packhorse.domain.run import StepRun, check_steps
from packhorse.domain.submitted import run_of
from packhorse.engine.requests import accept_steps
from packhorse.engine.requests.accept import Accepted, Requester, SubmittedApp
from packhorse.engine.requests.accept_steps import accept_step_run
from packhorse.engine.requests.filerules import FileRules
from packhorse.sites.site import local_site
from packhorse.store.steps import StepEdge

SITE = local_site("/nowhere", cores=2, memory_mb=4000)


def app(name: str, **fields: Any) -> SubmittedApp:
    document = {"packhorse": 1, "name": name, "version": "1", "command": ["true"], **fields}
    return SubmittedApp(AppManifest.model_validate(document), f"digest of {name}")


FILE = {"type": "file", "optional": True}
APPS = {
    "make": app("make", parameters={"i": {"type": "integer", "optional": True}}, outputs={"out": {"path": "out-{i}"}}),
    "many": app("many", outputs={"parts": {"path": "part-*"}, "out": {"path": "o"}}),
    "list": app("list", outputs={"found": {"from": "stdout", "type": "json"}, "log": {"path": "log"}}),
    "use": app("use", parameters={"n": {"type": "integer"}, "reads": FILE, "all": FILE}),
    "wide": app("wide", resources={"cpu_cores": 64}),
    "boxed": app("boxed", image="quay.io/lab/tool:1"),
}


def step(name: str, app: str = "make", **fields: Any) -> dict[str, Any]:
    return {"name": name, "app": app, **fields}


def accept(*steps: dict[str, Any], **options: Any) -> Accepted:
    request = run_of({"steps": list(steps), **options})
    assert isinstance(request, StepRun)
    return accept_step_run(request, APPS, Requester("r-1", "ada", FileRules(), [SITE]))


def refusal(*steps: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        accept(*steps, **options)
    assert caught.value.message == "The run was not accepted."
    return [" ".join(filter(None, (f"{one.where}:", one.what, one.hint))) for one in caught.value.problems]


# --- refusals ---------------------------------------------------------------------------------------------------------

A = step("a")
ROWS = [{"i": 1}, {"i": 2}]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([A, A], "step 'a': is there twice. Give each step of a run its own name."),
        ([A, step("b", over=[{}], items="a")], "step 'b': has 'items' beside 'over' or 'each'. Give one of them."),
        ([A, step("b", each="a", items="a")], "step 'b': has 'items' beside 'over' or 'each'. Give one of them."),
        ([A, step("b", item="i", each="a")], "step 'b': has 'item', which goes with 'items'."),
        ([A, step("b", "use", results="all")], "step 'b': has 'results' or 'accept_failures', which go with 'gather'."),
        ([A, step("b", accept_failures=True)], "step 'b': has 'results' or 'accept_failures', which go with 'gather'."),
        ([step("a", over=[])], "step 'a': has an empty table: there is nothing to run."),
        ([step("a", gather=["a"])], "step 'a': waits for itself."),
        ([step("a", each="a")], "step 'a': waits for itself."),
        ([A, step("b", gather=["c"])], "step 'b': waits for 'c', which is not a step of this run."),
        ([A, step("b", each="c")], "step 'b': waits for 'c', which is not a step of this run."),
        ([A, step("b", items="c")], "step 'b': waits for 'c', which is not a step of this run."),
        ([A, step("b", "use", inputs={"reads": "c.out"})], "step 'b': waits for 'c', which is not a step of this run."),
        (
            [step("a", gather=["c"]), step("b", each="a"), step("c", "use", inputs={"reads": "b.out"})],
            ": the steps wait for each other in a circle: a → c → b → a. Remove one of these edges.",
        ),
    ],
)
def test_edges_that_cannot_be_are_refused(steps: list[dict[str, Any]], says: str) -> None:
    [told] = refusal(*steps)
    assert told.startswith(says)


LIST = step("l", "list")
N = {"n": 1}
OVER_LIST = [LIST, step("m", items="l", item="i")]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (
            [step("a", over=ROWS), step("b", items="a")],
            "step 'b': has a task for each item of 'a', no list. A list is the result of a step with one task, whose"
            " app has an output of 'type: json'.",
        ),
        ([A, step("b", items="a")], "step 'b': has a task for each item of 'a', no list."),
        ([step("a", "list", over=[{}, {}]), step("b", items="a")], "step 'b': has a task for each item of 'a', no"),
        (
            [LIST, step("a", "list", items="l"), step("b", items="a")],
            "step 'b': has a task for each item of 'a', no list.",
        ),
        (
            [LIST, step("b", items="l", item="colour")],
            "step 'b': has 'item: colour', which is no parameter of 'make'. Its parameters: i.",
        ),
        (
            [LIST, step("b", "many", items="l", item="x")],
            "step 'b': has 'item: x', which is no parameter of 'many'. Its parameters: none.",
        ),
        (
            [step("a", over=ROWS), step("b", each="a", over=[{}])],
            "step 'b': has 1 rows, and a task for each of 'a', which has 2. With 'each', 'over' has a row for each of",
        ),
        (
            [*OVER_LIST, step("b", each="m", over=[{}])],
            "step 'b': has 1 rows, and a task for each of 'm', of which the list is not known yet. With 'each',",
        ),
        (
            [A, step("b", over=ROWS), step("c", each=["a", "b"])],
            "step 'c': has a task for each of 'a', which has 1, and for each of 'b', which has 2. Name steps that have",
        ),
        (
            [*OVER_LIST, step("b", each="m"), step("c", each=["m", "b"])],
            "step 'c': has a task for each of 'm', of which the list is not known yet, and for each of 'b', of which",
        ),
        (
            [step("a", over=ROWS), step("b", "use", each="a", over=[{"n": 1}, {"n": "x"}])],
            "step 'b', row 2, parameter 'n': expected a whole number, found 'x'.",
        ),
        ([step("a", "use", params={"n": "x"})], "step 'a', params, parameter 'n': expected a whole number, found 'x'."),
        ([step("a", params={"j": 1})], "step 'a', params: unknown parameter 'j'."),
        ([step("a", "use")], "step 'a': parameter 'n' is missing; it is required, and of type integer."),
        ([A, step("b", "use", each="a")], "step 'b': parameter 'n' is missing; it is required, and of type integer."),
        ([step("a", over=[{"i": 1}, {"i": "x"}])], "step 'a', row 2, parameter 'i': expected a whole number, found"),
        (
            [step("a", "use", params={**N, "reads": "/no/such.fq"})],
            "step 'a', params, parameter 'reads': the file '/no/such.fq' is not there.",
        ),
        ([A, step("b", "use", params=N, inputs={"n": "a.out"})], "step 'b': 'n' is not a file parameter of 'use'."),
        ([A, step("b", "use", params=N, inputs={"x": "a.out"})], "step 'b': 'x' is not a file parameter of 'use'."),
        (
            [A, step("b", "use", params=N, gather=["a"], results="n")],
            "step 'b': 'n' is not a file parameter of 'use'.",
        ),
        (
            [A, step("b", "use", params=N, inputs={"reads": "a.oot"})],
            "step 'b', input 'reads': step 'a' has no output 'oot'; it has 'out'.",
        ),
        (
            [A, step("b", "use", params=N, inputs={"reads": "a"})],
            "step 'b', input 'reads': step 'a' has no output ''; it has 'out'.",
        ),
        (
            [step("a", "use", params=N), step("b", "use", params=N, inputs={"reads": "a.out"})],
            "step 'b', input 'reads': step 'a' has no output 'out'; it has none that is a file.",
        ),
        (
            [step("a", "many"), step("b", "use", params=N, inputs={"reads": "a.parts"})],
            "step 'b', input 'reads': the output 'parts' of step 'a' is a pattern, which may match many files.",
        ),
        (
            [step("a", over=ROWS), step("b", "use", params=N, inputs={"reads": "a.out"})],
            "step 'b', input 'reads': 'a' has many tasks. Say 'each: a' for a task for each of them, or 'gather' and"
            " 'results' for one over all.",
        ),
        (
            [LIST, step("a", items="l", item="i"), step("b", "use", params=N, inputs={"reads": "a.out"})],
            "step 'b', input 'reads': 'a' has many tasks.",
        ),
        ([A, step("b", "wide")], "step 'b': no site can run it: it asks for 64 cores and 'local' has 2."),
        ([step("a", resources={"gpus": 1})], "step 'a': no site can run it: it asks for 1 GPUs on a node"),
        ([step("a", "boxed")], "step 'a': no site can run it: "),
        (
            [step("a", resources={"cpu_cores": -1})],
            "step 'a', resources, field 'cpu_cores': expected a number greater than 0 (found: -1).",
        ),
    ],
)
def test_steps_that_cannot_work_are_refused(steps: list[dict[str, Any]], says: str) -> None:
    [told] = refusal(*steps)
    assert told.startswith(says)


@pytest.mark.parametrize(
    ("steps", "options", "says"),
    [
        ([], {}, "field 'steps': expected at least one entry (found: none)."),
        ([A] * (MAX_STEPS + 1), {}, "field 'steps': expected at most 1,000 entries (found: 1,001)."),
        ([step("a b")], {}, "field 'steps.0.name': expected a name of letters, digits, '_', '.' and '-', at most 100"),
        ([A, {"name": "b"}], {}, "field 'steps.1.app': is required and missing."),
        ([A, step("b", colour=1)], {}, "field 'steps.1.colour': is not a field that is known here."),
        ([step("a", over="x")], {}, "field 'steps.0.over': expected a list (found: 'x')."),
        ([step("a", gather="b")], {}, "field 'steps.0.gather': expected a list (found: 'b')."),
        ([A], {"priority": 101}, "field 'priority': expected a number at most 100 (found: 101)."),
        ([A], {"over": []}, "field 'over': is not a field that is known here."),
        ([A], {"retry": {"bad_luck": 1}}, "retry, 'bad_luck': is not a failure class."),
        ([A], {"outputs": "gopher://x"}, "outputs: outputs cannot be delivered to 'gopher://x'."),
        ([A], {"image": "./tool.sif"}, "the run, image: './tool.sif' is not the name of an image:"),
        ([A], {"resources": {"cpus": 1}}, "resources, field 'cpus': is not a field that is known here."),
        ([A], {"resources": {"cpu_cores": 3}}, "step 'a': no site can run it: it asks for 3 cores and 'local' has 2."),
    ],
)
def test_documents_and_options_that_cannot_be_are_refused(
    steps: list[dict[str, Any]], options: dict[str, Any], says: str
) -> None:
    [told] = refusal(*steps, **options)
    assert told.startswith(says)


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = refusal(
        step("a", "use", over=[{"n": "x"}, {"n": 1, "m": 1}]),
        step("b", "use", params=N, inputs={"reads": "a.out", "x": "a.out"}),
        step("c", items="b"),
        step("d", "wide"),
    )
    assert [one.split(":")[0] for one in told] == [
        "step 'c'",
        "step 'd'",
        "step 'a', row 1, parameter 'n'",
        "step 'a', row 2",
        "step 'b'",
        "step 'b', input 'reads'",
        "step 'b', input 'x'",
    ]


def test_thousands_of_problems_of_steps_are_cut_short() -> None:
    told = refusal(*[step(f"s{number}", gather=["none"]) for number in range(300)])
    assert len(told) == 101
    assert told[-1] == ": There may be more; these are the first."


def test_steps_with_more_than_a_million_tasks_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_steps, "MAX_TASKS", 4)
    assert len(accept(step("a", over=ROWS), step("b", each="a")).steps) == 2
    with pytest.raises(TooLarge, match=r"The run has 5 tasks; the limit is 4\. Submit it as several runs\."):
        accept(step("a", over=ROWS), step("b", each="a"), step("c"))


NAMED = st.sampled_from(["a", "b", "c", "d", "e"])
STEPS = st.lists(
    st.builds(
        lambda name, gather, each, source: {"name": name, "app": "use", "gather": gather, **each, **source},
        NAMED,
        st.lists(NAMED, max_size=2),
        st.just({}) | NAMED.map(lambda name: {"each": name}) | NAMED.map(lambda name: {"items": name}),
        st.just({}) | NAMED.map(lambda name: {"inputs": {"reads": f"{name}.out"}}),
    ),
    min_size=1,
    max_size=6,
)


@given(STEPS)
def test_whatever_edges_there_are_each_problem_is_told_or_the_steps_have_an_order(steps: list[dict[str, Any]]) -> None:
    run = StepRun.model_validate({"steps": steps})
    if check_steps(run.steps):
        assert refusal(*steps)
        return
    done: set[str] = set()
    left = list(run.steps)
    while left:
        ready = [one for one in left if done.issuperset(one.needs)]
        assert ready
        done |= {one.name for one in ready}
        left = [one for one in left if one not in ready]


# --- what is accepted -------------------------------------------------------------------------------------------------


def tasks_of(accepted: Accepted) -> dict[str, list[tuple[dict[str, Any], int]]]:
    """(own values, what it waits for) of each task, by step."""
    return {one.name: [(json.loads(task.params), task.waiting_on) for task in one.tasks()] for one in accepted.steps}


def output(index: int, path: str) -> dict[str, Any]:
    return {"output": ["r-1", index, path]}


def test_each_task_is_given_what_its_own_one_leaves_and_one_gathers_all() -> None:
    accepted = accept(
        step("c", "use", params=N, gather=["b"], results="all", accept_failures=True),
        step("b", "use", params=N, each="a", inputs={"reads": "a.out"}),
        step("a", over=ROWS),
        priority=3,
    )
    assert [(one.name, one.number) for one in accepted.steps] == [("c", 1), ("b", 2), ("a", 2)]
    assert tasks_of(accepted) == {
        "c": [({}, 1)],
        "b": [({"reads": output(3, "out-1")}, 1), ({"reads": output(4, "out-2")}, 1)],
        "a": [({"i": 1}, 0), ({"i": 2}, 0)],
    }
    assert accepted.steps[0].spec.results_to == "all"
    assert set(accepted.step_edges) == {StepEdge(1, 0, "gather", True), StepEdge(2, 1, "each")}
    sites = {one.site for one in accepted.steps}
    assert (sites, accepted.name, accepted.priority, accepted.images) == ({"local"}, "a", 3, {})


def test_each_task_may_have_a_row_of_its_own_beside_what_it_is_given() -> None:
    accepted = accept(
        step("a", over=ROWS), step("b", "use", each="a", over=[{"n": 8}, {"n": 9}], inputs={"reads": "a.out"})
    )
    first, second = output(0, "out-1"), output(1, "out-2")
    assert tasks_of(accepted)["b"] == [({"n": 8, "reads": first}, 1), ({"n": 9, "reads": second}, 1)]
    assert accepted.step_edges == [StepEdge(0, 1, "each")]


def test_each_task_may_follow_those_of_several_steps() -> None:
    accepted = accept(
        step("a", over=ROWS),
        step("b", over=ROWS),
        step("c", "use", params=N, each=["a", "b"], inputs={"reads": "a.out", "all": "b.out"}),
    )
    own = [
        {"reads": output(index, f"out-{index + 1}"), "all": output(index + 2, f"out-{index + 1}")} for index in (0, 1)
    ]
    assert tasks_of(accepted)["c"] == [(own[0], 2), (own[1], 2)]
    assert accepted.step_edges == [StepEdge(0, 2, "each"), StepEdge(1, 2, "each")]


def test_an_output_of_a_step_with_one_task_goes_to_all_of_another() -> None:
    accepted = accept(
        step("a", params={"i": 5}), step("b", "use", over=[{"n": 1}, {"n": 2}], inputs={"reads": "a.out"})
    )
    assert accepted.steps[1].spec.params == {"reads": output(0, "out-5")}
    assert tasks_of(accepted)["b"] == [({"n": 1}, 1), ({"n": 2}, 1)]
    assert accepted.step_edges == [StepEdge(0, 1, "gather")]
    alone = accept(step("a", over=[{"i": 7}]), step("b", "use", params=N, inputs={"reads": "a.out"}))
    assert alone.steps[1].spec.params == {**N, "reads": output(0, "out-7")}


def test_a_step_that_is_read_and_gathered_is_waited_for_once_and_its_failure_is_not_accepted() -> None:
    accepted = accept(A, step("b", "use", params=N, gather=["a"], accept_failures=True, inputs={"reads": "a.out"}))
    assert accepted.step_edges == [StepEdge(0, 1, "gather", False)]
    assert tasks_of(accepted)["b"] == [({}, 1)]


def test_a_step_over_a_list_and_what_follows_it_have_no_tasks_yet() -> None:
    accepted = accept(
        LIST,
        step("b", "use", items="l", item="n", inputs={"reads": "l.log"}),
        step("c", each="b"),
        step("d", gather=["c"]),
    )
    assert [one.number for one in accepted.steps] == [1, None, None, 1]
    assert tasks_of(accepted) == {"l": [({}, 0)], "b": [], "c": [], "d": [({}, 1)]}
    specs = {one.name: one.spec for one in accepted.steps}
    assert (specs["l"].leaves_list, specs["b"].leaves_list) == (True, False)
    assert (specs["b"].item, specs["b"].takes) == ("n", {"reads": ["l", "log"]})
    kinds = [StepEdge(0, 1, "items"), StepEdge(1, 2, "each"), StepEdge(2, 3, "gather")]
    assert sorted(accepted.step_edges, key=lambda edge: edge.upstream) == kinds


def test_what_is_said_of_a_step_goes_over_what_is_said_of_the_run() -> None:
    accepted = accept(A, step("b", resources={"cpu_cores": 2}), resources={"cpu_cores": 1, "ram_gb": 1})
    assert [one.spec.resources for one in accepted.steps] == [
        {"cpu_cores": 1, "ram_gb": 1},
        {"cpu_cores": 2, "ram_gb": 1},
    ]


def test_tables_of_steps_tell_requests_from_each_other() -> None:
    rows = [accept(step("a", over=[{"i": number}])).tables for number in (1, 2, 1)]
    assert rows[0] == rows[2] != rows[1]
