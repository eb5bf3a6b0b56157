"""Keys of tasks: what changes one, what does not, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.app import AppManifest
from packhorse.domain.cachekey import KeyMaker, content, differences, differing
from packhorse.domain.manifestkey import key_parts

MANIFEST: dict[str, Any] = {
    "packhorse": 1, "name": "t", "version": "1", "command": ["tool", "{x}", ["--n", "{n}"]], "arguments": ["{reads}"],
    "parameters": {"x": {"type": "integer"}, "n": {"optional": True}, "reads": {"type": "file"}, "unused": {}},
    "outputs": {"out": {"path": "o-{x}"}}, "env": {"A": "1"}, "resources": {"cpu_cores": 2},
    "gather": {"command": ["sum", "{results}"], "outputs": {"all": {"path": "all"}}},
}  # fmt: skip

values = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab\n\"'")
)
parts = st.dictionaries(st.text("ab \n\0", max_size=3), values | st.lists(values, max_size=3), max_size=4)


def common(gathers: bool = False, **changes: Any) -> dict[str, Any]:
    manifest = AppManifest.model_validate({**MANIFEST, **changes})
    return key_parts(manifest, manifest.resources, gathers=gathers).common


@given(st.text(max_size=3), st.text(max_size=3), parts, parts, st.text(max_size=3), st.text(max_size=3), parts, parts)
def test_a_key_is_the_same_only_where_all_parts_are(
    user: str, site: str, shared: Any, own: Any, user2: str, site2: str, shared2: Any, own2: Any
) -> None:
    one, other = KeyMaker(user, site, shared).key(own), KeyMaker(user2, site2, shared2).key(own2)
    same = (user, site) == (user2, site2) and not differing(shared, shared2) and not differing(own, own2)
    assert (one == other) == same


@given(parts)
def test_the_order_in_which_parts_are_told_does_not_matter(own: dict[str, Any]) -> None:
    turned = dict(reversed(own.items()))
    assert KeyMaker("u", "s", own).key(own) == KeyMaker("u", "s", turned).key(turned)
    assert differing(own, turned) == []


@given(parts, parts)
def test_parts_that_differ_are_told_one_by_one(now: dict[str, Any], before: dict[str, Any]) -> None:
    assert len(list(differences(now, before))) == len(differing(now, before)) == len(differing(before, now))
    assert set(differing(now, before)) <= {*now, *before}


@pytest.mark.parametrize(
    "change",
    [
        {"title": "T"}, {"description": "D"}, {"retry": {"app": 2}}, {"resources": {"cpu_cores": 9, "ram_gb": 3}},
        {"parameters": {**MANIFEST["parameters"], "x": {"type": "integer", "help": "h", "minimum": 0}}},
        {"parameters": {**MANIFEST["parameters"], "more": {"default": "d"}}},
        {"gather": {"command": ["other"]}},
    ],
)  # fmt: skip
def test_what_does_not_decide_what_a_task_leaves_is_no_part(change: dict[str, Any]) -> None:
    assert differing(common(**change), common()) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"version": "2"}, "app"), ({"name": "u"}, "app"), ({"command": ["tool", "{x}"]}, "command"),
        ({"arguments": []}, "command"), ({"env": {"A": "2"}}, "environment"), ({"network": False}, "network"),
        ({"outputs": {"out": {"path": "p"}}}, "outputs"), ({"session": "shell"}, "command"),
    ],
)  # fmt: skip
def test_what_decides_it_is_a_part(change: dict[str, Any], what: str) -> None:
    assert differing(common(**change), common()) == [what]


def test_what_is_granted_counts_where_the_command_names_it() -> None:
    named: dict[str, Any] = {"command": ["tool", "-j{cores}"]}
    more = {**named, "resources": {"cpu_cores": 4}}
    assert list(differences(common(**more), common(**named))) == ["the granted cores (4.0; it was 2.0)"]


def test_a_gathering_task_has_parts_of_its_own() -> None:
    assert differing(common(gathers=True, command=["other"]), common(gathers=True)) == []
    changed = common(gathers=True, gather={"command": ["sum", "-v", "{results}"]})
    assert differing(changed, common(gathers=True)) == ["command", "outputs"]


def test_only_values_that_the_command_names_count() -> None:
    manifest = AppManifest.model_validate(MANIFEST)
    assert key_parts(manifest, manifest.resources, gathers=False).names == {"x", "n", "reads"}
    assert key_parts(manifest, manifest.resources, gathers=True).names == {"results"}


def test_what_differs_is_said_in_words() -> None:
    now = {"value k": 31, "input r": content("/data/a.fq", "1"), "input q": content("q", "2"), "site": "hpc"}
    before = {"value k": 21, "input r": content("/old/b.fq", "1"), "input q": content("q", "3"), "site": "local"}
    assert list(differences(now, before)) == [
        "the content of the input 'q'",
        "the file name of the input 'r' (a.fq; it was b.fq)",
        "the site (hpc; it was local)",
        "the value of 'k' (31; it was 21)",
    ]
    assert list(differences({}, {"input r": content("r", "1"), "value k": "x" * 99})) == [
        "the input 'r' (there is none)",
        f"the value of 'k' (none; it was {'x' * 57}...)",
    ]
