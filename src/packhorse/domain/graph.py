"""Edges between the tasks of a run: who waits for whom, and cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str] | None:
    """One cycle of the graph ``task → tasks it needs`` as names in order, the first repeated at the end; None when
    there is none.

    Iterative, so that a chain of a million tasks does not exhaust the stack.
    """
    done: set[str] = set()
    for root in needs:
        if root in done:
            continue
        path: list[str] = [root]
        on_path = {root}
        iterators = [iter(needs.get(root, ()))]
        while iterators:
            following = next(iterators[-1], None)
            if following is None:
                iterators.pop()
                name = path.pop()
                on_path.discard(name)
                done.add(name)
            elif following in on_path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                on_path.add(following)
                iterators.append(iter(needs.get(following, ())))
    return None
