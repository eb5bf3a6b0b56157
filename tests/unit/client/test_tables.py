"""Tables that people bring."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.client.tables import read_table, rows_of
from packhorse.domain.errors import InvalidRequest, NotFound


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b'a,b\n1,x\n\n2,"y, z"\n'),
        ("t.csv", b'\xef\xbb\xbfa,b\r\n1,x\r\n2,"y, z"\r\n'),
        ("t.csv", b'a,b\r1,x\r2,"y, z"\r'),
        ("t.tsv", b"a\tb\n1\tx\n2\ty, z\n"),
        ("t.jsonl", b'{"a": "1", "b": "x"}\n\n{"a": "2", "b": "y, z"}\n'),
        ("t.json", b'[{"a": "1", "b": "x"}, {"a": "2", "b": "y, z"}]'),
    ],
)
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    assert list(read_table(write(tmp_path, name, content))) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y, z"}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n1\n", "line 2: 1 values, but the header names 2"),
        ("t.csv", b"a,a\n1,2\n", "line 1: a column name is there twice"),
        ("t.csv", b"\xff\xfea\0\n1\n", "line 1: is not UTF-8 text"),
        ("t.csv", b"a,\n1,2\n", "line 1: column 2 has no name"),
        ("t.jsonl", b"[" * 200_000, "line 1: not JSON"),
        ("t.jsonl", b'{"a": 1}\nx\n', "line 2: not JSON"),
        ("t.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("t.json", b"{}", "expected a JSON array"),
        ("t.json", b"x", "is not JSON"),
        ("t.xlsx", b"x", "must end in .csv"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words.replace(".", r"\.")):
        list(read_table(write(tmp_path, name, content)))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no table at"):
        read_table(tmp_path / "t.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=2), max_size=8))
def test_what_csv_writes_is_read_back(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["a", "b"])
        writer.writerows(rows)
    assert [list(row.values()) for row in read_table(path)] == rows


def test_rows_may_be_anything_with_rows(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, float("nan")]})
    rows = list(rows_of(frame) or [])
    assert rows == [{"a": 1, "b": 0.5}, {"a": 2, "b": None}]
    json.dumps(rows)
    assert rows_of(None) is None
    assert list(rows_of([{"a": 1}]) or []) == [{"a": 1}]
