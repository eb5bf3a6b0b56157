"""What is decided about an image at a site."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.images import PERMANENT, ImageFailure
from packhorse.staging.images import TRANSITIONS, WORKING, ImageState, after_failure, to_evict, waits_for

S = ImageState


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize("state", sorted(WORKING))
def test_what_is_under_way_can_end_well_or_badly_or_be_tried_again(state: ImageState) -> None:
    assert TRANSITIONS[state] >= {S.READY, S.FAILED, S.WANTED}


@given(st.sampled_from(sorted(ImageFailure)), st.integers(1, 1000), st.floats(0, 1e6))
def test_a_failure_ends_it_or_is_tried_again_later(failure: ImageFailure, tries: int, waited_s: float) -> None:
    again = after_failure(failure, "It did not work.", tries, waited_s, patience_s=3600)
    assert again.state in (S.FAILED, S.WANTED)
    assert again.state in TRANSITIONS[S.COPYING]
    assert again.why.startswith("It did not work.")
    if failure in PERMANENT or waited_s >= 3600:
        assert again.state is S.FAILED
    if again.state is S.WANTED:
        assert 0 < again.delay_s <= 120


def test_a_registry_that_is_away_is_waited_for_and_a_conversion_is_not() -> None:
    assert after_failure(ImageFailure.REGISTRY_AWAY, "", 20, 1000.0, 3600.0).state is S.WANTED
    assert after_failure(ImageFailure.CONVERSION, "", 1, 1.0, 3600.0).state is S.WANTED
    assert after_failure(ImageFailure.CONVERSION, "", 2, 1.0, 3600.0).state is S.FAILED


_IMAGES = st.lists(
    st.builds(
        SimpleNamespace,
        seq=st.integers(1, 10**6),
        digest=st.sampled_from([f"sha256:{number}" for number in range(20)]),
        state=st.sampled_from([S.READY, S.WANTED, S.COPYING]),
        size_bytes=st.one_of(st.none(), st.integers(0, 1000)),
        last_used_at=st.floats(0, 100),
    ),
    max_size=20,
    unique_by=lambda image: image.digest,
)


@given(_IMAGES, st.frozensets(st.sampled_from([f"sha256:{number}" for number in range(20)])), st.integers(0, 5000))
def test_room_is_made_by_those_that_were_not_used_for_longest(
    images: list[SimpleNamespace], in_use: frozenset[str], quota: int
) -> None:
    leaving = to_evict(images, in_use, quota)
    ready = [image for image in images if image.state is S.READY]
    staying = [image for image in ready if image not in leaving]
    free = [image for image in staying if image.digest not in in_use]
    assert all(image in ready and image.digest not in in_use for image in leaving)
    assert sum(image.size_bytes or 0 for image in staying) <= quota or not free, "room could be made"
    assert all((one.last_used_at, one.seq) <= (other.last_used_at, other.seq) for one in leaving for other in free)
    if leaving:
        kept = sum(image.size_bytes or 0 for image in [*staying, leaving[-1]])
        assert kept > quota, "no more than is needed"


def want(**fields: object) -> SimpleNamespace:
    whole = {
        "reference": "r.example/lab/tool:1",
        "site": "cluster",
        "state": None,
        "error": None,
        "done_bytes": 0,
        "download_bytes": 0,
    }
    return SimpleNamespace(**{**whole, **fields})


@pytest.mark.parametrize(("image", "says"), [
    (want(), "its registry is asked."),
    (want(error="It does not answer."), "its registry is asked. It does not answer."),
    (want(state=S.WANTED), "it is next to be prepared."),
    (want(state=S.WANTED, error="There is no room."), "There is no room."),
    (want(state=S.COPYING, done_bytes=30_000_000, download_bytes=100_000_000), "copying, 30.0 MB of 100.0 MB."),
    (want(state=S.CONVERTING, done_bytes=1_500_000_000), "converting, 1,500.0 MB so far."),
])  # fmt: skip
def test_a_task_says_what_it_waits_for(image: SimpleNamespace, says: str) -> None:
    assert waits_for(image) == f"Waits for the image r.example/lab/tool:1 at 'cluster': {says}"
