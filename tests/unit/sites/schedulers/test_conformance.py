"""What every batch scheduler keeps to, by what its commands printed: one suite over the tables of all of them.

``tests/integration/schedulers`` has the suite for those that really run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.render import compile_parts
from packhorse.sites.base import (
    LAUNCHER_WORDS,
    CommandResult,
    Job,
    JobState,
    Scheduler,
    SiteUnreachable,
    SubmitRejected,
    Transport,
)
from packhorse.sites.schedulers.limits import limits_of
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.registry import SCHEDULERS, scheduler
from tests.recorded.slurm.table import TABLE as SLURM
from tests.recorded.table import Printed, Recorded, RecordedJob

TABLES = {"slurm": SLURM}


class Playback:
    """A transport that answers with what was recorded, or as ``cut`` makes it."""

    def __init__(self, table: Recorded, printed: Printed, cut: Callable[[str], str] = str) -> None:
        self._table = table
        self._printed = printed
        self._cut = cut
        self.asked = 0

    def run(self, argv: list[str], **_: Any) -> CommandResult:
        self.asked += 1
        result = self._table.result(self._printed[next(word for word in argv if word in self._printed)])
        return CommandResult(result.exit_code, self._cut(result.stdout), result.stderr)

    @property
    def transport(self) -> Transport:
        return cast(Transport, self)


class Away:
    """A transport to a site that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def refuse(*_: Any, **__: Any) -> None:
            raise SiteUnreachable("The site is away.")

        return refuse


def job(token: str = "a-01") -> Job:
    return Job(token, f"/s/{token}", f"/s/{token}/job.sh", 1, 100, 60.0)


def each(kind: str) -> pytest.MarkDecorator:
    """Each row of a kind, of all tables."""
    rows = [
        pytest.param(scheduler(name), table, row, id=f"{name}-{number}")
        for name, table in TABLES.items()
        for number, row in enumerate(getattr(table, kind))
    ]
    return pytest.mark.parametrize(("of", "table", "row"), rows)


ALL = pytest.mark.parametrize("of", [scheduler(name) for name in SCHEDULERS], ids=SCHEDULERS)


def test_every_scheduler_that_has_commands_has_a_table() -> None:
    assert {name for name in SCHEDULERS if not scheduler(name).is_this_machine} == set(TABLES)


def test_one_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match="There is no batch scheduler 'lsf'") as refused:
        scheduler("lsf")
    assert refused.value.hint == f"There are: {', '.join(SCHEDULERS)}."


# --- submissions ------------------------------------------------------------


@each("accepted")
def test_a_submission_has_an_id(of: Scheduler, table: Recorded, row: tuple[Printed, str]) -> None:
    played = Playback(table, row[0])
    assert of.submit(played.transport, job()) == row[1]
    assert played.asked == 1


@each("refused")
def test_a_refusal_has_words(of: Scheduler, table: Recorded, row: Printed) -> None:
    with pytest.raises(SubmitRejected, match=r"\w+ \w+") as refused:
        of.submit(Playback(table, row).transport, job())
    assert not refused.value.may_pass


@each("full")
def test_a_full_queue_refuses_for_now(of: Scheduler, table: Recorded, row: Printed) -> None:
    with pytest.raises(SubmitRejected) as refused:
        of.submit(Playback(table, row).transport, job())
    assert refused.value.may_pass


@each("unanswered")
def test_what_may_be_submitted_or_not_is_no_refusal(of: Scheduler, table: Recorded, row: Printed) -> None:
    with pytest.raises(SiteUnreachable):
        of.submit(Playback(table, row).transport, job())


# --- jobs ------------------------------------------------------------


@each("jobs")
def test_a_job_is_found_by_its_token_and_told_by_its_id(of: Scheduler, table: Recorded, row: RecordedJob) -> None:
    played = Playback(table, row.printed)
    job_id = of.find(played.transport, job(row.token))
    assert job_id is not None
    (status,) = of.poll(played.transport, [job_id]).values()
    assert (status.state, status.failure) == (row.state, row.failure)
    assert status.native_state
    assert status.reason or status.state is JobState.RUNNING
    assert bool(status.message) == (row.failure is not None)
    assert status.started_at is None or status.started_at > 1e9
    assert (status.ended_at is None) or status.state is JobState.ENDED


@each("jobs")
def test_a_token_is_not_the_beginning_of_another(of: Scheduler, table: Recorded, row: RecordedJob) -> None:
    assert of.find(Playback(table, row.printed).transport, job(row.token[:-1])) is None


@pytest.mark.parametrize(("name", "table"), TABLES.items())
def test_many_jobs_are_one_question(name: str, table: Recorded) -> None:
    of = scheduler(name)
    printed = table.jobs[0].printed
    tokens = [row.token for row in table.jobs if row.printed is printed]
    ids = [str(of.find(Playback(table, printed).transport, job(token))) for token in tokens]
    one, many = Playback(table, printed), Playback(table, printed)
    of.poll(one.transport, ids[:1])
    assert set(of.poll(many.transport, ids)) == set(ids)
    assert many.asked <= one.asked + 1 < len(ids)


@given(st.sampled_from([(name, row) for name, table in TABLES.items() for row in table.jobs]), st.floats(0, 1))
def test_an_answer_that_was_cut_ends_nothing(which: tuple[str, RecordedJob], part: float) -> None:
    name, row = which
    of, table = scheduler(name), TABLES[name]
    job_id = str(of.find(Playback(table, row.printed).transport, job(row.token)))
    played = Playback(table, row.printed, lambda text: text[: int(len(text) * part)])
    try:
        (status,) = of.poll(played.transport, [job_id]).values()
    except SiteUnreachable:
        return
    assert status.state in (row.state, JobState.UNKNOWN)


@each("away")
def test_no_answer_is_an_unreachable_site(of: Scheduler, table: Recorded, row: Printed) -> None:
    with pytest.raises(SiteUnreachable):
        of.poll(Playback(table, row).transport, ["5"])
    with pytest.raises(SiteUnreachable):
        of.find(Playback(table, row).transport, job())


# --- what it is ------------------------------------------------------------


@each("described")
def test_it_describes_itself(of: Scheduler, table: Recorded, row: tuple[Printed, str, list[str]]) -> None:
    played = Playback(table, row[0])
    found = of.describe(played.transport)
    default = found.queue(of.queue)
    assert default is not None
    assert (default.name, [queue.name for queue in found.queues]) == (row[1], list(row[2]))
    assert found.name and found.version
    assert played.asked <= 3
    limits = limits_of(found, of.queue)
    assert limits[0].queue == row[1]
    assert {one.queue for one in limits} == {queue.name for queue in found.queues if queue.is_up}
    assert all(one.cores > 0 and one.memory_mb > 0 and one.nodes > 0 for one in limits)


@pytest.mark.parametrize("name", TABLES)
def test_the_queue_of_the_configuration_comes_first(name: str) -> None:
    printed, _, queues = TABLES[name].described[0]
    of = scheduler(name, SchedulerOptions(queue=queues[1]))
    found = of.describe(Playback(TABLES[name], printed).transport)
    assert limits_of(found, of.queue)[0].queue == queues[1]


@ALL
def test_its_name_is_the_registrys(of: Scheduler) -> None:
    assert scheduler(of.name).name == of.name


@ALL
def test_its_launcher_names_what_it_is_told(of: Scheduler) -> None:
    words = compile_parts([*of.launcher])(dict.fromkeys(LAUNCHER_WORDS, 4))
    assert words
    assert not any("{" in word for word in words)
    assert any("4" in word for word in words)


@ALL
@pytest.mark.parametrize("nodes", [1, 3])
def test_the_agent_is_the_tail_of_its_command(of: Scheduler, nodes: int) -> None:
    agent = ["python3", "-I", "/a b/agent.pyz", "$HOME"]
    assert of.agent_command(nodes, 8, agent)[-4:] == agent


@ALL
def test_nothing_to_ask_about_asks_nothing(of: Scheduler) -> None:
    away = cast(Transport, Away())
    assert of.poll(away, []) == {}
    of.cancel(away, [])


@ALL
def test_a_site_that_is_away_is_away_for_all_questions(of: Scheduler) -> None:
    away = cast(Transport, Away())
    asks: list[Callable[[], object]] = [
        lambda: of.submit(away, job()),
        lambda: of.find(away, job()),
        lambda: of.poll(away, ["5:6:/s"]),
        lambda: of.cancel(away, ["5:6:/s"]),
    ]
    if not of.is_this_machine:
        asks.append(lambda: of.describe(away))
    for ask in asks:
        with pytest.raises(SiteUnreachable):
            ask()
