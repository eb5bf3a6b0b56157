"""Whatever users and journals say goes through the store of either kind, or is refused by name; what is shown of it is
strict JSON.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun
from packhorse.domain.text import value_problem
from packhorse.engine.embedded import Embedded
from packhorse.sites.base import Shape
from packhorse.sites.journals import Request, read_journals
from packhorse.sites.site import local_site
from packhorse.store import allocations as stored
from packhorse.store.deliveries import add_deliveries, open_deliveries, update_delivery
from packhorse.store.runs import get_run
from packhorse.store.schema import TASKS_PER_RUN, deliveries
from tests.fixtures.engines import new_collector
from tests.fixtures.oddtext import RESULTS, any_text, any_value
from tests.fixtures.stores import ids_of, place_some

APP = """\
packhorse: 1
name: odd
version: '1'
command: [echo, '{text}', '{file}']
parameters: {text: {default: ''}, file: {type: file, optional: true}, number: {type: number, optional: true}}
outputs: {value: {from: stdout, type: KIND}}
"""
EXAMPLES = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Room:
    """A store with apps whose results are JSON and text, and the REST API over it; no engine: journals are written
    here.
    """

    def __init__(self, embedded: Embedded, home: Path) -> None:
        self.room = embedded
        self.folder = home
        for kind in ("json", "text"):
            (home / kind).mkdir(parents=True)
            (home / kind / "app.yaml").write_text(APP.replace("KIND", kind))
        tokens = Tokens(embedded.database)
        headers = {"Authorization": f"Bearer {tokens.add('root', admin=True)}"}
        self.http = TestClient(create_app(embedded.service, tokens), headers=headers)
        self.collector = new_collector(local_site("/nowhere"))

    def submit(self, kind: str = "json", over: Any = ({}, {}), **options: Any) -> str:
        request = AppRun(app=str(self.folder / kind), **options)
        return self.room.mine.submit(request, list(over)).id

    def place(self, run_id: str) -> tuple[Any, int]:
        """All tasks of a run at a site: the allocation's row, and the id of the first task."""
        with self.room.database.write() as connection:
            seq = get_run(connection, run_id).seq  # type: ignore[union-attr]
            number = self.room.mine.run(run_id).tasks
            allocation = stored.insert_allocation(
                connection, f"a-{seq}", "local", json.dumps(asdict(Shape(2, 1000, None))), 1.0
            )
            stored.insert_blocks(connection, [stored.NewBlock(allocation, 0, number, 1.0)])
            placed = place_some(connection, number, "local", allocation)
            assert placed == ids_of(seq, range(number))
            return stored.get_allocation(connection, allocation), seq * TASKS_PER_RUN

    def collect(self, allocation: Any, lines: list[str]) -> None:
        data = b"".join(line.encode() + b"\n" for line in lines)
        with self.room.database.write() as connection:
            assert self.collector.apply(connection, allocation, "node-1", data, 4.0) == len(data)

    def results(self, run_id: str) -> list[dict[str, Any]]:
        """As every door has them, each strictly read."""
        path = f"/api/v1/runs/{run_id}"
        found = [strictly(line) for line in self.ask(f"{path}/results").splitlines()]
        rows = list(
            csv.DictReader(io.StringIO(self.ask(f"{path}/results", Accept="text/csv"), newline=""), strict=True)
        )
        assert [int(row["index"]) for row in rows] == [row["index"] for row in found]
        listed = strictly(self.ask(f"{path}/tasks"))["items"]
        assert [task["result"] for task in listed] == [row["result"] for row in found]
        for task in listed:
            strictly(self.ask(f"/api/v1/tasks/{task['id']}"))
        assert found == [strictly(json.dumps(row)) for row in self.room.mine.results(run_id)]
        return found

    def ask(self, path: str, **headers: str) -> str:
        answer = self.http.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content.decode()


def strictly(text: str) -> Any:
    value = json.loads(text)
    assert value_problem(value) in (
        None,
        "it is nested more than 100 levels deep",
    )  # a result of 100 levels is within a row
    return value


@pytest.fixture
def room(embedded: Embedded, home: Path) -> Iterator[Room]:
    yield Room(embedded, home)


def end(task: int, **fields: Any) -> str:
    return json.dumps({"k": "end", "id": task, "n": 1, "t0": 2.0, "t1": 3.0, "wall": 1.0, "exit": 0, **fields})


@EXAMPLES
@given(value=any_value, words=any_text, name=any_text, failed=st.booleans())
def test_any_result_is_kept_or_its_task_fails_and_others_are_not_touched(
    room: Room, value: Any, words: str, name: str, failed: bool
) -> None:
    run = room.submit()
    allocation, first = room.place(run)
    odd = {"exit": 1, "tail": words, "msg": words, "why": "outputs"} if failed else {"result": value}
    try:
        line = end(first, files=[{"path": f"x{name}", "size": 1}], **odd)
    except ValueError:  # this Python writes no integer of so many digits, as another did
        line = end(first, result=0)[:-2] + "9" * 5000 + "}"
        value = 10**5000
    room.collect(
        allocation, [json.dumps({"k": "agent", "host": words * 50, "t": 1.0}), line, end(first + 1, result={"fine": 1})]
    )
    one, other = room.results(run)
    assert (other["state"], other["result"]) == ("COMPLETE", {"fine": 1})
    why = None if failed else value_problem(value)
    if failed or why is not None:
        assert (one["state"], one["result"]) == ("EXECUTOR_ERROR", None)
        assert failed or one["reason"] == f"the result cannot be kept: {why}" or "1.8e308" in one["reason"]
    else:
        assert (one["state"], one["result"]) == ("COMPLETE", value)


def test_each_result_of_the_table_that_comes_in_a_journal_ends_as_it_should(room: Room) -> None:
    cases = [(printed, why) for printed, why in RESULTS if len(printed) < 50_000 and "twice" not in (why or "")]
    run = room.submit(over=[{}] * len(cases))
    allocation, first = room.place(run)
    room.collect(
        allocation, [end(first + index, result=0)[:-2] + printed + "}" for index, (printed, _) in enumerate(cases)]
    )
    for row, (printed, why) in zip(room.results(run), cases, strict=True):
        assert row["state"] == ("COMPLETE" if why is None else "EXECUTOR_ERROR"), printed
        assert row["result"] == (json.loads(printed) if why is None else None)
        assert why is None or row["reason"].startswith("the result cannot be kept: ")


def test_a_text_result_with_nul_fails_its_task_on_either_database(room: Room) -> None:
    run = room.submit("text")
    allocation, first = room.place(run)
    room.collect(allocation, [end(first, result="a\0b"), end(first + 1, result="a\x1b[31m,\r\"'\n=1\n")])
    one, other = room.results(run)
    assert (one["state"], one["reason"]) == ("EXECUTOR_ERROR", "the result cannot be kept: it holds a NUL character")
    assert (other["state"], other["result"]) == ("COMPLETE", "a\x1b[31m,\r\"'\n=1")
    table = room.ask(f"/api/v1/runs/{run}/results", Accept="text/csv")
    assert list(csv.DictReader(io.StringIO(table, newline=""), strict=True))[1]["result"] == other["result"]


def test_an_empty_key_is_a_column_with_a_name(room: Room) -> None:
    run = room.submit()
    allocation, first = room.place(run)
    room.collect(allocation, [end(first, result={"": 1, "text": 2})])
    assert room.ask(f"/api/v1/runs/{run}/results", Accept="text/csv").splitlines()[0].split(",")[-3:] == [
        "number",
        "result.",
        "result.text",
    ]


@EXAMPLES
@given(
    text=any_text,
    number=st.one_of(st.floats(), st.integers(), any_text),
    tags=st.dictionaries(any_text, any_text, max_size=2),
)
def test_what_a_user_gives_is_kept_as_it_is_or_refused_by_name(
    room: Room, text: str, number: Any, tags: dict[str, str]
) -> None:
    try:
        run = room.submit(over=[{"text": text, "number": number}], tags=tags, name=text)
    except InvalidRequest as refusal:
        str(refusal).encode()
        assert any(
            word in str(refusal) for word in ("row 1, parameter 'text'", "row 1, parameter 'number'", "tags", "name")
        )
    else:
        (row,) = room.results(run)
        assert row["params"]["text"] == text


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a\0"}, "row 2, parameter 'text': contains a NUL byte"),
        ({"text": "\udce9"}, "row 2, parameter 'text': is not UTF-8 text"),
        ({"text": "\ud800"}, "row 2, parameter 'text': holds a lone surrogate"),
        ({"text": 10**5000}, "row 2, parameter 'text': expected a whole number of at most 64 bits"),
        ({"text": float("inf")}, "row 2, parameter 'text': expected text, found inf"),
        ({"number": 10**400}, "row 2, parameter 'number': expected a number that is finite"),
        ({"number": "1e999"}, "row 2, parameter 'number': expected a number"),
        ({"file": "/etc/\ud800"}, "row 2, parameter 'file': holds a lone surrogate"),
        ({"file": "/etc/\udce9"}, "row 2, parameter 'file': the file '/etc/\ufffd' is not there"),
        ({"file": "/etc/\0"}, "row 2, parameter 'file': contains a NUL byte"),
        ({"te\ud800": 1}, "row 2: unknown parameter 'te\ufffd'"),
    ],
)
def test_a_row_that_cannot_be_held_is_refused_with_its_place(room: Room, row: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        room.submit(over=[{"text": "fine"}, row])
    assert words in str(refusal.value)


def test_names_of_files_come_back_from_columns_as_they_went_in(room: Room) -> None:
    names = ["caf\udce9.txt", "\\xe9", "é\\x5c", "plain"]
    run = room.submit()
    with room.room.database.write() as connection:
        task = get_run(connection, run).seq * TASKS_PER_RUN  # type: ignore[union-attr]
        rows = [
            {"task_id": task, "attempt": 1, "path": name, "source": f"/o/{name}", "url": f"file:///t/{name}"}
            for name in names
        ]
        add_deliveries(connection, "local", rows)
        found = [(row.path, row.source, row.url) for row in open_deliveries(connection, "local", 10)]
        raw = (
            connection.execute(sa.select(sa.type_coerce(deliveries.c.path, sa.Text)).order_by(deliveries.c.id))
            .scalars()
            .all()
        )
    assert found == [(name, f"/o/{name}", f"file:///t/{name}") for name in names]
    assert list(raw) == ["caf\\xe9.txt", "\\x5cxe9", "é\\x5cx5c", "plain"]


def test_whatever_the_world_says_fits_its_column(room: Room) -> None:
    run = room.submit()
    with room.room.database.write() as connection:
        task = get_run(connection, run).seq * TASKS_PER_RUN  # type: ignore[union-attr]
        add_deliveries(connection, "local", [{"task_id": task, "attempt": 1, "path": "p", "source": "s", "url": "u"}])
        (row,) = open_deliveries(connection, "local", 10)
        update_delivery(connection, row.id, error="a\0b\ud800\udce9", size=10**30)
        (row,) = open_deliveries(connection, "local", 10)
        assert (row.error, row.size) == ("a\ufffdb\ufffd\ufffd", (1 << 63) - 1)
        seq = stored.insert_allocation(connection, "a-x", "local", "{}", 1.0)
        stored.update_allocation(connection, seq, job_id="7\0" * 200, reason="\ud800", state="PENDING")
        allocation = stored.get_allocation(connection, seq)
        assert (allocation.job_id, allocation.reason) == ("7\ufffd" * 100, "\ufffd")


def test_files_that_are_no_agents_are_not_read_as_journals(room: Room, home: Path) -> None:
    site = local_site(str(home / "site"))
    folder = home / "site" / "spool" / "a-1" / "journal"
    folder.mkdir(parents=True)
    for name in (b"node-1.jsonl", b"caf\xe9.jsonl", b"x" * 240 + b".jsonl", b"node-1.beat"):
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(b"{}\n")
    assert read_journals(site, Request({"a-1": {}})).data == {"a-1": {"node-1": b"{}\n"}}


def test_tokens_of_nobody_are_revoked_without_a_fuss(room: Room) -> None:
    assert [Tokens(room.room.database).revoke(user) for user in ("a\0", "\udce9", "\ud800")] == [0, 0, 0]
