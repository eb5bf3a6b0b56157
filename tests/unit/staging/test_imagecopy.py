"""Commands that copy images, names in a private registry, and what the tools' complaints mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import ImageFailure, ImageReference, parse_reference
from packhorse.staging.imagecopy import copy_command, digest_tag, private_name, why_failed

DIGEST = "sha256:" + "0123456789abcdef" * 4
SOURCE = parse_reference("quay.io/lab/tool:1")
RECORDED = sorted((Path(__file__).parents[2] / "recorded" / "images").glob("*.txt"))


def test_between_registries_by_digest() -> None:
    command = copy_command(
        SOURCE, DIGEST, "hub.site:5000/x/quay.io/lab/tool", source_tls=True, target_tls=True, authfile=None
    )
    target = f"docker://hub.site:5000/x/quay.io/lab/tool:sha256-{DIGEST[7:]}"
    assert command == ["skopeo", "copy", "--quiet", "--preserve-digests", f"docker://quay.io/lab/tool@{DIGEST}", target]


def test_without_tls_and_with_credentials() -> None:
    command = copy_command(
        SOURCE, DIGEST, "hub.site:5000/tool:7", source_tls=False, target_tls=False, authfile="/secret/auth.json"
    )
    options = [
        "--quiet",
        "--preserve-digests",
        "--dest-tls-verify=false",
        "--src-tls-verify=false",
        "--authfile=/secret/auth.json",
    ]
    assert command == [
        "skopeo",
        "copy",
        *options,
        f"docker://quay.io/lab/tool@{DIGEST}",
        "docker://hub.site:5000/tool:7",
    ]


def test_to_a_layout() -> None:
    """It has no digest to preserve where the manifest is in Docker's own format, nor TLS."""
    command = copy_command(
        SOURCE, DIGEST, "oci:/images/x.partial/oci:image", source_tls=True, target_tls=False, authfile=None
    )
    assert command == [
        "skopeo",
        "copy",
        "--quiet",
        f"docker://quay.io/lab/tool@{DIGEST}",
        "oci:/images/x.partial/oci:image",
    ]


@pytest.mark.parametrize(
    ("digest", "target"),
    [
        ("sha256:1", "hub.site/tool"),
        (f"{DIGEST} --help", "hub.site/tool"),
        (DIGEST, "--help"),
        (DIGEST, "hub.site/Tool"),
        (DIGEST, "oci:/a:b:tag"),
        (DIGEST, "oci:/a"),
        (DIGEST, "oci:/a:"),
    ],
)
def test_what_skopeo_would_take_for_something_else_is_refused(digest: str, target: str) -> None:
    with pytest.raises(InvalidRequest):
        copy_command(SOURCE, digest, target, source_tls=True, target_tls=True, authfile=None)


@pytest.mark.parametrize(
    ("private", "name", "there"),
    [
        ("hub.site:5000/x", "ubuntu", "hub.site:5000/x/docker.io/library/ubuntu"),
        ("hub.site", "quay.io/lab/tool:1", "hub.site/quay.io/lab/tool"),
        ("localhost:5000", "127.0.0.1:17090/tool", "localhost:5000/127.0.0.1__17090/tool"),
        (
            "hub.site/x/",
            "hub.site/x/docker.io/library/ubuntu",
            "hub.site/x/docker.io/library/ubuntu",
        ),  # it is there already
        ("hub.site/x", "hub.site/xy/tool", "hub.site/x/hub.site/xy/tool"),
    ],
)
def test_where_an_image_goes(private: str, name: str, there: str) -> None:
    assert private_name(private, parse_reference(name)) == there


@pytest.mark.parametrize(
    "private", ["hub", "Hub/X", "-x", "hub.site/X", "hub.site//x", "", "hub.site:5000/" + "x" * 250]
)
def test_a_place_that_is_none(private: str) -> None:
    with pytest.raises(InvalidRequest):
        private_name(private, SOURCE)


host = st.sampled_from(["quay.io", "a-1.b", "a.b", "a.b:1", "localhost", "localhost:1", "docker.io", "x--y.z"])
part = st.from_regex(r"[a-z0-9]{1,3}((\.|__?|-+)[a-z0-9]{1,2})?", fullmatch=True)


@given(host, host, st.lists(part, min_size=2, max_size=3), st.lists(part, min_size=2, max_size=3))
def test_two_images_never_meet(first: str, second: str, ours: list[str], theirs: list[str]) -> None:
    one, other = (
        ImageReference(registry, "/".join(parts), "1") for registry, parts in ((first, ours), (second, theirs))
    )
    assert (private_name("hub.site:5000/x", one) == private_name("hub.site:5000/x", other)) == (one == other)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_the_tools_said_here(path: Path) -> None:
    """A file's name says what its text means; the first line is the exit code."""
    kind, _, tool = path.stem.partition("-")
    words = path.read_text().partition("\n")[2]
    assert why_failed(words, "copy" if tool.startswith(("skopeo", "podman")) else "unpack") == kind


def test_something_was_recorded() -> None:
    assert {path.stem.partition("-")[0] for path in RECORDED} >= {
        "disk_full",
        "denied",
        "missing_tag",
        "registry_away",
        "conversion",
    }


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("toomanyrequests: You have reached your pull rate limit", "registry_away"),
        ('Get "https://x/v2/": net/http: TLS handshake timeout', "registry_away"),
        ("x509: certificate signed by unknown authority", "registry_away"),
        ("dial tcp 10.0.0.1:443: i/o timeout", "registry_away"),
        ("received unexpected HTTP status: 503 Service Unavailable", "registry_away"),
        ("requested access to the resource is denied", "denied"),
        ("name unknown: The repository with name 'x' does not exist", "no_repository"),
        ("write /x: disk quota exceeded", "disk_full"),
        ("fork/exec: signal: killed", "interrupted"),
        ("Terminated\n", "interrupted"),
    ],
)
def test_other_words_of_the_same_libraries(words: str, kind: str) -> None:
    assert why_failed(words, "copy") == kind


@given(st.text())
def test_no_words_are_too_odd(words: str) -> None:
    assert isinstance(why_failed(words, "copy"), ImageFailure)


def test_words_that_nobody_knows() -> None:
    assert why_failed("the moon is full", "copy") is ImageFailure.REGISTRY_AWAY
    assert why_failed("the moon is full", "unpack") is ImageFailure.CONVERSION
    assert digest_tag(DIGEST) == f"sha256-{DIGEST[7:]}"
