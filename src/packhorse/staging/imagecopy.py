"""The commands that copy images, where a copy goes, and what the tools' complaints mean. Pure."""

from __future__ import annotations

import re

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import ImageFailure, ImageReference, parse_reference


def copy_command(
    source: ImageReference, digest: str, target: str, *, source_tls: bool, target_tls: bool, authfile: str | None
) -> list[str]:  # fmt: skip
    """skopeo's command that copies the manifest ``digest`` with all it refers to.

    ``target`` is ``oci:PATH:TAG``, or a name in a registry (``host:port/some/name``), where the copy has the same
    digest, and ``digest_tag`` as its tag unless ``target`` has one: registries may collect what has no tag. skopeo
    keeps large layers in $TMPDIR. An OCI layout holds no manifests in Docker's own format, so these become OCI ones
    there, with another digest.
    """
    parse_reference(f"{source.name}@{digest}")
    layout = target.startswith("oci:")
    if layout:
        if target.count(":") != 2 or not all(target.split(":")):
            raise InvalidRequest(
                f"An image cannot be copied to '{target}': it is not 'oci:PATH:TAG', with no further ':'."
            )
        options = []
    else:
        tagged = ":" in target.rpartition("/")[2]
        target = f"docker://{parse_reference(target if tagged else f'{target}:{digest_tag(digest)}')}"
        options = ["--preserve-digests", *([] if target_tls else ["--dest-tls-verify=false"])]
    return [
        "skopeo", "copy", "--quiet", *options, *([] if source_tls else ["--src-tls-verify=false"]),
        *([f"--authfile={authfile}"] if authfile else []), f"docker://{source.name}@{digest}", target,
    ]  # fmt: skip


def digest_tag(digest: str) -> str:
    """A tag that names a digest, for copies in a site's registry."""
    return digest.replace(":", "-")


def private_name(private: str, reference: ImageReference) -> str:
    """Where an image goes in a site's private registry, ``host:port/prefix``: registry and repository, without a tag.

    The registry that it is from stays in the path, with ``__`` before its port, which no host's name contains: two
    images never meet. One that is there already stays where it is. Raises InvalidRequest when ``private`` is no such
    place, or the name gets too long.
    """
    private = private.rstrip("/")
    if f"{reference.name}/".startswith(f"{private}/"):
        return reference.name
    if "/" not in private and not re.search(r"[.:]|^localhost\Z", private):
        raise InvalidRequest(
            f"'{private}' is not a registry.", hint="It is like 'registry.site.org/prefix' or 'host:5000'."
        )
    return parse_reference(f"{private}/{reference.registry.replace(':', '__')}/{reference.repository}:x").name


#: What tools say → what it means; the first that is found counts. Tried on what skopeo 1.9, umoci 0.4.7, podman 4.3 and
#: mksquashfs 4.5 printed here (tests/recorded/images), and on words of the same libraries.
_MEANINGS: tuple[tuple[str, ImageFailure], ...] = (
    (r"no space left on device|disk quota exceeded|\benospc\b|\bedquot\b", ImageFailure.DISK_FULL),
    (
        (
            r"unauthorized|authentication required|access to the resource is denied|invalid username/password|403"
            r" \(?forbidden"
        ),
        ImageFailure.DENIED,
    ),
    (r"name unknown|repository name not known", ImageFailure.NO_REPOSITORY),
    (
        r"(manifest|blob) sha256:[0-9a-f]+ .*unknown|@sha256:[0-9a-f]+.*(manifest unknown|not found)|blob unknown",
        ImageFailure.UNKNOWN_DIGEST,
    ),
    (r"manifest unknown|no such tag|tag does not exist|requested image not found", ImageFailure.MISSING_TAG),
    (
        r"no image found in (manifest list|image index) for architecture|exec format error",
        ImageFailure.WRONG_ARCHITECTURE,
    ),
    (
        r"connection refused|no such host|i/o timeout|tls handshake timeout|connection reset|server misbehaving|network"
        r" is unreachable|"
        r"no route to host|temporary failure in name resolution|server gave http response to https"
        r" client|\bx509:|\btls:|toomanyrequests|"
        r"too many requests|service unavailable|bad gateway|gateway time-?out|internal server error|unexpected"
        r" eof|unexpected http "
        r"status: 5|context deadline exceeded|pinging container registry",
        ImageFailure.REGISTRY_AWAY,
    ),
    (
        r"signal: (killed|terminated|interrupt)|context canceled|^terminated$|^killed$|caught signal",
        ImageFailure.INTERRUPTED,
    ),
    (
        r"unsupported (manifest )?media ?type|unsupported mimetype|schema 1 is no longer supported",
        ImageFailure.CANNOT_RUN,
    ),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE | re.MULTILINE), kind) for pattern, kind in _MEANINGS)


def why_failed(tail: str, step: str) -> ImageFailure:
    """What the last output of a failed command means.

    ``step`` is ``copy`` where it spoke to a registry, else what it made.

    Of words that nobody knows: a copy is tried again as if the registry were away, everything else is a conversion that
    failed.
    """
    kind = next((kind for pattern, kind in _COMPILED if pattern.search(tail)), None)
    return kind or (ImageFailure.REGISTRY_AWAY if step == "copy" else ImageFailure.CONVERSION)
