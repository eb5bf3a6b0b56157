"""What one user's tasks are expected to need, and what tasks used. What is slow to import is imported when it is asked
for: most requests are for other things.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from packhorse.domain.access import POLICY, Action
from packhorse.domain.views import Page
from packhorse.engine.requests.access import task_row
from packhorse.engine.requests.own import Own
from packhorse.engine.requests.pages import MAX_PAGE, cursor_of, page_size

if TYPE_CHECKING:
    from packhorse.domain.expectations import RunExpectation, TaskEstimate
    from packhorse.domain.history import HistoryRow
    from packhorse.domain.run import SubmittedRun
    from packhorse.engine.requests.estimating import Estimating
    from packhorse.engine.requests.submitting import Rows, Submissions
    from packhorse.engine.steps.cache import Steps


class _Parts(Protocol):
    """What of the service this needs."""

    submissions: Submissions
    steps: Steps

    @property
    def estimating(self) -> Estimating: ...


class OwnEstimates(Own):
    """A part of ``UserService``."""

    _service: _Parts

    def estimate(self, request: SubmittedRun, rows: Rows | None = None) -> RunExpectation:
        """What a run is expected to need. Refuses what ``submit`` would refuse; nothing is submitted."""
        POLICY.require(self._user, Action.LOOK)
        accepted = self._service.submissions.check(self._user, request, rows).accepted
        return self._service.estimating.of_run(self._database, self._user.name, accepted)

    def task_estimates(self, task_id: str) -> list[TaskEstimate]:
        """What was decided for the attempts at a task; where nothing was, what would be now."""
        with self._database.read() as connection:
            _, row = task_row(connection, self._user, task_id)
            step = self._service.steps.of(connection, row.step_seq)
        return self._service.estimating.of_task(self._database, step, row)

    def history(self, cursor: str | None = None, limit: int = MAX_PAGE) -> Page[HistoryRow]:
        """What attempts used, oldest first. For admins: it is that of all users, whom digests stand for."""
        from packhorse.engine.requests.histories import page_of_history

        POLICY.require(self._user, Action.SEE_ALL)
        with self._database.read() as connection:
            items, last = page_of_history(connection, cursor_of(cursor) or 0, page_size(limit))
        return Page(items=items, next_cursor=None if last is None else str(last))

    def add_history(self, rows: Sequence[HistoryRow]) -> int:
        """Takes in what attempts used elsewhere; returns how many. For admins."""
        from packhorse.engine.requests.histories import keep_rows

        POLICY.require(self._user, Action.MANAGE)
        with self._database.write() as connection:
            return keep_rows(connection, rows)
