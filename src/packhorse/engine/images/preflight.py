"""Looks into an image before anybody runs it."""

from __future__ import annotations

from packhorse.domain.config import ImagesConfig
from packhorse.domain.images import parse_reference
from packhorse.staging.preflight import Finding, examine_image
from packhorse.staging.registry import RegistryClient
from packhorse.staging.registry_http import RegistryOptions


def look_into(image: str, config: ImagesConfig, architecture: str) -> list[Finding]:
    """What of ``image`` will bite on nodes with these processors.

    Raises ImageError when it cannot be had, InvalidRequest for its name.
    """
    reference = parse_reference(image, config.default_registry)
    with RegistryClient(RegistryOptions(insecure=tuple(config.insecure), auth_file=config.auth_file)) as client:
        return examine_image(client, client.resolve(reference, architecture), architecture=architecture)
