"""A client of Shifter's image gateway (imagegw/shifter_imagegw/api.py): what it says of an image, and how to make it
fetch one.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx2

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import ImageError, ImageFailure
from packhorse.http.client import Http, retry_after
from packhorse.http.errors import NotReached
from packhorse.http.reasons import through
from packhorse.sites.base import CommandResult, Transport

FAILURE_KEPT_S = 300.0
"""How long the gateway answers FAILURE, and READY, from memory, before it looks at the registry again."""
_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_CREDENTIAL = re.compile(r"MUNGE:[A-Za-z0-9+/=]+:\Z")
_ID = re.compile(r"[0-9a-f]{12,64}\Z")


class Step(StrEnum):
    """What the gateway's states mean to somebody who waits for an image."""

    WAITING = "waiting"
    """Others are before it; or nothing is known of it, and a pull begins anew."""
    COPYING = "copying"
    """It comes from its registry."""
    CONVERTING = "converting"
    """It is looked at, made into one file, and brought to the system."""
    READY = "ready"
    """Jobs may use it."""
    FAILED = "failed"
    """It was not to be had; the gateway keeps the reason to itself."""


#: Other states, such as those of images that are being removed, are those of images that are not there.
STEPS: Mapping[str, Step] = {
    "INIT": Step.WAITING,
    "PENDING": Step.WAITING,
    "PULLING": Step.COPYING,
    "EXAMINATION": Step.CONVERTING,
    "CONVERSION": Step.CONVERTING,
    "TRANSFER": Step.CONVERTING,
    "READY": Step.READY,
    "SUCCESS": Step.READY,
    "FAILURE": Step.FAILED,
    "EXPIRING": Step.WAITING,
    "EXPIRED": Step.WAITING,
}


@dataclass(frozen=True, slots=True)
class GatewayImage:
    """What the gateway knows of an image.

    ``id`` is that of what is there, once it is; ``message`` is its own word on the progress.
    """

    status: str
    step: Step
    id: str | None = None
    tags: tuple[str, ...] = ()
    message: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    workdir: str | None = None

    @property
    def reference(self) -> str | None:
        """What ``shifter --image`` takes, which no other image can ever have; None until it is ready."""
        return f"id:{self.id}" if self.id and self.step is Step.READY else None

    def is_digest(self, digest: str) -> bool:
        """Whether the id is the digest that was asked for.

        It is where the gateway fetches with skopeo, and the tag names one image. Of a tag for several platforms it is
        the index's, and gateways with the older fetcher make up ids of their own.
        """
        return self.id is not None and digest == f"sha256:{self.id}"


def parse_image(document: object) -> GatewayImage:
    """A record of the gateway; fields that it has no value for say 'MISSING'."""
    record = document if isinstance(document, dict) else {}
    given = {name: value for name, value in record.items() if value not in (None, "MISSING")}
    status = str(given.get("status", "MISSING"))
    found = str(given.get("id", ""))
    words = {name: _strings(given.get(name)) for name in ("tag", "ENV", "ENTRY")}
    return GatewayImage(
        status,
        STEPS.get(status, Step.WAITING),
        found if _ID.match(found) else None,
        words["tag"],
        str(given.get("status_message", ""))[:500],
        words["ENV"],
        words["ENTRY"],
        str(given["WORKDIR"]) if given.get("WORKDIR") else None,
    )


class ShifterGateway:
    """The gateway at ``url`` for one of its systems.

    ``credential`` makes a fresh MUNGE credential: each is good for one request.

    For a private registry the credential's payload is {"authorized_locations": {LOCATION: "user:password"}}; nothing
    else carries those. Every failure is an ImageError. ``stop`` ends all waits, with Stopped.
    """

    def __init__(
        self,
        url: str,
        system: str,
        credential: Callable[[], str],
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", system):
            raise InvalidRequest(
                f"'{system}' is not the name of a system of an image gateway.", hint="Its operators know the name."
            )
        self._url, self._system, self._credential = url.rstrip("/"), system, credential
        self._http = Http(timeout_s=timeout_s, stop=stop, transport=transport)

    def close(self) -> None:
        """Ends its connections."""
        self._http.close()

    def lookup(self, name: str, tag: str) -> GatewayImage | None:
        """The image if it is ready and this user may use it, else None; the gateway does not tell those apart, nor a
        refused credential.
        """
        document = self._ask("GET", f"lookup/{self._system}/docker/{_image(name, tag)}", may_be_missing=True)
        return None if document is None else parse_image(document)

    def pull(self, name: str, tag: str, uids: Iterable[int] = (), gids: Iterable[int] = ()) -> GatewayImage:
        """Asks for an image, and says how far it is: progress is had by asking again.

        Ids make it private to these, and to who asks.

        One that is ready is compared with its registry again when it was last fetched FAILURE_KEPT_S ago, and goes
        through the states again; ``lookup`` finds what there was. After a failure, the next try begins once
        FAILURE_KEPT_S are over.
        """
        wanted = {"allowed_uids": ",".join(map(str, uids)), "allowed_gids": ",".join(map(str, gids))}
        body = {field: ids for field, ids in wanted.items() if ids}
        return parse_image(self._ask("POST", f"pull/{self._system}/docker/{_image(name, tag)}", body))

    def images(self) -> list[GatewayImage]:
        """All that are ready and that this user may use."""
        return [parse_image(record) for record in _records(self._ask("GET", f"list/{self._system}"))]

    def queue(self) -> list[tuple[str, str]]:
        """(image, status) of all pulls that are not ready, anybody's."""
        listed = _records(self._ask("GET", f"queue/{self._system}"))
        return [
            (str(record.get("image", "")), str(record.get("status", "")))
            for record in listed
            if isinstance(record, dict)
        ]

    def expire(self, name: str, tag: str) -> bool:
        """Removes an image; only the gateway's admins may, and others are told False."""
        document = self._ask("GET", f"expire/{self._system}/docker/{_image(name, tag)}", may_be_missing=True)
        return isinstance(document, dict) and document.get("status") is True

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, may_be_missing: bool = False
    ) -> Any:
        headers = {"authentication": self._credential()}
        try:
            response = self._http.ask(method, f"{self._url}/api/{path}/", headers=headers, json=body)
        except NotReached as error:
            raise self._away(f"is not reached: {error.what}", error.hint) from None
        if response.status_code == 404:
            if may_be_missing:
                return None
            message = f"The image gateway at {self._url} refuses to act for us on its system '{self._system}'."
            raise ImageError(
                ImageFailure.DENIED,
                message,
                hint="Check the system's name, and that MUNGE works here and is the gateway's.",
            )
        if response.status_code != 200:  # on Python 3 its handler of refused credentials fails itself, with 500
            why = (
                "wants to be asked less often"
                if response.status_code == 429
                else "has a fault of its own, or does not know our credential"
            )
            after_s = retry_after(response) or 0.0
            raise self._away(f"{why} (HTTP {response.status_code}){through(response.request)}", after_s=after_s)
        try:
            return response.json()
        except ValueError:
            raise self._away("answers with something else than JSON") from None

    def _away(self, why: str, hint: str = "", after_s: float = 0.0) -> ImageError:
        hint = hint or "Try again later; if it stays so, ask the site."
        return ImageError(
            ImageFailure.REGISTRY_AWAY, f"The image gateway at {self._url} {why}.", hint=hint, after_s=after_s
        )


def munge_credential(transport: Transport, site: str) -> str:
    """A fresh credential of MUNGE, made at the site as our user there; a secret.

    Raises ImageError and SiteUnreachable.
    """
    try:
        result = transport.run(["munge", "-n"])
    except OSError as error:
        result = CommandResult(127, "", error.strerror or type(error).__name__)
    made = result.stdout.strip()
    if result.exit_code == 0 and _CREDENTIAL.match(made):
        return made
    said = " ".join(result.stderr.split())[-200:] or f"exit code {result.exit_code}"
    kind = ImageFailure.CANNOT_RUN if result.exit_code in (126, 127) else ImageFailure.REGISTRY_AWAY
    hint = "The image gateway takes credentials of MUNGE only: 'munge -n' must work where the site's commands run."
    raise ImageError(kind, f"'munge -n' at '{site}' makes no credential for the image gateway ({said}).", hint=hint)


def pull_failed(name: str, tag: str, image: GatewayImage) -> ImageError:
    """The error for a pull that ended in FAILURE.

    Whatever the registry says of the image itself should have been asked before.
    """
    word = (
        f" It says: {image.message[:200]}."
        if image.message.isprintable() and image.message not in ("", "FAILED", "FAILURE", "Operation Failed")
        else ""
    )
    message = f"The image gateway could not fetch {name}:{tag}, and does not say why.{word}"
    hint = (
        f"Can it reach that registry, and is it one of its locations? It tries again in {FAILURE_KEPT_S:g} s at the"
        " earliest."
    )
    return ImageError(ImageFailure.CONVERSION, message, hint=hint)


def _image(name: str, tag: str) -> str:
    """As part of a path."""
    if not _NAME.match(name) or any(part in ("", ".", "..") for part in name.split("/")) or not _TAG.match(tag):
        raise InvalidRequest(
            f"'{ascii(name)[1:-1]}:{ascii(tag)[1:-1]}' is not an image that a gateway can be asked for."
        )
    return f"{name}:{tag}"


def _records(document: Any) -> list[Any]:
    listed = document.get("list") if isinstance(document, dict) else None
    return listed if isinstance(listed, list) else []


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
