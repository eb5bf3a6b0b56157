"""Whether a run has reuse: as it says, else as its site says; what is stored and compared is as before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from packhorse.cli.requests import RunArguments, request_of
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun
from packhorse.domain.submitted import run_of
from packhorse.engine.requests.accept import Accepted, AcceptedStep, with_reuse
from packhorse.engine.requests.submitting import _digest
from packhorse.engine.steps.base import StepSpec

ACCEPTED = Accepted("r", "a", [AcceptedStep("s", "here", StepSpec("app"), 1, tuple)])


@dataclass
class Place:
    name: str
    reuse: bool


@pytest.mark.parametrize(
    ("asked", "policy", "reuse"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_a_run_says_it_or_its_site_does(asked: bool | None, policy: bool, reuse: bool) -> None:
    sites: Any = [Place("there", not policy), Place("here", policy)]
    assert [step.spec.reuse for step in with_reuse(ACCEPTED, asked, sites).steps] == [reuse]


def test_a_step_without_reuse_is_stored_as_ever() -> None:
    assert "reuse" not in StepSpec("app").to_json()
    assert StepSpec.from_json(StepSpec("app", reuse=True).to_json()).reuse


def test_a_request_that_says_nothing_of_it_has_the_digest_that_it_had() -> None:
    digests = {_digest(AppRun(app="a", reuse=asked), ACCEPTED) for asked in (None, True, False)}
    assert len(digests) == 3
    dumped = AppRun(app="a").model_dump_json(exclude={"client_key", "over", "priority"})
    assert "reuse" in dumped, "it is left out of the digest by name"


def test_what_is_said_at_a_front_door_arrives() -> None:
    arguments: dict[str, Any] = dict.fromkeys(RunArguments.__dataclass_fields__)
    arguments |= {"app": "a", "settings": [], "tags": [], "name": "", "gather": True, "priority": 0}
    for asked in (None, True, False):
        assert request_of(RunArguments(**{**arguments, "reuse": asked})).reuse is asked
        document = {"app": "a"} if asked is None else {"app": "a", "reuse": asked}
        assert run_of(document).reuse is asked


def test_what_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        run_of({"app": "a", "reuse": "perhaps"})
    assert "reuse" in refusal.value.problems[0].where
