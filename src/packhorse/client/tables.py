"""Reads tables of parameters: CSV, TSV, JSON lines, a JSON array, or anything with rows. Streams; says which line is wrong."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.text import NotJson, key_twice, parse_json, text_problem

Row = Mapping[str, Any]

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_MAX_FIELD = 1 << 30  # a value that is too long is refused by the run, with its row


def rows_of(over: str | Path | Iterable[Row] | Any | None) -> Iterator[Row] | None:
    """The rows of a file (by its suffix), of a list of dicts, or of a pandas DataFrame; None for None."""
    if over is None:
        return None
    if isinstance(over, str | Path):
        return read_table(Path(over))
    if hasattr(over, "to_dict") and hasattr(over, "columns"):
        return (_plain(row) for row in over.to_dict("records"))
    return iter(over)


def read_table(path: Path) -> Iterator[Row]:
    """The rows of a table file. Raises NotFound or InvalidRequest with the line."""
    if not path.is_file():
        raise NotFound(f"There is no table at {path}.", hint="Give a CSV, TSV, JSON-lines or JSON file with one row per task.")
    suffix = path.suffix.lower()
    if suffix in _DELIMITERS:
        return _delimited(path, _DELIMITERS[suffix])
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(path)
    if suffix == ".json":
        return _json_array(path)
    raise InvalidRequest(f"{path} is not a table that can be read here.", hint="Its name must end in .csv, .tsv, .jsonl or .json.")


def _delimited(path: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_MAX_FIELD)
    # names of files may be any bytes: what is not UTF-8 is refused with its parameter, if that is no file
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        try:
            header = next(reader, None)
            if not header:
                raise InvalidRequest(f"{path} is empty; its first line names the parameters.")
            if any(map(text_problem, header)):
                raise InvalidRequest(f"{path}, line 1: is not UTF-8 text.", hint="Save the table as UTF-8.")
            if len(set(header)) < len(header):
                raise InvalidRequest(f"{path}, line 1: a column name is there twice.")
            if "" in header:
                raise InvalidRequest(f"{path}, line 1: column {header.index('') + 1} has no name.", hint="Is there a comma too many?")
            for fields in reader:
                if not fields:
                    continue
                if len(fields) != len(header):
                    raise InvalidRequest(f"{path}, line {reader.line_num}: {len(fields)} values, but the header names {len(header)}.")
                yield dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise InvalidRequest(f"{path}, line {reader.line_num}: {error}.") from None


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _mapping(path, number, line)


def _mapping(path: Path, number: int, line: bytes) -> Row:
    try:
        row = parse_json(line.decode(errors="surrogateescape"))
    except NotJson as error:
        raise InvalidRequest(f"{path}, line {number}: not JSON ({error}).") from None
    if (key := key_twice(row)) is not None:
        raise InvalidRequest(f"{path}, line {number}: the key '{key[:60]}' is there twice.")
    if not isinstance(row, dict):
        raise InvalidRequest(f"{path}, line {number}: expected a JSON object with parameters as keys.")
    return row


def _json_array(path: Path) -> Iterator[Row]:
    try:
        rows = parse_json(path.read_bytes().decode("utf-8-sig", "surrogateescape"))
    except NotJson as error:
        raise InvalidRequest(f"{path} is not JSON: {error}.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidRequest(f"{path}: expected a JSON array of objects, one per task.")
    for number, row in enumerate(rows, start=1):
        if (key := key_twice(row)) is not None:
            raise InvalidRequest(f"{path}, row {number}: the key '{key[:60]}' is there twice.")
    return iter(rows)


def _plain(row: Mapping[Any, Any]) -> Row:
    """numpy scalars as Python's own, NaN as absent."""
    plain = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: None if value != value else value for name, value in plain.items()}
