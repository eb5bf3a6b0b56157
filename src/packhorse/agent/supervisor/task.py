"""A line of a block as the supervisor needs it: who it is, what it wants, how it is going."""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from .capture import Follow

    Key = Tuple[int, int]
    Shape = Tuple[float, int, Optional[str]]
    Wanted = Tuple[float, int, Optional[float], bool, Optional[str], Shape]

MB = 1 << 20
MIN_CORES = 0.01  # a task of no cores would run in any number


class BadTask(Exception):
    """A line that cannot be executed. `key` is (id, attempt) if at least that can be read, else None."""

    def __init__(self, msg: str, key: "Optional[Key]" = None) -> None:
        super().__init__(msg)
        self.key = key


class Task:
    """One claimed task.

    `shape` is equal for tasks that can take each other's place in a slot (cores, memory, session).
    """

    __slots__ = (
        "key",
        "line",
        "template",
        "cores",
        "memory",
        "walltime",
        "session",
        "shape",
        "result",
        "seq",
        "pair",
        "started",
        "journaled",
        "verdict",
        "msg",
        "kill_at",
        "paused",
        "sample_at",
        "peak",
        "follow",
        "recalled",
        "ended_at",
        "passed",
        "blocked_at",
    )

    def __init__(self, key: "Key", line: bytes, template: str) -> None:
        self.key = key
        self.line = line
        self.template = template
        self.cores = 1.0
        self.memory = 0  # bytes; 0 is no limit
        self.walltime: "Optional[float]" = None
        self.session: "Optional[str]" = None
        self.shape: "Shape" = (1.0, 0, None)
        self.result = False
        self.seq = 0
        self.pair = 0
        self.started = 0.0  # monotonic
        self.journaled = False  # its `start` is in the journal
        self.verdict: "Optional[str]" = None
        self.msg: "Optional[str]" = None
        self.kill_at = 0.0  # monotonic; when SIGTERM gives way to SIGKILL
        self.paused = 0.0  # monotonic; since when its image is being made ready, 0 if it is not
        self.sample_at = 0.0  # monotonic
        self.peak = 0  # sampled
        self.follow: "Optional[Follow]" = None
        self.recalled = False  # prefetched, and asked back
        self.ended_at = 0.0  # monotonic; its slot has reported it
        self.passed = 0  # tasks behind it that were started before it
        self.blocked_at = 0.0  # monotonic; since when it is first in line and does not fit, 0 if it never was


def read_task(line: bytes, template_of: "Callable[[str], Dict[str, Any]]") -> Task:
    """A line of a block with its template; BadTask says what is wrong with it."""
    try:
        fields = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise BadTask("not JSON: %s" % error) from None
    if not isinstance(fields, dict) or not is_int(fields.get("id")) or not is_int(fields.get("n", 1)):
        raise BadTask("no task id")
    key = (fields["id"], fields.get("n", 1))
    name = fields.get("t")
    if not isinstance(name, str):
        raise BadTask("names no template", key)
    try:
        template = template_of(name)
    except (OSError, ValueError) as error:
        raise BadTask("template %s: %s" % (name, error), key) from None
    task = Task(key, line, name)
    try:
        fill_in(task, fields, template)
    except (TypeError, ValueError) as error:
        raise BadTask("makes no sense: %s" % error, key) from None
    return task


def fill_in(task: Task, fields: "Dict[str, Any]", template: "Dict[str, Any]") -> None:
    """Resolve what the supervisor decides by; the line wins over the template."""
    if OVERRIDES.isdisjoint(fields):  # as nearly always: then it is the same for all tasks of the template
        wanted = template.get(WANTED)
        if wanted is None:
            wanted = template[WANTED] = resolve(template)
    else:
        wanted = resolve(dict(template, **fields))
    task.cores, task.memory, task.walltime, task.result, task.session, task.shape = wanted


WANTED = ""  # the key, which no template has, of what was resolved


def resolve(wanted: "Dict[str, Any]") -> "Wanted":
    """(cores, memory, walltime, result, session, shape) of a task; TypeError or ValueError if they make no sense."""
    cores = max(MIN_CORES, float(wanted.get("cores") or 1.0))
    memory = int(float(wanted.get("memory_mb") or 0) * MB)
    walltime = wanted.get("walltime_s")
    session = None
    if (wanted.get("session") or "none") != "none":
        session = json.dumps(
            [wanted.get(name) for name in ("session", "start", "env", "container", "launches")], sort_keys=True
        )
    result = (wanted.get("result") or "none") != "none"
    return cores, memory, None if walltime is None else float(walltime), result, session, (cores, memory, session)


OVERRIDES = frozenset(
    ("cores", "memory_mb", "walltime_s", "session", "start", "env", "container", "launches", "result")
)


def is_int(value: "Any") -> bool:
    """Whether a JSON value is an integer (true is not one)."""
    return isinstance(value, int) and not isinstance(value, bool)
