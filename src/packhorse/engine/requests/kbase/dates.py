"""Jobs by the time when they were made, with counts of what they have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import InvalidRequest, NotAllowed
from packhorse.domain.kbase import truth
from packhorse.engine.requests.kbase.access import Access
from packhorse.engine.requests.kbase.lookup import Lookup, all_of
from packhorse.engine.requests.kbase.states import State
from packhorse.store.database import Database
from packhorse.store.kbase.runs import runs_made, sizes_of
from packhorse.store.schema import TASKS_PER_RUN

ALL = "ALL"
MAX_RUNS = 20_000  # that one request looks at
MAX_LIMIT = 20_000
_LIMIT = 2000
_STATS = ("clientgroup", "user", "app_id", "method", "wsid", "status")
_ALWAYS = ("_id", "authstrat", "created", "job_id", "updated")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")


def jobs_made(database: Database, lookup: Lookup, access: Access, said: Mapping[str, Any], user: str | None) -> State:
    """What ``check_jobs_date_range_for_user`` answers; ``user`` is ALL, or None for who asks."""
    own = access.caller.name
    user = user or own
    if user != own and not POLICY.allows(access.caller.user, Action.SEE_ALL):
        told = "You are not authorized to view all records or records for others."
        raise NotAllowed(f"{told} user={user} token={own}")
    begin, end = _time(said.get("start_time"), "start"), _time(said.get("end_time"), "end")
    if begin > end:
        raise InvalidRequest("The start time cannot be greater than the end time.")
    offset, limit = _whole(said.get("offset"), 0, "offset"), _whole(said.get("limit"), _LIMIT, "limit")
    projection = said.get("projection") or []
    if not isinstance(projection, list):
        raise InvalidRequest("Invalid job projection type. Must be list")
    wanted = filter_of(said.get("filter"))
    ascending = said.get("ascending") is None or truth(said["ascending"])
    with database.read() as connection:
        rows = runs_made(connection, None if user == ALL else user, begin, end, MAX_RUNS, ascending=ascending)
        runs = {row.run_seq: row for row in rows}
        numbers = sizes_of(connection, runs)
    states = lookup.states(all_of(runs, numbers), runs, ())
    order = {seq: place for place, seq in enumerate(runs)}
    ids = sorted(states, key=lambda task: (order[task // TASKS_PER_RUN], task))
    found = [state for task in ids if _matches(state := states[task], wanted)]
    page = [_projected(state, projection) for state in found[offset : offset + min(limit, MAX_LIMIT)]]
    return {
        "jobs": page,
        "count": len(page),
        "query_count": len(found),
        "filter": {**wanted, **({} if user == ALL else {"user": user})},
        "skip": offset,
        "projection": projection,
        "limit": limit,
        "sort_order": "+" if ascending else "-",
        "stats": _stats(page),
    }


def filter_of(given: Any) -> dict[str, str]:
    """A mapping, or a list of texts like 'status=error'. Raises InvalidRequest."""
    if given is None:
        return {}
    if isinstance(given, dict):
        return {str(name): str(value) for name, value in given.items()}
    if isinstance(given, list) and all(isinstance(one, str) and "=" in one for one in given):
        return dict(one.split("=", 1) for one in given)
    raise InvalidRequest("Job filter must be a dictionary or a list of key=value pairs")


def _matches(state: State, wanted: Mapping[str, str]) -> bool:
    return all(str(_value(state, name)) == value for name, value in wanted.items())


def _value(state: Mapping[str, Any], name: str) -> Any:
    """Of the job, of its input, or of what it asked for: ``job_input__app_id`` is the second too."""
    if name in state:
        return state[name]
    asked = state.get("job_input") or {}
    name = name.removeprefix("job_input__").removeprefix("job_input.")
    if name in asked:
        return asked[name]
    of_requirements = "clientgroup" if name == "client_group" else name
    return (asked.get("requirements") or {}).get(of_requirements)


def _projected(state: State, projection: list[Any]) -> State:
    found = {**state, "_id": state["job_id"]}
    found.pop("retry_saved_toggle", None)
    return (
        found if not projection else {name: found[name] for name in (*_ALWAYS, *map(str, projection)) if name in found}
    )


def _stats(states: list[State]) -> dict[str, dict[str, int]]:
    return {name: dict(Counter(_counted(_value(state, name)) for state in states)) for name in _STATS}


def _counted(value: Any) -> str:
    """As a key of JSON."""
    return "null" if value is None else str(value)


def _time(given: Any, which: str) -> float:
    """Seconds since the epoch: whole numbers are milliseconds, others seconds, as EE2 has it, and texts are numbers or
    dates. Raises InvalidRequest.
    """
    problem = InvalidRequest(f"Please provide a valid {which} time for when job was created")
    if isinstance(given, str):
        if not _NUMBER.fullmatch(given):
            try:
                return datetime.fromisoformat(given).timestamp()
            except (ValueError, OverflowError):
                raise problem from None
        given = float(given) if "." in given else int(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < 1e15:
        raise problem
    return given / 1000 if isinstance(given, int) else given


def _whole(given: Any, default: int, name: str) -> int:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 1 << 31:
        raise InvalidRequest(f"'{name}' must be an integer of 0 or more")
    return given
