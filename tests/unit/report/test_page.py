"""A report is one well-formed page that needs nothing, shows nothing as markup that is not ours, and stays small."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from packhorse.report.facts import RunFacts
from packhorse.report.page import render_page
from packhorse.report.timeline import Timeline
from tests.fixtures.reports import made_up, parsed

NAMES = ["index", "align", "sort", "count"]

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</style></title></svg><b>x</b>",
    "]]><!--",
    "javascript:alert(1)",
    "&lt;b&gt; &amp;nbsp;",
    "caf\udce9 \x00\x1b[31m\u202eevil",
    "ünïcödé 数据",
    "x" * 5000,
]


def texts(page: str) -> list[str]:
    return [text for element in parsed(page).iter() for text in (element.text, element.tail) if text]


def test_a_page_tells_of_all_that_there_is() -> None:
    page = render_page(made_up(NAMES, said="said so"))
    told = re.sub(r"\s+", " ", " ".join(texts(page)))
    for wanted in (
        *NAMES,
        "23 of 24 complete",
        "Timeline",
        "core-hours wasted",
        "GB-hours wasted",
        "exit code 3",
        "Last lines of its stderr:",
        f"sha256:{1:064x}",
        f"sha256:{2:064x}",
        f"sha256:{3:064x}",
        "Run it again",
        "Packhorse 1.0",
        "6 files, 600 B",
        "2 cores, 1 GB of memory, 10 min by 6 tasks",
    ):
        assert wanted in told, wanted
    assert len(parsed(page).findall(".//svg")) == 3 + 5 * len(NAMES)


def test_a_page_needs_no_network_and_no_script() -> None:
    page = render_page(made_up(NAMES, said="https://example.org/x.js"))
    tree = parsed(page)
    assert {element.tag for element in tree.iter()} & {"script", "link", "img", "iframe", "object", "a"} == set()
    attributes = {name for element in tree.iter() for name in element.attrib}
    assert attributes & {"src", "href", "onload", "style"} == set()
    assert "url(" not in page.replace("url(#arrow)", "") and "@import" not in page
    [policy] = [element.get("content") for element in tree.iter("meta") if element.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'")


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_others_wrote_is_text(said: str) -> None:
    page = render_page(made_up([said, said], said=said))
    plain = render_page(made_up(["a", "b"], said="c"))
    page.encode()  # holds nothing that is no text
    elements, usual = ([element.tag for element in parsed(each).iter()] for each in (page, plain))
    assert elements == usual
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", page)


@pytest.mark.parametrize(("tasks", "steps", "allocations"), [(20_000, 5, 40), (100, 300, 3), (3, 1000, 1)])
def test_a_large_run_is_a_small_page_and_soon_there(tasks: int, steps: int, allocations: int) -> None:
    facts = made_up([f"step{number}" for number in range(steps)], tasks, allocations=allocations, nodes=4)
    before = time.process_time()
    page = render_page(facts)
    assert time.process_time() - before < 5
    assert len(page.encode()) < 5_000_000
    parsed(page)


def test_an_open_run_without_any_attempt_has_a_page() -> None:
    facts = made_up(["a"], tasks=1)
    nothing = replace(
        facts, timeline=Timeline(0.0, 0.0, {}, [], bars=True), failures=[], images=[], data=[], ended_at=None
    )
    told = " ".join(texts(render_page(without_attempts(nothing))))
    assert "goes on; this is how it was at" in told
    assert told.count("No attempt has ended yet.") == 2
    assert "None: no attempt failed." in told


def without_attempts(facts: RunFacts) -> RunFacts:
    steps = [replace(step, measured=type(step.measured)(), outputs=type(step.outputs)()) for step in facts.steps]
    return replace(facts, steps=steps)


def test_a_step_whose_list_is_not_known_has_no_number_of_tasks() -> None:
    facts = made_up(["a", "b"])
    later = replace(facts.steps[1], tasks=None, counts={})
    told = " ".join(texts(render_page(replace(facts, steps=[facts.steps[0], later]))))
    assert "tasks not known yet" in told and "not known yet" in told


def test_attempts_are_bars_while_they_are_few_and_areas_after() -> None:
    few, many = (render_page(made_up(["a", "b"], tasks)) for tasks in (10, 2000))
    assert few.count(' bar"') == 19 and few.count("bar failed") == 1  # one failed
    assert many.count(' bar"') == 0 and many.count(" area") >= 4


def test_what_was_predicted_stands_against_what_was_used() -> None:
    facts = made_up(["a", "b"])
    assert "predicted against used" not in render_page(facts)
    for number in range(5):
        facts.steps[0].measured.predicted_memory.add(1e9, 1e9 + 1e8 * number, failed=False)
        facts.steps[1].measured.predicted_time.add(60.0, 50.0 + number, failed=number == 0)
    told = texts(page := render_page(facts))
    assert told.count("Memory: predicted against used") == told.count("Time: predicted against used") == 1
    assert page.count("<circle") == 10


def test_a_number_is_not_parted_from_its_unit() -> None:
    facts = made_up(["make"], 1)
    page = render_page(replace(facts, created_at=1000.0, ended_at=1145.0))
    assert "<b>2\u00a0min 25\u00a0s</b>" in page
