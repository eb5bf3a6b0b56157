"""docs/reference is what the code says today, and says something of everything that users may name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tools.reference.client import public
from tools.reference.commands import commands
from tools.reference.configuration import SECTIONS
from tools.reference.markdown import anchor, prose, table
from tools.reference.models import default_words, field_docs, type_words, without_null
from tools.reference.pages import COMMAND, FOLDER, pages

from packhorse.client import Client, RunHandle


def test_the_pages_are_what_the_code_says() -> None:
    made = pages()
    kept = {page.name: page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")}
    old = sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
    assert not old, f"docs/reference is older than the code: {', '.join(old)}. '{COMMAND}' makes the pages again."


def test_links_within_a_page_lead_to_a_heading_of_it() -> None:
    for name, text in pages().items():
        anchors = {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
        links = set(re.findall(r"\]\(#([^)]*)\)", text))
        assert links <= anchors, f"{name}: {sorted(links - anchors)}"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_the_configuration_has_a_docstring(section: str) -> None:
    model = SECTIONS[section]
    assert not [name for name in model.model_fields if not field_docs(model).get(name)]


def test_every_command_argument_and_option_has_a_help_text() -> None:
    silent = [name for name, command in commands() if not command.help]
    silent += [
        f"{name} {parameter.name}" for name, command in commands() for parameter in command.params if not parameter.help
    ]
    assert not silent


@pytest.mark.parametrize("kind", [Client, RunHandle])
def test_every_public_method_of_the_client_has_a_docstring(kind: type) -> None:
    assert not [name for name, member in public(kind) if not member.__doc__]


# --- pieces ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "path"}, "path"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "integer ≥ 1, ≤ 1,000"),
        ({"type": "integer", "ge": 0, "le": 1 << 62}, "integer ≥ 0"),
        ({"type": "number", "exclusiveMaximum": 1}, "number"),
        ({"type": "boolean"}, "true or false"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number or null"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, "list of (text or integer)"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of text"),
        ({"type": "object", "patternProperties": {"^a": {"$ref": "#/$defs/It"}}}, "object of <It>"),
        ({"type": "object", "additionalProperties": True}, "object"),
        ({"enum": ["a", "b"]}, '`"a"` or `"b"`'),
        ({"const": 1}, "`1`"),
        ({}, "anything"),
    ],
)
def test_a_schema_in_words(schema: dict[str, Any], words: str) -> None:
    assert type_words(schema, lambda name: f"<{name}>") == words


def test_a_null_that_is_only_the_default_is_left_out() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    assert type_words(without_null(schema), str) == "text"
    assert default_words(schema, required=False, none="none") == "none"


def test_docstrings_become_markdown() -> None:
    assert prose("One ``word``\n    that goes on.\n\n    Two.") == "One `word` that goes on.\n\nTwo."
    assert table(("a", ""), [("`x|y`", "")]) == "| a | |\n| --- | --- |\n| `x\\|y` | |"
    assert anchor("Page[RunView]") == "pagerunview"
