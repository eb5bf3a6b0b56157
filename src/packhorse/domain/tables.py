"""Reads tables of parameters, a row at a time:

CSV, TSV, JSON lines, a JSON array; plain or gzip. The one reader of every front door.

Says which line is wrong. Memory does not grow with the table, nor with what a compressed one expands to.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import IO, Any, NoReturn

from packhorse.domain.errors import InvalidRequest, TooLarge
from packhorse.domain.jsontext import DECODER, syntax_problem, why_not_json
from packhorse.domain.text import argument_problem
from packhorse.domain.utf8 import HINT, is_utf16

Row = Mapping[str, Any]

MAX_EXPANDED = 1_000_000_000  # bytes of a table that comes compressed
MAX_LINE = 16_000_000  # bytes; a value that is too long is refused by the run, with its row
_PIECE = 1 << 18
_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a ZIP file, as spreadsheets are",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
}


class Form(StrEnum):
    """How a table is written."""

    CSV = "CSV"
    TSV = "TSV"
    JSON_LINES = "JSON lines"
    JSON = "a JSON array"


class Table:
    """The rows of one table, to be gone through once; then its stream is closed.

    ``blank_rows`` counts what was left out so far: rows of nothing but separators.
    """

    def __init__(
        self, stream: IO[bytes], name: str, form: Form | None = None, *, compressed: bool | None = None
    ) -> None:
        """``form`` None looks at the beginning of the table; so does ``compressed`` None."""
        self._stream = stream
        self._name = name
        self._form = form
        self._compressed = compressed
        self._line = ""
        self.blank_rows = 0
        self._rows = self._read()

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the table was read."""
        number = self.blank_rows
        return [f"{number:,} blank row{'' if number == 1 else 's'} left out."] if number else []

    def _read(self) -> Iterator[Row]:
        with self._stream:
            yield from self._parsed()

    def _parsed(self) -> Iterator[Row]:
        head = self._stream.read(_PIECE)
        source: IO[bytes] = _After(head, self._stream)  # type: ignore[assignment]  # it has what is used of a stream
        is_gzip = head[:2] == _GZIP
        if self._compressed and head and not is_gzip:
            self._refuse(
                "is not compressed with gzip, as its name says.", "Leave '.gz' out of its name, if it is plain text."
            )
        if is_gzip:
            source = _Expanded(source, self._name)  # type: ignore[assignment]
            head = source.read(_PIECE)
            source = _After(head, source)  # type: ignore[assignment]
        for magic, what in _OTHERS.items():
            if head.startswith(magic):
                self._refuse(f"is {what}, and not a table of text.", "Save it as CSV, or compress it with gzip.")
        if is_utf16(head):
            self._refuse("is UTF-16 text.", HINT)
        form = self._form or _looks_like(head)
        if form is Form.JSON:
            return self._array(source)
        if form is Form.JSON_LINES:
            return self._json_lines(source)
        return self._delimited(source, "\t" if form is Form.TSV else ",")

    def _refuse(self, what: str, hint: str = "") -> NoReturn:
        raise InvalidRequest(f"{self._name} {what}", hint=hint)

    def _refuse_line(self, line: int, what: str, hint: str = "") -> NoReturn:
        raise InvalidRequest(f"{self._name}, line {line}: {what}", hint=hint)

    # --- text ------------------------------------------------------------

    def _lines(self, source: IO[bytes]) -> Iterator[str]:
        """Lines with their ends, which may be LF, CR LF or CR. Decoded by the piece, which is what makes this fast.

        Names of files may be any bytes: what is not UTF-8 is refused with its row and parameter, if that is no file.
        """
        rest, number = b"", 0
        while True:
            piece = source.read(_PIECE)
            data = rest + piece
            # CR at the very end may be the first half of CR LF
            cut = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1 if piece else len(data)
            rest = data[cut:]
            if len(rest) > MAX_LINE:
                self._refuse_line(number + 1 + data.count(b"\n", 0, cut), f"is longer than {MAX_LINE:,} bytes.")
            text = data[:cut].decode("utf-8" if number else "utf-8-sig", "surrogateescape")
            for line in io.StringIO(text, newline=""):
                number += 1
                self._line = line
                yield line
            if not piece:
                return

    # --- delimited ------------------------------------------------------------

    def _delimited(self, source: IO[bytes], delimiter: str) -> Iterator[Row]:
        csv.field_size_limit(MAX_LINE)
        reader = csv.reader(self._lines(source), delimiter=delimiter, strict=True)
        began = 1
        try:
            header = next((fields for fields in reader if fields), [])
            self._check_header(header, reader.line_num, delimiter)
            width, began = len(header), reader.line_num + 1
            for fields in reader:
                if len(fields) == width:
                    if not fields[0].strip() and not any(map(str.strip, fields)) and '"' not in self._line:
                        self.blank_rows += 1
                    else:
                        yield dict(zip(header, fields, strict=True))
                elif any(map(str.strip, fields)):
                    values = f"{len(fields):,} value{'' if len(fields) == 1 else 's'}"
                    self._refuse_line(began, f"{values}, but the header names {width:,}.")
                elif fields:
                    self.blank_rows += 1
                began = reader.line_num + 1
        except csv.Error as error:
            self._refuse_line(began, *_why_not_csv(str(error)))

    def _check_header(self, header: list[str], line: int, delimiter: str) -> None:
        if not header:
            self._refuse("is empty; its first line names the parameters.")
        others = [other for other in ",;\t|" if other != delimiter and other in header[0]]
        if len(header) == 1 and others:
            named = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
            hint = (
                f"Save it with {named[delimiter]}, or with tabs as .tsv."
                if delimiter == ","
                else "Save it with tabs, or with commas as .csv."
            )
            self._refuse_line(
                line, f"values seem to be separated by {named[others[0]]}, and {named[delimiter]} are expected.", hint
            )
        if why := argument_problem("".join(header)):
            self._refuse_line(line, why)
        seen: dict[str, int] = {}
        for number, name in enumerate(header, start=1):
            if not name.strip():
                self._refuse_line(line, f"column {number} has no name.", "Is there a separator too many?")
            if name in seen:
                self._refuse_line(
                    line, f"a column name is there twice: {name[:60]!r}, in columns {seen[name]} and {number}."
                )
            seen[name] = number

    # --- JSON ------------------------------------------------------------

    def _json_lines(self, source: IO[bytes]) -> Iterator[Row]:
        decode = DECODER.decode
        for number, line in enumerate(self._lines(source), start=1):
            text = line.strip()
            if not text:
                continue
            try:
                row = decode(text)
            except (ValueError, RecursionError) as error:
                self._refuse_line(number, f"{why_not_json(error, number)}.", "Each line is one JSON object.")
            if not isinstance(row, dict):
                self._refuse_line(number, "expected a JSON object with parameters as keys.")
            yield row

    def _array(self, source: IO[bytes]) -> Iterator[Row]:
        text = _Text(source, self._name)
        if text.next_mark() != "[":
            hint = "Objects that stand one on a line are JSON lines: .jsonl."
            self._refuse("is no table: expected a JSON array of objects, one per task.", hint)
        row, mark = 0, text.next_mark()
        while row or mark != "]":
            row += 1
            yield text.rest_of_object(row, mark)
            mark = text.next_mark()
            if mark == "]":
                break
            if mark != ",":
                self._refuse(f"is not valid JSON: after row {row}, expected ',' or ']'.")
            mark = text.next_mark()
        if text.next_mark():
            self._refuse("goes on after the end of its JSON array.")


class _Text:
    """A JSON text that is read as it comes."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._source = source
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text = ""
        self.at = 0

    def _more(self) -> bool:
        piece = self._source.read(max(_PIECE, len(self._text) - self.at))  # a long object is not tried too often
        self._text = self._text[self.at :] + self._decoder.decode(piece, final=not piece)
        self.at = 0
        return bool(piece)

    def next_mark(self) -> str:
        """The next character that is no blank, which is passed; empty at the end."""
        while True:
            while self.at < len(self._text) and self._text[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self._text):
                self.at += 1
                return self._text[self.at - 1]
            if not self._more():
                return ""

    def rest_of_object(self, row: int, mark: str) -> Row:
        """The object of which ``mark`` is the first character."""
        if mark != "{":
            raise InvalidRequest(f"{self._name}, row {row}: expected a JSON object with parameters as keys.")
        self.at -= 1
        while True:
            try:
                found, self.at = DECODER.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                if len(self._text) - self.at < MAX_LINE and self._more():
                    continue
                raise InvalidRequest(f"{self._name}, row {row}: not JSON ({syntax_problem(error)}).") from None
            except (ValueError, RecursionError) as error:
                raise InvalidRequest(f"{self._name}, row {row}: {why_not_json(error)}.") from None
            row_found: Row = found
            return row_found


class _After:
    """A stream of which the beginning was read already."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._stream.read(size)


class _Expanded:
    """What a gzip stream holds. Damage and what is too large are told in a sentence."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._file = gzip.GzipFile(fileobj=stream)
        self._name = name
        self._read = 0

    def read(self, size: int) -> bytes:
        try:
            piece = self._file.read(size)
        except EOFError:
            raise InvalidRequest(
                f"{self._name} ends before its end: the gzip file is cut short.", hint="Copy it again."
            ) from None
        except (OSError, zlib.error) as error:
            raise InvalidRequest(
                f"{self._name} cannot be decompressed: {error}.", hint="Test it with 'gzip -t'."
            ) from None
        self._read += len(piece)
        if self._read > MAX_EXPANDED:
            raise TooLarge(
                f"{self._name} is larger than {MAX_EXPANDED:,} bytes when it is decompressed.",
                hint="Submit it as several runs.",
            )
        return piece


def _looks_like(head: bytes) -> Form:
    """The form of a table without a name: by its first character, and by whether its first line has a tab."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text[:1] == b"[":
        return Form.JSON
    if text[:1] == b"{":
        return Form.JSON_LINES
    return Form.TSV if b"\t" in text.partition(b"\n")[0].partition(b"\r")[0] else Form.CSV


def _why_not_csv(message: str) -> tuple[str, str]:
    if "unexpected end of data" in message:
        return "a quote that begins in this row never ends.", "Close it, or write a quote within quotes twice."
    if "field limit" in message:
        return f"a value in this row is longer than {MAX_LINE:,} bytes.", "Is there a quote that never ends?"
    if "expected after" in message:
        return "a quoted value goes on after its closing quote.", "Write a quote within quotes twice."
    return f"{message}.", ""
