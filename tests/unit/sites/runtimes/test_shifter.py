"""Shifter: batch directives, and what its gateway's records mean."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import ImageError
from packhorse.sites.runtimes.base import Bind, CannotRun
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.runtimes.shifter_gateway import ShifterGateway, Step, parse_image, pull_failed

IMAGE = "docker:lab/tool:1"


def test_directives() -> None:
    """One option for all volumes: of several, Slurm's plugin would keep the last."""
    volumes = [Bind("/scratch/a", "/data", read_only=True), Bind("/scratch/b", "/var/tmp")]
    assert runtime("shifter").directives(IMAGE, volumes) == [
        f"--image={IMAGE}",
        "--volume=/scratch/a:/data:ro;/scratch/b:/var/tmp",
    ]
    assert runtime("shifter").directives("id:0123ab", []) == ["--image=id:0123ab"]
    assert runtime("shifter").directives("docker:host:5000/lab/tool:sha256-0a", []) == [
        "--image=docker:host:5000/lab/tool:sha256-0a"
    ]


@pytest.mark.parametrize(
    "image", ["", "lab/tool:1", "docker:lab/tool", "docker:--x:1", "docker:a b:1", "id:x", "id:0 --uid=0", "local:/"]
)
def test_images_that_the_gateway_cannot_have(image: str) -> None:
    with pytest.raises(CannotRun, match="is not an image of its gateway"):
        runtime("shifter").directives(image, [])


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("/a", "/etc", "keeps for itself"),
        ("/a", "/etc/x", "keeps for itself"),
        ("/a", "/etcetera", "keeps for itself"),
        ("/a", "/var", "keeps for itself"),
        ("/a", "/var/tmp/x", "keeps for itself"),
        ("/a", "/proc/x", "keeps for itself"),
        ("/a", "/dev", "keeps for itself"),
        ("/a", "/opt", "keeps for itself"),
        ("/a", "/opt/", "keeps for itself"),
        ("/a", "/opt/udiImage/x", "keeps for itself"),
        ("/a", "/", "keeps for itself"),
        ("/a b", "/b", "may have letters, digits"),
        ("/a;/b", "/b", "may have letters, digits"),
        ("/a:/c", "/b", "may have letters, digits"),
        ("/a", "/b:ro", "may have letters, digits"),
        ("a", "/b", "is not absolute"),
        ("/a/../b", "/b", "contains '..'"),
        ("/a..b", "/b", "refuses '..'"),
    ],
)
def test_volumes_that_shifter_would_refuse_or_misread(source: str, target: str, why: str) -> None:
    with pytest.raises(CannotRun) as caught:
        runtime("shifter").directives(IMAGE, [Bind("/fine", "/fine"), Bind(source, target)])
    assert why in str(caught.value)


def test_other_targets_are_fine() -> None:
    for target in ("/opt/tool", "/device", "/process", "/data", "/global/etc"):
        assert runtime("shifter").directives(IMAGE, [Bind("/a", target)])[1] == f"--volume=/a:{target}"


RECORD = {
    "id": "a1" * 32,
    "system": "perl",
    "itype": "docker",
    "tag": ["lab/tool:1"],
    "status": "READY",
    "userACL": [],
    "groupACL": [],
    "ENV": ["A=b"],
    "ENTRY": None,
    "WORKDIR": "/app",
    "LABELS": "MISSING",
    "last_pull": 1.5,
    "status_message": "Image ready",
}


def test_a_record() -> None:
    image = parse_image(RECORD)
    assert (image.step, image.reference, image.tags, image.env) == (
        Step.READY,
        "id:" + "a1" * 32,
        ("lab/tool:1",),
        ("A=b",),
    )
    assert (image.entrypoint, image.workdir, image.is_digest("sha256:" + "a1" * 32)) == ((), "/app", True)


@pytest.mark.parametrize("status", ["MISSING", "INIT", "PENDING", "EXPIRED", "EXPIRING", "SOMETHING_NEW"])
def test_what_is_not_there_is_waited_for(status: str) -> None:
    image = parse_image({**RECORD, "status": status, "id": "MISSING"})
    assert (image.step, image.reference, image.id) == (Step.WAITING, None, None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*RECORD]), inner),
    )
)
def test_no_record_is_too_odd(document: object) -> None:
    """And what would be an option of shifter is none."""
    image = parse_image(document)
    assert image.reference is None or image.reference.isalnum() or image.reference[3:].isalnum()
    assert image.is_digest("x") is False
    pull_failed("a", "b", image)


def answering(response: httpx2.Response) -> ShifterGateway:
    return ShifterGateway("http://gw", "perl", lambda: "secret", transport=httpx2.MockTransport(lambda _: response))


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx2.Response(500), "does not know our credential (HTTP 500)"),
        (
            httpx2.Response(302, headers={"Location": "http://elsewhere/"}),
            "sends us on to http://elsewhere, and a POST is not sent",
        ),
        (httpx2.Response(200, text="<html>"), "something else than JSON"),
        (httpx2.Response(404), "refuses to act for us"),
    ],
)
def test_answers_that_help_nobody(response: httpx2.Response, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        answering(response).pull("lab/tool", "1")
    assert words in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tag"),
    [("lab/../tool", "1"), ("/lab", "1"), ("lab", "a/b"), ("lab?x", "1"), ("lab", ""), ("", "1"), ("a\n", "1")],
)
def test_names_that_would_be_another_request(name: str, tag: str) -> None:
    with pytest.raises(InvalidRequest, match="is not an image that a gateway can be asked for"):
        answering(httpx2.Response(200, json={})).lookup(name, tag)
    with pytest.raises(InvalidRequest, match="is not the name of a system"):
        ShifterGateway("http://gw", "a/../b", lambda: "")


def test_lists_that_are_none() -> None:
    gateway = answering(httpx2.Response(200, json={"list": [1, {"image": "a:1", "status": "PULLING"}]}))
    assert gateway.queue() == [("a:1", "PULLING")]
    assert answering(httpx2.Response(200, json=[])).images() == []
