"""Paths of outputs: placeholders, wildcards, and what is left of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.agent.slot.outputs.wildcards import compiled
from packhorse.domain.app import AppManifest, OutputDeclaration
from packhorse.domain.errors import InvalidManifest
from packhorse.domain.manifest import parse_manifest
from packhorse.domain.outputpath import (
    below_prefix,
    escaped,
    fixed_folder,
    has_loose_backslash,
    is_pattern,
    kept_as,
    matches,
    matching,
    output_entry,
    plain,
    same_output,
)
from packhorse.domain.render import OutputPath, app_template
from packhorse.domain.resources import Resources

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
BASE = (
    "packhorse: 1\nname: x\nversion: '1'\ncommand: [a]\nparameters: {s: {}, f: {type: file}}\noutputs:\n  t: {path:"
    " '%s'}\n"
)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("{nope}.txt", "'{nope}' is neither a parameter nor one of cores, memory_gb, nodes, ranks, run, s, task."),
        ("{f}.txt", "'{f}' is a file, and its path is no name for an output; use another parameter."),
        ("{app}/x", "'{app}' is neither a parameter nor one of"),
        ("{results}", "'{results}' is neither a parameter nor one of"),
        ("a{b", "'a{b' has a brace that belongs to no placeholder"),
        ("../{s}", "contains '..', which leaves the task's work folder"),
        ("/{s}", "is absolute"),
        ("a\\", "has a backslash with nothing to escape"),
        ("a\\{s}*", "has a backslash with nothing to escape"),
    ],
)
def test_a_path_that_cannot_be_filled_in_is_refused_with_its_field(path: str, says: str) -> None:
    with pytest.raises(InvalidManifest) as refused:
        parse_manifest(BASE % path, "app.yaml")
    assert (
        "app.yaml, line 7, field 'outputs.t.path':"
        f" {'the path ' if 'cont' in says or 'is abs' in says or 'back' in says else ''}" in str(refused.value)
    )
    assert says in str(refused.value)


def test_a_gathering_task_has_no_parameters_for_its_paths() -> None:
    manifest = BASE % "{s}.txt" + "gather:\n  command: [b]\n  outputs:\n    all: {path: '%s'}\n"
    parse_manifest(manifest % "{run}.{cores}.txt", "app.yaml")
    with pytest.raises(InvalidManifest, match=r"field 'gather\.outputs\.all\.path': '\{s\}' is neither"):
        parse_manifest(manifest % "{s}.txt", "app.yaml")


def test_a_template_without_placeholders_has_its_outputs_and_one_with_them_gives_each_task_its_own() -> None:
    def template(path: str) -> tuple[list[object], list[object]]:
        document = {
            "packhorse": 1,
            "name": "t",
            "version": "1",
            "command": ["a"],
            "parameters": {"s": {}},
            "outputs": {"o": {"path": path}},
        }
        made = app_template(AppManifest.model_validate(document), "/app", Resources(cpu_cores=2))
        return made.document["outputs"], made.outputs_of({"s": "a*b", "run": "r-1", "task": "r-1.0"})

    assert template("x") == ([{"path": "x", "optional": False}],) * 2
    assert template("{{s}}") == ([{"path": "{s}", "optional": False}],) * 2
    assert template("*.bam") == ([{"path": "*.bam", "optional": False, "glob": True}],) * 2
    assert template(r"\*.bam") == ([{"path": "*.bam", "optional": False}],) * 2
    assert template("{s}.txt") == ([], [{"path": "a*b.txt", "optional": False}])
    assert template("{s}-*-{cores}") == ([], [{"path": r"a\*b-*-2", "optional": False, "glob": True}])


@given(NAMES, NAMES)
def test_a_value_is_never_a_wildcard(value: str, tail: str) -> None:
    """In a pattern it matches itself alone; in a path without wildcards it is what it is."""
    as_pattern = OutputPath.of(OutputDeclaration(path="{s}-*")).render({"s": value})
    assert as_pattern["glob"] and compiled(as_pattern["path"]).match(f"{value}-{tail}")
    assert plain(escaped(value)) == value and not is_pattern(escaped(value))
    assert [name for name in ("x", value, value + value) if compiled(escaped(value)).match(name)] == [
        name for name in ("x", value, value + value) if name == value
    ]
    assert OutputPath.of(OutputDeclaration(path="{s}")).render({"s": value}) == {"path": value, "optional": False}


@given(st.text(alphabet="ab*?[]\\./-!", min_size=1, max_size=12).filter(lambda path: not has_loose_backslash(path)))
def test_an_entry_is_a_pattern_or_a_name(path: str) -> None:
    entry = output_entry(path)
    assert entry.get("glob", False) == is_pattern(path)
    assert entry["path"] == (path if is_pattern(path) else re.sub(r"\\(.)", r"\1", path))


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("/out/*.txt", "/out"),
        ("/*/x", "/"),
        ("a/b", "a"),
        ("x", ""),
        ("/x", "/"),
        ("a/*/c/d", "a"),
        (r"a\*b/c", "a*b"),
        ("//a//*", "//a/"),
    ],
)
def test_what_all_matches_lie_in(pattern: str, folder: str) -> None:
    assert fixed_folder(pattern) == folder


@pytest.mark.parametrize(
    ("path", "prefix", "left"),
    [
        ("/out/a.txt", "/out", "a.txt"),
        ("/out/a.txt", "/out/", "a.txt"),
        ("/out/sample1.txt", "/out/sample", "1.txt"),
        ("out/x/a", "out", "x/a"),
        ("./out//a", "out", "a"),
        ("/out/a.txt", "", "out/a.txt"),
        ("/out/a.txt", "/", "out/a.txt"),
    ],
)
def test_what_is_left_without_the_prefix(path: str, prefix: str, left: str) -> None:
    assert below_prefix(path, prefix) == left


@pytest.mark.parametrize(
    ("declared", "wanted", "same"),
    [
        ("a.txt", "a.txt", True),
        ("/d/a.txt", "/d/a.txt", True),
        ("/d/a.txt", "d/a.txt", True),
        ("./a", "a", True),
        ("a", "b", False),
        ("part-*.bam", "part-1.bam", True),
        ("part-*.bam", "part-*.bam", False),
        ("*.bam", "d/x.bam", False),
        (r"a\*", "a*", True),
        ("[!a]", "a", False),
        ("[!a]", "b", True),
        (r"\[a\]*", "[a]x", True),
    ],
)
def test_which_output_somebody_means(declared: str, wanted: str, same: bool) -> None:
    assert same_output(declared, wanted) is same


def test_matches_of_what_was_kept() -> None:
    assert matching("out/*", ["out/a", "out/b/c", "out/b/d", "x/a", "out"]) == ["out/a", "out/b"]
    assert matches("a/?", "a/b") and not matches("a/?", "a/bc") and kept_as("/a//b/") == "a/b"
