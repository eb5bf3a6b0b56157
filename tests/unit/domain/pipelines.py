"""Pipelines for tests: a good one, the apps of its steps, and any that have no circle."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from hypothesis import strategies as st

from packhorse.domain.app import AppManifest
from packhorse.domain.pipeline import PipelineManifest

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
MAYBE = {**FILE, "optional": True}
MANY = app(
    "many",
    parameters={"x": MAYBE, "v": {"optional": True}, "r": MAYBE},
    outputs={"o": {"path": "o"}, "l": {"from": "stdout", "type": "json"}},
)

NAMES = [f"s{number}" for number in range(6)]


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
