"""Reads YAML that people wrote: what stands there is what is taken.

Every problem has its line and field, and all are told at once.

Numbers are decimal; ``010``, ``1_000``, ``0x1F``, ``1:30:00``, ``.inf``, dates, and ``yes`` and ``no`` are text, whose
field says what they mean. Duplicate keys, tags and more documents than one are refused, and so are aliases that expand
to more than a file may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from packhorse.domain.errors import InvalidRequest, Problem, TooLarge
from packhorse.domain.problems import MAX_PROBLEMS, Location, dotted

MAX_DEPTH = 50

_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)\.[0-9]*(?:[eE][+-][0-9]{1,2})?|[+-]?\.[0-9]+(?:[eE][+-][0-9]{1,2})?")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "true": True, "True": True, "TRUE": True,
              "false": False, "False": False, "FALSE": False}  # fmt: skip
_CORE = "tag:yaml.org,2002:"
_NOT_ALLOWED = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # YAML 1.1, section 5.1
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other one is many times slower


@dataclass(frozen=True)
class Document:
    """What was read, the line of each field that stands in the file itself, not behind an alias, and what is wrong with
    its keys.
    """

    value: Any
    lines: dict[Location, int]
    problems: list[Problem]

    def line(self, field: Location) -> int:
        """The line of a field, or of what is nearest around it."""
        return next((self.lines[field[:end]] for end in range(len(field), -1, -1) if field[:end] in self.lines), 1)


def read_yaml(text: str, name: str, limit: int, refusal: type[InvalidRequest] = InvalidRequest) -> Document:
    """The document in ``text``, from the file ``name``.

    ``limit`` bounds its characters, also once its aliases are written out.

    Raises TooLarge, or ``refusal`` where reading cannot go on; what is wrong otherwise is in ``Document.problems``.
    """
    if len(text) > limit:
        raise TooLarge(f"{name} is larger than {limit:,} characters.")
    reader = _Reader(name, limit)
    try:
        return Document(reader.read(text), reader.lines, reader.problems)
    except yaml.YAMLError as error:
        reader.problems.append(_syntax(error, text, name))
    except _GivenUp:
        pass
    raise refusal(f"{name} is not valid YAML.", problems=reader.problems)


def _syntax(error: yaml.YAMLError, text: str, name: str) -> Problem:
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark, began = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if began is not None and getattr(error, "context", None):
        what = f"{what}, {error.context}, from line {began.line + 1} on"  # type: ignore[attr-defined]
    hint = "Indent with spaces, not with tabs." if mark is not None and _has_tab(text, mark.line) else ""
    return Problem(f"{name}, line {mark.line + 1 if mark is not None else 1}", f"{what}.", hint)


def _has_tab(text: str, line: int) -> bool:
    lines = text.splitlines()
    return line < len(lines) and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]


class _GivenUp(Exception):  # noqa: N818  no error: what is wrong is among the problems
    """There is no sense in reading on."""


@dataclass
class _Anchor:
    """What an anchor names: done when its node has been read, ``weight`` characters and nodes long and ``height``
    levels deep.
    """

    value: Any = None
    weight: int | None = None
    height: int = 0


@dataclass
class _Reader:
    """Builds a document from the parser's events, which come one by one: what goes too deep or grows too large ends at
    once.
    """

    name: str
    limit: int
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Location, int] = field(default_factory=dict)
    _anchors: dict[str, _Anchor] = field(default_factory=dict)
    _weight: int = 0
    _deepest: int = 0

    def problem(self, line: int, place: Location, what: str, hint: str = "") -> None:
        named = f", field '{dotted(place)}'" if place else ""
        self.problems.append(Problem(f"{self.name}, line {line}{named}", what, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _GivenUp

    def read(self, text: str) -> Any:
        if odd := _NOT_ALLOWED.search(text):
            line = text.count("\n", 0, odd.start()) + 1
            self.problem(
                line,
                (),
                f"the character {odd[0]!a} cannot stand in YAML.",
                "Within double quotes, write it as an escape.",
            )
            raise _GivenUp
        events = self._events(text)
        value = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self.lines:
                    self.problem(
                        _line(event), (), "a second document begins ('---').", "Put it into a file of its own."
                    )
                    raise _GivenUp
                value = self._node(next(events), events, ())
        return value

    @staticmethod
    def _events(text: str) -> Iterator[Any]:
        loader = _LOADER(text)
        try:
            while loader.check_event():
                yield loader.get_event()
        finally:
            loader.dispose()

    def _node(self, event: Any, events: Iterator[Any], place: Location, *, behind: bool = False) -> Any:
        if not behind:
            self.lines.setdefault(place, _line(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        before, deepest = self._weight, self._deepest
        anchor = None
        if event.anchor is not None:
            anchor = self._anchors[event.anchor] = _Anchor()
            self._deepest = len(place)
        self._grow(event, 1)
        self._go_down(event, len(place))
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, place, "seq")
            value = [
                self._node(inner, events, (*place, index))
                for index, inner in enumerate(_until(yaml.SequenceEndEvent, events))
            ]
        else:
            self._check_tag(event, place, "map")
            value = self._mapping(events, place)
        if anchor is not None:
            anchor.value, anchor.weight, anchor.height = value, self._weight - before, self._deepest - len(place)
            self._deepest = max(self._deepest, deepest)
        return value

    def _go_down(self, event: Any, depth: int) -> None:
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH:
            self.problem(_line(event), (), f"is nested more than {MAX_DEPTH} levels deep.")
            raise _GivenUp

    def _grow(self, event: Any, by: int) -> None:
        self._weight += by
        if self._weight > self.limit:
            self.problem(
                _line(event),
                (),
                f"with its aliases written out, the file is longer than {self.limit:,} characters.",
                "Use fewer aliases ('*name').",
            )
            raise _GivenUp

    def _alias(self, event: Any, place: Location) -> Any:
        known = self._anchors.get(event.anchor)
        if known is None:
            self.problem(_line(event), place, f"'*{event.anchor}' is an alias, and no '&{event.anchor}' is before it.",
                         "A text that begins with '*' needs quotes.")  # fmt: skip
            return None
        if known.weight is None:
            self.problem(
                _line(event), place, f"'*{event.anchor}' stands within what it names, which therefore has no end."
            )
            return None
        self._grow(event, known.weight)
        self._go_down(event, len(place) + known.height)
        return known.value

    def _mapping(self, events: Iterator[Any], place: Location) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        for event in _until(yaml.MappingEndEvent, events):
            key, is_merge = self._key(event, events, place)
            if key is None:
                self._node(next(events), events, (*place, "?"), behind=True)
                continue
            here = (*place, key)
            if key in first:
                self.problem(
                    _line(event), here, f"is there twice: it is in line {first[key]} already.", "Keep one of them."
                )
                self._node(next(events), events, here, behind=True)
                continue
            first[key] = self.lines[here] = _line(event)
            value = self._node(next(events), events, place if is_merge else here)
            if is_merge:
                self._merge(merged, value, here)
            else:
                own[key] = value
        return {**merged, **own}

    def _key(self, event: Any, events: Iterator[Any], place: Location) -> tuple[str | None, bool]:
        if isinstance(event, yaml.ScalarEvent):
            self._check_text(event, place)
            self._check_tag(event, place, "str")
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchor(event.value, 1 + len(event.value))
            return event.value, event.value == "<<" and event.implicit[0]
        given = self._node(event, events, (*place, "?"), behind=True)
        if isinstance(given, str):
            return given, False
        self.problem(_line(event), place, "has a key that is no text.")
        return None, False

    def _merge(self, merged: dict[str, Any], value: Any, place: Location) -> None:
        for mapping in value if isinstance(value, list) else [value]:
            if not isinstance(mapping, dict):
                self.problem(
                    self.lines[place], place, "merges mappings only: write '<<: *name', where '&name' is a mapping."
                )
                return
            for key, inner in mapping.items():
                merged.setdefault(key, inner)

    def _scalar(self, event: Any, place: Location) -> Any:
        text: str = event.value
        self._check_text(event, place)
        self._check_tag(event, place, "str")
        if not event.implicit[0]:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        return float(text) if len(text) < 300 and _NUMBER.fullmatch(text) else text

    def _check_text(self, event: Any, place: Location) -> None:
        self._grow(event, len(event.value))
        if "\0" in event.value:
            self.problem(_line(event), place, "has a NUL character, which no program can be given.")

    def _check_tag(self, event: Any, place: Location, allowed: str) -> None:
        if event.tag not in (None, "!", _CORE + allowed):
            shown = event.tag.replace(_CORE, "!!")
            self.problem(
                _line(event), place, f"has the tag '{shown}', which has no meaning here.", "Leave the tag out."
            )


def _until(end: type[Any], events: Iterator[Any]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
