"""Takes what earlier tasks left at a site: looks whether it is as it was, and gives it to the tasks that need not
run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from packhorse.domain.text import kept_json
from packhorse.http.errors import Stopped
from packhorse.sites.site import Site

_TASKS_AT_ONCE = 500  # of one command at the site
_BYTES_AT_ONCE = 1_000_000_000
_READ_PER_S = 20_000_000  # bytes, of a file system that is slow
_LEAST_S = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Outputs (as of attempts) in a folder at the site that are to be those of another task as well."""

    source: str
    target: str
    files: Sequence[dict[str, Any]]

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(int(file["size"]) for file in self.files)


def take(site: Site, wanted: Sequence[Wanted], stop: threading.Event) -> list[str | None]:
    """By position: why it could not be taken; None where it was. May be repeated.

    Raises SiteUnreachable, OSError; Stopped once ``stop`` is set.
    """
    answers: list[str | None] = []
    for some in _pieces(wanted):
        if stop.is_set():
            raise Stopped
        answers += _take_piece(site, some)
    return answers


def _pieces(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    piece: list[Wanted] = []
    size = 0
    for one in wanted:
        if piece and (len(piece) == _TASKS_AT_ONCE or size + one.size > _BYTES_AT_ONCE):
            yield piece
            piece, size = [], 0
        piece.append(one)
        size += one.size
    if piece:
        yield piece


def _take_piece(site: Site, wanted: Sequence[Wanted]) -> list[str | None]:
    lines = [kept_json({"from": one.source, "to": one.target, "files": list(one.files)}) for one in wanted]
    command = [site.python, "-I", "-S", site.bring_agent(), "--take"]
    timeout_s = _LEAST_S + sum(one.size for one in wanted) / _READ_PER_S
    done = site.transport.run(command, timeout_s=timeout_s, stdin="".join(f"{line}\n" for line in lines).encode())
    said: list[str | None] = []
    for line in done.stdout.splitlines()[: len(wanted)]:
        try:
            said.append(json.loads(line))
        except ValueError:
            break
    failed = f"they could not be looked at: {done.stderr.strip()[-200:] or f'exit code {done.exit_code}'}"
    return [*said, *([failed] * (len(wanted) - len(said)))]
