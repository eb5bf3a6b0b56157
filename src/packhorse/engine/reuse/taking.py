"""Takes what earlier tasks left at a site: looks whether it is as it was, and gives it to the tasks that need not
run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from packhorse.domain.text import kept_json
from packhorse.http.errors import Stopped
from packhorse.sites.site import Site
from packhorse.store.lookups import Earlier

_TASKS_AT_ONCE = 2000  # of one command at the site
_BYTES_AT_ONCE = 1_000_000_000
_READ_PER_S = 20_000_000  # bytes, of a file system that is slow
_LEAST_S = 60.0

#: The new stamps of files that were taken (``agent/sums.py``); or why they could not be.
Taken = Sequence[str | None] | str
#: The same, or False where that was not looked at, since something was wrong with what comes before it.
Answer = Taken | Literal[False]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Outputs (as of attempts) in a folder at the site that are to be those of another task as well.

    ``level``: it needs all that is wanted with a lower one.
    """

    source: str
    target: str
    files: Sequence[dict[str, Any]]
    level: int = 0

    @property
    def size(self) -> int:
        """Bytes to read where a file is not as it was."""
        return sum(int(file["size"]) for file in self.files)

    @property
    def unstamped(self) -> int:
        """Bytes to read in any case."""
        return sum(int(file["size"]) for file in self.files if not file.get("stamp"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task, the earlier one that it may take from, and what of that is at the site."""

    task: int
    earlier: Earlier
    wanted: Wanted

    def at(self, level: int) -> Candidate:
        """The same, when it needs all that is wanted at lower levels."""
        return replace(self, wanted=replace(self.wanted, level=level))


class AtOnce:
    """Takes what is wanted now, unless that was done ahead with all else that was foreseen. For one look at the store:
    what was taken is not looked at again.
    """

    def __init__(self, site: Site, stop: threading.Event) -> None:
        self._site = site
        self._stop = stop
        self._known: dict[tuple[int, int], Taken] = {}

    def take_ahead(self, foreseen: Sequence[Candidate]) -> None:
        """Raises SiteUnreachable, OSError, Stopped."""
        answers = take(self._site, [one.wanted for one in foreseen], self._stop)
        for one, answer in zip(foreseen, answers, strict=True):
            if answer is not False:
                self._known[one.task, one.earlier.id] = answer

    def take(self, candidates: Sequence[Candidate]) -> list[Taken]:
        """By position, what came of it. Raises as ``take_ahead``."""
        self.take_ahead([one for one in candidates if (one.task, one.earlier.id) not in self._known])
        return [self._known[one.task, one.earlier.id] for one in candidates]


def take(site: Site, wanted: Sequence[Wanted], stop: threading.Event) -> list[Answer]:
    """By position, what came of it. ``wanted`` is in order of level. May be repeated.

    Raises SiteUnreachable, OSError; Stopped once ``stop`` is set.
    """
    answers: list[Answer] = []
    for some in _pieces(wanted):
        if stop.is_set():
            raise Stopped
        before = zip(wanted, answers, strict=False)
        if any(isinstance(answer, str) and one.level < some[0].level for one, answer in before):
            return answers + [False] * (len(wanted) - len(answers))
        answers += _take_piece(site, some)
    return answers


def _pieces(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    piece: list[Wanted] = []
    size = 0
    for one in wanted:
        if piece and (len(piece) == _TASKS_AT_ONCE or size + one.unstamped > _BYTES_AT_ONCE):
            yield piece
            piece, size = [], 0
        piece.append(one)
        size += one.unstamped
    if piece:
        yield piece


def _take_piece(site: Site, wanted: Sequence[Wanted]) -> list[Answer]:
    lines = [
        kept_json({"from": one.source, "to": one.target, "files": list(one.files), "level": one.level})
        for one in wanted
    ]
    command = [site.python, "-I", "-S", site.bring_agent(), "--take"]
    timeout_s = _LEAST_S + sum(one.size for one in wanted) / _READ_PER_S
    done = site.transport.run(command, timeout_s=timeout_s, stdin="".join(f"{line}\n" for line in lines).encode())
    said: list[Answer] = []
    for one, line in zip(wanted, done.stdout.splitlines(), strict=False):
        try:
            said.append(_answer(json.loads(line), one))
        except ValueError:
            break
    failed = f"they could not be looked at: {done.stderr.strip()[-200:] or f'exit code {done.exit_code}'}"
    return [*said, *([failed] * (len(wanted) - len(said)))]


def _answer(said: Any, wanted: Wanted) -> Answer:
    if said is False or isinstance(said, str):
        return said
    if not isinstance(said, list) or len(said) != len(wanted.files):
        raise ValueError("that is no answer")
    return said
