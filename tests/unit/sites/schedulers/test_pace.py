"""How often the scheduler is asked."""

from __future__ import annotations

from itertools import pairwise

from packhorse.sites.schedulers.pace import Pace


def questions(pace: Pace, seconds: int, changes: frozenset[int] = frozenset()) -> list[int]:
    asked = []
    for second in range(seconds):
        if pace.is_due(second):
            pace.asked(second, changed=second in changes)
            asked.append(second)
    return asked


def test_less_and_less_often_while_nothing_changes() -> None:
    asked = questions(Pace(1.0, 60.0), 3600)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == sorted(gaps)
    assert max(gaps) == 60
    assert len(asked) < 90


def test_soon_again_after_a_change_or_a_hint() -> None:
    pace = Pace(1.0, 60.0)
    last = questions(pace, 600)[-1]
    assert not pace.is_due(last + 2)
    pace.hurry()
    assert pace.is_due(last + 2)
    pace.asked(last + 2, changed=True)
    assert pace.is_due(last + 3)
