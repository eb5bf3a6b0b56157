"""Journals are read in one pass: each line counts by itself, whatever stands beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from packhorse.engine.collecting.journal import parse_journal

END = {"k": "end", "id": 1, "n": 1, "t0": 1.0, "t1": 2.0, "wall": 0.5, "exit": 0}


def end(**changes: Any) -> str:
    return json.dumps({**END, **changes})


@pytest.mark.parametrize(
    "bad",
    [
        '{"k":"end",\n"id":1,"n":1}',  # one record on two lines is two lines that are none
        f"{end()} {end()}", "3", "null", '"end"', "[1]", "", "{", '{"id":1,"n":1}', end(n=True), end(id="1"),
        end(why=3), end(wall=1e12), end(exit="0"), end(files=[3]), end(log=[["out", 0, -1]]), '{"k":"end","wall":NaN}',
        '{"k":"claim","block":"x"}', '{"k":"back","tasks":[[1,1.5]]}', f'{{"k":"x","wall":{"1" * 5000}}}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_record_is_counted_and_holds_up_no_other(bad: str) -> None:
    batch = parse_journal(f"{end()}\n{bad}\n{end(id=2)}\n".encode())
    assert batch.bad_lines == bad.count("\n") + 1
    assert [record["id"] for record in batch.records] == [1, 2]
    assert batch.task_ids == {1, 2}


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (end(msg="a\0b\ud800"), {"msg": "a\ufffdb\ufffd"}),
        (end(msg="\U0001f40e"), {"msg": "\U0001f40e"}),
        (end(result="\ud800"), {"result": "\ud800"}),  # it is judged
        (f" {end()} ", {}),
        (end(files=[{"path": "caf\udce9", "size": -1}]), {"files": [{"path": "caf\udce9", "size": 0}]}),
        (f'{{"k":"end","id":1,"n":1,"other":{"1" * 5000}}}', {"other": float("inf")}),
        (end().replace('"wall"', '"w\u00e4ll"'), {"w\u00e4ll": 0.5}),
    ],
)
def test_what_a_record_says(line: str, fields: dict[str, Any]) -> None:
    batch = parse_journal(f"{line}\n{end(id=2)}\n".encode())
    assert batch.bad_lines == 0
    assert {name: batch.records[0][name] for name in fields} == fields
    assert batch.records[1] == {**END, "id": 2}


def test_a_line_that_is_not_utf8_spoils_no_other() -> None:
    batch = parse_journal(end().encode() + b"\n\xff\n" + end(id=2).encode() + b'\n{"k":"st')
    assert (batch.bad_lines, len(batch.records)) == (1, 2)
    assert batch.length == len(end()) + len(end(id=2)) + 4


def test_the_tasks_that_a_record_speaks_of() -> None:
    data = b'{"k":"back","tasks":[[3,1],[4,2]]}\n{"k":"start","id":5,"n":1}\n{"k":"claim","block":"7"}\n'
    assert parse_journal(data).task_ids == {3, 4, 5}
