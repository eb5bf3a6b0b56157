"""How registries are spoken to: TLS or not, credentials and tokens, redirects, and what each refusal means."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from packhorse.domain.images import DOCKER_HUB, ImageError, ImageFailure, ImageReference
from packhorse.http.client import TOTAL_S, Http, read, retry_after
from packhorse.http.errors import Fault, NotReached
from packhorse.http.reach import Reach
from packhorse.http.reasons import through
from packhorse.staging.credentials import Login, find_login

MAX_TOKEN = 1024 * 1024
_PARAMETER = re.compile(r'([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """``insecure``: hosts (``host:port`` where a name has the port) that are spoken to in the clear, without TLS:
    registries, and the token servers and stores that they send us to. ``auth_file``: an auth.json, and then no other
    is read. ``timeout_s`` is for each wait, not for the whole. ``reach`` says where requests may lead, but for those to
    ``trusted`` registries, which the configuration names."""

    insecure: tuple[str, ...] = ()
    auth_file: Path | None = None
    timeout_s: float = 30.0
    reach: Reach | None = None
    trusted: tuple[str, ...] = ()

    def trusts(self, registry: str) -> bool:
        """Whether a registry, and where it sends us to, may be in our own network."""
        return registry in self.trusted or registry in self.insecure

    def tls(self, registry: str) -> bool:
        """Whether a registry is spoken to over TLS."""
        return registry not in self.insecure


@dataclass(frozen=True, slots=True)
class _Access:
    header: str = field(repr=False)
    login: Login | None


class InTheClear(Exception):
    """We were sent to a host without TLS that is not listed as insecure. Raised before anything goes there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said; the body is read as a stream, by one of ``body`` and ``chunks``."""

    reference: ImageReference
    response: httpx2.Response
    login: Login | None

    @property
    def status(self) -> int:
        """As HTTP numbers it."""
        return self.response.status_code

    @property
    def headers(self) -> httpx2.Headers:
        """Whatever the case of their names."""
        return self.response.headers

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives."""
        return self.response.iter_raw()

    def body(self, limit: int) -> bytes:
        """The whole body; one of more than ``limit`` bytes is an ImageError."""
        try:
            return read(self.response, limit)
        except NotReached as error:
            if error.fault is not Fault.LARGE:
                raise
            raise garbled(self.reference, f"it sends more than the {limit} bytes that this can have") from None

    def raise_for_status(self) -> None:
        """Raises ImageError for whatever is not 200."""
        if self.status in (401, 403):
            raise denied(self.reference, self.login)
        if self.status == 429 or self.status >= 500:
            why = "wants us to ask less often" if self.status == 429 else f"has a fault of its own (HTTP {self.status})"
            after_s = retry_after(self.response)
            hint = "Try again later." if after_s is None else f"It says to wait {after_s:.0f} s."
            message = (
                f"{self.reference} cannot be had now: {self.reference.registry} {why}{through(self.response.request)}."
            )
            raise ImageError(ImageFailure.REGISTRY_AWAY, message, hint=hint, after_s=after_s or 0.0)
        if self.status != 200:
            raise garbled(self.reference, f"it answers with HTTP {self.status}, which means nothing here")


class RegistryHttp:
    """Requests to registries, with credentials where they are asked for. Tokens are kept per repository."""

    def __init__(
        self,
        options: RegistryOptions,
        transport: httpx2.BaseTransport | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.options = options
        self._known: dict[str, _Access] = {}
        check, reach = self._check_scheme, options.reach
        self._http = Http(timeout_s=options.timeout_s, check=check, stop=stop, transport=transport, reach=reach)

    def close(self) -> None:
        """Ends all connections."""
        self._http.close()

    @contextmanager
    def get(
        self, reference: ImageReference, path: str, accept: str = "*/*", total_s: float | None = TOTAL_S
    ) -> Iterator[Answer]:
        """The answer to GET /v2/REPOSITORY/PATH, whatever its status.

        Raises ImageError where there is none, also while it is read.

        All of it takes ``total_s`` at most; None is for what may be large, and lasts as long as it moves.
        """
        host = "registry-1.docker.io" if reference.registry == DOCKER_HUB else reference.registry
        scheme = "https" if self.options.tls(reference.registry) else "http"
        try:
            with ExitStack() as stack:
                url = f"{scheme}://{host}/v2/{reference.repository}/{path}"
                yield self._ask(stack, reference, url, {"Accept": accept}, total_s)
        except InTheClear as where:
            hint = f"If that is as it should be, list '{where}' as insecure."
            message = f"{reference} is not fetched: {reference.registry} sends us to {where}, without TLS."
            raise ImageError(ImageFailure.DENIED, message, hint=hint) from None
        except NotReached as error:
            hint = (
                f"If it is meant to be without, list '{host}' as insecure." if error.fault is Fault.TLS else error.hint
            )
            failure = ImageFailure.DENIED if error.fault is Fault.INSIDE else ImageFailure.REGISTRY_AWAY
            raise ImageError(failure, f"{reference} cannot be had: {error.what}.", hint=hint) from None

    def _ask(
        self, stack: ExitStack, reference: ImageReference, url: str, headers: dict[str, str], total_s: float | None
    ) -> Answer:
        """The answer, open as long as ``stack``.

        Where the registry wants to know who asks, it is told, and asked again.
        """
        how: dict[str, Any] = {"total_s": total_s, "trusted": self.options.trusts(reference.registry)}
        access = self._known.get(reference.name)
        given = {"Authorization": access.header} if access else {}
        with ExitStack() as first:
            response = first.enter_context(self._http.stream("GET", url, headers={**headers, **given}, **how))
            # a store that a redirect led to has nothing to do with our credentials
            if response.status_code != 401 or response.url.origin != httpx2.URL(url).origin:
                stack.push(first.pop_all())
                return Answer(reference, response, access.login if access else None)
            challenges = response.headers.get_list("WWW-Authenticate")
        login = find_login(reference, self.options.auth_file)
        access = self._known[reference.name] = _Access(self._authorization(reference, challenges, login), login)
        again = self._http.stream("GET", url, headers={**headers, "Authorization": access.header}, **how)
        return Answer(reference, stack.enter_context(again), login)

    def _authorization(self, reference: ImageReference, challenges: list[str], login: Login | None) -> str:
        """What the registry's challenge asks for: a token from its token server, or the credentials themselves."""
        for challenge in challenges:
            kind, _, text = challenge.strip().partition(" ")
            if kind.lower() == "bearer":
                return f"Bearer {self._token(reference, _parameters(text), login)}"
        if login is None or not any(challenge.strip().lower().startswith("basic") for challenge in challenges):
            raise denied(reference, login)
        return login.basic

    def _token(self, reference: ImageReference, challenge: dict[str, str], login: Login | None) -> str:
        given = {
            "service": challenge.get("service"),
            "scope": challenge.get("scope") or f"repository:{reference.repository}:pull",
        }
        try:
            realm = httpx2.URL(challenge.get("realm", "")).copy_merge_params(
                {name: text for name, text in given.items() if text}
            )
        except httpx2.InvalidURL:
            raise garbled(reference, "it names no token server") from None
        if realm.scheme not in ("http", "https") or not realm.host or realm.userinfo:
            raise garbled(reference, "it names no token server")
        headers = {"Authorization": login.basic} if login else {}
        trusted = self.options.trusts(reference.registry)
        with self._http.stream("GET", str(realm), headers=headers, total_s=TOTAL_S, trusted=trusted) as response:
            answer = Answer(reference, response, login)
            answer.raise_for_status()
            body = answer.body(MAX_TOKEN)
        try:
            document = json.loads(body)
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise garbled(reference, "its token server sends no token")
        return token

    def _check_scheme(self, request: httpx2.Request) -> None:
        """Called before each request, and before each that a redirect leads to."""
        if request.url.scheme != "https":
            host = request.url.host
            if not {request.url.netloc.decode("ascii"), f"{host}:{request.url.port or 80}"} & set(
                self.options.insecure
            ):
                raise InTheClear(request.url.netloc.decode("ascii"))


def denied(reference: ImageReference, login: Login | None) -> ImageError:
    """The error for 401 and 403. Docker Hub and others say so too when there is no such repository."""
    registry = reference.registry
    if login:
        message = f"{registry} refuses {reference} with the credentials in {login.file}."
        hint = f"Ask its owner for access, or log in anew: 'skopeo login --authfile {login.file} {registry}'."
    else:
        message = f"{registry} refuses {reference} without credentials: it is private, or does not exist."
        hint = f"Check its name, or leave credentials with 'skopeo login {registry}'."
    return ImageError(ImageFailure.DENIED, message, hint=hint)


def garbled(reference: ImageReference, what: str) -> ImageError:
    """The error for an answer that no registry should give."""
    hint = "Try again; if it stays so, is it a registry, or is a proxy in between?"
    return ImageError(
        ImageFailure.REGISTRY_AWAY, f"{reference} cannot be had from {reference.registry}: {what}.", hint=hint
    )


def _parameters(text: str) -> dict[str, str]:
    """The parameters of a WWW-Authenticate header."""
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(text)}
