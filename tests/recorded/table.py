"""The table of a batch scheduler: what its commands printed, as files of a folder, and what that means.

``tests/unit/sites/schedulers/test_conformance.py`` runs one suite over the tables of all schedulers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packhorse.domain.failures import FailureClass
from packhorse.sites.base import CommandResult, JobState

#: A word of a command, and the file with what that command printed; an empty name is nothing.
Printed = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """What is known of the job with a token when this is printed.

    ``failure`` is what the end of the job means for tasks that it was running; None while it has not ended.
    """

    printed: Printed
    token: str
    state: JobState
    failure: FailureClass | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """Of one scheduler.

    A file that begins with a line of digits only has that exit code, and then what was said on stderr.
    """

    folder: Path
    accepted: Sequence[tuple[Printed, str]]
    """Submissions that went well, and their job ids."""
    refused: Sequence[Printed]
    """Submissions that will not go well the next time either."""
    full: Sequence[Printed]
    """Submissions that are refused for now."""
    unanswered: Sequence[Printed]
    """Submissions that the scheduler did not answer."""
    jobs: Sequence[RecordedJob]
    away: Sequence[Printed]
    """Questions about jobs that it did not answer."""
    described: Sequence[tuple[Printed, str, Sequence[str]]]
    """Its default queue, and all its queues."""

    def result(self, name: str) -> CommandResult:
        """What one command printed, and how it ended."""
        content = (self.folder / f"{name}.txt").read_text() if name else ""
        code, _, words = content.partition("\n")
        return CommandResult(int(code), "", words) if code.isdigit() and words else CommandResult(0, content, "")
