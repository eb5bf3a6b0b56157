"""Names of images: what is taken, what is refused, and that a name means one thing only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import PERMANENT, ImageError, ImageFailure, oci_architecture, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4
component = st.from_regex(r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda text: len(text) < 60)
host = st.sampled_from(["docker.io", "quay.io", "localhost", "localhost:5000", "127.0.0.1:17090", "ghcr.io:443"])
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
        ("biocontainers/samtools:1", "docker.io/biocontainers/samtools:1"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("index.docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("docker:dind", "docker.io/library/docker:dind"),
        ("quay.io/lab/tool", "quay.io/lab/tool:latest"),
        ("Quay.IO/lab/tool", "quay.io/lab/tool:latest"),
        ("localhost/tool", "localhost/tool:latest"),
        ("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1"),
        (f"ubuntu@{DIGEST}", f"docker.io/library/ubuntu@{DIGEST}"),
        (f"h.x:1/t:v@{DIGEST}", f"h.x:1/t:v@{DIGEST}"),
        ("a--b/c__d/e.f", "docker.io/a--b/c__d/e.f:latest"),
        ("lab/tool.sif:1", "docker.io/lab/tool.sif:1"),
        ("oci:5000/tool", "oci:5000/tool:latest"),
    ],
)
def test_names_mean_what_docker_takes_them_for(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("two words", "blanks"),
        ("line\nbreak", "control characters"),
        ("line\n", "control characters"),
        ("tab\t", "control characters"),
        ("nul\0", "control characters"),
        ("bücher", "other than ASCII"),
        ("-v", "starts with '-'"),
        ("--privileged", "starts with '-'"),
        ("Ubuntu", "upper case is not allowed"),
        ("quay.io/Lab/tool", "upper case is not allowed"),
        ("docker://ubuntu", "'docker://' is not part of it"),
        ("https://quay.io/lab/tool", "'https://' is not part of it"),
        ("user:secret@quay.io/tool", "what follows '@' is no digest"),
        ("ubuntu@sha256:123", "what follows '@' is no digest"),
        ("ubuntu@", "what follows '@' is no digest"),
        (f"ubuntu@{DIGEST.upper()}", "what follows '@' is no digest"),
        (f"ubuntu@{DIGEST}0", "what follows '@' is no digest"),
        ("ubuntu:", "its tag may have"),
        ("ubuntu:-x", "its tag may have"),
        ("ubuntu:" + "x" * 129, "its tag may have"),
        ("quay.io/", "a part of it is empty"),
        ("quay.io//tool", "a part of it is empty"),
        ("/etc/passwd", "it names a file or folder, and images come from a registry."),
        ("../x", "it names a file or folder"),
        ("./rootfs", "it names a file or folder"),
        ("~/images/tool", "it names a file or folder"),
        (".", "it names a file or folder"),
        ("tool.sif", "it names a file of Apptainer, and images come from a registry."),
        ("/scratch/my images/Tool_1.2.SIF", "it names a file of Apptainer"),
        ("lab/tool.simg", "it names a file of Singularity"),
        ("tool.sqfs", "it names a file of SquashFS"),
        ("tool.tar.gz", "it names a file of tar"),
        ("oci:/layouts/tool", "it names a file or folder"),
        ("docker-archive:./tool.tar", "it names a file of tar"),
        ("file:///images/tool", "it names a file or folder"),
        ("quay.io/lab/../tool", "'..' is not a part"),
        ("quay.io/lab/-tool", "'-tool' is not a part"),
        ("a/b_", "'b_' is not a part"),
        ("host:99999/tool", "is not the host"),
        ("host:/tool", "is not the host"),
        ("host:x/tool", "is not the host"),
        ("-host.x/tool", "starts with '-'"),
        ("ho_st.x/tool", "is not the host"),
        ("[::1]:5000/tool", "is not the host"),
        ("x" * 260, "longer than 255"),
        ("$(id)", "is not a part"),
        ("a;b", "is not a part"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_reference(text)
    assert why in str(caught.value)
    assert "is not the name of an image" in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@given(host, st.lists(component, min_size=1, max_size=3), st.none() | tag, st.booleans())
def test_the_full_form_means_the_same(registry: str, parts: list[str], tag: str | None, pinned: bool) -> None:
    text = f"{registry}/{'/'.join(parts)}{f':{tag}' if tag else ''}{f'@{DIGEST}' if pinned else ''}"
    reference = parse_reference(text)
    assert parse_reference(str(reference)) == reference
    assert (reference.tag, reference.digest) == (tag or (None if pinned else "latest"), DIGEST if pinned else None)
    assert reference.registry == registry and reference.repository.endswith("/".join(parts))
    assert parse_reference(str(reference), default_registry="elsewhere.org") == reference


@given(st.text(max_size=80) | st.text("aA0.:/@_- ", max_size=30))
def test_no_text_is_taken_for_more_than_a_name(text: str) -> None:
    """Whatever is accepted is plain: no option, no path that climbs, no credentials, and stable when written out."""
    try:
        reference = parse_reference(text)
    except InvalidRequest:
        return
    full = str(reference)
    assert full.isascii() and full.isprintable() and " " not in full and ".." not in full and not full.startswith("-")
    assert parse_reference(full) == reference


def test_names_without_a_registry_are_of_the_default_one() -> None:
    assert str(parse_reference("tool:1", "registry.lab.org")) == "registry.lab.org/tool:1"
    assert str(parse_reference("lab/tool", "localhost:5000")) == "localhost:5000/lab/tool:latest"
    with pytest.raises(InvalidRequest, match="'lab' is not the host of a registry"):
        parse_reference("tool", "lab")


def test_a_failure_says_whether_trying_again_may_help() -> None:
    """And a program can tell by the status and the exit code."""
    for kind in ImageFailure:
        error = ImageError(kind, "It is so.", hint="Do this.")
        assert (error.http_status, error.exit_code) == ((400, 2) if kind in PERMANENT else (503, 6))
        assert str(error) == "It is so. Do this."
    assert {ImageFailure.REGISTRY_AWAY, ImageFailure.DISK_FULL, ImageFailure.INTERRUPTED}.isdisjoint(PERMANENT)


def test_architectures_as_the_kernel_names_them() -> None:
    assert [oci_architecture(name) for name in ("x86_64", "aarch64", "ppc64le", "amd64")] == [
        "amd64",
        "arm64",
        "ppc64le",
        "amd64",
    ]
