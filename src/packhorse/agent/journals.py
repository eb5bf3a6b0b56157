"""Reads all journals of a site in one go: `python3 agent.pyz --journals SPOOLS`, with the request on standard input
(docs/spool.md).

The engine has the same for a site whose files are its own (`sites/journals.py`); one table of cases holds both to it.
"""

import bisect
import json
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    Head = Dict[str, Any]

BEAT_BYTES = 32
LONGEST_NAME = 200


class NoRoom(Exception):
    """A journal has more to say than the answer still holds."""


def main(spools: str) -> int:
    """Answers on stdout; returns the exit code. What is wrong with one file is told in the answer."""
    data = sys.stdin.buffer.read()
    try:
        request = json.loads(data.decode("ascii"))
    except ValueError:
        asked = "Does a start file of the login shell read its input?"
        sys.stderr.write("Of the request for journals %d bytes came, which is not all. %s\n" % (len(data), asked))
        return 1
    out = sys.stdout.buffer
    for head, body in frames(os.fsencode(spools), request):
        out.write(json.dumps(head, separators=(",", ":")).encode("ascii") + b"\n" + body)
    out.flush()
    return 0


def frames(spools: bytes, request: "Dict[str, Any]") -> "Iterator[Tuple[Head, bytes]]":
    """The answer to a request: heads, and the bytes that follow each. The last head is the end."""
    files: "List[List[str]]" = []
    for allocation in request["offsets"]:
        try:
            names = os.listdir(_path(spools, allocation))
        except FileNotFoundError:
            continue
        except OSError as error:
            yield {"a": allocation, "f": "", "n": 0, "error": error.strerror}, b""
            continue
        files += [[allocation, name] for name in map(_text, names) if name]
    files.sort()
    first = bisect.bisect_left(files, request["start"] or [])
    left = request["all"]
    left_out: "Optional[List[str]]" = None
    for allocation, name in files[first:] + files[:first]:
        head: "Head" = {"a": allocation, "f": name}
        try:
            data = _read(spools, head, request, left)
        except FileNotFoundError:
            continue
        except NoRoom:
            left_out = left_out or [allocation, name]
            continue
        except OSError as error:
            head["error"], data = error.strerror, b""
        if data is not None:
            left -= 0 if name.endswith(".beat") else len(data)
            yield dict(head, n=len(data)), data
    yield {"end": True, "next": left_out}, b""


def _path(spools: bytes, allocation: str, name: str = "") -> bytes:
    return b"%s/%s/journal/%s" % (spools, allocation.encode("ascii"), name.encode("utf-8"))


def _text(name: bytes) -> str:
    """A file's name; empty where it can be no agent's."""
    try:
        return name.decode("utf-8") if len(name) <= LONGEST_NAME else ""
    except UnicodeDecodeError:
        return ""


def _read(spools: bytes, head: "Head", request: "Dict[str, Any]", left: int) -> "Optional[bytes]":
    """What the answer has of a file; None where that is nothing. Raises NoRoom, OSError."""
    agent, _, kind = head["f"].rpartition(".")
    path = _path(spools, head["a"], head["f"])
    if kind == "beat" and request["beats"]:
        return _piece(path, 0, BEAT_BYTES, BEAT_BYTES)[0]
    if kind != "jsonl":
        return None
    offset = request["offsets"][head["a"]].get(agent, 0)
    data, size = _piece(path, offset, request["each"], left)
    if size < offset:
        head["size"] = size
        return b""
    whole = data.rfind(b"\n") + 1
    if not whole and len(data) == request["each"]:
        return data  # no line is so long
    return data[:whole] or None


def _piece(path: bytes, offset: int, most: int, left: int) -> "Tuple[bytes, int]":
    """(at most ``most`` bytes from ``offset`` on, size of the file). Raises NoRoom, OSError."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(file)  # not os.stat: a network filesystem asks its server when a file is opened
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(path)
        wanted = max(0, min(status.st_size - offset, most))
        if wanted > left:
            raise NoRoom()
        return os.pread(file, wanted, offset), status.st_size
    finally:
        os.close(file)
