"""What can be held: the agent and the domain judge alike, and what is made holdable is, everywhere."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.agent import text as agent
from packhorse.agent.outcome import Verdict
from packhorse.agent.slot.result import parse_result
from packhorse.domain import text
from packhorse.domain.errors import InvalidManifest, InvalidRequest, Problem
from packhorse.domain.manifest import parse_manifest
from packhorse.domain.run import AppRun
from tests.fixtures.oddtext import RESULTS, any_text, any_value


def judged(module: Any, printed: str) -> str | None:
    try:
        why: str | None = module.value_problem(module.parse_json(printed))
    except ValueError as error:
        return str(error)
    return why


@pytest.mark.parametrize(
    ("printed", "why"), RESULTS, ids=lambda value: str(value)[:20].encode("ascii", "replace").decode()
)
def test_agent_and_domain_judge_results_alike(printed: str, why: str | None) -> None:
    assert (judged(text, printed), judged(agent, printed)) == (why, why)
    if why is None:
        assert parse_result(printed.encode(), "json") == json.loads(printed)
    else:
        with pytest.raises(Verdict) as verdict:
            parse_result(printed.encode(), "json")
        assert verdict.value.why == "result"
        assert why in verdict.value.msg


@given(any_value)
def test_agent_and_domain_judge_any_value_alike(value: Any) -> None:
    assert text.value_problem(value) == agent.value_problem(value)


def test_a_text_with_nul_is_no_result_and_one_with_control_characters_is() -> None:
    with pytest.raises(Verdict, match="NUL character"):
        parse_result(b"a\0b", "text")
    assert parse_result(b"a\x1b[31m\r\n", "text") == "a\x1b[31m\r\n"


def strictly(data: str) -> Any:
    """As a reader that takes RFC 8259 by the letter."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    value = json.loads(data, parse_constant=refuse)
    why = text.value_problem(value) or ""
    assert why in ("", "it is nested more than 100 levels deep") or why.endswith("NUL character"), "that JSON can have"
    return value


@given(any_value)
def test_what_leaves_is_strict_json_and_unchanged_if_it_can_be_held(value: Any) -> None:
    sent = text.dumps(value)
    assert sent.isascii()
    read = strictly(sent)
    assert strictly(text.dumps(value, indent=2)) == read
    if text.value_problem(value) is None:
        assert read == value
    assert text.value_problem(text.holdable_value(value)) is None


def test_a_result_of_the_deepest_kind_is_shown_whole_within_other_things() -> None:
    deep: Any = "😀"
    for _ in range(text.MAX_DEPTH):
        deep = [deep]
    assert text.value_problem(deep) is None
    assert json.loads(text.dumps({"items": [{"result": deep}]})) == {"items": [{"result": deep}]}


def test_what_is_no_json_at_all_still_leaves_as_json() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, {"a": object(), 1: {2}}, 10**5000, {"é": b"\xff"}):
        strictly(text.dumps(value))


@given(any_text)
def test_holdable_text_is_what_every_database_takes(given_text: str) -> None:
    held = text.holdable(given_text)
    held.encode()
    assert "\0" not in held
    assert (held == given_text) == (text.text_problem(given_text) is None)
    assert text.text_problem(held) is None


@given(st.binary(min_size=1, max_size=20).map(lambda data: data.replace(b"\0", b"x")))
def test_names_of_files_come_back_as_they_were(name: bytes) -> None:
    as_python = os.fsdecode(name)
    stored = text.name_as_text(as_python)
    assert text.text_problem(stored) is None
    assert os.fsencode(text.name_from_text(stored)) == name
    assert text.is_name(as_python)
    assert json.loads(text.kept_json(as_python)) == as_python
    shown = text.shown_name(as_python)
    assert text.text_problem(shown["path"]) is None
    assert ("quoted" in shown) == (shown["path"] != as_python)


@given(st.text(st.sampled_from("\\x5ce9udé\udce9"), max_size=12))
def test_a_name_that_looks_like_our_escapes_is_not_mistaken(name: str) -> None:
    assert text.name_from_text(text.name_as_text(name)) == name


def test_a_refusal_can_be_shown_whatever_it_quotes() -> None:
    refusal = InvalidRequest("no '\ud800'", hint="\0", problems=[Problem("row 1, '\udce9'", "is \udfff", "\0")])
    str(refusal).encode()
    assert str(refusal) == "no '\ufffd' \ufffd\n  - row 1, '\ufffd': is \ufffd \ufffd"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ('env: {A: "a\\0"}', "field 'env.A': holds a NUL character"),
        ('description: "a\\0"', "field 'description': holds a NUL character"),
        (
            "parameters: {x: {type: number, minimum: .nan}}",
            "field 'parameters.x.minimum': expected a number, found '.nan'",
        ),
        ('arguments: ["\\uD800"]', "line 5: found invalid Unicode character escape code"),
    ],
)
def test_a_manifest_with_what_cannot_be_held_is_refused_with_its_field(field: str, words: str) -> None:
    with pytest.raises(InvalidManifest) as refusal:
        parse_manifest(f"packhorse: 1\nname: t\nversion: '1'\ncommand: ['true']\n{field}\n", "app.yaml")
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "a\0b"}, "name holds a NUL character."),
        ({"name": "\ud800"}, "name holds a lone surrogate"),
        ({"client_key": "k\0"}, "client_key holds a NUL"),
        ({"tags": {"a": "\udce9"}}, "tags.a holds a lone surrogate"),
        ({"tags": {"\ud800": "x"}}, "a key of tags holds a lone surrogate"),
        ({"resources": {"queue": "a\0"}}, "resources.queue holds a NUL"),
        ({"resources": {"cpu_cores": float("inf")}}, "resources.cpu_cores is Infinity"),
        ({"retry": {"\0": 1}}, "a key of retry holds a NUL"),
        ({"outputs": "s3://a/\0"}, "outputs holds a NUL"),
        ({"image": "a\0"}, "image holds a NUL"),
        ({"app": "a\0"}, "app holds a NUL"),
    ],
)
def test_what_a_user_asks_for_is_refused_by_name(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        AppRun(**{"app": "t", **asked})
    assert words in str(refusal.value)


@given(any_value)
def test_what_is_found_plain_quickly_can_be_held(value: Any) -> None:
    assert not text.is_plain(value) or text.value_problem(value) is None


def test_usual_results_are_plain() -> None:
    assert text.is_plain({"growth": 0.98, "status": "optimal", "reactions_off": 3, "none": None, "well": True})
    assert not any(
        map(
            text.is_plain,
            (float("nan"), {"a": float("inf")}, "a\0", {"a\0": 1}, {"a": "\ud800"}, 10**400, [1], {"a": {}}),
        )
    )
