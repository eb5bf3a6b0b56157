"""Names of container images, and the ways in which getting one fails. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from packhorse.domain.errors import InvalidRequest, PackhorseError

DOCKER_HUB = "docker.io"
MAX_NAME = 255
"""Characters of registry and repository together, as the distribution specification advises."""

_HOST = re.compile(
    r"(?=[^:]{1,253}(:|\Z))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:(?P<port>[0-9]{1,5}))?\Z"
)
_COMPONENT = re.compile(r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


class ImageFailure(StrEnum):
    """Why an image cannot be had at a site; one kind per thing that somebody would do about it."""

    BAD_REFERENCE = "bad_reference"
    """Its name is not one that an image can have."""
    NO_REPOSITORY = "no_repository"
    """Its registry has no repository of that name."""
    MISSING_TAG = "missing_tag"
    """The repository is there, and has no such tag."""
    UNKNOWN_DIGEST = "unknown_digest"
    """The repository is there, and has nothing with that digest."""
    WRONG_ARCHITECTURE = "wrong_architecture"
    """It is made for other processors, or another operating system."""
    DENIED = "denied"
    """Its registry wants credentials, or refuses those that we have; or what it asks for is not allowed here."""
    REGISTRY_AWAY = "registry_away"
    """Its registry does not answer, or answers nonsense, or wants to be left alone for a while."""
    DISK_FULL = "disk_full"
    """There was no room for it: the disk, or somebody's quota."""
    CONVERSION = "conversion"
    """It could not be turned into the form that the site's runtime wants."""
    CANNOT_RUN = "cannot_run"
    """It is no container image, or one that the site's runtime cannot take."""
    INTERRUPTED = "interrupted"
    """What brought it was stopped; nothing is known against the image."""


#: Trying again cannot mend these: somebody has to change something first.
PERMANENT = frozenset(
    {
        ImageFailure.BAD_REFERENCE, ImageFailure.NO_REPOSITORY, ImageFailure.MISSING_TAG, ImageFailure.UNKNOWN_DIGEST,
        ImageFailure.WRONG_ARCHITECTURE, ImageFailure.DENIED, ImageFailure.CANNOT_RUN,
    }
)  # fmt: skip


class ImageError(PackhorseError):
    """An image cannot be had. ``kind`` says why, for programs; message and hint say it to a person.

    ``after_s``: who said it wants to be left alone for that long.
    """

    code = "image"

    def __init__(self, kind: ImageFailure, message: str, *, hint: str = "", after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.kind, self.after_s = kind, after_s
        if kind not in PERMANENT:
            self.http_status, self.exit_code = 503, 6


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Which image is meant.

    ``registry`` is its host, with a port where it has one; ``digest`` is ``sha256:`` and 64 digits.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def at(self, digest: str) -> ImageReference:
        """The same image, pinned."""
        return ImageReference(self.registry, self.repository, self.tag, digest)

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"


def parse_reference(text: str, default_registry: str = DOCKER_HUB) -> ImageReference:
    """The image that ``text`` names, as Docker reads it:

    ``ubuntu``, ``quay.io/lab/tool:1.2``, ``host:5000/tool@sha256:...``.

    Without tag and digest the tag is ``latest``. Where both are there, the digest counts. Raises InvalidRequest.
    """
    if what := _file_named(text):
        _refuse(text, f"it names {what}, and images come from a registry", _PUSH_HINT)
    if not text or any(not " " < character < "\x7f" for character in text):
        _refuse(text, "it contains blanks, control characters or other than ASCII" if text else "it is empty")
    if text.startswith("-"):
        _refuse(text, "it starts with '-'")
    if "://" in text:
        _refuse(text, f"'{text.partition('://')[0][:20]}://' is not part of it")
    name, separator, digest = text.partition("@")
    if separator and not _DIGEST.match(digest):
        _refuse(text, "what follows '@' is no digest ('sha256:' and 64 of 0-9a-f)")
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.match(tag):
        _refuse(text, "its tag may have letters, digits, '_', '.' and '-', no '.' or '-' first, and 128 characters")
    registry, repository = _split_registry(text, name, default_registry)
    _check_repository(text, registry, repository)
    return ImageReference(registry, repository, tag or (None if digest else "latest"), digest or None)


def _file_named(text: str) -> str | None:
    """What of a file system ``text`` names, if not an image: a path, or a file in a format of images.

    Some repositories end like those files; with a tag or digest they are taken for what they are."""
    kind = text.rpartition(".")[2].lower()
    if kind in _IMAGE_FILES:
        return f"a file of {_IMAGE_FILES[kind]}"
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in _FILE_SCHEMES and rest.startswith(("/", ".")):
        return "a file or folder"
    if text.startswith(("/", "./", "../", "~")) or text in (".", ".."):
        return "a file or folder"
    if text.endswith("/") and not _looks_like_host(text.partition("/")[0]):
        return "a folder"
    return None


def refuse_image_beside(image: str, folder: str, is_there: Callable[[str], bool]) -> None:
    """Raises InvalidRequest where ``image`` has no tag, and a file or folder in ``folder`` is called like that: most
    likely it is meant.
    """
    name = image.rpartition("/")[2]
    if ":" not in name and "@" not in name and is_there(image):
        hint = f"{_PUSH_HINT} If one there is meant, give its tag."
        _refuse(image, f"there is a file or folder of that name in {folder}, and images come from a registry", hint)


#: How files of images end, and whose they are.
_IMAGE_FILES = {
    "sif": "Apptainer",
    "simg": "Singularity",
    "sqfs": "SquashFS",
    "squashfs": "SquashFS",
    "sqsh": "SquashFS",
    "tar": "tar",
    "tgz": "tar",
    "gz": "tar",
}
_FILE_SCHEMES = frozenset({"file", "oci", "oci-archive", "docker-archive", "dir", "containers-storage"})
_PUSH_HINT = (
    "Name it as a registry does, like 'quay.io/lab/tool:1.2'. Push an OCI image there with 'skopeo copy'; "
    "of a .sif file or an unpacked folder, build one from the recipe that it was made of."
)


def oci_architecture(machine: str) -> str:
    """What OCI calls the processors that ``uname -m`` calls ``machine``."""
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)


def _split_tag(name: str) -> tuple[str, str | None]:
    head, separator, tail = name.rpartition(":")
    return (head, tail) if separator and "/" not in tail else (name, None)


def _split_registry(text: str, name: str, default_registry: str) -> tuple[str, str]:
    """The first component is a registry when it looks like a host: with a dot, a port, or ``localhost``."""
    first, separator, rest = name.partition("/")
    if separator and _looks_like_host(first):
        registry, repository = first.lower(), rest
    else:
        registry, repository = default_registry.lower(), name
    host = _HOST.match(registry)
    if not host or not _looks_like_host(registry) or not 0 < int(host["port"] or 1) < 65536:
        _refuse(text, f"'{registry[:80]}' is not the host of a registry (host.name, or host:port)")
    registry = DOCKER_HUB if registry in ("index.docker.io", "registry-1.docker.io") else registry
    return registry, f"library/{repository}" if registry == DOCKER_HUB and "/" not in repository else repository


def _looks_like_host(text: str) -> bool:
    return "." in text or ":" in text or text.lower() == "localhost"


def _check_repository(text: str, registry: str, repository: str) -> None:
    if len(registry) + 1 + len(repository) > MAX_NAME:
        _refuse(text, f"it is longer than {MAX_NAME} characters")
    for component in repository.split("/"):
        if not component:
            _refuse(text, "a part of it is empty")
        if not _COMPONENT.match(component):
            upper = " (upper case is not allowed)" if component != component.lower() else ""
            _refuse(
                text,
                f"'{component[:80]}' is not a part of a repository's name: letters a-z and digits, '.', '_' or '-' in"
                f" between{upper}",
            )


def _refuse(text: str, why: str, hint: str = "It is like 'ubuntu:24.04' or 'quay.io/lab/tool:1.2'.") -> NoReturn:
    shown = ascii(text[:120])[1:-1] + ("..." if len(text) > 120 else "")
    raise InvalidRequest(f"'{shown}' is not the name of an image: {why}.", hint=hint)
