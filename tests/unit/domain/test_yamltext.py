"""Manifests as files: whatever bytes they hold, they are read as they stand or refused with line and field, at once."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidManifest, InvalidRequest, PackhorseError
from packhorse.domain.manifest import parse_manifest
from packhorse.domain.yamltext import read_yaml

GOOD = "packhorse: 1\nname: t\nversion: '1'\ncommand: [tool]\n"


def refused(content: bytes | str) -> str:
    began = time.perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        parse_manifest(content, "app.yaml")
    assert time.perf_counter() - began < 5, "at once"
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD + "resources: {cpu_cores: 1}\nresources: {cpu_cores: 4}\n",
            "line 6, field 'resources': is there twice: it is in line 5",
        ),
        (GOOD + "parameters:\n  x: {help: a}\n  y: {}\n  x: {}\n", "line 8, field 'parameters.x': is there twice"),
        (GOOD + "env: {A: '1',\n 'A': '2'}\n", "line 6, field 'env.A': is there twice: it is in line 5 already."),
        (GOOD + "outputs:\n  o: {path: a,\n    optional: true, path: b}\n", "line 7, field 'outputs.o.path'"),
        (GOOD + "env:\n  <<: {A: '1'}\n  <<: {B: '1'}\n", "line 7, field 'env.<<': is there twice"),
        (GOOD + "env:\n  <<: text\n", "line 6, field 'env.<<': merges mappings only"),
        (
            GOOD + "env: {A: *nowhere}\n",
            "line 5, field 'env.A': '*nowhere' is an alias, and no '&nowhere' is before it.",
        ),
        (GOOD + "env: &a {A: *a}\n", "line 5, field 'env.A': '*a' stands within what it names"),
        (
            GOOD + "title: !!python/object/apply:os.system [true]\n",
            "line 5, field 'title': has the tag '!!python/object/apply:os.system'",
        ),
        (GOOD + "title: !local x\n", "has the tag '!local', which has no meaning here"),
        (GOOD + "env: {[a]: b}\n", "line 5, field 'env': has a key that is no text."),
        (GOOD + "? {a: b}\n: c\n", "line 5: has a key that is no text."),
        (GOOD + "---\nname: u\n", "line 5: a second document begins"),
        (GOOD + "env:\n\tA: b\n", "Indent with spaces, not with tabs."),
        (GOOD + 'title: "\\0"\n', "line 5, field 'title': has a NUL character, which no program can be given."),
        (GOOD + 'env: {"a\\0": b}\n', "has a NUL character"),
        (GOOD + "title: a\0b\n", "line 5: the character '\\x00' cannot stand in YAML."),
        (GOOD + "title: '\ufffe'\n", "line 5: the character '\\ufffe' cannot stand in YAML."),
        ("", "is not an app manifest"),
        ("# nothing\n", "is not an app manifest"),
        ("--- \n...\n", "is not an app manifest"),
        ("- a\n", "is not an app manifest"),
        ("name", "is not an app manifest"),
        ("[" * 100_000, "is nested more than 50 levels deep"),
        ("{a: " * 100_000, "is nested more than 50 levels deep"),
        ("- " * 100_000, "is nested more than 50 levels deep"),
        ("? " * 100_000, "is nested more than 50 levels deep"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60)),
            "line 50: is nested more than 50 levels deep",
        ),
        ("a" * 2_000_000, "is larger than 1,000,000 bytes"),
        (GOOD + "version: 1.0\n" * 3, "line 7, field 'version': is there twice"),
        (
            GOOD.replace("[tool]", "[tool, true]"),
            "line 4, field 'command.1': expected text or a number, found true; put it in quotes.",
        ),
        (
            GOOD.replace("[tool]", "[tool, [a, ~]]"),
            "line 4, field 'command.1': expected text or a number, found nothing",
        ),
        (GOOD.replace("'1'", "2024-01-01T00:00:00Z"), "line 3, field 'version': expected a version of letters"),
        (GOOD.replace("packhorse: 1", "packhorse: yes"), "line 1, field 'packhorse': expected 1 (found: 'yes')."),
        (GOOD + "env: {A: 1}\n", "line 5, field 'env.A': expected text in quotes (found: 1)."),
        (GOOD + "1: x\n", "line 5, field '1': is not a field that is known here."),
        (
            GOOD + "resources: {walltime_s: 1:30:00}\n",
            "line 5, field 'resources.walltime_s': expected a number, found '1:30:00'",
        ),
        (GOOD + "resources: {ram_gb: .inf}\n", "found '.inf'"),
        (GOOD + "resources: {nodes: 0x1F}\n", "found '0x1F'"),
        (GOOD + "resources: {cpu_cores: 1_000}\n", "found '1_000'"),
        (GOOD + "resources: {gpus: 99999999999999999999}\n", "expected a whole number of at most 64 bits"),
        (GOOD + "resources: [1]\n", "field 'resources': expected a mapping from names to values (found: a list)."),
        (GOOD + "parameters: {x: {default: [1]}}\n", "field 'parameters.x.default'"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    said = refused(text)
    assert words in said
    assert "Input should" not in said
    assert "function-" not in said
    assert "union" not in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD.encode("utf-16"), "is UTF-16 text. Save it as UTF-8."),
        (GOOD.encode("utf-16-le"), "is UTF-16 text."),
        (GOOD.encode() + b"title: caf\xe9\n", "line 5, byte 11: 0xe9 is not UTF-8 text. Save it as UTF-8."),
    ],
)
def test_other_encodings_are_named(content: bytes, words: str) -> None:
    assert words in refused(content)


def bomb(width: int, depth: int, leaf: str) -> str:
    lines = [f"a0: &a0 [{', '.join([leaf] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return GOOD + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        bomb(10, 10, "x"),
        bomb(2, 40, "x"),
        bomb(10, 10, "{}"),
        GOOD + f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]\n",
        GOOD
        + "a: &a {k: v}\n"
        + "".join(f"b{n}: &b{n} {{<<: *{'a' if n == 0 else f'b{n - 1}'}, k{n}: x}}\n" for n in range(5000)),
    ],
)
def test_aliases_that_expand_without_end_are_refused_at_once(text: str) -> None:
    assert "with its aliases written out, the file is longer than 1,000,000 characters" in refused(text)


def test_all_problems_of_structure_and_of_fields_are_told_at_once() -> None:
    said = refused("packhorse: 1\nname: T\nversion: 1\nversion: 2\ncommand: [*a]\nenv: {A: !x b}\ncolour: blue\n")
    for line in (2, 3, 4, 5, 6, 7):
        assert f"app.yaml, line {line}" in said


def test_no_more_than_a_hundred_problems_are_told() -> None:
    assert refused(GOOD + "".join(f"x{n}: 1\n" for n in range(5000))).count("\n") == 100
    assert refused(GOOD + "x: 1\n" * 5000).count("\n") == 100


def test_what_stands_there_is_what_is_taken() -> None:
    text = (
        "\ufeff"
        + GOOD.replace(
            "[tool]", "[tool, 010, 1_000, 0x1F, 1:30:00, 2024-01-01, yes, Off, .inf, 1e-5, 7, '8', 0.25, =, !!str 9]"
        )
        + "parameters:\n  x: {type: choice, choices: [yes, no, on, n], default: no}\n  y: {type: boolean, default:"
        " off}\n"
        "  z: {optional: yes}\n"
    )
    manifest = parse_manifest(text.encode(), "app.yaml")
    assert manifest.command == [
        "tool",
        "010",
        "1_000",
        "0x1F",
        "1:30:00",
        "2024-01-01",
        "yes",
        "Off",
        ".inf",
        "1e-5",
        7,
        "8",
        0.25,
        "=",
        "9",
    ]
    assert manifest.parameters["x"].choices == ["yes", "no", "on", "n"]
    assert (manifest.parameters["x"].default, manifest.parameters["y"].default) == ("no", False)
    assert manifest.parameters["z"].optional is True


def test_aliases_and_merges_work() -> None:
    text = (
        GOOD
        + "env: &e {A: a, B: b}\ngather:\n  command: &c [x, y]\n  arguments: *c\noutputs:\n  o: &o {path: a, optional:"
        " true}\n  p: {<<: *o, path: b}\n  q: {<<: [*o, {path: c}]}\n"
    )  # noqa: E501
    manifest = parse_manifest(text, "app.yaml")
    assert manifest.gather is not None
    assert manifest.gather.arguments == ["x", "y"]
    assert [(output.path, output.optional) for output in manifest.outputs.values()] == [
        ("a", True),
        ("b", True),
        ("a", True),
    ]


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=200) | st.text("packhorse:1name[]{}&*-?!|>'\"#%\n\t ,<~é", max_size=200).map(str.encode))
def test_any_bytes_are_a_manifest_or_a_refusal(content: bytes) -> None:
    for text in (content, GOOD.encode() + content):
        try:
            parse_manifest(text, "app.yaml")
        except PackhorseError as error:
            assert "app.yaml" in str(error)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=2000)
@given(values)
def test_values_come_back(value: Any) -> None:
    document = read_yaml(yaml.safe_dump(value, allow_unicode=True), "x.yaml", 1_000_000, InvalidManifest)
    assert document.problems == []
    assert document.value == value
