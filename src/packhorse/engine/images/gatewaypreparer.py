"""Images that Shifter's gateway prepares: it is asked to pull, and asked again how far it is.

It needs nothing of ours at the site.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import structlog

from packhorse.domain.backoff import wait_after
from packhorse.domain.images import ImageError, ImageFailure, ImageReference, parse_reference
from packhorse.engine.images import preparing
from packhorse.engine.images.preparers import BackgroundPreparer, Preparer, Progress
from packhorse.sites.runtimes.shifter_gateway import (
    FAILURE_KEPT_S,
    GatewayImage,
    ShifterGateway,
    Step,
    munge_credential,
    pull_failed,
)
from packhorse.sites.site import Site
from packhorse.staging.images import ImageState
from packhorse.staging.registry import RegistryClient

_ASK_S = (0.25, 5.0)  # between two questions, each of which takes a credential: shortest and longest
_STATES = {Step.WAITING: ImageState.COPYING, Step.COPYING: ImageState.COPYING, Step.CONVERTING: ImageState.CONVERTING}
_UNKNOWN = frozenset({ImageFailure.NO_REPOSITORY, ImageFailure.UNKNOWN_DIGEST})

_log = structlog.get_logger("packhorse.images")


def preparer_for(site: Site, insecure: Collection[str], client: RegistryClient) -> Preparer:
    """Who prepares the images of a site."""
    if site.gateway is not None:
        return GatewayPreparer(site, site.gateway, insecure, client)
    return BackgroundPreparer(site, insecure, client.options)


class GatewayPreparer:
    """Asks the gateway at ``url``. Where the site has a registry, a background job brings the image there first."""

    def __init__(self, site: Site, url: str, insecure: Collection[str], client: RegistryClient) -> None:
        self._site = site
        self._client = client
        self._gateway = ShifterGateway(
            url, site.gateway_system, lambda: munge_credential(site.transport, site.name), stop=client.stop
        )
        self._copier = (
            BackgroundPreparer(site, insecure, client.options, preparing.copy_steps) if site.registry else None
        )
        self._copied: set[str] = set()
        self._next: dict[str, tuple[float, int]] = {}  # when to ask again, and how often it was asked

    def begin(self, image: Any, name: str) -> None:
        self._name_and_tag(image)
        if self._copier is not None:
            self._copier.begin(image, name)

    def look(self, image: Any, monotonic: float) -> Progress | None:
        if self._copier is not None and image.background_job not in self._copied:
            progress = self._copier.look(image, monotonic)
            if progress is None or progress.state is not ImageState.READY:
                return progress
            self._copied.add(image.background_job)
        due, asked = self._next.get(image.background_job, (monotonic, 0))
        if monotonic < due:
            return None
        self._next[image.background_job] = monotonic + wait_after(asked + 1, *_ASK_S), asked + 1
        name, tag = self._name_and_tag(image)
        found = self._gateway.pull(name, tag)
        if found.step is Step.FAILED:
            return Progress(ImageState.FAILED, error=pull_failed(name, tag, found), again_s=FAILURE_KEPT_S)
        if found.step is not Step.READY:
            return Progress(_STATES[found.step])
        return Progress(ImageState.READY, gateway_id=self._checked(image, found))

    def finish(self, image: Any) -> None:
        self._next.pop(image.background_job, None)
        self._copied.discard(image.background_job)
        if self._copier is not None:
            self._copier.finish(image)

    def has(self, image: Any) -> bool | None:
        """By its tag, which costs little; only one that is not found so is looked for among all, since its tag may be
        another's by now.
        """
        if image.gateway_id is None:
            return False
        try:
            found = self._gateway.lookup(*self._name_and_tag(image))
            return (found is not None and found.id == image.gateway_id) or any(
                other.id == image.gateway_id for other in self._gateway.images()
            )
        except ImageError as error:  # it is away, or refuses us: that says nothing of its images
            _log.warning("not_looked_up", site=self._site.name, image=image.reference, reason=error.message)
            return None

    def _name_and_tag(self, image: Any) -> tuple[str, str]:
        return preparing.at_gateway(self._site, parse_reference(image.reference), image.digest)

    def _checked(self, image: Any, found: GatewayImage) -> str:
        """The id of what the gateway has, once that is known to be what the run resolved. Raises ImageError."""
        if found.id is None:
            message = f"The image gateway of '{self._site.name}' says that {image.reference} is ready, and not as what."
            raise ImageError(
                ImageFailure.REGISTRY_AWAY, message, hint="Its operators should look at its record of that image."
            )
        if self._site.registry or found.is_digest(
            image.digest
        ):  # the tag of a copy names its digest, and does not move
            return found.id
        reference = parse_reference(image.reference)
        tagged = ImageReference(reference.registry, reference.repository, reference.tag)
        tag_is = self._client.resolve(tagged, self._site.architecture).digest
        other = preparing.why_other(self._site, tagged, image.digest, found.id, tag_is, self._meaning(tagged, found.id))
        if other is not None:
            raise other
        return found.id

    def _meaning(self, reference: ImageReference, gateway_id: str) -> str | None:
        """The manifest for the site's processors that an id means at the registry, if it is a digest that is known
        there.
        """
        if len(gateway_id) != 64:
            return None
        try:
            return self._client.resolve(reference.at(f"sha256:{gateway_id}"), self._site.architecture).digest
        except ImageError as error:
            if error.kind in _UNKNOWN:
                return None
            raise
