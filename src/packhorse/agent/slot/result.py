"""A task's stdout as its result."""

import json
import os

from ..outcome import Verdict
from ..staging import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

#: What has no more bytes fits into a line of the journal, whatever letters it has.
ANY_LETTERS = 65536


def read_result(stdout: int, kind: str, max_bytes: int) -> "Any":
    """What the task printed, as text or as a JSON value; Verdict if it is too large, not UTF-8, not JSON or cannot be
    kept.
    """
    size = os.fstat(stdout).st_size
    return take_result(os.pread(stdout, min(size, max_bytes + 1), 0), kind, max_bytes, size)


def take_result(data: bytes, kind: str, max_bytes: int, size: "Optional[int]" = None) -> "Any":
    """The same of what is at hand, the beginning of `size` bytes where those are too many."""
    size = len(data) if size is None else size
    if size > max_bytes:
        raise Verdict("result", "the result has %d bytes, at most %d are kept" % (size, max_bytes))
    value = parse_result(data, kind)
    if size > ANY_LETTERS:
        written = len(json.dumps(value, separators=(",", ":")))
        if written > max_bytes:
            raise Verdict("result", "the result has %d bytes as ASCII, at most %d are kept" % (written, max_bytes))
    return value


def parse_result(data: bytes, kind: str) -> "Any":
    """Bytes as the result that the template asks for (`text` or `json`)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Verdict("result", "the result is not UTF-8 (byte %d)" % error.start) from None
    if kind == "text":
        if "\0" in text:
            raise Verdict("result", "the result cannot be kept: it holds a NUL character (byte %d)" % data.index(b"\0"))
        return text
    from ..text import parse_json, value_problem

    try:
        value = parse_json(text)
    except ValueError as error:
        raise Verdict("result", "the result is not JSON: %s" % error) from None
    why = value_problem(value)
    if why:
        raise Verdict("result", "the result cannot be kept: %s" % why)
    return value


def read_result_file(work: str, path: str, max_bytes: int, ended_well: bool) -> "Optional[Any]":
    """The JSON value that a task left in a file of its work folder; None where it left none.

    Verdict if that of one that `ended_well` cannot be kept; that of another one then has no say.
    """
    try:
        target = inside(work, path, "result")
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            return read_result(descriptor, "json", max_bytes)
        finally:
            os.close(descriptor)
    except (Verdict, OSError) as error:
        if not ended_well or isinstance(error, OSError):
            return None
        raise
