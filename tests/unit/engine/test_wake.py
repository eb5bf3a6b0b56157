"""Who changes something in the store wakes the parts of the engine that it concerns, and no others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.run import AppRun
from packhorse.domain.submitted import run_of
from packhorse.engine.change import Change
from packhorse.engine.embedded import Embedded
from packhorse.engine.reconciler import Engine
from packhorse.engine.requests.accept import Accepted, AcceptedStep
from packhorse.engine.requests.submission import Submission
from packhorse.engine.steps.base import StepSpec
from packhorse.sites.site import local_site
from tests.fixtures.room import make_app

STEP = AcceptedStep("s", "here", StepSpec("app"), 1, tuple)


def change_of(spec: StepSpec, **more: Any) -> Change:
    return Submission(Accepted("r", "a", [STEP, replace(STEP, spec=spec)], **more), "u", "", None, "").change


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Embedded]:
    room = Embedded(tmp_path / "home")
    yield room
    room.close()


@pytest.mark.parametrize(
    ("spec", "images", "more"),
    [
        (StepSpec("app"), {"here": []}, Change(0)),
        (StepSpec("app", reuse=True), {}, Change.REUSE),
        (StepSpec("app", has_data=True), {}, Change.DATA),
        (StepSpec("app", has_data=True, reuse=True), {"here": ["a@sha256:1"]}, Change.ANY),
    ],
)
def test_a_submission_says_what_it_changes(spec: StepSpec, images: Any, more: Change) -> None:
    assert change_of(spec, images=images) == Change.TASKS | more


def test_the_engine_is_told_of_what_is_submitted_where_and_once_for_many(
    room: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[Change, Collection[str] | None]] = []

    class Heard:
        def wake(self, change: Change, sites: Collection[str] | None) -> None:
            heard.append((change, sites))

    monkeypatch.setattr(room, "_engine", Heard())
    app = make_app(tmp_path / "app", command="[/bin/true]")
    run = AppRun(app=app, over=[{"i": 1}])
    submitted = room.mine.submit(run)
    room.mine.submit_many([run, run.model_copy(update={"reuse": True})])
    room.mine.submit_many([run_of({"app": "none"})])
    room.mine.cancel_run(submitted.id)
    local = {"local"}
    assert heard == [(Change.TASKS, local), (Change.TASKS | Change.REUSE, local), (Change.ANY, None)]


def test_only_those_whom_it_concerns_are_woken(room: Embedded, tmp_path: Path) -> None:
    one, other = (replace_name(local_site(str(tmp_path / name)), name) for name in ("one", "other"))
    engine = Engine(room.database, [one, other], home=tmp_path)
    engine._others = engine._make_others()  # as when it leads

    def woken(*said: Any) -> set[str]:
        for loop in engine._loops:
            loop._wake.clear()
        engine.wake(*said)
        return {loop.name for loop in engine._loops if loop._wake.is_set()}

    assert woken(Change.TASKS, {"one"}) == {"one"}
    assert woken(Change.TASKS | Change.DATA, {"other"}) == {"other", "other data"}
    assert woken(Change.REUSE, None) == {"one reuse", "other reuse"}
    everyone = {f"{site}{kind}" for site in ("one", "other") for kind in ("", " data", " reuse")}
    assert woken() == everyone
    assert {loop.name for loop in engine._loops} - everyone == {"webhooks"}, "it looks once a second"


def replace_name(site: Any, name: str) -> Any:
    site.name = name
    return site
