"""What an image takes to be ready at a site: the steps of a background job, and what its failure means. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from packhorse.domain.images import DOCKER_HUB, ImageError, ImageFailure, ImageReference, parse_reference
from packhorse.sites.background import BackgroundStatus, Step
from packhorse.sites.images import preparation, site_image
from packhorse.sites.site import Site
from packhorse.staging.imagecopy import copy_command, digest_tag, private_name, why_failed

COPYING, CONVERTING = "copying", "converting"
_LAST_CHARS = 400


def copy_steps(
    site: Site, source: ImageReference, digest: str, insecure: Collection[str], authfile: str | None
) -> list[Step]:
    """From the image's registry to the site's own, if it has one."""
    private = source_of(site, source, digest)
    if private == source:
        return []
    tls = {"source_tls": source.registry not in insecure, "target_tls": private.registry not in insecure}
    return [Step(copy_command(source, digest, str(private), **tls, authfile=authfile), COPYING)]


def steps(
    site: Site, source: ImageReference, digest: str, insecure: Collection[str], authfile: str | None
) -> list[Step]:
    """From the image's registry to what the site's runtime wants, by way of the site's own registry if it has one.

    Raises CannotRun.
    """
    found = copy_steps(site, source, digest, insecure, authfile)
    source = source_of(site, source, digest)
    image = site_image(site, source, digest, tls=source.registry not in insecure, authfile=authfile)
    for command in preparation(site, image):
        fetches = any(word.startswith("docker://") or word in ("pull", "build") for word in command)
        found.append(Step(command, COPYING if fetches else CONVERTING))
    return found


def source_of(site: Site, reference: ImageReference, digest: str) -> ImageReference:
    """Where a site takes an image from: its own registry if it has one."""
    if not site.registry:
        return reference
    return parse_reference(f"{private_name(site.registry, reference)}:{digest_tag(digest)}")


def at_gateway(site: Site, reference: ImageReference, digest: str) -> tuple[str, str]:
    """Name and tag by which the site's image gateway is to pull an image. Raises ImageError for one that has no tag."""
    source = source_of(site, reference, digest)
    if source.tag is None:
        message = (
            f"The image {reference} cannot be had at '{site.name}': its image gateway pulls by tag, and the name has"
            " none."
        )
        hint = "Name a tag as well (name:tag@sha256:...), or give the site a 'registry' of its own."
        raise ImageError(ImageFailure.CANNOT_RUN, message, hint=hint)
    # a gateway takes a first part that is none of its locations for part of a repository; Docker Hub is what it means
    # without one
    return (source.repository if source.registry == DOCKER_HUB else source.name), source.tag


def why_other(
    site: Site, reference: ImageReference, digest: str, gateway_id: str, tag_is: str, id_is: str | None
) -> ImageError | None:
    """Why what the gateway fetched, ``gateway_id``, is not what the run resolved, ``digest``; None when it is, as far
    as anybody can tell.

    ``tag_is`` is what the tag means now, ``id_is`` the manifest that the id means at the registry: None for ids that
    gateways make up.
    """
    if id_is == digest or (id_is is None and tag_is == digest):
        return None
    if tag_is != digest:
        message = (
            f"The image {reference} cannot be had at '{site.name}' as {digest}: its tag means {tag_is} by now, and the"
            f" gateway there, which has {gateway_id}, pulls by tag."
        )
        hint = (
            "Submit again to take what the tag means now, or give the site a 'registry' of its own, whose tags do not"
            " move."
        )
        return ImageError(ImageFailure.CANNOT_RUN, message, hint=hint)
    message = (
        f"The image gateway of '{site.name}' still has {gateway_id} for {reference}, and its tag means {digest} by now."
    )
    return ImageError(
        ImageFailure.REGISTRY_AWAY,
        message,
        hint="It looks at the registry again when it is asked 300 s after it last did.",
    )


def registries(site: Site, source: ImageReference, digest: str) -> list[str]:
    """Those that a background job for an image speaks to."""
    return sorted({source.registry, source_of(site, source, digest).registry})


def why_it_failed(site: Site, reference: str, status: BackgroundStatus, commands: Sequence[Step]) -> ImageError:
    """The failure of a background job that has ended, as a sentence with a kind."""
    said = " ".join(status.tail.split())[-_LAST_CHARS:]
    kind, hint = _meaning(status)
    if status.why == "spawn":
        programs = sorted({step.argv[0] for step in commands} - {"rm", "mkdir", "mv"})
        hint = (
            f"Preparing images there takes {', '.join(programs)}; Debian's packages are skopeo, umoci and"
            " squashfs-tools."
        )
    words = {
        ImageFailure.DISK_FULL: "there is no room for it",
        ImageFailure.INTERRUPTED: "it was interrupted",
        ImageFailure.CANNOT_RUN: "what prepares it does not run there",
    }
    what = words.get(kind, f"{status.what or 'preparing'} failed")
    return ImageError(
        kind, f"The image {reference} is not ready at '{site.name}': {what}{f' ({said})' if said else ''}.", hint=hint
    )


def _meaning(status: BackgroundStatus) -> tuple[ImageFailure, str]:
    match status.why:
        case "disk":
            return (
                ImageFailure.DISK_FULL,
                "Make room at the site, or set its 'image_quota_gb', 'images' and 'image_tmp'.",
            )
        case "stopped" | "timeout":
            return ImageFailure.INTERRUPTED, ""
        case "spawn":
            return ImageFailure.CANNOT_RUN, ""
        case _:
            return why_failed(status.tail, "copy" if status.what == COPYING else "convert"), ""


def credentials(auth: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """An auth.json that says something, or None."""
    return auth if auth.get("auths") else None
