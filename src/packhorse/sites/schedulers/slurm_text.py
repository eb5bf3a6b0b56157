"""Reads what Slurm's commands print in the formats that slurm_commands asks for. Never raises: what it does not understand is skipped."""

from __future__ import annotations

import re

from packhorse.sites.schedulers.slurm_rows import Row, as_signal, split_wait_status, without_forecasts
from packhorse.sites.schedulers.slurm_states import parse_state

SEPARATOR = "|"
#: The fields that we ask squeue for, in order; the name comes last, because it is the only one that could hold a separator.
SQUEUE_FIELDS = ("JobID", "State", "exit_code", "StartTime", "EndTime", "NodeList", "Reason", "Name")
SACCT_FIELDS = ("JobIDRaw", "State", "ExitCode", "Start", "End", "NodeList", "Reason", "JobName")

_JOB_ID = re.compile(r"\d+")
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
    for line in text.splitlines():
        values = [value.strip() for value in line.split(SEPARATOR, fields - 1)]
        if len(values) != fields or not _JOB_ID.fullmatch(values[0]):
            continue
        job_id, state, code, start, end, nodes, reason, name = values
        exit_code, signal = parse_exit_code(code)
        states = parse_state(state)
        row = Row(
            job_id, name.removesuffix(SEPARATOR), states, state, "" if reason in _NO_REASON else reason, exit_code, signal,
            "" if nodes in _NO_NODES else nodes, parse_time(start), parse_time(end),
        )  # fmt: skip
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
    """Seconds since the epoch, as SLURM_TIME_FORMAT=%s prints them; None for ``N/A``, ``Unknown``, 0."""
    return float(text) if re.fullmatch(r"[1-9][0-9]{0,11}", text) else None


def parse_submitted(stdout: str) -> str | None:
    """The job id that ``sbatch --parsable`` printed (``123`` or ``123;cluster``); None when there is none."""
    for line in reversed(stdout.splitlines()):
        if match := re.fullmatch(r"(\d+)(;\S+)?", line.strip()):
            return match.group(1)
    return None


_PREFIX = re.compile(r"^(sbatch|squeue|sacct|scancel|scontrol|sinfo|srun|slurm_load_\w+)?:? ?(error|fatal|warning)?: ", re.IGNORECASE)


def own_words(stderr: str) -> str:
    """What a command complained about, in one line, without the names of programs and repetitions."""
    said: list[str] = []
    for line in stderr.splitlines():
        words = line.strip()
        while words and (shorter := _PREFIX.sub("", words, count=1)) != words:
            words = shorter
        if words and words not in said:
            said.append(words)
    return "; ".join(said)[:2000]


#: Words of commands that failed for a reason that passes: the controller, the database or munge is away or overloaded.
_PASSING = re.compile(
    r"unable to contact slurm|socket timed out|connection (refused|failure|timed out|reset)|communication connection|zero bytes"
    r"|temporarily|try again|transport endpoint|connect failure|standby|failed to open persistent connection|failed to fetch config"
    r"|could not establish a configuration source|dns srv|munge|protocol authentication|controller.*(down|not respond)|no route to host"
    r"|database.*(down|not respond)|problem talking to the database|resource is busy|resource temporarily unavailable|broken pipe",
    re.IGNORECASE,
)


def passes(words: str) -> bool:
    """Whether what a command complained about says that Slurm does not answer, rather than that it refuses."""
    return _PASSING.search(words) is not None


#: Words of a refusal that is only for now: the user has too many jobs in the queue.
_FULL = re.compile(r"submitjob\w*limit|maxsubmitjob|too many jobs|maximum (number of )?jobs", re.IGNORECASE)


def is_full(words: str) -> bool:
    """Whether a submission was refused only because too many jobs are in the queue."""
    return _FULL.search(words) is not None


def parse_minutes(text: str) -> float | None:
    """Seconds of a time limit (``D-HH:MM:SS``, ``D-HH``, ``HH:MM:SS``, ``MM:SS``, ``MM``); None for UNLIMITED and what is not a limit."""
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
