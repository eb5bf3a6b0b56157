"""What one user may ask for over GA4GH TES: tasks created, shown, listed. A task is canceled as any other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import InvalidRequest, PackhorseError
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.resources import BACKEND_PARAMETERS
from packhorse.domain.run import SubmittedRun, TesRun
from packhorse.domain.tes import View, of_one_task, tes_run
from packhorse.domain.text import text_problem
from packhorse.domain.users import User
from packhorse.domain.views import AttemptView, RunView
from packhorse.engine.requests.access import task_row
from packhorse.engine.requests.documents import attempt_view
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.taskout import read_tail
from packhorse.engine.requests.tesdocument import tes_document
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site
from packhorse.store.database import Database
from packhorse.store.listing import Place, Wanted, page_of_listed, runs_of, short_rows, whole_rows
from packhorse.store.lookups import source_of
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.tasks import attempts_of_many

SubmitMany = Callable[[Sequence[SubmittedRun | PackhorseError]], Sequence[RunView | PackhorseError]]

MOST_LISTED = 2047
"""Tasks of a page, as TES has it."""
_MOST_FULL = 64  # with what they printed, which is read at their sites
_MOST_CHARACTERS = 16_000_000  # of the documents of a page, unless it has one task only
_TAIL_BYTES = 64 << 10  # shown of what an executor printed


@dataclass(frozen=True, slots=True)
class _Found:
    """What is read of a task before it is shown; ``source`` is the row of the task that was executed for it."""

    row: Any
    step: Step
    created_at: float
    attempts: Sequence[AttemptView]
    source: Any


class TesTasks:
    """Tasks as TES has them. Raises the refusals of ``domain.errors``: NotFound also for what is not this user's."""

    def __init__(
        self,
        user: User,
        database: Database,
        steps: Steps,
        sites: Mapping[str, Site],
        files: FileRules,
        submit_many: SubmitMany,
    ) -> None:
        self._user = user
        self._database = database
        self._steps = steps
        self._sites = sites
        self._files = files
        self._submit_many = submit_many

    def create(self, document: Any) -> str:
        """The id of a new task."""
        [created] = self.create_many([document])
        if isinstance(created, PackhorseError):
            raise created
        return created

    def create_many(self, documents: Sequence[Any]) -> list[str | PackhorseError]:
        """By position: the id of a new task, or why it was refused; each by itself."""
        return [_created(answer) for answer in self._submit_many([_asked(one) for one in documents])]

    def get(self, task_id: str, view: View) -> dict[str, Any]:
        """One task."""
        with self._database.read() as connection:
            run, row = task_row(connection, self._user, task_id)
            if view is View.MINIMAL:
                return {"id": public_task_id(run.id, row.id % TASKS_PER_RUN), "state": row.state}
            [found] = self._find(connection, [row], {run.seq: run})
        return self._show(found, view)

    def page(self, wanted: Wanted, view: View, size: int, token: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """(tasks, where the next page begins; None at the end). A page may have fewer than ``size``, or none."""
        if why := next((why for text in _texts(wanted) if (why := text_problem(text))), None):
            raise InvalidRequest(f"What is looked for {why}.")
        POLICY.require(self._user, Action.LOOK)
        after, owner = _place(token), None if POLICY.allows(self._user, Action.SEE_ALL) else self._user.name
        if owner is not None and after is not None:
            after = after._replace(owner=owner)  # whatever a token says
        with self._database.read() as connection:
            listed = page_of_listed(
                connection, owner, wanted, after, min(size, _MOST_FULL) if view is View.FULL else size
            )
            short = short_rows(connection, listed.ids)
            runs = runs_of(connection, {task // TASKS_PER_RUN for task in listed.ids})
            if view is View.MINIMAL:
                return [_minimal(short[task], runs) for task in listed.ids], _token(listed.following)
            listed = listed.first(_fitting(listed.ids, short))
            rows = whole_rows(connection, listed.ids)
            found = self._find(connection, [rows[task] for task in listed.ids], runs)
        return [self._show(one, view) for one in found], _token(listed.following)

    def about(self) -> dict[str, list[str]]:
        """What the service is told to have: where inputs and outputs of this user may be, and backend parameters."""
        POLICY.require(self._user, Action.LOOK)
        roots = [f"file://{root}" for root in self._files.roots or ()]
        urls = [*roots, *(self._files.urls or ()), *(self._files.output_urls or ())]
        return {"storage": list(dict.fromkeys(urls)), "tesResources_backend_parameters": list(BACKEND_PARAMETERS)}

    def _find(self, connection: sa.Connection, rows: Sequence[Any], runs: Mapping[int, Any]) -> list[_Found]:
        seqs = {row.step_seq for row in rows}
        steps = self._steps.many(connection, seqs)
        steps |= {seq: self._steps.of(connection, seq) for seq in seqs - set(steps)}  # which raises what is wrong
        attempts: dict[int, list[AttemptView]] = {row.id: [] for row in rows}
        for one in attempts_of_many(connection, list(attempts)):
            attempts[one.task_id].append(attempt_view(one))
        return [
            _Found(
                row,
                steps[row.step_seq],
                runs[row.id // TASKS_PER_RUN].created_at,
                attempts[row.id],
                source_of(connection, row),
            )
            for row in rows
        ]

    def _show(self, found: _Found, view: View) -> dict[str, Any]:
        def output(attempt: int, stream: str, begin: int, end: int | None) -> str:
            return read_tail(self._database, self._sites, found.source, stream, attempt, begin, end, _TAIL_BYTES)

        read = output if view is View.FULL else None
        return tes_document(found.row, found.step, found.created_at, found.attempts, view, read)


def _asked(document: Any) -> TesRun | PackhorseError:
    try:
        return tes_run(document)
    except PackhorseError as error:
        return error


def _created(answer: RunView | PackhorseError) -> str | PackhorseError:
    if isinstance(answer, RunView):
        return public_task_id(answer.id, 0)
    return of_one_task(answer) if isinstance(answer, InvalidRequest) else answer


def _minimal(row: Any, runs: Mapping[int, Any]) -> dict[str, Any]:
    return {"id": public_task_id(runs[row.id // TASKS_PER_RUN].id, row.id % TASKS_PER_RUN), "state": row.state}


def _fitting(ids: Sequence[int], short: Mapping[int, Any]) -> int:
    """How many of the first have not too long documents together; at least one."""
    characters = 0
    for number, task in enumerate(ids):
        characters += short[task].length
        if number and characters > _MOST_CHARACTERS:
            return number
    return len(ids)


def _texts(wanted: Wanted) -> Iterator[str]:
    yield wanted.prefix
    for key, value in (wanted.tags or {}).items():
        yield key
        yield value


def _token(place: Place | None) -> str | None:
    """A place as clients carry it."""
    return None if place is None else base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(token: str | None) -> Place | None:
    """The place that a token stands for. Raises InvalidRequest for what is none of ours."""
    if not token:
        return None
    try:
        place = Place(*json.loads(base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))))
        is_ours = isinstance(place.owner, str) and isinstance(place.name, str) and type(place.task) is int
    except (ValueError, TypeError, RecursionError):  # UnicodeEncodeError is a ValueError
        is_ours = False
    if not is_ours or not 0 <= place.task < 1 << 63 or text_problem(place.owner + place.name):
        raise InvalidRequest(
            f"'{token[:60]}' is not a page token.", hint="Use 'next_page_token' of the page before, as it is."
        )
    return place
