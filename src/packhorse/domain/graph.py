"""Edges between the tasks and steps of a run: who waits for whom, and cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

from pydantic import BeforeValidator

MAX_STEPS = 1000


def _names(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


Names = Annotated[list[str], BeforeValidator(_names)]
"""One name, or a list of them."""


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
