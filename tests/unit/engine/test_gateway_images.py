"""What a site's image gateway is asked for, whether it gave that, and settings that do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import ImageError, ImageFailure, parse_reference
from packhorse.domain.resources import Resources
from packhorse.domain.siteconfig import SiteConfig
from packhorse.engine.containers import ReadyImage, container, job_image
from packhorse.engine.images.preparing import at_gateway, why_other
from packhorse.sites.base import CommandResult, Transport
from packhorse.sites.configure import site_from
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.runtimes.shifter_gateway import munge_credential
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.site import Site, local_site

WANTED, OTHER, INDEX = (f"sha256:{pair * 32}" for pair in ("ab", "cd", "ef"))
TOOL = parse_reference("quay.io/lab/tool:1")


def site(registry: str | None = None) -> Site:
    made = local_site("/site")
    made.runtime, made.registry, made.scheduler = runtime("shifter"), registry, SlurmScheduler()
    return made


@pytest.mark.parametrize(
    ("name", "registry", "asked"),
    [
        ("ubuntu:24.04", None, ("library/ubuntu", "24.04")),
        ("quay.io/lab/tool:1", None, ("quay.io/lab/tool", "1")),
        (f"quay.io/lab/tool:1@{WANTED}", None, ("quay.io/lab/tool", "1")),
        (f"quay.io/lab/tool@{WANTED}", "r.org/m", ("r.org/m/quay.io/lab/tool", WANTED.replace(":", "-"))),
    ],
)
def test_what_it_is_asked_for(name: str, registry: str | None, asked: tuple[str, str]) -> None:
    assert at_gateway(site(registry), parse_reference(name), WANTED) == asked


def test_a_name_without_a_tag_is_refused() -> None:
    with pytest.raises(ImageError, match="pulls by tag, and the name has none") as caught:
        at_gateway(site(), parse_reference(f"quay.io/lab/tool@{WANTED}"), WANTED)
    assert caught.value.kind is ImageFailure.CANNOT_RUN


@pytest.mark.parametrize(
    ("tag_is", "id_is", "kind"),
    [
        (WANTED, WANTED, None),  # the id is an index, which means it
        (OTHER, WANTED, None),  # the tag has moved since it was fetched
        (WANTED, None, None),  # made up: the tag is all there is to go by
        (OTHER, None, ImageFailure.CANNOT_RUN),
        (OTHER, OTHER, ImageFailure.CANNOT_RUN),
        (WANTED, OTHER, ImageFailure.REGISTRY_AWAY),  # the gateway is behind, and will look again
    ],
)
def test_whether_it_is_what_the_run_resolved(tag_is: str, id_is: str | None, kind: ImageFailure | None) -> None:
    error = why_other(site(), TOOL, WANTED, INDEX[7:], tag_is, id_is)
    assert (error and error.kind) == kind
    assert error is None or INDEX[7:] in error.message


def test_tasks_and_jobs_run_the_id_that_it_told() -> None:
    image = ReadyImage("quay.io/lab/tool:1", WANTED, {"config": {}}, INDEX[7:])
    boxed = container(site(), image, {}, Resources(), [])
    assert f"--image=id:{INDEX[7:]}" in boxed["head"] and boxed["image"] == WANTED
    assert job_image(site(), {"a": image}) == f"id:{INDEX[7:]}"


class Answer:
    """A transport with one answer."""

    def __init__(self, answer: CommandResult | OSError) -> None:
        self._answer = answer

    def run(self, argv: list[str], *, timeout_s: float = 60.0) -> CommandResult:
        assert argv == ["munge", "-n"]
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer


def credential(answer: CommandResult | OSError) -> str:
    transport: Transport = Answer(answer)  # type: ignore[assignment]
    return munge_credential(transport, "far")


def test_a_credential() -> None:
    assert credential(CommandResult(0, "MUNGE:AwQFAA+/=:\n", "")) == "MUNGE:AwQFAA+/=:"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), ImageFailure.CANNOT_RUN, "No such file"),
        (CommandResult(127, "", "sh: munge: not found"), ImageFailure.CANNOT_RUN, "not found"),
        (CommandResult(6, "", "munge: Error: Failed to access socket"), ImageFailure.REGISTRY_AWAY, "Failed to access"),
        (CommandResult(0, "Welcome to far!\nMUNGE:secret:\n", ""), ImageFailure.REGISTRY_AWAY, "exit code 0"),
    ],
)
def test_no_credential(answer: CommandResult | OSError, kind: ImageFailure, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        credential(answer)
    assert caught.value.kind is kind and words in caught.value.message and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"runtime": "shifter", "shifter_gateway": "http://gw:5555"}, "go together"),
        ({"runtime": "shifter", "shifter_system": "perl"}, "go together"),
        (
            {"runtime": "podman", "shifter_gateway": "http://gw:5555", "shifter_system": "perl"},
            'runtime = "shifter" only',
        ),
        (
            {"launcher": ["aprun", "-n", "{ranks}", "-N", "{per_node}"]},
            r"launcher: '\{per_node\}' is neither a parameter nor one of cores_per_rank",
        ),
        ({"launcher": ["aprun", "{"]}, "launcher: '{' has a brace that belongs to no placeholder"),
    ],
)
def test_settings_that_do_not_go_together(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=words):
        site_from("far", SiteConfig.model_validate(given), tmp_path)


def test_settings(tmp_path: Path) -> None:
    given = {"runtime": "shifter", "shifter_gateway": "http://gw:5555", "shifter_system": "perl"}
    made = site_from("far", SiteConfig.model_validate(given), tmp_path)
    assert (made.gateway, made.gateway_system) == ("http://gw:5555", "perl")
