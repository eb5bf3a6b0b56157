"""Where a site keeps an image, and what its nodes need to run it. Pure.

A runtime whose images are each node's own (Podman, Docker) gets them from an OCI layout on the site's filesystem: nodes
may have no other network, and a registry is not asked by a thousand of them at once.
"""

from __future__ import annotations

import hashlib
import json

from packhorse.domain.images import ImageReference
from packhorse.domain.taskpaths import TOP_FOLDERS
from packhorse.sites.runtimes import layouts
from packhorse.sites.runtimes.base import Ability, CannotRun, Image
from packhorse.sites.site import Site

_TAG = "image"


def images_folder(site: Site) -> str:
    """Where all images of a site are."""
    return site.images or f"{site.root}/images"


def file_name(digest: str) -> str:
    """What the names of an image's folders begin with."""
    return digest.replace(":", "-")


def image_folder(site: Site, digest: str) -> str:
    """What belongs to an image; it appears whole, or not at all.

    Its name tells the manifest and how the site prepares images: after a change of the runtime or of what it binds, no
    image that was prepared for the old ones is taken for a new one.
    """
    return f"{images_folder(site)}/{file_name(digest)}.{_form(site)}"


def _form(site: Site) -> str:
    """A digest of the commands that prepare an image at a site."""
    any_image = Image(
        "registry/name", f"sha256:{'0' * 64}", "/image", _TAG, None, mount_points(site), "/", top_folders=TOP_FOLDERS
    )
    try:
        commands = preparation(site, any_image)
    except CannotRun:  # none can be prepared
        commands = []
    return hashlib.sha256(json.dumps(commands).encode()).hexdigest()[:12]


def growing_folder(site: Site, digest: str) -> str:
    """Where it grows."""
    return f"{image_folder(site, digest)}.partial"


def mount_points(site: Site) -> tuple[str, ...]:
    """Folders that must exist in every image of a site, for runtimes that cannot make them; CAPTURE_FOLDER is for
    sessions.
    """
    return (site.root, *site.binds, CAPTURE_FOLDER)


#: Where a session's container sees the files that capture its tasks' output.
CAPTURE_FOLDER = "/packhorse"


def keeps_files(site: Site) -> bool:
    """Whether a prepared image is a folder of the site."""
    return Ability.OWN_STORE not in site.runtime.abilities


def site_image(
    site: Site, source: ImageReference, digest: str, *, tls: bool, authfile: str | None, mounted: str | None = None
) -> Image:
    """An image as the site's runtime is to prepare it, from the registry in ``source``."""
    return Image(
        source.name, digest, image_folder(site, digest), source.tag, None, mount_points(site), mounted or "/",
        tls=tls, authfile=authfile, top_folders=TOP_FOLDERS,
    )  # fmt: skip


def node_image(site: Site, name: str, digest: str, mounted: str, gateway_id: str | None = None) -> Image:
    """The same for a node, once it is prepared at the site.

    ``mounted`` is a folder of the node's own, where it may put files.
    """
    folder = image_folder(site, digest)
    if site.runtime.per_node:
        return Image(name, digest, mounted, _TAG, f"{folder}/oci", mounted=mounted)
    return Image(name, digest, folder, _TAG, mounted=mounted, id=gateway_id)


def preparation(site: Site, image: Image) -> list[list[str]]:
    """The commands that prepare an image at the site, once for all its nodes. Raises CannotRun."""
    if not site.runtime.per_node:
        return site.runtime.prepare(image)
    layout = f"{layouts.partial(image)}/oci:{_TAG}"
    return [*layouts.begin(image), layouts.copy(image, layout), *layouts.finish(image)]
