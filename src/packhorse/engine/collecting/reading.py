"""Reads the journals of a site on, all at once, and applies what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from packhorse.domain.states import AllocationState
from packhorse.engine.clock import Clock
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.heartbeats import Heartbeats
from packhorse.engine.lease import Lease
from packhorse.sites.journals import File, Journals, Request, read_journals
from packhorse.sites.site import Site
from packhorse.store.allocations import journal_offsets
from packhorse.store.database import Database

_APPLIED_AT_ONCE = 256 << 10  # bytes in one transaction, or one journal: others write in between
_REST = 4.0  # times as long as a look took where each is a process of the login node, which is not ours alone
_LONGEST_REST_S = 1.0
_REST_HERE = 100.0  # times as long, where the files are ours: a hundredth of a processor
_REST_HERE_S = (0.02, 0.5)

_log = structlog.get_logger("packhorse.collect")


@dataclass(frozen=True, slots=True)
class _Piece:
    """What came of one journal. ``allocation`` is a row of the store."""

    allocation: Any
    agent: str
    data: bytes


class JournalReader:
    """Follows the journals of one site's allocations.

    Only who leads applies journals, so that how far they are need not be asked of the store each time.
    """

    def __init__(self, site: Site, database: Database, lease: Lease, collector: Collector, clock: Clock) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._collector = collector
        self._clock = clock
        self._read_to: dict[int, dict[str, int]] = {}  # by allocation and agent: the journals that we know to be so far
        self._start: File | None = None  # what was left out the last time
        self._told: set[tuple[File, str]] = set()
        self._look_at = 0.0
        self.rest_s = _REST_HERE_S[1]
        """How long nobody needs to look while nothing moves."""

    def forget(self) -> None:
        """Another engine may have led meanwhile: how far journals are applied is asked of the store again."""
        self._read_to.clear()

    def forget_allocation(self, allocation_seq: int) -> None:
        """An allocation is over."""
        self._read_to.pop(allocation_seq, None)

    def bytes_of(self, allocation_seq: int) -> int:
        """How much of an allocation's journals was read, as far as that is known."""
        return sum(self._read_to.get(allocation_seq, {}).values())

    def look(self, allocations: Sequence[Any], heartbeats: Heartbeats) -> bool:
        """Applies what there is room for in one look; whether anything was. ``heartbeats`` get the beats when due.

        ``allocations`` are all live ones of the site. At a site whose files are not ours a look that comes too soon
        is none.
        """
        began = self._clock.monotonic()
        if not allocations:
            heartbeats.take({})
            return False
        if began < self._look_at:
            return False
        beats = heartbeats.is_due()
        found = self._read(allocations, self._start, beats=beats)
        self._start = found.next
        ended = self._clock.monotonic()
        if self._site.transport.is_local:
            self.rest_s = min(max(_REST_HERE * (ended - began), _REST_HERE_S[0]), _REST_HERE_S[1])
        else:
            self._look_at = ended + min(_LONGEST_REST_S, _REST * (ended - began))
        if beats:
            running = {row.id for row in allocations if row.state == AllocationState.RUNNING}
            heartbeats.take({key: beat for key, beat in found.beats.items() if key[0] in running})
        self._tell(found)
        return self._apply(allocations, found) > 0

    def drain(self, allocations: Sequence[Any]) -> dict[str, str]:
        """Applies all that is left of allocations that have ended.

        Returns, by allocation, what keeps some of it from being read: then it is not over yet.
        """
        start: File | None = None
        while allocations:
            found = self._read(allocations, start, beats=False)
            start = found.next
            if not self._apply(allocations, found) and start is None:
                return {
                    allocation: f"{self._site.spool(allocation)}/journal/{name} cannot be read: {says}"
                    for (allocation, name), says in found.unreadable.items()
                }
        return {}

    def _read(self, allocations: Sequence[Any], start: File | None, *, beats: bool) -> Journals:
        unknown = [row.seq for row in allocations if row.seq not in self._read_to]
        if unknown:
            with self._database.read() as connection:
                self._read_to |= journal_offsets(connection, unknown)
        offsets = {row.id: self._read_to[row.seq] for row in allocations}
        return read_journals(self._site, Request(offsets, beats, start))

    def _apply(self, allocations: Sequence[Any], found: Journals) -> int:
        """Returns how many bytes that was."""
        done = 0
        pieces = [_Piece(row, agent, data) for row in allocations for agent, data in found.data.get(row.id, {}).items()]
        for some in _together(pieces):
            seqs = {piece.allocation.seq for piece in some}
            read_to = {seq: self._read_to.pop(seq) for seq in seqs}  # they come back unless something fails on the way
            with self._lease.write() as connection:
                now = self._clock.now()
                lengths = [
                    self._collector.apply(connection, piece.allocation, piece.agent, piece.data, now) for piece in some
                ]
            for piece, length in zip(some, lengths, strict=True):
                offsets = read_to[piece.allocation.seq]
                offsets[piece.agent] = offsets.get(piece.agent, 0) + length
            self._read_to |= read_to
            done += sum(lengths)
        return done

    def _tell(self, found: Journals) -> None:
        """Of what is wrong with journals, what was not so at the last look."""
        cut = {file: f"it is shorter ({size} bytes) than what was read of it" for file, size in found.shortened.items()}
        wrong = {*found.unreadable.items(), *cut.items()}
        for (allocation, name), says in sorted(wrong - self._told):
            path = f"{self._site.spool(allocation)}/journal/{name}"
            _log.warning("journal_unreadable", site=self._site.name, path=path, reason=says)
        self._told = wrong


def _together(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces in groups, each for one transaction."""
    group: list[_Piece] = []
    size = 0
    for piece in pieces:
        if group and size + len(piece.data) > _APPLIED_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(piece)
        size += len(piece.data)
    if group:
        yield group
