"""Runs that somebody began to write and never finished: nobody sees them, and they are removed.

In pieces, as they were written: others wait for no more than one, and none needs much room in the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from packhorse.store.database import Database
from packhorse.store.runs import remove_run, unfinished_runs

ABANDONED_S = 30.0  # a run whose writing was begun, and of which nothing was written for so long, is given up


def remove_unfinished(database: Database) -> Iterator[None]:
    """Removes all of them, a piece at each step."""
    with database.read() as connection:
        left = unfinished_runs(connection, time.time() - ABANDONED_S)
    for seq in left:
        yield from remove_pieces(database, seq)


def remove_pieces(database: Database, seq: int) -> Iterator[None]:
    """Removes one of them, a piece at each step."""
    more = True
    while more:
        with database.write() as connection:
            more = remove_run(connection, seq)
        database.move_log()
        yield
