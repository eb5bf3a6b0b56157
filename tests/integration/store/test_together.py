"""Writes that come together, on both databases: all are durable, each stands or falls by itself, and they share
transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

import packhorse.store.together as module
from packhorse.domain.errors import InvalidRequest, Unavailable
from packhorse.store.database import Database, NoRoom
from packhorse.store.runs import NewRun, insert_runs
from packhorse.store.schema import leases, runs
from packhorse.store.together import Together
from tests.fixtures.stores import new_step, new_task, run_values

THREADS, EACH = 8, 100
Work = Callable[[sa.Connection], object]


def each(connection: sa.Connection, works: Sequence[Work]) -> list[object]:
    return [work(connection) for work in works]


def together_on(database: Database) -> Together[Work, object]:
    return Together(database, each)


class Gate:
    """Holds the first write open, so that those that come meanwhile go into the next transaction together."""

    def __init__(self, together: Together[Work, object]) -> None:
        self._together = together
        self._entered, self._leave = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self.outcomes: dict[int, object] = {}

    def _hold(self, _connection: sa.Connection) -> None:
        self._entered.set()
        assert self._leave.wait(30)

    def write(self, *works: Work) -> list[object]:
        """What came of each of ``works``, in order: what it returned, or raised."""
        self._start(-1, self._hold)
        assert self._entered.wait(30)
        for number, work in enumerate(works):
            before = len(self._together._waiting)
            self._start(number, work)
            while len(self._together._waiting) == before:
                threading.Event().wait(0.001)
        self._leave.set()
        for thread in self._threads:
            thread.join(30)
        return [self.outcomes[number] for number in range(len(works))]

    def _start(self, number: int, work: Work) -> None:
        def run() -> None:
            try:
                self.outcomes[number] = self._together.write(work)
            except BaseException as error:
                self.outcomes[number] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()


def keep(name: str) -> Callable[[sa.Connection], str]:
    """A write of one row."""

    def work(connection: sa.Connection) -> str:
        connection.execute(sa.insert(leases).values(name=name, epoch=0, beat=0))
        return name

    return work


def kept(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(sa.select(leases.c.name)).scalars())


def insert_all(connection: sa.Connection, new: Sequence[NewRun]) -> Sequence[int]:
    return insert_runs(connection, [(run, [[new_task()]]) for run in new])


def transactions_of(database: Database) -> int:
    return database._writes


def test_all_writes_of_many_threads_are_durable_in_fewer_transactions(database: Database) -> None:
    together: Together[NewRun, int] = Together(database, insert_all)
    before = transactions_of(database)
    seen: list[int] = []

    def submit(thread: int) -> None:
        for number in range(EACH):
            run = NewRun(run_values(name=f"{thread}.{number}"), [new_step(1)])
            seq = together.write(run)
            with database.read() as connection:  # it is there as soon as it is said to be
                query = sa.select(runs.c.name).where(runs.c.seq == seq)
                assert connection.execute(query).scalar_one() == f"{thread}.{number}"
            seen.append(seq)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == THREADS * EACH
    assert transactions_of(database) - before < THREADS * EACH
    again = Database(database.url.render_as_string(hide_password=False))
    with again.read() as connection:
        names = set(connection.execute(sa.select(runs.c.name)).scalars())
    again.close()
    assert names == {f"{thread}.{number}" for thread in range(THREADS) for number in range(EACH)}


def test_who_waits_is_written_in_one_transaction_in_the_order_of_coming(database: Database) -> None:
    together, before = together_on(database), transactions_of(database)
    order: list[str] = []

    def ordered(name: str) -> Callable[[sa.Connection], str]:
        def work(connection: sa.Connection) -> str:
            order.append(name)
            return keep(name)(connection)

        return work

    names = [f"w{number}" for number in range(10)]
    assert Gate(together).write(*map(ordered, names)) == names == order
    assert transactions_of(database) - before == 2 and kept(database) == set(names)


def test_what_one_raises_undoes_only_its_own(database: Database) -> None:
    def refused(connection: sa.Connection) -> None:
        keep("refused")(connection)
        raise InvalidRequest("No.")

    def twice(connection: sa.Connection) -> None:
        keep("twice")(connection)
        keep("first")(connection)  # which is there

    found = Gate(together_on(database)).write(keep("first"), refused, keep("second"), twice, keep("third"))
    assert [type(one) for one in found] == [str, InvalidRequest, str, sa.exc.IntegrityError, str]
    assert kept(database) == {"first", "second", "third"}


def test_who_is_alone_is_undone_as_well(database: Database) -> None:
    def refused(connection: sa.Connection) -> None:
        keep("refused")(connection)
        raise InvalidRequest("No.")

    together = together_on(database)
    with pytest.raises(InvalidRequest):
        together.write(refused)
    assert together.write(keep("then")) == "then" and kept(database) == {"then"}


def test_an_error_of_the_database_reaches_all(database: Database) -> None:
    def away(_connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk I/O error"))

    together = together_on(database)
    found = Gate(together).write(keep("a"), away, keep("b"))
    assert [type(one) for one in found] == [Unavailable] * 3 and "disk I/O error" in str(found[0])
    assert kept(database) == set()
    assert together.write(keep("then")) == "then", "and then it goes on"


def test_a_refusal_stays_one_when_the_commit_fails(database: Database) -> None:
    def refused(_connection: sa.Connection) -> None:
        raise InvalidRequest("No.")

    def fail(_connection: object) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("database or disk is full"))

    together = together_on(database)
    sa.event.listen(database.engine, "commit", fail)
    found = Gate(together).write(keep("a"), refused)
    sa.event.remove(database.engine, "commit", fail)
    assert [type(one) for one in found] == [NoRoom, InvalidRequest] and kept(database) == set()


def test_a_refusal_that_is_returned_is_raised_for_that_one_and_nobody_is_written_again(database: Database) -> None:
    tries: list[int] = []

    def some_refused(connection: sa.Connection, numbers: Sequence[int]) -> list[str | Exception]:
        tries.append(len(numbers))
        return [keep(f"w{one}")(connection) if one % 2 else InvalidRequest(f"No {one}.") for one in numbers]

    together: Together[int, str] = Together(database, some_refused)
    found = together.write_many(range(4))
    assert [str(one) for one in found] == ["No 0.", "w1", "No 2.", "w3"]
    assert tries == [4] and kept(database) == {"w1", "w3"}
    with pytest.raises(InvalidRequest, match="No 8"):
        together.write(8)


def test_large_ones_take_a_transaction_each(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packhorse.store.together._SIZE_AT_ONCE", 10)
    sizes: list[int] = []

    def note(_connection: sa.Connection, items: Sequence[int]) -> Sequence[int]:
        sizes.append(sum(items))
        return items

    together: Together[int, int] = Together(database, note, size=lambda item: item)
    assert together.write_many([4, 6, 30, 5, 5, 1]) == [4, 6, 30, 5, 5, 1]
    assert sizes == [10, 30, 10, 1]


def test_more_than_go_into_one_transaction_take_several(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packhorse.store.together._AT_ONCE", 3)
    before = transactions_of(database)
    names = [f"w{number}" for number in range(7)]
    assert Gate(together_on(database)).write(*map(keep, names)) == names
    assert transactions_of(database) - before == 4 and kept(database) == set(names)


def test_who_comes_alone_waits_for_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waited.append))
    together = together_on(database)
    for name in ("a", "b"):
        together.write(keep(name))
    together.write_many([keep("c"), keep("d")])
    assert not waited
    assert Gate(together).write(keep("e"), keep("f")) == ["e", "f"]
    assert not waited, "they came while another wrote"
    for name in ("g", "h"):
        together.write(keep(name))
    assert len(waited) == 1, "after several others may come, and after one alone nobody"
