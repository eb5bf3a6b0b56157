"""Edges between the tasks of a run: who waits for whom, and cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str] | None:
    """One cycle of the graph ``task → tasks it needs`` as names in order, the first repeated at the end; None when
    there is none.
    """
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]  # each is needed by the one after it
        return found[::-1]
    return None
