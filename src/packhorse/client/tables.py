"""The table of a run, wherever it comes from: a file, stdin, a list of dicts, a DataFrame."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from packhorse.domain.errors import InvalidRequest, NotFound, Problem
from packhorse.domain.numbers import shown
from packhorse.domain.tables import Form, Row, Table

STDIN = "-"

_FORMS = {
    ".csv": Form.CSV,
    ".tsv": Form.TSV,
    ".tab": Form.TSV,
    ".jsonl": Form.JSON_LINES,
    ".ndjson": Form.JSON_LINES,
    ".json": Form.JSON,
}
_PLAIN = frozenset({str, int, float, bool, type(None), list, dict})
_HINT = "Give a file, a list of dicts (one for each task), or a DataFrame."


def rows_of(over: str | Path | Iterable[Row] | Any | None) -> Iterable[Row] | None:
    """The rows of a file (by its suffix), of stdin ('-'), of a list of dicts, or of a DataFrame; None for None."""
    if over is None:
        return None
    if isinstance(over, str | PurePath):
        return read_table(over)
    if isinstance(over, Table):
        return over
    if hasattr(over, "columns") and hasattr(over, "to_dict"):  # pandas
        if not over.columns.is_unique:
            raise InvalidRequest("The DataFrame has a column name twice.", hint="Rename one of the columns.")
        return _plain_rows(over.to_dict("records"))
    for as_dicts in ("to_dicts", "to_pylist"):  # Polars, Arrow
        if hasattr(over, as_dicts):
            return _plain_rows(getattr(over, as_dicts)())
    if isinstance(over, Mapping):
        raise InvalidRequest(
            "'over' is one mapping; a table is a list of them.",
            hint="over=[{...}], or, for a single task, params={...}.",
        )
    if isinstance(over, bytes) or not isinstance(over, Iterable):
        raise InvalidRequest(f"'over' is no table: found {shown(over)}.", hint=_HINT)
    return _plain_rows(over)


def read_table(path: str | PurePath) -> Table:
    """The rows of a table file, of a pipe that has a path, or ('-') of stdin.

    Raises NotFound or InvalidRequest with the line.
    """
    if str(path) == STDIN:
        return _stdin()
    file = Path(path)
    try:
        if not file.exists():
            raise NotFound(
                f"There is no table at {file}.", hint="Give a CSV, TSV, JSON-lines or JSON file with one row per task."
            )
        if file.is_dir():
            raise InvalidRequest(f"{file} is a folder, and no table.", hint="Give the file.")
        if not file.is_file():  # <(a command) of a shell
            return Table(file.open("rb"), str(file))
        is_compressed = file.suffix.lower() == ".gz"
        form = _FORMS.get(Path(file.stem if is_compressed else file.name).suffix.lower())
        if form is None:
            hint = "Its name must end in .csv, .tsv, .jsonl or .json, or in one of these and .gz."
            raise InvalidRequest(f"{file} is not a table that can be read here.", hint=hint)
        return Table(file.open("rb"), str(file), form, compressed=is_compressed or None)
    except (OSError, ValueError) as error:  # no permission; a name that no file can have
        why = getattr(error, "strerror", None) or "that is no name of a file"
        raise InvalidRequest(f"The table {shown(str(path))} cannot be read: {why}.") from None


def _stdin() -> Table:
    if sys.stdin is None or sys.stdin.closed:
        raise InvalidRequest("There is no stdin to read the table from.", hint="Give a file, or pipe the table in.")
    if sys.stdin.isatty():
        print("The table is read from this terminal; Ctrl-D ends it.", file=sys.stderr)
    return Table(sys.stdin.buffer, "stdin")


def _plain_rows(rows: Iterable[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidRequest(
                "The table is not a list of mappings.",
                hint=_HINT,
                problems=[
                    Problem(f"row {number}", f"expected a mapping from parameters to values, found {shown(row)}.")
                ],
            )
        yield plain_values(row, f"row {number}")


def plain_values(row: Mapping[Any, Any], where: str) -> Row:
    """Values as JSON has them: numpy scalars as Python's own, NaN as absent, paths as text.

    Raises InvalidRequest for any other.
    """
    return {
        name if type(name) is str else str(name): value
        if type(value) in _PLAIN and value == value
        else _plain(value, where, name)
        for name, value in row.items()
    }


def _plain(value: Any, where: str, name: Any) -> Any:
    if type(value).__name__ in (
        "NAType",
        "NaTType",
    ):  # pandas, for 'absent'; they are not equal to themselves, nor to anything
        return None
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:  # numpy
        value = value.item()
    match value:
        case PurePath():
            return str(value)
        case bool() | str():
            return value
        case float():
            return None if value != value else float(value)
        case int():
            return int(value)
        case _ if value is None or type(value) in _PLAIN:
            return value
    what = f"a value of type {type(value).__name__} cannot be passed to a task."
    raise InvalidRequest(
        "The table was not accepted.", problems=[Problem(f"{where}, parameter '{name}'", what, "Pass it as text.")]
    )
