"""A client of registries (OCI distribution API, version 2): which image a name means now, and the bytes of its layers.

Whatever a registry sends is checked against its digest. Credentials go to the registry's own host and to the token
server that it names.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from packhorse.domain.images import ImageError, ImageFailure, ImageReference
from packhorse.staging import manifests
from packhorse.staging.credentials import auth_for
from packhorse.staging.registry_http import RegistryHttp, RegistryOptions, garbled

MAX_MANIFEST = 4 * 1024 * 1024
"""Bytes; what the specification asks registries to take."""
MAX_CONFIG = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of an image's files: an archive, as compressed as ``media_type`` says.

    ``size`` is that of the archive, in bytes.
    """

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """What a name means now.

    ``digest`` is that of the manifest for the platform asked for, ``config`` the OCI image configuration.
    """

    reference: ImageReference
    digest: str
    media_type: str
    config: dict[str, Any]
    size_bytes: int
    """Of all layers, compressed: what has to be copied."""
    layers: tuple[Layer, ...]


class RegistryClient:
    """Asks registries. Every failure is an ImageError whose sentence names the image. May be used by several threads.

    ``stop`` ends all waits, with Stopped.
    """

    def __init__(
        self,
        options: RegistryOptions | None = None,
        transport: httpx2.BaseTransport | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.options, self.stop = options or RegistryOptions(), stop
        self._http = RegistryHttp(self.options, transport, stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends its connections."""
        self._http.close()

    def resolve(self, reference: ImageReference, architecture: str = "amd64", os: str = "linux") -> ResolvedImage:
        """The image that ``reference`` means for a platform. Of tag and digest the digest counts. Raises ImageError."""
        wanted = reference.digest or reference.tag or "latest"
        document, digest, media_type = self._manifest(reference, wanted)
        for _ in range(2):  # an index may list indexes; nobody nests them deeper
            if not manifests.is_index(document):
                break
            chosen = manifests.choose(reference, document, architecture, os)
            document, digest, media_type = self._manifest(reference, chosen)
        manifests.check_manifest(reference, document, media_type)
        config = self._config(reference, document["config"])
        manifests.check_config(reference, config)
        manifests.check_platform(reference, config, architecture, os)
        layers = tuple(
            Layer(layer["digest"], layer["size"], str(layer.get("mediaType", ""))) for layer in document["layers"]
        )
        return ResolvedImage(reference, digest, media_type, config, sum(layer.size for layer in layers), layers)

    def iter_layer(self, reference: ImageReference, layer: Layer) -> Iterator[bytes]:
        """The bytes of a layer's archive as they arrive; at their end they are compared with its digest.

        Raises ImageError.
        """
        seen, length = hashlib.sha256(), 0
        with self._http.get(reference, f"blobs/{layer.digest}", total_s=None) as response:
            self._check(reference, response, layer.digest)
            for chunk in response.chunks():
                seen.update(chunk)
                length += len(chunk)
                if length > layer.size:
                    break
                yield chunk
        if f"sha256:{seen.hexdigest()}" != layer.digest:
            raise garbled(reference, f"layer {layer.digest[:19]} arrived damaged")

    def _manifest(self, reference: ImageReference, wanted: str) -> tuple[dict[str, Any], str, str]:
        """A manifest or index, its digest and media type."""
        with self._http.get(reference, f"manifests/{wanted}", manifests.ACCEPTED) as response:
            self._check(reference, response, wanted)
            body = response.body(MAX_MANIFEST)
            told, kind = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Type", "")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if wanted.startswith("sha256:") and digest != wanted:
            raise garbled(reference, f"asked for {wanted[:19]}... it sends something else, {digest[:19]}...")
        if told.startswith("sha256:") and told != digest:
            raise garbled(reference, f"it calls what it sends {told[:19]}..., but that is {digest[:19]}...")
        document = _json(reference, body, "manifest")
        return document, digest, str(document.get("mediaType") or kind.partition(";")[0].strip())

    def _config(self, reference: ImageReference, descriptor: dict[str, Any]) -> dict[str, Any]:
        wanted = str(descriptor["digest"])
        with self._http.get(reference, f"blobs/{wanted}") as response:
            self._check(reference, response, wanted)
            body = response.body(MAX_CONFIG)
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != wanted:
            raise garbled(reference, "the image's configuration arrived damaged")
        return _json(reference, body, "configuration")

    def _check(self, reference: ImageReference, response: Any, wanted: str) -> None:
        """Raises ImageError for an answer other than 200; what is not found is told apart by asking which tags there
        are.
        """
        if response.status == 404:
            raise self._not_found(reference, wanted)
        response.raise_for_status()

    def _not_found(self, reference: ImageReference, wanted: str) -> ImageError:
        tags: list[str] = []
        with self._http.get(reference, "tags/list?n=100") as response:
            if response.status == 200:
                document = _json(reference, response.body(MAX_MANIFEST), "list of tags")
                tags = manifests.words(document.get("tags"))
            elif response.status == 404:
                hint = "Check its name; a repository that is not public needs credentials ('skopeo login HOST')."
                message = f"There is no repository '{reference.repository}' at {reference.registry}."
                return ImageError(ImageFailure.NO_REPOSITORY, message, hint=hint)
        if wanted.startswith("sha256:"):
            message = f"{reference.name} has nothing with the digest {wanted}."
            return ImageError(
                ImageFailure.UNKNOWN_DIGEST, message, hint="It may have been deleted: name a tag, or another digest."
            )
        near = difflib.get_close_matches(wanted, tags, 3, 0.3) or tags[:3]
        hint = f"It has, for example: {', '.join(near)}." if near else "Check the tag."
        return ImageError(ImageFailure.MISSING_TAG, f"{reference.name} has no tag '{wanted}'.", hint=hint)


def authfile_for(options: RegistryOptions, registries: Iterable[str]) -> dict[str, Any]:
    """The content of an auth.json with the credentials for these registries only, for skopeo at a site.

    It is a secret.
    """
    return auth_for(options.auth_file, registries)


def _json(reference: ImageReference, body: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise garbled(reference, f"the {what} that it sends is not a JSON object")
    return document


__all__ = ["Layer", "RegistryClient", "RegistryOptions", "ResolvedImage", "authfile_for"]
