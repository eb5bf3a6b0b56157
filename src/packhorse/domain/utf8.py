"""Decodes files of text that people wrote."""

from __future__ import annotations

from packhorse.domain.errors import InvalidRequest

HINT = "Save it as UTF-8."


def utf8_text(data: bytes, name: str, refusal: type[InvalidRequest] = InvalidRequest) -> str:
    """Decodes a file, with or without a byte order mark. Raises ``refusal`` with the line."""
    if is_utf16(data):
        raise refusal(f"{name} is UTF-16 text.", hint=HINT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = place_of(data, error.start)
        raise refusal(
            f"{name}, line {line}, byte {column}: 0x{data[error.start]:02x} is not UTF-8 text.", hint=HINT
        ) from None


def is_utf16(data: bytes) -> bool:
    """Whether a file begins with a byte order mark of UTF-16 (or UTF-32), or has the zeros that plain letters have in
    them.
    """
    return data[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(data) >= 4 and data[0:4].count(0) == 2 and data[0] * data[1] == data[2] * data[3] == 0
    )


def place_of(data: bytes, offset: int) -> tuple[int, int]:
    """(line, byte in the line) of an offset, both from 1."""
    return data.count(b"\n", 0, offset) + 1, offset - data.rfind(b"\n", 0, offset)
