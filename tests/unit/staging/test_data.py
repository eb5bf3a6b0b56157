"""How data gets to a site, as a state machine: every order of events leads somewhere sensible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.states import DataState
from packhorse.staging import data as machine
from packhorse.staging.data import (
    Begun,
    Came,
    Complete,
    Event,
    Failed,
    Fetch,
    Interrupted,
    Stored,
    Trouble,
    Unwanted,
    advance,
    waits_for,
)

S = DataState
events: st.SearchStrategy[Event] = st.one_of(
    st.just(Begun()), st.just(Complete()), st.just(Stored()), st.just(Interrupted()), st.just(Unwanted()),
    st.builds(Came, st.integers(0, 1000)), st.builds(Failed, st.sampled_from(Trouble), st.just("It failed.")),
)  # fmt: skip


def run(*happened: Event, now: float = 100.0) -> Fetch:
    fetch = Fetch()
    for event in happened:
        fetch = advance(fetch, event, now)
    return fetch


def test_the_way_through() -> None:
    states = [run(*([Begun(), Came(5), Complete(), Stored()][:length])).state for length in range(5)]
    assert states == [S.QUEUED, S.FETCHING, S.FETCHING, S.VERIFYING, S.READY]


@pytest.mark.parametrize(("trouble", "tries"), [(Trouble.REFUSED, 1), (Trouble.WRONG, 4), (Trouble.AWAY, 15)])
def test_how_often_it_is_tried(trouble: Trouble, tries: int) -> None:
    fetch, number = Fetch(), 0
    while fetch.state is not S.FAILED:
        fetch = advance(advance(fetch, Begun(), 0), Failed(trouble, "It failed."), 0)
        number += 1
    assert number == tries
    assert fetch.error == ("It failed." if tries == 1 else f"It failed. It was tried {tries} times.")


def test_a_site_that_is_away_is_waited_for_without_end() -> None:
    fetch = Fetch()
    for _ in range(1000):
        fetch = advance(advance(fetch, Begun(), 7.0), Failed(Trouble.SITE, "It does not answer."), 7.0)
    assert (fetch.state, fetch.not_before, fetch.tries) == (S.QUEUED, 7.0 + machine.SITE_WAIT_S, 0)


def test_what_gets_on_is_not_given_up_and_what_stands_still_is() -> None:
    fetch = Fetch()
    for number in range(1, 200):
        fetch = advance(advance(advance(fetch, Begun(), 0), Came(number), 0), Failed(Trouble.AWAY, "It broke off."), 0)
        assert (fetch.state, fetch.tries) == (S.QUEUED, 1)
    for _ in range(14):
        fetch = advance(advance(advance(fetch, Begun(), 0), Came(100), 0), Failed(Trouble.AWAY, "It broke off."), 0)
    assert fetch.state is S.FAILED


def test_backing_off_doubles_up_to_a_limit() -> None:
    fetch, delays = Fetch(), []
    for _ in range(machine.AWAY_RETRIES):
        fetch = advance(advance(fetch, Begun(), 50.0), Failed(Trouble.AWAY, "Away."), 50.0)
        delays.append(fetch.not_before - 50.0)
    assert delays[:4] == [1, 2, 4, 8] and max(delays) == machine.MAX_BACKOFF_S and delays == sorted(delays)


@given(st.lists(events, max_size=60))
def test_ends_are_final_and_nothing_is_ready_that_was_not_stored(happened: list[Event]) -> None:
    fetch = Fetch()
    for event in happened:
        after = advance(fetch, event, 1.0)
        if fetch.state in (S.READY, S.FAILED):
            assert after == fetch
        if after.state is S.READY and fetch.state is not S.READY:
            assert isinstance(event, Stored) and fetch.state in (S.FETCHING, S.VERIFYING)
        if after.state is S.FAILED:
            assert after.error
        fetch = after


@given(st.lists(events, max_size=60))
def test_wherever_it_is_there_is_a_way_on(happened: list[Event]) -> None:
    fetch = run(*happened)
    if fetch.state not in (S.READY, S.FAILED):
        after = fetch
        for event in (Interrupted(), Begun(), Came(9), Complete(), Stored()):
            after = advance(after, event, 0)
        assert after.state is S.READY


@pytest.mark.parametrize(
    ("state", "done", "size", "error", "says"),
    [
        ("FETCHING", 30_000_000, 100_000_000, None, "Waits for s3://b/k: 30 of 100 MB."),
        ("FETCHING", 1_234_567, None, None, "Waits for s3://b/k: 1.23 MB."),
        ("FETCHING", 12_345_000_000, 100_000_000_000, None, "Waits for s3://b/k: 12345 of 100000 MB."),
        ("VERIFYING", 5, 5, None, "Waits for s3://b/k: it is being checked."),
        ("QUEUED", 0, None, None, "Waits for s3://b/k: it is to be fetched."),
        ("QUEUED", 0, None, "b does not answer.", "Waits for s3://b/k, which did not come yet: b does not answer."),
    ],
)
def test_what_those_who_wait_are_told(state: str, done: int, size: int | None, error: str | None, says: str) -> None:
    assert waits_for("s3://b/k", state, done, size, error) == says


def test_a_server_that_wants_to_be_left_alone_is_within_bounds() -> None:
    for after_s, wait_s in ((0.0, 1.0), (30.0, 30.0), (3600.0, machine.MAX_BACKOFF_S)):
        fetch = advance(advance(Fetch(), Begun(), 7.0), Failed(Trouble.AWAY, "It is busy.", after_s), 7.0)
        assert fetch.not_before == 7.0 + wait_s
