"""Reads what Slurm's commands print in the formats that slurm_commands asks for, among whatever else is printed.

A site may have wrapped a command, and plug-ins, filters and start files say things of their own, before and after.
Never raises: what is not understood is skipped here, and refused by the scheduler where nothing is left.
"""

from __future__ import annotations

import re
from datetime import datetime

from packhorse.sites.schedulers.slurm_rows import Row, as_signal, split_wait_status, without_forecasts
from packhorse.sites.schedulers.slurm_states import parse_state

SEPARATOR = "|"
#: The fields that we ask squeue for, in order; the name comes last, because it is the only one that could hold a
#: separator.
SQUEUE_FIELDS = ("JobID", "State", "exit_code", "StartTime", "EndTime", "NodeList", "Reason", "Name")
SACCT_FIELDS = ("JobIDRaw", "State", "ExitCode", "Start", "End", "NodeList", "Reason", "JobName")

_JOB_ID = re.compile(r"[0-9]{1,10}")
_STATE = re.compile(r"(\?|[A-Z_]+([,+][A-Z_]+)*\+?)( by \S+)?", re.IGNORECASE)
_NO_REASON = frozenset({"", "None", "(null)", "N/A"})
_NO_NODES = frozenset({"", "None", "(null)", "N/A", "None assigned"})


def parse_squeue(text: str) -> list[Row]:
    """Rows of ``squeue_command``."""
    return _rows(text, len(SQUEUE_FIELDS))


def parse_sacct(text: str) -> list[Row]:
    """Rows of ``sacct_command``, in the order of accounting: of a requeued job, the last row is the current one."""
    return _rows(text, len(SACCT_FIELDS))


def _rows(text: str, fields: int) -> list[Row]:
    rows = []
    for line in lines_of(text):
        values = [value.strip() for value in line.split(SEPARATOR, fields - 1)]
        if len(values) != fields or not _JOB_ID.fullmatch(values[0]) or not _STATE.fullmatch(values[1]):
            continue  # a heading, the step of a job, or something else
        job_id, state, code, start, end, nodes, reason, name = values
        exit_code, signal = parse_exit_code(code)
        states = parse_state(state)
        row = Row(
            job_id,
            name.removesuffix(SEPARATOR),
            states,
            state,
            "" if reason in _NO_REASON else reason,
            exit_code,
            signal,
            "" if nodes in _NO_NODES else nodes,
            parse_time(start),
            parse_time(end),
        )
        rows.append(without_forecasts(row))
    return rows


def parse_exit_code(text: str) -> tuple[int | None, int | None]:
    """(exit code, signal): sacct says ``0:9``, squeue the status of wait(2)."""
    parts = text.strip().split(":")
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        return None, None
    if len(parts) == 1:
        return split_wait_status(int(parts[0]))
    code, signal = int(parts[0]), int(parts[1])
    return (None, as_signal(signal)) if signal else (code, None)


def parse_time(text: str) -> float | None:
    """Seconds since the epoch, as SLURM_TIME_FORMAT=%s prints them, or a date that tells its time zone; else None
    (``Unknown``, 0).
    """
    if re.fullmatch(r"[1-9][0-9]{0,11}", text):
        return float(text)
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(Z|[+-][0-9:]{4,5})", text):
        return None  # also a date of the site's time zone, which we do not know
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


_SUBMITTED = re.compile(r"submitted batch job ([1-9][0-9]{0,9})(?![0-9A-Za-z_])", re.IGNORECASE)
_PARSABLE = re.compile(r"([1-9][0-9]{0,9})(;\S+)?")


def parse_submitted(stdout: str, stderr: str = "", *, failed: bool = False) -> str | None:
    """The job id that sbatch printed: ``123`` or ``123;cluster``, or the sentence that it has without ``--parsable``.

    None when there is none, and when there are several of a kind, so that nobody can tell. ``failed``: it has an exit
    code that says so, and only a line that begins as Slurm's sentence counts.
    """
    said = [line.strip() for line in lines_of(stdout)]
    everything = [*said, *(line.strip().removeprefix("sbatch: ") for line in lines_of(stderr))]
    numbers = [] if failed else [match for line in said if (match := _PARSABLE.fullmatch(line))]
    kinds = [  # the surest first
        {match.group(1) for line in everything if (match := _SUBMITTED.match(line))},
        {match.group(1) for match in numbers if match.group(2)},
        {match.group(1) for match in numbers},
        {job_id for line in everything for job_id in _SUBMITTED.findall(line) if not failed},
    ]
    found = next((ids for ids in kinds if ids), set())
    return found.pop() if len(found) == 1 else None


_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


_NO_TEXT = re.compile("[\ud800-\udfff]")


def lines_of(printed: str) -> list[str]:
    """The lines, without colours. Bytes that were no UTF-8 are shown as such: Slurm's own words have none."""
    return re.split(r"[\r\n]+", _NO_TEXT.sub("\ufffd", _COLOURS.sub("", printed)))


_PREFIX = re.compile(
    r"^(sbatch|squeue|sacct|scancel|scontrol|sinfo|srun|slurm_load_\w+)?:? ?(error|fatal|warning)?: ", re.IGNORECASE
)


def own_words(stderr: str) -> str:
    """What a command complained about, in one line, without the names of programs and repetitions."""
    said: list[str] = []
    for line in lines_of(stderr):
        words = line.strip()
        while words and (shorter := _PREFIX.sub("", words, count=1)) != words:
            words = shorter
        if words and words not in said:
            said.append(words)
    return "; ".join(said)[:2000]


#: Words of commands that failed for a reason that passes: the controller, the database or munge is away or overloaded.
_PASSING = re.compile(
    r"unable to contact slurm|socket timed out|connection (refused|failure|timed out|reset)|communication"
    r" connection|zero bytes"
    r"|temporarily|try again|transport endpoint|connect failure|standby|failed to open persistent connection|failed to"
    r" fetch config"
    r"|could not establish a configuration source|dns srv|munge|protocol authentication|controller.*(down|not"
    r" respond)|no route to host"
    r"|database.*(down|not respond)|problem talking to the database|resource is busy|resource temporarily"
    r" unavailable|broken pipe",
    re.IGNORECASE,
)


_VERDICT = re.compile(r"submission failed: ([^;]*)")


def passes(words: str) -> bool:
    """Whether what a command complained about says that Slurm does not answer, rather than that it refuses.

    Of a submission, Slurm's verdict counts alone: a site's own words before it may well ask to try again with another
    account.
    """
    return any(_PASSING.search(verdict) for verdict in _VERDICT.findall(words) or [words])


_ERROR = re.compile(
    r"\s*((sbatch|squeue|sacct|scancel|scontrol|sinfo|srun|slurm\w*):? ?)?(error|fatal): ", re.IGNORECASE
)


def errors_in(printed: str) -> str:
    """The lines that Slurm calls errors, as words; empty when there are none."""
    return own_words("\n".join(line for line in lines_of(printed) if _ERROR.match(line)))


#: Words of a refusal that is only for now: the user has too many jobs in the queue.
_FULL = re.compile(r"submitjob\w*limit|maxsubmitjob|too many jobs|maximum (number of )?jobs", re.IGNORECASE)


def is_full(words: str) -> bool:
    """Whether a submission was refused only because too many jobs are in the queue."""
    return _FULL.search(words) is not None


def parse_minutes(text: str) -> float | None:
    """Seconds of a time limit (``D-HH:MM:SS``, ``D-HH``, ``HH:MM:SS``, ``MM:SS``, ``MM``); None for UNLIMITED and what
    is not a limit.
    """
    match = re.fullmatch(r"(?:([0-9]{1,9})-)?([0-9]{1,9})(?::([0-9]{1,9}))?(?::([0-9]{1,9}))?", text.strip())
    if match is None:
        return None
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is not None:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return float(int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds)
