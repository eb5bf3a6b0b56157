"""Files of history: Parquet, CSV and JSON lines of ours, and tables of other programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from packhorse.cli.files import replacing
from packhorse.client.traces import Row, form_of, nextflow_rows, sacct_rows
from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.history import HistoryRow
from packhorse.domain.problems import problems_of
from packhorse.domain.views import Page

_COLUMNS = tuple(HistoryRow.model_fields)
_FORMS = ("packhorse", "sacct", "nextflow")
_ROWS_AT_ONCE = 1000
_LONGEST = 1 << 20  # of a field
_WITHOUT_PYARROW = "Install it with: pip install 'packhorse[parquet]'; or use .csv or .jsonl."

Pages = Callable[[str | None, int], Page[HistoryRow]]


def write_history(path: Path, pages: Pages) -> int:
    """Writes all of it, by the suffix of the file; returns how many rows."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _write_parquet(path, pages)
    if suffix not in (".csv", ".jsonl"):
        raise InvalidRequest(f"'{path}' has no suffix that says how to write it.", hint="Use .parquet, .csv or .jsonl.")
    number = 0
    with replacing(path) as file:
        if suffix == ".csv":
            file.write(_csv_line(_COLUMNS))
        for page in _all(pages):
            for row in page:
                values = row.model_dump(mode="json")
                line = _csv_line(_flat(values).values()) if suffix == ".csv" else f"{json.dumps(values)}\n".encode()
                file.write(line)
            number += len(page)
    return number


def _all(pages: Pages) -> Iterator[list[HistoryRow]]:
    cursor: str | None = None
    while True:
        page = pages(cursor, _ROWS_AT_ONCE)
        yield page.items
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if name == "features" else value for name, value in values.items()}


def _csv_line(values: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow("" if value is None else value for value in values)
    return text.getvalue().encode()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidRequest("Parquet needs pyarrow, which is not installed.", hint=_WITHOUT_PYARROW) from None
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:
    """Names and types of the columns, whatever a page has."""
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}

    def kind(name: str) -> Any:
        said = str(HistoryRow.model_fields[name].annotation)
        words = (("bool", bool), ("float", float), ("int", int))
        return kinds[next((python for word, python in words if word in said), str)]

    return arrow.schema([(name, kind(name)) for name in _COLUMNS])


def _write_parquet(path: Path, pages: Pages) -> int:
    arrow, parquet = _pyarrow()
    schema, number = _schema(arrow), 0
    with replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for page in _all(pages):
            if page:
                rows = [_flat(row.model_dump(mode="json")) for row in page]
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            number += len(page)
    return number


def read_history(file: str, form: str | None, app: str | None, site: str) -> Iterator[HistoryRow | None]:
    """The rows of a file; None for one that says nothing. Raises NotFound, InvalidRequest."""
    if form is not None and form not in _FORMS:
        raise InvalidRequest(f"--format {form[:60]}: expected one of {', '.join(_FORMS)}.")
    path = Path(file)
    if file != "-" and not path.is_file():
        raise NotFound(f"There is no file {file}.")
    if path.suffix.lower() == ".parquet":
        yield from _ours(_parquet_rows(path), file, app, site)
    elif path.suffix.lower() in (".jsonl", ".ndjson"):
        with path.open("rb") as lines:
            yield from _ours(_json_rows(lines, file), file, app, site)
    elif file == "-":
        yield from _of_table(io.TextIOWrapper(sys.stdin.buffer, "utf-8", "replace"), "stdin", form, app, site)
    else:
        with path.open(encoding="utf-8", errors="replace", newline="") as text:
            yield from _of_table(text, file, form, app, site)


def _of_table(
    text: Iterable[str], name: str, form: str | None, app: str | None, site: str
) -> Iterator[HistoryRow | None]:
    lines = iter(text)
    head = next(lines, "").rstrip("\r\n")
    delimiter = max("|\t,", key=head.count)
    columns = next(csv.reader([head], delimiter=delimiter), [])
    found = form or form_of(columns)
    csv.field_size_limit(_LONGEST)
    rows = csv.DictReader(
        lines, columns, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL
    )
    try:
        if found == "sacct":
            yield from sacct_rows(rows, app, site)
        elif found == "nextflow":
            yield from nextflow_rows(rows, app, site)
        else:
            yield from _ours(rows, name, app, site)
    except csv.Error as error:
        raise InvalidRequest(f"{name} cannot be read as a table, near line {rows.line_num}: {error}.") from None


def _ours(rows: Iterable[Row], name: str, app: str | None, site: str) -> Iterator[HistoryRow]:
    for number, row in enumerate(rows, start=1):
        values = {column: value for column, value in row.items() if value not in (None, "")}
        try:
            if isinstance(values.get("features"), str):
                values["features"] = json.loads(values["features"])
            read = HistoryRow.model_validate(values)
        except ValidationError as error:
            problems = problems_of(error, f"row {number}")
            raise InvalidRequest(f"{name} holds what is no history of Packhorse.", problems=problems) from None
        except (ValueError, RecursionError):
            raise InvalidRequest(f"{name}, row {number}: its features are no JSON.") from None
        yield read.model_copy(update={**({"app": app} if app else {}), **({"site": site} if site else {})})


def _parquet_rows(path: Path) -> Iterator[Row]:
    _, parquet = _pyarrow()
    try:
        for batch in parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # Arrow's refusals are ValueErrors
        raise InvalidRequest(f"{path} cannot be read as Parquet: {error}.") from None


def _json_rows(lines: IO[bytes], name: str) -> Iterator[Row]:
    for number, line in enumerate(iter(lambda: lines.readline(_LONGEST), b""), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InvalidRequest(f"{name}, line {number}, is no JSON object.")
        yield row
