"""Who prepares images for a site: a background job there, or the site's image gateway.

Each goes on from what the store's row of an image says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from packhorse.domain.images import ImageError, ImageFailure, parse_reference
from packhorse.engine.images import preparing
from packhorse.sites import background
from packhorse.sites.images import growing_folder, image_folder, keeps_files
from packhorse.sites.runtimes.base import CannotRun
from packhorse.sites.site import Site
from packhorse.staging.images import ImageState
from packhorse.staging.registry import RegistryOptions, authfile_for

_TIMEOUT_S = 6 * 3600.0
_SILENT_S = 15.0  # a background job that says nothing for that long is started again; if it lives, that changes nothing
_LOOK_S = 1.0  # between two looks at a background job


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an image is. READY and an ``error`` are its end, after which it is not tried again for ``again_s``.

    ``gateway_id`` is what the site's image gateway calls an image that is ready.
    """

    state: ImageState
    done_bytes: int = 0
    gateway_id: str | None = None
    error: ImageError | None = None
    again_s: float = 0.0


class Preparer(Protocol):
    """Prepares images, rows of the store whose ``background_job`` names the preparation.

    Every method raises SiteUnreachable and OSError.
    """

    def begin(self, image: Any, name: str) -> None:
        """Begins a preparation called ``name``. Raises ImageError for an image that cannot be prepared."""
        ...

    def look(self, image: Any, monotonic: float) -> Progress | None:
        """How far it is; None when it is not yet time to look again. Raises ImageError for a failure."""
        ...

    def finish(self, image: Any) -> None:
        """Removes what a preparation that has ended leaves."""
        ...

    def has(self, image: Any) -> bool | None:
        """Whether the image is there, ready to be used; None when that cannot be seen."""
        ...


@dataclass(slots=True)
class _Heard:
    """What a background job has said, when it last said something new, and when it was looked at."""

    status: background.BackgroundStatus | None
    since: float
    looked: float


class BackgroundPreparer:
    """Has a background job at the site carry out the steps that ``compose`` says."""

    def __init__(
        self,
        site: Site,
        insecure: Collection[str],
        options: RegistryOptions,
        compose: Callable[..., list[background.Step]] = preparing.steps,
    ) -> None:
        self._site = site
        self._insecure = insecure
        self._options = options
        self._compose = compose
        self._heard: dict[str, _Heard] = {}

    def begin(self, image: Any, name: str) -> None:
        reference = parse_reference(image.reference)
        auth = preparing.credentials(
            authfile_for(self._options, preparing.registries(self._site, reference, image.digest))
        )
        tmp = f"{self._site.image_tmp or self._site.root + '/tmp'}/{name}"  # noqa: S108
        background.start(
            self._site,
            name,
            self._steps(image, name, has_auth=auth is not None),
            watch=growing_folder(self._site, image.digest),
            tmp=tmp,
            credentials=auth,
            timeout_s=_TIMEOUT_S,
        )

    def look(self, image: Any, monotonic: float) -> Progress | None:
        heard = self._heard.setdefault(image.background_job, _Heard(None, monotonic, float("-inf")))
        if monotonic < heard.looked + _LOOK_S and heard.status is not None:
            return None
        before, heard.status = heard.status, background.look(self._site, image.background_job, heard.status)
        status, heard.looked = heard.status, monotonic
        if before is None or status.heard != before.heard:
            heard.since = monotonic
        elif not status.ended and monotonic - heard.since > _SILENT_S:
            heard.since = monotonic
            self.begin(image, image.background_job)
        if status.succeeded:
            return Progress(ImageState.READY)
        if status.ended:
            raise preparing.why_it_failed(self._site, image.reference, status, self._steps(image, image.background_job))
        state = ImageState.CONVERTING if status.what == preparing.CONVERTING else ImageState.COPYING
        return Progress(state, status.done_bytes)

    def finish(self, image: Any) -> None:
        self._heard.pop(image.background_job, None)
        self._site.transport.remove(growing_folder(self._site, image.digest))
        background.remove(self._site, image.background_job)

    def has(self, image: Any) -> bool | None:
        return self._site.transport.exists(image_folder(self._site, image.digest)) if keeps_files(self._site) else None

    def _steps(self, image: Any, name: str, *, has_auth: bool = False) -> list[background.Step]:
        authfile = background.authfile_of(self._site, name) if has_auth else None
        try:
            return self._compose(self._site, parse_reference(image.reference), image.digest, self._insecure, authfile)
        except CannotRun as error:
            raise ImageError(ImageFailure.CANNOT_RUN, error.message, hint=error.hint) from None
