"""Pipelines: each kind of mistake in a manifest, by line and field, and what a manifest is compiled to."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidManifest
from packhorse.domain.manifest import PipelineFile, parse_any, parse_manifest
from packhorse.domain.pipeline import PipelineManifest
from packhorse.domain.pipelinecheck import check_pipeline
from packhorse.domain.pipelinerun import compile_steps, fill, table_problems
from packhorse.domain.run import StepRun, check_steps

GOOD = dedent("""\
    packhorse: 1
    name: expression
    version: "1.0"
    parameters:
      sample: {unique: true}
      reads: {type: file}
      genome: {type: file}
      depth: {type: integer, default: 2}
      strand: {type: choice, choices: [plus, minus], optional: true}
      note: {optional: true}
    steps:
      index:
        app: ./index
        params: {genome: "{genome}"}
      align:
        app: align@1
        over: rows
        params: {sample: "{sample}", reads: "{reads}", depth: "{depth}"}
        inputs: {index: index.folder}
      count:
        app: count@1
        each: align
        params: {label: "of {sample}"}
        inputs: {bam: align.bam, log: align.log}
      split:
        app: split@1
      search:
        app: search@1
        over: split.names
        item: part
        inputs: {folder: split.parts}
      matrix:
        app: matrix@1
        gather: [count, search]
        results: rows
        accept_failures: true
        resources: {cpu_cores: 2}
    """)


def app(name: str, **fields: Any) -> AppManifest:
    return AppManifest.model_validate({"packhorse": 1, "name": name, "version": "1", "command": ["true"], **fields})


FILE = {"type": "file"}
APPS: dict[str, AppManifest | str] = {
    "./index": app("index", parameters={"genome": FILE}, outputs={"folder": {"path": "f"}, "all": {"path": "*.x"}}),
    "align@1": app(
        "align",
        parameters={
            "sample": {},
            "reads": FILE,
            "index": FILE,
            "depth": {"type": "integer", "default": 1},
            "ratio": {"type": "number", "optional": True},
            "strand": {"type": "choice", "choices": ["plus"], "optional": True},
        },
        outputs={"bam": {"path": "{sample}.bam"}, "log": {"path": "log"}, "reads": {"from": "stdout", "type": "json"}},
    ),
    "count@1": app(
        "count", parameters={"label": {}, "bam": FILE, "log": {**FILE, "optional": True}}, outputs={"t": {"path": "t"}}
    ),
    "split@1": app("split", outputs={"names": {"from": "stdout", "type": "json"}, "parts": {"path": "parts"}}),
    "search@1": app("search", parameters={"part": {}, "folder": FILE}),
    "matrix@1": app("matrix", parameters={"rows": FILE, "title": {"default": "x"}}),
    "there@1": app("there", resources={"site": "elsewhere"}),
    "gone@1": "There is no app 'gone'.",
}


def problems_of(text: str) -> list[str]:
    try:
        file = parse_any(text, "app.yaml")
    except InvalidManifest as error:
        return [str(problem) for problem in error.problems]
    assert isinstance(file, PipelineFile)
    apps = {step.app: APPS.get(step.app, "There is no such app.") for step in file.manifest.steps.values()}
    return [str(file.problem(finding)) for finding in check_pipeline(file.manifest, apps)]


def test_a_good_pipeline_has_no_problems() -> None:
    assert problems_of(GOOD) == []


ROWS = "    over: rows\n"
MISTAKES = [
    # fields
    ('name: expression', "name: E!", "name", "expected a name of small letters"),
    ('version: "1.0"', "version: 1.0", "version", "expected text in quotes (found: 1.0)."),
    ("packhorse: 1", "packhorse: 2", "packhorse", "expected 1 (found: 2)."),
    ("steps:\n", "command: [x]\nsteps:\n", "command", "is not a field that is known here. docs/pipelines.md"),
    ("    each: align", "    each: align\n    colour: 1", "steps.count.colour", "is not a field that"),
    ("    app: ./index\n", "", "steps.index.app", "is required and missing."),
    ("    app: ./index", "    app: 3", "steps.index.app", "expected text in quotes (found: 3)."),
    ("  index:\n", "  in dex:\n", "steps.in dex", "expected"),
    ("  split:\n", "  rows:\n", "steps", "'rows' is what the run's table is called; call the step something else"),
    ("gather: [count, search]", "gather: {a: 1}", "steps.matrix.gather", "expected a list (found: "),
    ("{sample: \"{sample}\",", "{sample: [1],", "steps.align.params.sample", "expected"),
    ("  sample: {unique: true}", "  sample: {unique: maybe}", "parameters.sample.unique", "expected"),
    # how tasks come to be
    ("    each: align", "    each: align\n    over: rows", "steps.count", "has more than one of 'over', 'each' and"),
    ("    each: align", "    each: align\n    gather: split", "steps.count", "has more than one of 'over', 'each'"),
    (ROWS, "    over: samples\n", "steps.align.over", "expected 'rows', or STEP.OUTPUT for a list that a step"),
    ("over: split.names", "over: split.", "steps.search.over", "expected 'rows', or STEP.OUTPUT for a list"),
    ("    each: align", "    each: align\n    item: bam", "steps.count.item", "goes with 'over: STEP.OUTPUT'"),
    ("    each: align", "    each: align\n    results: bam", "steps.count.results", "goes with 'gather'."),
    (
        "    each: align", "    each: align\n    accept_failures: true", "steps.count.accept_failures",
        "goes with 'gather'.",
    ),
    # edges
    ("each: align", "each: aling", "steps.count.each", "there is no step 'aling'. Did you mean 'align'?"),
    ("each: align", "each: count", "steps.count.each", "the step waits for itself."),
    ("[count, search]", "[count, saerch]", "steps.matrix.gather.1", "there is no step 'saerch'. Did you mean"),
    ("index: index.folder", "index: idx.folder", "steps.align.inputs.index", "there is no step 'idx'."),
    ("index: index.folder", "index: folder", "steps.align.inputs.index", "expected STEP.OUTPUT (found: 'folder')."),
    ("over: split.names", "over: spilt.names", "steps.search.over", "there is no step 'spilt'. Did you mean"),
    (
        "    app: split@1\n", "    app: split@1\n    gather: search\n", "steps",
        "the steps wait for each other in a circle: s",
    ),
    # apps
    ("app: split@1", "app: gone@1", "steps.split.app", "There is no app 'gone'."),
    # values
    (
        'sample: "{sample}"', 'sample: "{smaple}"', "steps.align.params.sample",
        "'{smaple}' is no parameter of the pipeline. Did you mean 'sample'?",
    ),
    ('sample: "{sample}"', 'sample: "{sample"', "steps.align.params.sample", "'{sample' has a brace that belongs to"),
    (
        'sample: "{sample}"', 'smaple: "{sample}"', "steps.align.params.smaple",
        "the app 'align' has no parameter 'smaple'. Did you mean 'sample'?",
    ),
    (
        'depth: "{depth}"', 'depth: "{sample}"', "steps.align.params.depth",
        "'{sample}' is of type string, and 'depth' of the app of type integer. Declare both alike.",
    ),
    (
        'depth: "{depth}"', 'depth: "{reads}"', "steps.align.params.depth",
        "'{reads}' is of type file, and 'depth' of the app of type integer.",
    ),
    (
        'sample: "{sample}"', 'sample: "{reads}"', "steps.align.params.sample",
        "'{reads}' is of type file, and 'sample' of the app of type string.",
    ),
    ('reads: "{reads}"', 'reads: "{note}"', "steps.align.params.reads", "'{note}' is of type string, and 'reads'"),
    ('depth: "{depth}"', 'depth: "1{depth}"', "steps.align.params.depth", "is text, and 'depth' of the app is of type"),
    (
        "of {sample}", "of {reads}", "steps.count.params.label",
        "'{reads}' is a file, whose path can be no part of a text. Give it to a parameter of 'type: file' by itself.",
    ),
    ('depth: "{depth}"', "depth: many", "steps.align.params.depth", "expected a whole number, found 'many'."),
    ('depth: "{depth}"', 'ratio: true', "steps.align.params.ratio", "expected a number, found"),
    ('depth: "{depth}"', "strand: minus", "steps.align.params.strand", "expected one of plus, found 'minus'."),
    (
        'depth: "{depth}"', 'strand: "{strand}"', "steps.align.params.strand",
        "'{strand}' may be 'minus', and 'strand' of the app only plus.",
    ),
    ('depth: "{depth}"', "depth: null", "steps.align.params.depth", "is empty. Leave it out, or give it a value."),
    (
        'reads: "{reads}"', "reads: ./a.fq", "steps.align.params.reads",
        "the file './a.fq' would be looked for wherever the pipeline is run. Make it a parameter of the pipeline",
    ),
    (
        'sample: "{sample}"', 'sample: "{note}"', "steps.align.params.sample",
        "'{note}' may be absent, and 'sample' of the app is required. Give one of them a default",
    ),
    (
        'sample: "{sample}", ', "", "steps.align",
        "parameter 'sample' of the app 'align' is not given; it is required, and of type string.",
    ),
    # inputs
    (
        "index: index.folder", "index: index.floder", "steps.align.inputs.index",
        "step 'index' has no output 'floder'. Did you mean 'folder'?",
    ),
    ("index: index.folder", "index: index.all", "steps.align.inputs.index", "'all' of step 'index' is a pattern"),
    ("bam: align.bam", "bam: align.reads", "steps.count.inputs.bam", "'reads' of step 'align' is a result, and no"),
    (
        "index: index.folder", "index: index.folder, depth: index.folder", "steps.align.inputs.depth",
        "'depth' of the app is of type integer, and is given a file.",
    ),
    (
        "index: index.folder", "index: index.folder, reads: index.folder", "steps.align.inputs.reads",
        "'reads' is given in 'params' already. Keep one of them.",
    ),
    (
        "folder: split.parts", "folder: align.bam", "steps.search.inputs.folder",
        "step 'align' has many tasks. Say 'each: align' for a task for each of them, or 'gather: align' with",
    ),
    # lists
    ("over: split.names", "over: split.parts", "steps.search.over", "'parts' of step 'split' is no list. A list is"),
    ("over: split.names", "over: split.nmaes", "steps.search.over", "step 'split' has no output 'nmaes'. Did you"),
    ("over: split.names", "over: align.reads", "steps.search.over", "step 'align' has many tasks, and a list is"),
    ("item: part", "item: prat", "steps.search.item", "the app 'search' has no parameter 'prat'. Did you mean 'part'"),
    ("item: part", "item: folder", "steps.search.item", "'folder' of the app is a file, and an item of a list is a"),
    # gathering
    ("results: rows", "results: title", "steps.matrix.results", "'title' of the app is of type string, and is given"),
    ("results: rows", "results: raws", "steps.matrix.results", "the app 'matrix' has no parameter 'raws'."),
    # resources
    ("{cpu_cores: 2}", "{cpu_cores: -2}", "steps.matrix.resources.cpu_cores", "expected a number greater than 0"),
    ("{cpu_cores: 2}", "{cores: 2}", "steps.matrix.resources.cores", "is not a resource that is known here."),
    (
        "app: split@1", "app: there@1", "steps.matrix.resources.site",
        "asks for the site 'here', and step 'split' for 'elsewhere'. All steps of a run go to one site",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "field", "says"), MISTAKES, ids=lambda part: str(part)[:30])
def test_each_kind_of_mistake_is_told_with_its_line_and_field(right: str, wrong: str, field: str, says: str) -> None:
    assert GOOD.count(right) == 1
    text = GOOD.replace(right, wrong)
    if "elsewhere" in says:
        text = text.replace("{cpu_cores: 2}", "{site: here}")
    told = problems_of(text)
    [line] = [one.split(",")[1] for one in told if f"field '{field}': {says}" in one] or [f"not told: {told}"]
    number = int(line.removeprefix(" line "))
    key = [part for part in field.split(".") if not part.isdigit()]
    assert any(f"{part}:" in text.splitlines()[number - 1] for part in key[-2 if "missing" in says else -1 :])


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD.replace("index: index.folder", "index: index.x").replace("results: rows", "results: x")
    text = text.replace("each: align", "each: alin").replace("app: split@1", "app: gone@1")
    assert [one.split("'")[1] for one in problems_of(text)] == [
        "steps.count.each", "steps.align.inputs.index", "steps.count.inputs.bam", "steps.count.inputs.log",
        "steps.split.app", "steps.matrix.results", "steps.matrix",
    ]  # fmt: skip


def test_a_pipeline_is_no_app_with_a_command() -> None:
    with pytest.raises(InvalidManifest, match="is a pipeline"):
        parse_manifest(GOOD, "app.yaml")


# --- what it is compiled to -------------------------------------------------------------------------------------------


def good() -> PipelineManifest:
    file = parse_any(GOOD, "app.yaml")
    assert isinstance(file, PipelineFile)
    return file.manifest


def test_a_manifest_reads_back_as_it_was() -> None:
    assert PipelineManifest.model_validate(good().as_json()) == good()


def test_a_pipeline_over_a_table_is_a_document_of_steps() -> None:
    rows = [{"sample": "a", "reads": "/a.fq"}, {"sample": "b", "reads": "/b.fq", "depth": 5}]
    steps = compile_steps(good(), {"genome": "/g.fa", "depth": 2}, rows)
    said = [{name: value for name, value in step.items() if value not in ({}, [], "", False)} for step in steps]
    assert said == [
        {"name": "index", "app": "./index", "params": {"genome": "/g.fa"}},
        {
            "name": "align", "app": "align@1", "inputs": {"index": "index.folder"},
            "over": [{"sample": "a", "reads": "/a.fq", "depth": 2}, {"sample": "b", "reads": "/b.fq", "depth": 5}],
        },
        {
            "name": "count", "app": "count@1", "each": ["align"], "inputs": {"bam": "align.bam", "log": "align.log"},
            "over": [{"label": "of a"}, {"label": "of b"}],
        },
        {"name": "split", "app": "split@1"},
        {"name": "search", "app": "search@1", "items": "split", "item": "part", "inputs": {"folder": "split.parts"}},
        {
            "name": "matrix", "app": "matrix@1", "gather": ["count", "search"], "results": "rows",
            "accept_failures": True, "resources": {"cpu_cores": 2},
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "value"),
    [("{n}", 3), ("{f}", 0.5), ("{no}", None), ("n{n}-{f}", "n3-0.5"), ("{{n}}", "{n}"), ("-{no}-", "--"), (7, 7)],
)
def test_a_name_alone_is_the_value_itself_and_within_text_it_is_text(said: Any, value: Any) -> None:
    assert fill(said, {"n": 3, "f": 0.5}) == value


def test_a_column_that_a_step_with_one_task_uses_is_refused_and_so_is_a_table_that_nothing_is_over() -> None:
    [told] = table_problems(good(), ["sample", "genome"], 2)
    assert str(told).startswith("the table, column 'genome': step 'index' uses it, which has no task of its own")
    alone = PipelineManifest.model_validate(
        {"packhorse": 1, "name": "p", "version": "1", "steps": {"a": {"app": "a@1"}}}
    )
    assert [str(one) for one in table_problems(alone, [], 2)] == [
        "the table: no step of 'p' has a task for each row of it. Run it without one; values are given with --set."
    ]
    assert table_problems(alone, [], 1) == []


# what is accepted of these is tested with the engine's part (tests/unit/engine/test_accept_pipeline.py)
NAMES = [f"s{number}" for number in range(6)]
MAYBE = {**FILE, "optional": True}
MANY = app(
    "many",
    parameters={"x": MAYBE, "v": {"optional": True}, "r": MAYBE},
    outputs={"o": {"path": "o"}, "l": {"from": "stdout", "type": "json"}},
)


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Steps that name earlier ones only, so that there is no circle."""
    steps: dict[str, dict[str, Any]] = {}
    for name in NAMES[: draw(st.integers(1, 6))]:
        before = list(steps)
        kinds = ["once", "rows", *(["each", "list", "gather"] if before else [])]
        kind = draw(st.sampled_from(kinds))
        step: dict[str, Any] = {"app": "many@1"}
        if kind == "rows":
            step |= {"over": "rows", "params": {"v": "of {sample}"}}
        elif kind == "each":
            step["each"] = draw(st.sampled_from(before))
        elif kind == "list":
            step |= {"over": f"{draw(st.sampled_from(before))}.l", "item": "v"}
        elif kind == "gather":
            step |= {"gather": draw(st.lists(st.sampled_from(before), min_size=1, unique=True)), "results": "r"}
        if before and draw(st.booleans()):
            step["inputs"] = {"x": f"{draw(st.sampled_from(before))}.o"}
        steps[name] = step
    return steps


def manifest_of(steps: dict[str, dict[str, Any]]) -> PipelineManifest:
    document = {"packhorse": 1, "name": "p", "version": "1", "parameters": {"sample": {}}, "steps": steps}
    return PipelineManifest.model_validate(document)


@given(pipelines(), st.integers(1, 3))
def test_whatever_has_no_circle_and_no_problem_compiles_with_its_edges_as_declared(
    steps: dict[str, dict[str, Any]], rows: int
) -> None:
    manifest = manifest_of(steps)
    findings = check_pipeline(manifest, {"many@1": MANY})
    assert all("many tasks" in one.what for one in findings)
    if findings:
        return
    run = StepRun.model_validate({"steps": compile_steps(manifest, {}, [{"sample": f"a{n}"} for n in range(rows)])})
    assert check_steps(run.steps) == []
    for name, step in zip(steps, run.steps, strict=True):
        declared = manifest.steps[name]
        assert (step.name, step.gather, step.inputs) == (name, declared.gather, declared.inputs)
        assert set(step.needs) == set(declared.needs)
        assert declared.each is None or declared.each in step.each
        assert (step.items is None) == (declared.over_list is None)
        assert len(step.over or []) in (0, rows)
        assert all(manifest.root(other) == manifest.root(name) for other in step.each)


@given(pipelines(), st.data())
def test_one_edge_back_is_a_circle_and_is_told(steps: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    ends = [name for name, step in steps.items() if step.get("each") or step.get("gather")]
    if not ends:
        return
    last = data.draw(st.sampled_from(ends))
    first = steps[last].get("each") or steps[last]["gather"][0]
    steps[first] = {"app": "many@1", "gather": [last]}
    told = [one.what for one in check_pipeline(manifest_of(steps), {"many@1": MANY})]
    assert any(one.startswith("the steps wait for each other in a circle: ") for one in told)
