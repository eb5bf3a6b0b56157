"""Tables that people bring."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import sys
import threading
import tracemalloc
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.client.tables import read_table, rows_of
from packhorse.domain import tables
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError, TooLarge
from packhorse.domain.tables import Form, Table


def gzipped(data: bytes) -> bytes:
    """Without the time: it stands in the names of tests, which all workers must find the same."""
    return gzip.compress(data, mtime=0)


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
        ("t.csv", b'\n\na,b\n1,x\n,\n  ,\t\n2,"y, z"\n,,,\n'),
        ("t.csv", b'a,b\r1,x\r,\r2,"y, z"'),
        ("t.json", b'[{"a": "1", "b": "x"}, {"a": "2", "b": "y, z"}]'),
        ("t.json", b'\xef\xbb\xbf [ {"a": "1", "b": "x"}\n,\n{"a": "2", "b": "y, z"} ]\n'),
        ("t.csv.gz", gzipped(b"a,b\n1,x\n") + gzipped(b'2,"y, z"\n')),
        ("t.tsv.gz", gzipped(b"a\tb\n1\tx\n2\ty, z\n")),
        ("t.JSONL.GZ", gzipped(b'{"a": "1", "b": "x"}\n{"a": "2", "b": "y, z"}\n')),
        ("t.json.gz", gzipped(b'[{"a": "1", "b": "x"}, {"a": "2", "b": "y, z"}]')),
        ("t.csv", gzipped(b'a,b\n1,x\n2,"y, z"\n')),
    ],
)
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    assert list(read_table(write(tmp_path, name, content))) == [{"a": "1", "b": "x"}, {"a": "2", "b": "y, z"}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n1\n", "line 2: 1 value, but the header names 2."),
        ("t.csv", b'a,b\n"1\n2",3\n1,2,3\n', "line 4: 3 values, but the header names 2."),
        ("t.csv", b"a,a\n1,2\n", "line 1: a column name is there twice: 'a', in columns 1 and 2."),
        ("t.csv", b"a\n" + b"1\n" * 5000 + b"\xff\xfe,2\n", "line 5002: 2 values"),
        ("t.csv", b"a,caf\xe9\r1,2\r", "line 1: is not UTF-8 text: it has the byte 0xe9. Save it as UTF-8."),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16 text. Save it as UTF-8."),
        ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), "is UTF-16 text."),
        ("t.csv", "a,b\n1,2\n".encode("utf-16-be"), "is UTF-16 text."),
        ("t.csv", b"PK\x03\x04\0\0", "is a ZIP file, as spreadsheets are, and not a table of text. Save it as CSV"),
        ("t.csv", b"BZh91AY", "is compressed with bzip2"),
        ("t.csv", b"a,\n1,2\n", "line 1: column 2 has no name. Is there a separator too many?"),
        ("t.csv", b"a, \n1,2\n", "line 1: column 2 has no name."),
        ("t.csv", b",\n1,2\n", "line 1: column 1 has no name."),
        ("t.csv", b"a;b\n1;2\n", "line 1: values seem to be separated by semicolons, and commas are expected."),
        ("t.csv", b"a\tb\n1\t2\n", "line 1: values seem to be separated by tabs, and commas are expected."),
        ("t.tsv", b"a,b\n1,2\n", "line 1: values seem to be separated by commas, and tabs are expected."),
        ("t.csv", b'a,b\n1,2\n3,"4\n5,6\n', "line 3: a quote that begins in this row never ends."),
        ("t.csv", b'a,b\n1,2\n3,"4"5\n', "line 3: a quoted value goes on after its closing quote."),
        (
            "t.csv",
            b'a\n"' + b"x\n" * 9_000_000,
            "line 2: a value in this row is longer than 16,000,000 bytes. Is there a quote",
        ),
        ("t.csv", b"a\n" + b"x" * 17_000_000, "line 2: is longer than 16,000,000 bytes."),
        ("t.jsonl", b"[" * 200_000, "line 1: not JSON that can be read (it is nested too deeply)"),
        ("t.jsonl", b'{"a": 1}\nx\n', "line 2: not JSON (expecting value, column 1)."),
        ("t.jsonl", b'{"a": 1, "b": 2, "a": 3}\n', "line 1: the key 'a' is there twice in one object."),
        (
            "t.jsonl",
            b'{"a": ' + b"1" * 5000 + b"}\n",
            "line 1: not JSON that can be read (it has a number of too many digits).",
        ),
        ("t.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("t.jsonl", b'{"a": 1', "line 1: not JSON (it ends too early, column 8)."),
        ("t.json", b"{}", "expected a JSON array"),
        ("t.json", b'{"a": 1}\n{"a": 2}\n', "Objects that stand one on a line are JSON lines: .jsonl."),
        ("t.json", b"x", "expected a JSON array"),
        ("t.json", b"", "expected a JSON array"),
        ("t.json", b"[1]", "row 1: expected a JSON object"),
        ("t.json", b'[{"a": 1}, ]', "row 2: expected a JSON object"),
        ("t.json", b'[{"a": 1} {"a": 2}]', "after row 1, expected ',' or ']'."),
        ("t.json", b'[{"a": 1}', "after row 1, expected ',' or ']'."),
        ("t.json", b'[{"a": 1}, {"a": ', "row 2: not JSON (it ends too early)."),
        ("t.json", b'[{"a": 1}, {"a": x}]', "row 2: not JSON (expecting value)."),
        ("t.json", b'[{"a": 1, "a": 1}]', "row 1: the key 'a' is there twice"),
        ("t.json", b"[{}] x", "goes on after the end"),
        ("t.json", b'[{"a": ' + b"[" * 200_000, "row 1: not JSON that can be read (it is nested too deeply)."),
        ("t.xlsx", b"x", "Its name must end in .csv, .tsv, .jsonl or .json, or in one of these and .gz."),
        ("t.gz", b"x", "Its name must end in .csv"),
        ("t.csv.gz", b"a\n1\n", "is not compressed with gzip, as its name says."),
        ("t.csv.gz", gzipped(b"a\n" + bytes(range(256)) * 9)[:-20], "the gzip file is cut short."),
        ("t.csv.gz", b"\x1f\x8b\x08\0damaged damaged damaged", "cannot be decompressed"),
        ("t.csv.gz", gzipped(b"a\n1\n")[:-8] + b"\1" * 8, "cannot be decompressed: CRC check failed"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(words)):
        list(read_table(write(tmp_path, name, content)))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no table at"):
        read_table(tmp_path / "t.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2, max_size=2),
        max_size=8,
    )
)
def test_what_csv_writes_is_read_back(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["a", "b"])
        writer.writerows(rows)
    assert [list(row.values()) for row in read_table(path)] == rows


def test_names_of_files_may_be_any_bytes(tmp_path: Path) -> None:
    for name, content in (
        ("t.csv", b"a\rcaf\xe9\r"),
        ("t.jsonl", b'{"a": "caf\xe9"}'),
        ("t.json", b'[{"a": "caf\xe9"}]'),
    ):
        assert list(read_table(write(tmp_path, name, content))) == [{"a": "caf\udce9"}]


def test_blank_rows_are_left_out_and_counted_and_that_is_said(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "t.csv", b'a,b\n1,2\n,\n3,4\n , \n,,\n\n"",""\n'))
    assert list(table) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "", "b": ""}], (
        "quotes say that empty text is meant"
    )
    assert (table.blank_rows, table.notes) == (3, ["3 blank rows left out."])
    table = read_table(write(tmp_path, "t.csv", b'a\n1\n\n""\n'))
    assert (list(table), table.notes) == ([{"a": "1"}, {"a": ""}], [])
    assert list(read_table(write(tmp_path, "t.jsonl", b"{}\n{}\n"))) == [{}, {}], (
        "rows without values may have defaults"
    )


def test_a_compressed_table_takes_little_memory_and_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(b"a\n" + b"1" * 60_000 + b"\n")
        for _ in range(60):
            file.write(b"\r\n".rjust(500_000))
    tracemalloc.start()
    assert len(list(read_table(tmp_path / "t.csv.gz"))) == 1
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()
    monkeypatch.setattr(tables, "MAX_EXPANDED", 20_000_000)
    with pytest.raises(TooLarge, match="larger than 20,000,000 bytes when it is decompressed"):
        list(read_table(tmp_path / "t.csv.gz"))


def test_a_json_array_is_read_as_it_comes(tmp_path: Path) -> None:
    with (tmp_path / "t.json").open("w") as file:
        file.write("[" + ",".join(json.dumps({"n": number, "text": "é" * 50}) for number in range(20_000)) + "]")
    tracemalloc.start()
    assert sum(row["n"] for row in read_table(tmp_path / "t.json")) == 20_000 * 19_999 // 2
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


class Stdin:
    """What sys.stdin is, of some bytes."""

    closed = False

    def __init__(self, content: bytes, *, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,\n", b"\xef\xbb\xbfa,b\r\n1,\r\n", b"a\tb\n1\t\n", b'\n{"a": "1", "b": ""}\n', b' [{"a": "1", "b": ""}]',
     gzipped(b"a,b\n1,\n"), gzipped(b'{"a": "1", "b": ""}')],
)  # fmt: skip
def test_a_table_on_stdin_is_read_as_what_it_looks_like(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    assert list(read_table("-")) == [{"a": "1", "b": ""}]


def test_a_terminal_is_told_that_it_is_read_and_no_stdin_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"a\n1\n", terminal=True))
    assert list(read_table("-")) == [{"a": "1"}]
    assert "read from this terminal; Ctrl-D ends it" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Stdin(b""))
    with pytest.raises(InvalidRequest, match="stdin is empty"):
        list(read_table("-"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidRequest, match="There is no stdin"):
        read_table("-")


def test_a_pipe_with_a_path_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"a\tb\n1\t2\n"))
    writer.start()
    assert list(read_table(tmp_path / "pipe")) == [{"a": "1", "b": "2"}]
    writer.join()


@pytest.mark.parametrize(
    ("path", "words"), [("", "is a folder"), ("a\0b", "There is no table"), ("x" * 5000, "cannot be read")]
)
def test_what_is_no_file_is_refused(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(PackhorseError, match=words):
        read_table(tmp_path / path)


@settings(max_examples=200, deadline=2000)
@given(
    st.sampled_from([*Form, None]),
    st.binary(max_size=300) | st.text('a1,;\t\r\n"{}[]:\ufeffé\0', max_size=300).map(str.encode),
)
def test_any_bytes_are_a_table_or_a_refusal(form: Form | None, content: bytes) -> None:
    for stream in (content, gzipped(content), gzipped(content)[: len(content)]):
        try:
            rows = list(Table(io.BytesIO(stream), "t", form))
        except PackhorseError as error:
            assert str(error).startswith("t ") or str(error).startswith("t, ")
        else:
            assert all(isinstance(row, dict) for row in rows)


@settings(max_examples=100, deadline=2000)
@given(
    st.lists(
        st.dictionaries(
            st.text("abc", min_size=1), st.text(st.characters(codec="utf-8")) | st.integers() | st.none(), max_size=3
        )
    )
)
def test_json_rows_come_back(rows: list[dict[str, Any]]) -> None:
    as_lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    as_array = json.dumps(rows, ensure_ascii=False).encode()
    assert list(Table(io.BytesIO(as_lines), "t", Form.JSON_LINES)) == rows
    assert list(Table(io.BytesIO(as_array), "t", Form.JSON)) == rows


def test_rows_come_in_whole_whatever_pieces_they_are_read_in(monkeypatch: pytest.MonkeyPatch) -> None:
    content = 'a,b\r\n1,"é\r\n,"\r\n\r\n2,ü\r\n'.encode()
    array = '[{"a": "é", "b": {"c": [1, 2.5]}}, {"a": "\\u00e9"}]'.encode()
    for size in range(1, 30):
        monkeypatch.setattr(tables, "_PIECE", size)
        assert list(Table(io.BytesIO(content), "t", Form.CSV)) == [{"a": "1", "b": "é\r\n,"}, {"a": "2", "b": "ü"}]
        assert list(Table(io.BytesIO(array), "t", Form.JSON)) == [{"a": "é", "b": {"c": [1, 2.5]}}, {"a": "é"}]


def test_rows_may_be_anything_with_rows(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, float("nan")]})
    rows = list(rows_of(frame) or [])
    assert rows == [{"a": 1, "b": 0.5}, {"a": 2, "b": None}]
    json.dumps(rows)
    assert rows_of(None) is None
    assert list(rows_of([{"a": 1}]) or []) == [{"a": 1}]


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ([[1, 2]], "row 1: expected a mapping from parameters to values, found a list."),
        ([{"a": 1}, None], "row 2: expected a mapping from parameters to values, found nothing."),
        (iter(["x"]), "row 1: expected a mapping from parameters to values, found 'x'."),
        ({"a": 1}, "a table is a list of them. over=[{...}], or, for a single task, params={...}."),
        (5, "'over' is no table: found 5. Give a file, a list of dicts"),
        (b"a\n1\n", "'over' is no table"),
        (True, "'over' is no table: found true."),
        (lambda: 1, "'over' is no table: found a value of type function."),
        ("x.csv", "There is no table at x.csv."),
        (
            [{"a": datetime(2024, 1, 1)}],
            "row 1, parameter 'a': a value of type datetime cannot be passed to a task. Pass it as text.",
        ),
        ([{"a": b"x"}], "row 1, parameter 'a': a value of type bytes"),
        ([{"a": {1, 2}}], "a value of type set"),
    ],
)
def test_what_is_no_table_in_python_is_refused_with_the_next_step(over: Any, words: str) -> None:
    with pytest.raises(PackhorseError) as caught:
        list(rows_of(over) or [])
    assert words in str(caught.value)


def test_values_of_numpy_and_pandas_are_plain_ones(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    row = {
        "i": numpy.int64(3),
        "f": numpy.float64("nan"),
        "g": numpy.float32(0.5),
        "b": numpy.bool_(True),
        "s": numpy.str_("x"),
        "p": tmp_path,
        "n": float("nan"),
        "a": pandas.NA,
        "t": pandas.NaT,
        7: "seven",
    }
    (plain,) = rows_of([row]) or []
    assert plain == {
        "i": 3,
        "f": None,
        "g": 0.5,
        "b": True,
        "s": "x",
        "p": str(tmp_path),
        "n": None,
        "a": None,
        "t": None,
        "7": "seven",
    }
    json.dumps(plain, allow_nan=False)
    frame = pandas.DataFrame({"a": [1, None], "b": ["x", pandas.NA]}, dtype="object")
    assert list(rows_of(frame) or []) == [{"a": 1, "b": "x"}, {"a": None, "b": None}]
    with pytest.raises(InvalidRequest, match="has a column name twice"):
        rows_of(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InvalidRequest, match="row 1, parameter 'a': a value of type ndarray"):
        list(rows_of([{"a": numpy.array([1, 2])}]) or [])
