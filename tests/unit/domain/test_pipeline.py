"""Pipelines: each kind of mistake in a manifest, by line and field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidManifest
from packhorse.domain.manifest import PipelineFile, parse_any, parse_manifest
from packhorse.domain.pipelinecheck import check_pipeline
from tests.unit.domain.pipelines import APPS, GOOD, MANY, manifest_of, pipelines


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
DEPTH = "depth: {type: integer, default: 2}"


def history(value: str, same: str = "sample") -> str:
    """The parameter of ``DEPTH`` with a history."""
    return f"depth: {{type: integer, default: 2, history: {{value: {value}, same: [{same}]}}}}"


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
    ("    each: align", "    each: align\n    over: rows", "steps.count", "has more than one of 'once', 'over'"),
    ("    each: align", "    each: align\n    gather: split", "steps.count", "has more than one of 'once', 'over'"),
    ("    each: align", "    each: align\n    once: true", "steps.count", "has more than one of 'once', 'over'"),
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
    # history
    (DEPTH, history("algin.reads.n"), "parameters.depth.history.value", "there is no step 'algin'. Did you mean"),
    (DEPTH, history("align.raeds.n"), "parameters.depth.history.value", "step 'align' has no output 'raeds'. Did you"),
    (DEPTH, history("align.bam.n"), "parameters.depth.history.value", "'bam' of step 'align' has no fields. A result"),
    (DEPTH, history("align.reads"), "parameters.depth.history.value", "expected"),
    (
        DEPTH, history("align.reads.n", "smaple"), "parameters.depth.history.same.0",
        "step 'align' is given no value for 'smaple'. Did you mean 'sample'?",
    ),
    (
        DEPTH, history("align.reads.n").replace("default: 2, ", ""), "parameters.depth",
        "'history' goes with a default, or 'optional: true': the first run has none",
    ),
    (
        DEPTH, history("align.reads.n").replace("type: integer, default: 2", "optional: true"), "parameters.depth",
        "'history' goes with 'type: number' or 'type: integer'",
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
        "app: split@1", "app: there@1", "steps.index",
        "asks for no site, and other steps for 'elsewhere' and 'here'. Where steps go to different sites, each says",
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


WORDS = st.sampled_from(
    ["a", "b", "rows", "a.o", "b.l", "a.", ".o", "", "{sample}", "{x", "}", "many@1", "ü", "a b", "x.y.z"]
)
FIELDS = {
    "over": WORDS, "item": WORDS, "each": WORDS, "gather": WORDS | st.lists(WORDS, max_size=3), "results": WORDS,
    "accept_failures": st.booleans(), "params": st.dictionaries(WORDS, WORDS | st.integers(), max_size=3),
    "inputs": st.dictionaries(WORDS, WORDS, max_size=3), "resources": st.dictionaries(WORDS, st.integers(), max_size=2),
}  # fmt: skip


@given(st.dictionaries(WORDS, st.fixed_dictionaries({"app": WORDS}, optional=FIELDS), min_size=1, max_size=4))
def test_whatever_stands_in_a_manifest_is_accepted_or_told(steps: dict[str, Any]) -> None:
    document = {"packhorse": 1, "name": "p", "version": "1", "parameters": {"sample": {}}, "steps": steps}
    try:
        file = parse_any(json.dumps(document), "app.yaml")
    except InvalidManifest as error:
        assert error.problems
        return
    assert isinstance(file, PipelineFile)
    apps = {step.app: MANY if step.app == "many@1" else "There is none." for step in file.manifest.steps.values()}
    assert all(file.problem(finding).what for finding in check_pipeline(file.manifest, apps))


def test_a_step_may_say_once_and_a_parameter_have_a_history() -> None:
    text = GOOD.replace("app: ./index\n", "app: ./index\n    once: true\n").replace(DEPTH, history("align.reads.n"))
    assert problems_of(text) == []
    by_text = text.replace('"of {sample}"', '"of {depth}"')
    assert ["can be no part of a text" in one for one in problems_of(by_text)] == [True]


def at_sites(**sites: str) -> str:
    """The good pipeline with a site for each step: 'a' where none is given."""
    text = GOOD.replace("    resources: {cpu_cores: 2}\n", "")
    for name in ("index", "align", "count", "split", "search", "matrix"):
        text = text.replace(f"  {name}:\n", f"  {name}:\n    resources: {{site: {sites.get(name, 'a')}}}\n")
    return text


def test_steps_may_go_to_different_sites_where_one_task_leaves_what_they_take() -> None:
    assert problems_of(at_sites()) == []
    assert problems_of(at_sites(index="b")) == []
    assert problems_of(at_sites(split="b")) == [], "a list of values, and a folder"
    bam, log = problems_of(at_sites(align="b"))
    told = "step 'align' has many tasks, at the site 'b', and what these leave is not brought to another."
    assert "field 'steps.count.inputs.bam'" in bam and "field 'steps.count.inputs.log'" in log and told in bam
    [rows] = problems_of(at_sites(matrix="b"))
    assert "field 'steps.matrix.results': step 'count' has many tasks, at the site 'a'" in rows
    assert problems_of(at_sites(search="b")) == [], "what it leaves are no files"


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
