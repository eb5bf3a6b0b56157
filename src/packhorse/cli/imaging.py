"""``packhorse images``."""

from __future__ import annotations

import time

import typer

from packhorse.cli.output import duration, print_json, print_table, size
from packhorse.client import Client
from packhorse.domain.config import load_config
from packhorse.domain.views import ImageView
from packhorse.engine.images.preflight import look_into

_SHORT = 19  # of a digest, 'sha256:' included


def list_images(*, as_json: bool) -> None:
    """``packhorse images``."""
    with Client() as client:
        images = client.images()
    if as_json:
        print_json(images)
        return
    rows = [
        (image.site, image.reference, image.digest[:_SHORT], image.state, _how_far(image), _took(image), image.error)
        for image in images
    ]
    print_table(["site", "image", "digest", "state", "size", "took", "because"], rows)


def _how_far(image: ImageView) -> str:
    if image.size_bytes is not None:
        return size(image.size_bytes)
    return f"{size(image.done_bytes)}, from {size(image.download_bytes)} of layers"


def _took(image: ImageView) -> str:
    if image.started_at is None:
        return ""
    return duration((image.ready_at or time.time()) - image.started_at)


def check_image(image: str, architecture: str, *, as_json: bool) -> None:
    """``packhorse images check``."""
    findings = look_into(image, load_config().images, architecture)
    if as_json:
        print_json([{"level": one.level, "what": one.what, "detail": one.detail, "hint": one.hint} for one in findings])
    else:
        print_table(
            ["", "what", "found", "what to do"], [(one.level, one.what, one.detail, one.hint) for one in findings]
        )
    if any(one.level == "problem" for one in findings):
        raise typer.Exit(1)
