"""What manifests, indexes and configurations of images say: which platform there is, and whether it is an image at all.

Pure.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from packhorse.domain.images import ImageError, ImageFailure, ImageReference

ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def is_index(document: dict[str, Any]) -> bool:
    """Whether it lists manifests for several platforms."""
    return "manifests" in document


def choose(reference: ImageReference, index: dict[str, Any], architecture: str, os: str) -> str:
    """The digest of the manifest for a platform; of several variants the plainest.

    Raises ImageError that says which there are.
    """
    listed = index["manifests"]
    entries = [entry for entry in listed if _is_descriptor(entry)] if isinstance(listed, list) else []
    if "config" in index or "layers" in index or not entries:
        not_an_image(reference, "what it sends is neither a list of images nor an image")
    fitting = [
        entry
        for entry in entries
        if (_platform(entry).get("os"), _platform(entry).get("architecture")) == (os, architecture)
    ]
    fitting = fitting or [entry for entry in entries if not _platform(entry)]  # an image's configuration then tells
    if not fitting:
        there = sorted(
            {_platform_name(_platform(entry)) for entry in entries} - {"unknown/unknown"}
        )  # those are attestations
        raise wrong_architecture(reference, there, f"{os}/{architecture}")
    return str(min(fitting, key=lambda entry: str(_platform(entry).get("variant") or ""))["digest"])


def check_manifest(reference: ImageReference, manifest: dict[str, Any], media_type: str) -> None:
    """Raises ImageError when it is not the manifest of an image that a container can be made of."""
    if manifest.get("schemaVersion") == 1:
        hint = "Pull it with an old Docker and push it again, or build it anew."
        not_an_image(reference, "it is in a format that went out of use in 2017 (schema 1)", hint)
    config, layers = manifest.get("config"), manifest.get("layers")
    if (
        is_index(manifest)
        or not _is_descriptor(config)
        or not isinstance(layers, list)
        or not all(map(_is_descriptor, layers))
    ):
        not_an_image(reference, f"its manifest is not one of an image (media type '{_shown(media_type)}')")
    if isinstance(config, dict) and config.get("mediaType") not in _CONFIGS:
        not_an_image(reference, f"it is something else, of the kind '{_shown(config.get('mediaType'))}'")


def check_config(reference: ImageReference, document: dict[str, Any]) -> None:
    """Raises ImageError when a configuration is not of the form that is specified; others take that for granted."""
    config = document.get("config") or {}
    if not isinstance(config, dict):
        not_an_image(reference, "its configuration is not as it should be")
    for name in ("Entrypoint", "Cmd", "Env"):
        value = config.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            not_an_image(reference, f"'{name}' in its configuration is not a list of texts")
    for name in ("User", "WorkingDir"):
        if not isinstance(config.get(name) or "", str):
            not_an_image(reference, f"'{name}' in its configuration is not a text")


def words(value: Any) -> list[str]:
    """Those items of a list that are texts without control characters."""
    return [item for item in value if isinstance(item, str) and item.isprintable()] if isinstance(value, list) else []


def check_platform(reference: ImageReference, config: dict[str, Any], architecture: str, os: str) -> None:
    """Raises ImageError when an image's own configuration names another platform. One that names none is taken."""
    made_for = (config.get("os") or os, config.get("architecture") or architecture)
    if made_for != (os, architecture):
        raise wrong_architecture(reference, [_platform_name(config)], f"{os}/{architecture}")


def wrong_architecture(reference: ImageReference, there: list[str], wanted: str) -> ImageError:
    """The error for an image without the wanted platform."""
    names = f"{', '.join(there[:-1])} and {there[-1]}" if len(there) > 1 else "".join(there) or "nothing that is named"
    hint = (
        f"Build it for that too ('docker buildx build --platform {wanted}'), or run it at a site with other processors."
    )
    return ImageError(
        ImageFailure.WRONG_ARCHITECTURE, f"{reference} is for {names[:300]}; here {wanted} is needed.", hint=hint
    )


def not_an_image(reference: ImageReference, why: str, hint: str = "Name a container image.") -> NoReturn:
    """Raises the error for what no container can be made of."""
    raise ImageError(ImageFailure.CANNOT_RUN, f"{reference} is no image that can be run: {why}.", hint=hint)


def _platform(entry: dict[str, Any]) -> dict[str, Any]:
    platform = entry.get("platform")
    return platform if isinstance(platform, dict) else {}


def _platform_name(platform: dict[str, Any]) -> str:
    return "/".join(_shown(platform.get(part) or "unknown") for part in ("os", "architecture"))


def _shown(value: Any) -> str:
    """For a terminal: whatever a registry sends."""
    return ascii(str(value)[:80])[1:-1]


def _is_descriptor(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str) or not _DIGEST.match(value["digest"]):
        return False
    return isinstance(value.get("size"), int) and value["size"] >= 0
