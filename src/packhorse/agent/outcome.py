"""How a task ended and what it used, as its slot knows it."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

TAIL_BYTES = 2048


class Verdict(Exception):
    """The agent's reason for calling a task failed: one of the words in docs/spool.md, and text for a person."""

    def __init__(self, why: str, msg: str) -> None:
        super().__init__(why, msg)
        self.why = why
        self.msg = msg


class Outcome:
    """Filled in while a task runs; times in seconds, sizes in bytes. `exit` and `sig` are those of the last program."""

    __slots__ = (
        "exit",
        "sig",
        "why",
        "msg",
        "cpu",
        "peak",
        "rd",
        "wr",
        "files",
        "printed",
        "result",
        "progress",
        "steps",
    )

    def __init__(self) -> None:
        self.exit: "Optional[int]" = None
        self.sig: "Optional[int]" = None
        self.why: "Optional[str]" = None
        self.msg: "Optional[str]" = None
        self.cpu = 0.0
        self.peak = 0
        self.rd = 0
        self.wr = 0
        self.files: "List[Dict[str, Any]]" = []
        self.printed: "Optional[bytes]" = None  # to stdout, where that is not in its capture file
        self.result: "Any" = None
        self.progress: "Optional[int]" = None  # lines of output that say so
        self.steps: "List[Dict[str, Any]]" = []  # how each of several ended

    @property
    def failed(self) -> bool:
        """Whether the task failed, by its own exit or by verdict."""
        return self.why is not None or self.sig is not None or self.exit != 0

    def died(self, status: int) -> None:
        """Take the exit code or the signal from a wait status."""
        if status & 0x7F:
            self.exit, self.sig = None, status & 0x7F
        else:
            self.exit, self.sig = status >> 8, None

    def exited(self, code: int) -> None:
        """Take an exit code that a shell or a worker reported; above 128 a shell means a signal."""
        self.exit = code
        self.sig = code - 128 if 128 < code < 128 + 65 else None


def end_record(
    task: int, attempt: int, t0: float, t1: float, wall: float, outcome: Outcome, tail: "Optional[str]"
) -> bytes:
    """The `end` record as one JSON object without its `log`; built by hand where it holds numbers only, which is the
    usual case.
    """
    head = b'{"k":"end","id":%d,"n":%d,"t0":%.3f,"t1":%.3f,"wall":%.6f,"cpu":%.6f,"peak":%d,"rd":%d,"wr":%d' % (
        task,
        attempt,
        t0,
        t1,
        wall,
        outcome.cpu,
        outcome.peak,
        outcome.rd,
        outcome.wr,
    )
    if (
        outcome.exit == 0
        and outcome.why is None
        and not outcome.files
        and outcome.result is None
        and outcome.progress is None
        and not outcome.steps
    ):
        return head + b',"exit":0}'
    rest: "Dict[str, Any]" = {
        "exit": outcome.exit,
        "sig": outcome.sig,
        "why": outcome.why,
        "msg": outcome.msg,
        "tail": tail,
        "files": outcome.files or None,
        "result": outcome.result,
        "progress": outcome.progress,
        "steps": outcome.steps or None,
    }
    text = encoder()({key: value for key, value in rest.items() if value is not None})
    return head + (b"," if len(text) > 2 else b"") + text[1:].encode("ascii")


_encoders: "List[Callable[[Any], str]]" = []  # one, made when it is wanted: most tasks do without


def encoder() -> "Callable[[Any], str]":
    """Encodes JSON without spaces. To make one anew takes longer than to encode a record."""
    if not _encoders:
        import json

        _encoders.append(json.JSONEncoder(separators=(",", ":")).encode)
    return _encoders[0]


def tail_text(data: bytes) -> "Optional[str]":
    """The last lines of stderr, at most 2 kB, as text; the first line is dropped if it was cut."""
    if len(data) > TAIL_BYTES:
        data = data[-TAIL_BYTES:]
        cut = data.find(b"\n") + 1
        if 0 < cut < len(data):
            data = data[cut:]
    return data.decode("utf-8", "replace") or None
