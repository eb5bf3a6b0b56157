"""Commands that bring an image into a folder: with skopeo from a registry or an OCI layout, with umoci to files."""

from __future__ import annotations

from packhorse.sites.runtimes.base import Image

_TAG = "image"
#: Makes each of its arguments that is not there, not even as a link. What cannot be made is missed only by who wants
#: it.
_MAKE_MISSING = 'for folder; do [ -e "$folder" ] || [ -L "$folder" ] || mkdir -- "$folder"; done; true'


def source(image: Image) -> str:
    """The image as containers-transports(5) writes it. By digest: a tag may mean something else tomorrow."""
    return f"oci:{image.layout}:{image.tag or 'latest'}" if image.layout else f"docker://{image.name}@{image.digest}"


def partial(image: Image) -> str:
    """Where a prepared form grows, beside its place."""
    return f"{image.folder}.partial"


def begin(image: Image) -> list[list[str]]:
    """An empty folder to grow in; what an interrupted preparation left there goes."""
    return [["rm", "-rf", "--", partial(image)], ["mkdir", "-p", "--", partial(image)]]


def finish(image: Image) -> list[list[str]]:
    """Puts what has grown in its place, in one step."""
    return [["mv", "-T", "--", partial(image), image.folder]]


def copy(image: Image, layout: str) -> list[str]:
    """Copies to an OCI layout ``path:tag``."""
    options = [
        *([] if image.tls or image.layout else ["--src-tls-verify=false"]),
        *([f"--src-authfile={image.authfile}"] if image.authfile else []),
    ]
    return ["skopeo", "copy", "--quiet", *options, source(image), f"oci:{layout}"]


def unpack(image: Image) -> list[list[str]]:
    """The image's files, owned by this user, as ``rootfs``.

    Mount points are made by a layer of their own: umoci follows the image's links inside the image only, where mkdir
    would follow them on the host.
    """
    growing = partial(image)
    layout = f"{growing}/oci:{_TAG}"
    tops = [f"{growing}/rootfs{path}" for path in image.top_folders]
    points = [
        ["umoci", "insert", "--rootless", f"--image={layout}", f"{growing}/empty", path] for path in image.mount_points
    ]
    return [
        copy(image, layout),
        *([["mkdir", "--", f"{growing}/empty"]] if points else []),
        *points,
        ["umoci", "unpack", "--rootless", f"--image={layout}", f"{growing}/bundle"],
        ["mv", "-T", "--", f"{growing}/bundle/rootfs", f"{growing}/rootfs"],
        *([["chmod", "u+w", "--", f"{growing}/rootfs"], ["sh", "-c", _MAKE_MISSING, "sh", *tops]] if tops else []),
        ["rm", "-rf", "--", f"{growing}/bundle", f"{growing}/oci", *([f"{growing}/empty"] if points else [])],
    ]
