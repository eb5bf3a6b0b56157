"""What is left of runs that nobody needs: those whose writing was never finished, and the tokens of ended ones.

It goes in pieces, as they were written: others wait for no more than one, and none needs much room in the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from packhorse.store.database import Database
from packhorse.store.kbase.runs import ended_with_tokens, forget_tokens
from packhorse.store.runs import remove_run, unfinished_runs

_AT_ONCE = 500
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


def forget_tokens_of_ended(database: Database) -> Iterator[None]:
    """What runs kept, sealed, for their tasks alone goes when they have ended, a piece at each step."""
    more = True
    while more:
        with database.read() as connection:
            seqs = ended_with_tokens(connection, _AT_ONCE)
        if seqs:
            with database.write() as connection:
                forget_tokens(connection, seqs)
        more = len(seqs) == _AT_ONCE
        yield
