"""The state machine of an image at a site, and what is decided about it.

Pure: ``engine.images.imageloop`` carries it out.

A run names images by reference; its registry says once which digest that is, and the run keeps to it. At each site a
digest is prepared once, however many runs and tasks want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from packhorse.domain.backoff import wait_after
from packhorse.domain.images import PERMANENT, ImageFailure

_FIRST_BACKOFF_S = 2.0
_MAX_BACKOFF_S = 120.0
_MAX_CONVERSIONS = 2  # the same tools on the same image mostly do the same again


class ImageState(StrEnum):
    """Where an image is on its way to a site."""

    WANTED = "WANTED"
    """A run wants it; it waits for its turn, or for another try."""
    COPYING = "COPYING"
    """Being copied to the site: into its private registry, or to its filesystem."""
    CONVERTING = "CONVERTING"
    """Being brought into the form that the site's runtime wants."""
    READY = "READY"
    """Tasks can run in it."""
    FAILED = "FAILED"
    """It could not be prepared. A later run that wants it has it tried again."""


S = ImageState

TRANSITIONS: dict[ImageState, frozenset[ImageState]] = {
    S.WANTED: frozenset({S.COPYING, S.CONVERTING, S.FAILED}),
    S.COPYING: frozenset({S.CONVERTING, S.READY, S.WANTED, S.FAILED}),
    S.CONVERTING: frozenset({S.READY, S.WANTED, S.FAILED}),
    S.READY: frozenset({S.WANTED}),  # it is no longer there: the site has cleaned up
    S.FAILED: frozenset({S.WANTED}),
}

WORKING = frozenset({S.COPYING, S.CONVERTING})


@dataclass(frozen=True, slots=True)
class Again:
    """What follows a failed try: another one after ``delay_s``, or the end. ``why`` is for people."""

    state: ImageState
    delay_s: float
    why: str


def after_failure(failure: ImageFailure, message: str, tries: int, waited_s: float, patience_s: float) -> Again:
    """What to do when the ``tries``-th try failed, ``waited_s`` after the first was begun.

    What passes by itself, or is mended by somebody else, is waited for as long as ``patience_s``.
    """
    if failure in PERMANENT or (failure is ImageFailure.CONVERSION and tries >= _MAX_CONVERSIONS):
        return Again(S.FAILED, 0.0, message)
    if waited_s >= patience_s:
        return Again(S.FAILED, 0.0, f"{message} It was tried {tries} times, for {waited_s / 60:.0f} minutes.")
    delay_s = wait_after(tries, _FIRST_BACKOFF_S, _MAX_BACKOFF_S)
    return Again(S.WANTED, delay_s, f"{message} It is tried again.")


def waits_for(image: Any) -> str:
    """What a task says that waits for an image: a row of the store with reference, site, state, error and bytes, or one
    without a state.
    """
    name = f"the image {image.reference} at '{image.site}'"
    match image.state:
        case None:
            return f"Waits for {name}: its registry is asked." + (f" {image.error}" if image.error else "")
        case S.WANTED:
            return f"Waits for {name}: " + (image.error or "it is next to be prepared.")
        case S.COPYING:
            return f"Waits for {name}: copying, {_progress(image.done_bytes, image.download_bytes)}."
        case S.CONVERTING:
            return f"Waits for {name}: converting, {megabytes(image.done_bytes)} so far."
        case _:
            return f"Waits for {name}."


def megabytes(size: int | None) -> str:
    """A size for people."""
    return f"{(size or 0) / 1e6:,.1f} MB"


def _progress(done: int, whole: int) -> str:
    return f"{megabytes(min(done, whole))} of {megabytes(whole)}" if whole else megabytes(done)


def to_evict(images: Sequence[Any], in_use: frozenset[str], quota_bytes: int) -> list[Any]:
    """Those that leave so that what is READY comes to at most ``quota_bytes``: the least recently used first, never one
    in use.

    ``images`` are rows of one site; ``in_use`` are digests that open runs want.
    """
    ready = [image for image in images if image.state == S.READY]
    too_much = sum(image.size_bytes or 0 for image in ready) - quota_bytes
    leaving: list[Any] = []
    for image in sorted(ready, key=lambda image: (image.last_used_at, image.seq)):
        if too_much <= 0:
            break
        if image.digest not in in_use:
            leaving.append(image)
            too_much -= image.size_bytes or 0
    return leaving
