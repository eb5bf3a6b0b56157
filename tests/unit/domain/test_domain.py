"""The domain: the state machine, manifests and their messages, rendering, paths, ids."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidManifest, InvalidRequest
from packhorse.domain.failures import TERMINAL_STATE, FailureClass
from packhorse.domain.graph import find_cycle
from packhorse.domain.ids import new_id, parse_task_id, task_id
from packhorse.domain.manifest import parse_manifest
from packhorse.domain.paths import folder_problem
from packhorse.domain.render import app_template, as_text, compile_parts
from packhorse.domain.resources import Resources
from packhorse.domain.states import ACTIVE, AT_SITE, FAILED, TERMINAL, TRANSITIONS, TaskState, may_move

GOOD = "packhorse: 1\nname: t\nversion: '1'\ncommand: [tool, '{x}']\nparameters:\n  x: {type: integer}\n"


def test_terminal_states_have_no_way_out_and_others_do() -> None:
    assert set(TRANSITIONS) == set(TaskState)
    assert {state for state in TaskState if not any(may_move(state, target) for target in TaskState)} == TERMINAL
    assert set(TaskState) == ACTIVE | TERMINAL and not ACTIVE & TERMINAL
    assert AT_SITE < ACTIVE and FAILED < TERMINAL


def test_a_cancel_under_way_ends_in_one_way_only() -> None:
    assert TRANSITIONS[TaskState.CANCELING] == {TaskState.CANCELED}


def test_every_failure_class_has_a_terminal_state() -> None:
    assert set(TERMINAL_STATE) == set(FailureClass)
    assert set(TERMINAL_STATE.values()) <= TERMINAL


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("name: [", "line 2", "did not find expected node content, while parsing a flow node, from line 2 on."),
        ("- a\n", "", "expected a mapping"),
        (
            GOOD.replace("name: t", "name: T!"),
            "line 2, field 'name'",
            "expected a name of small letters, digits, '-' and '_'",
        ),
        (
            GOOD.replace("version: '1'", "version: 1.0"),
            "line 3, field 'version'",
            "expected text in quotes (found: 1.0).",
        ),
        (GOOD.replace("command: [tool, '{x}']\n", ""), "line 1, field 'command'", "is required and missing."),
        (
            GOOD.replace("command: [tool, '{x}']", "command: tool {x}"),
            "line 4, field 'command'",
            "expected a list (found: 'tool {x}').",
        ),
        (GOOD.replace("'{x}'", "'{y}'"), "line 4, field 'command'", "'{y}' is neither a parameter nor one of"),
        (GOOD.replace("'{x}'", "'{'"), "line 4, field 'command'", "a brace that belongs to no placeholder"),
        (GOOD.replace("integer", "int"), "line 6, field 'parameters.x.type'", "(found: 'int')"),
        (
            GOOD + "colour: blue\n",
            "line 7, field 'colour'",
            "is not a field that is known here. docs/apps/manifest.md lists the fields.",
        ),
        (GOOD + "resources:\n  cpu_cores: 0\n", "line 8, field 'resources.cpu_cores'", "greater than 0 (found: 0)"),
        (GOOD + "outputs:\n  o: {path: ../x}\n", "line 8, field 'outputs.o.path'", "contains '..'"),
        (GOOD + "outputs:\n  o: {path: /x}\n", "line 8, field 'outputs.o.path'", "is absolute"),
        (
            GOOD + "outputs:\n  o: {from: stdout}\n",
            "line 8, field 'outputs.o'",
            "goes with 'type: text' or 'type: json'",
        ),
        (GOOD.replace("{type: integer}", "{type: choice}"), "line 6, field 'parameters.x'", "a choice needs them"),
        (GOOD.replace("  x:", "  run:"), "line 5, field 'parameters'", "a name that Packhorse fills in itself"),
        (GOOD + "session: worker\n", "line 4, field 'command'", "parameters go into 'arguments'"),
        (GOOD + "resume: [--go-on]\n", "line 7, field 'resume'", "goes with 'resumable: true'"),
        (
            GOOD + "reference: true\n",
            "line 7, field 'reference'",
            "nothing is made: declare what it leaves as 'outputs'",
        ),
        (
            GOOD + "reference: true\noutputs: {db: {path: 'of-{task}'}}\n",
            "line 7, field 'reference'",
            "'{task}' differs from run to run",
        ),
        (
            GOOD + "reference: true\nsession: shell\noutputs: {db: {path: db}}\n",
            "line 7, field 'reference'",
            "goes with 'session: none', and without 'gather'",
        ),
        (GOOD + "progress: round\n", "line 7, field 'progress'", "goes with 'resumable: true'"),
        (GOOD + "resumable: true\n", "line 7, field 'resumable'", "needs 'progress'"),
        (
            GOOD + "resumable: true\nprogress: '('\n",
            "line 8, field 'progress'",
            "is not a regular expression: missing )",
        ),
        (GOOD + "resumable: true\nprogress: 'r*'\n", "line 8, field 'progress'", "is found in every line"),
        (GOOD + "resumable: perhaps\n", "line 7, field 'resumable'", "expected true or false, found 'perhaps'."),
        (
            GOOD + "resumable: true\nprogress: r\nresume: ['{y}']\n",
            "line 9, field 'resume'",
            "'{y}' is neither a parameter",
        ),
        (
            GOOD + "resumable: true\nprogress: r\nsession: shell\n",
            "line 7, field 'resumable'",
            "goes with 'session: none' only",
        ),
        (
            GOOD + "session: shell\nresources: {launch: ranks}\n",
            "line 8, field 'resources'",
            "goes with 'session: none' only",
        ),
        (
            GOOD + "resources: {launch: ranks, ranks_per_node: 2}\n",
            "line 7, field 'resources'",
            "2 ranks on a node take 2 cores",
        ),
        (GOOD.replace("  x:", "  ranks:"), "line 5, field 'parameters'", "a name that Packhorse fills in itself"),
        (GOOD + "retry: {bad_luck: 3}\n", "line 7, field 'retry.bad_luck'", "expected"),
        (GOOD.replace("packhorse: 1", "packhorse: 2"), "line 1, field 'packhorse'", "(found: 2)"),
    ],
)
def test_a_wrong_manifest_is_refused_with_file_line_field_and_what_was_expected(
    text: str, where: str, what: str
) -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_manifest(text, "app.yaml")
    assert "app.yaml" in str(caught.value)
    assert any(where in str(problem) and what in str(problem) for problem in caught.value.problems) or (
        where == "" and what in str(caught.value)
    ), str(caught.value)


def test_all_problems_of_a_manifest_are_told_at_once() -> None:
    with pytest.raises(InvalidManifest) as caught:
        parse_manifest("packhorse: 1\nname: T\nversion: 1\ncommand: []\n", "app.yaml")
    assert len(caught.value.problems) == 3


def test_a_manifest_survives_the_store() -> None:
    manifest = parse_manifest(
        GOOD + "outputs:\n  o: {from: stdout, type: json}\ngather: {arguments: ['{results}']}\n", "app.yaml"
    )
    assert AppManifest.model_validate(manifest.as_json()) == manifest


@given(st.text(max_size=50))
def test_no_text_surprises_the_manifest_reader(text: str) -> None:
    with pytest.raises(InvalidManifest):
        parse_manifest(text, "app.yaml")


@pytest.mark.parametrize(
    ("parts", "values", "argv"),
    [
        (["a", "{x}"], {"x": 3}, ["a", "3"]),
        (["{x}-{y}"], {"x": 1.0, "y": 2.5}, ["1-2.5"]),
        (["a", ["--x", "{x}"]], {"x": None}, ["a"]),
        (["a", ["--x", "{x}"]], {"x": 0}, ["a", "--x", "0"]),
        (["a", ["--flag", "{x}"]], {"x": False}, ["a"]),
        (["{x}"], {"x": True}, ["true"]),
        (["{{x}}", "{x}"], {"x": "$(rm -rf /); 'y' \"z\""}, ["{x}", "$(rm -rf /); 'y' \"z\""]),
        (["{x}"], {"x": "{y}"}, ["{y}"]),  # a value is not a template
        ([1, 2.5], {}, ["1", "2.5"]),
    ],
)
def test_rendering(parts: list[object], values: dict[str, object], argv: list[str]) -> None:
    assert compile_parts(parts)(values) == argv  # type: ignore[arg-type]


@given(st.text())
def test_a_value_reaches_the_program_as_it_is(value: str) -> None:
    assert compile_parts(["{x}", "a{x}b"])({"x": value}) == [value, f"a{value}b"]


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (True, "true"), (2.0, "2"), (1e20, "1e+20"), (7, "7"), ("x", "x")]
)
def test_values_as_text(value: object, text: str) -> None:
    assert as_text(value) == text


def test_restarts_survive_the_store() -> None:
    manifest = parse_manifest(
        GOOD + "resumable: true\nprogress: 'round \\d+'\nresume: [--restart, '{x}']\n", "app.yaml"
    )
    assert (manifest.resumable, manifest.resume, manifest.progress) == (True, ["--restart", "{x}"], r"round \d+")
    assert AppManifest.model_validate(manifest.as_json()) == manifest
    assert not {"resumable", "resume", "progress"} & set(parse_manifest(GOOD, "app.yaml").as_json())


@pytest.mark.parametrize(
    ("resources", "nodes", "ranks"),
    [
        (Resources(), "1", "1"),
        (Resources(cpu_cores=8), "1", "8"),
        (Resources(cpu_cores=0.5, nodes=3), "3", "3"),
        (Resources(cpu_cores=8, cpus_per_rank=4, nodes=2), "2", "4"),
        (Resources(cpu_cores=8, cpus_per_rank=4, ranks_per_node=1, nodes=2), "2", "2"),
    ],
)
def test_a_command_is_told_its_nodes_and_ranks(resources: Resources, nodes: str, ranks: str) -> None:
    manifest = parse_manifest(GOOD.replace("'{x}'", "'{nodes}', '{ranks}'"), "app.yaml")
    assert app_template(manifest, "/apps/t", resources).arguments({}) == ["tool", nodes, ranks]


def test_a_worker_is_started_by_the_command_and_asked_by_the_arguments() -> None:
    manifest = parse_manifest(
        GOOD.replace("[tool, '{x}']", "['{app}/tool']\narguments: ['{x}']\nsession: worker"), "app.yaml"
    )
    template = app_template(manifest, "/apps/t", Resources())
    assert template.document["start"] == ["/apps/t/tool", "--persistent_worker"]
    assert template.arguments({"x": 5}) == ["5"]


@pytest.mark.parametrize("path", ["", "/etc", "..", "a/../../b", ".", "a\0b", "../a"])
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    assert folder_problem(path)


@pytest.mark.parametrize("path", ["a", "a/b.txt", "./a", "a..b", "..a"])
def test_a_path_that_stays_is_fine(path: str) -> None:
    assert folder_problem(path) is None


def test_cycles() -> None:
    assert find_cycle({"a": ["b"], "b": ["c"], "c": []}) is None
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) in (["b", "c", "b"], ["c", "b", "c"])
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({str(number): [str(number + 1)] for number in range(100_000)}) is None


@given(st.dictionaries(st.integers(0, 12).map(str), st.lists(st.integers(0, 12).map(str), max_size=4)))
def test_a_cycle_that_is_found_is_one(needs: dict[str, list[str]]) -> None:
    cycle = find_cycle(needs)
    if cycle is not None:
        assert cycle[0] == cycle[-1] and len(cycle) > 1
        assert all(following in needs[name] for name, following in pairwise(cycle))


def test_ids_sort_by_time_and_are_read_back() -> None:
    ids = [new_id("r") for _ in range(50)]
    assert len(set(ids)) == 50
    assert parse_task_id(task_id(ids[0], 17)) == (ids[0], 17)


@pytest.mark.parametrize(
    "text",
    ["", "17", "r-x.1", "r-0123456789abcdef", "r-0123456789abcdef.", "r-0123456789abcdef.-1", "R-0123456789ABCDEF.1"],
)
def test_what_is_no_task_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a task id"):
        parse_task_id(text)
