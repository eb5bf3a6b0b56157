"""How registries are spoken to: TLS or not, credentials and tokens, redirects, and what each refusal means."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx

from packhorse.domain.images import DOCKER_HUB, ImageError, ImageFailure, ImageReference
from packhorse.staging.credentials import Login, find_login

MAX_TOKEN = 1024 * 1024
_REDIRECTS = 5
_PARAMETER = re.compile(r'([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """``insecure``: hosts (``host:port`` where a name has the port) that are spoken to in the clear, without TLS: registries, and the
    token servers and stores that they send us to. ``auth_file``: an auth.json, and then no other is read. ``timeout_s`` is for each
    wait, not for the whole."""

    insecure: tuple[str, ...] = ()
    auth_file: Path | None = None
    timeout_s: float = 30.0

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
    response: httpx.Response
    login: Login | None

    @property
    def status(self) -> int:
        """As HTTP numbers it."""
        return self.response.status_code

    @property
    def headers(self) -> httpx.Headers:
        """Whatever the case of their names."""
        return self.response.headers

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives."""
        return self.response.iter_raw()

    def body(self, limit: int) -> bytes:
        """The whole body; one of more than ``limit`` bytes is an ImageError."""
        found = bytearray()
        for chunk in self.chunks():
            found += chunk
            if len(found) > limit:
                raise garbled(self.reference, f"it sends more than the {limit} bytes that this can have")
        return bytes(found)

    def raise_for_status(self) -> None:
        """Raises ImageError for whatever is not 200."""
        if self.status in (401, 403):
            raise denied(self.reference, self.login)
        if self.status == 429 or self.status >= 500:
            why = "wants us to ask less often" if self.status == 429 else f"has a fault of its own (HTTP {self.status})"
            after = self.headers.get("Retry-After", "")
            hint = f"It says to wait {after} s." if after.isdigit() and len(after) < 7 else "Try again later."
            raise ImageError(ImageFailure.REGISTRY_AWAY, f"{self.reference} cannot be had now: {self.reference.registry} {why}.", hint=hint)
        if self.status != 200:
            raise garbled(self.reference, f"it answers with HTTP {self.status}, which means nothing here")


class RegistryHttp:
    """Requests to registries, with credentials where they are asked for. Tokens are kept per repository."""

    def __init__(self, options: RegistryOptions, transport: httpx.BaseTransport | None = None) -> None:
        self.options = options
        self._known: dict[str, _Access] = {}
        self._client = httpx.Client(
            timeout=options.timeout_s, follow_redirects=True, max_redirects=_REDIRECTS, transport=transport,
            headers={"User-Agent": "packhorse", "Accept-Encoding": "identity"}, event_hooks={"request": [self._check_scheme]},
        )  # fmt: skip

    def close(self) -> None:
        """Ends all connections."""
        self._client.close()

    @contextlib.contextmanager
    def get(self, reference: ImageReference, path: str, accept: str = "*/*") -> Iterator[Answer]:
        """The answer to GET /v2/REPOSITORY/PATH, whatever its status. Raises ImageError where there is none, also while it is read."""
        host = "registry-1.docker.io" if reference.registry == DOCKER_HUB else reference.registry
        scheme = "https" if self.options.tls(reference.registry) else "http"
        request = self._client.build_request("GET", f"{scheme}://{host}/v2/{reference.repository}/{path}", headers={"Accept": accept})
        try:
            response, login = self._send(reference, request)
            try:
                yield Answer(reference, response, login)
            finally:
                response.close()
        except InTheClear as where:
            hint = f"If that is as it should be, list '{where}' as insecure."
            message = f"{reference} is not fetched: {reference.registry} sends us to {where}, without TLS."
            raise ImageError(ImageFailure.DENIED, message, hint=hint) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            _not_reached(reference, error, self.options)

    def _send(self, reference: ImageReference, request: httpx.Request) -> tuple[httpx.Response, Login | None]:
        """Sends it; where the registry wants to know who asks, says so and sends it again."""
        access = self._known.get(reference.name)
        if access:
            request.headers["Authorization"] = access.header
        response = self._client.send(request, stream=True)
        # a store that a redirect led to has nothing to do with our credentials
        if response.status_code != 401 or response.url.host != request.url.host:
            return response, access.login if access else None
        challenges = response.headers.get_list("WWW-Authenticate")
        response.close()
        login = find_login(reference, self.options.auth_file)
        access = self._known[reference.name] = _Access(self._authorization(reference, challenges, login), login)
        request.headers["Authorization"] = access.header
        return self._client.send(request, stream=True), login

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
        given = {"service": challenge.get("service"), "scope": challenge.get("scope") or f"repository:{reference.repository}:pull"}
        realm = httpx.URL(challenge.get("realm", "")).copy_merge_params({name: text for name, text in given.items() if text})
        request = self._client.build_request("GET", realm)
        if request.url.scheme not in ("http", "https"):
            raise garbled(reference, "it names no token server")
        if login:
            request.headers["Authorization"] = login.basic
        response = self._client.send(request, stream=True)
        try:
            answer = Answer(reference, response, login)
            answer.raise_for_status()
            document = json.loads(answer.body(MAX_TOKEN))
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        finally:
            response.close()
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise garbled(reference, "its token server sends no token")
        return token

    def _check_scheme(self, request: httpx.Request) -> None:
        """Called before each request, and before each that a redirect leads to."""
        if request.url.scheme != "https":
            host = request.url.host
            if not {request.url.netloc.decode("ascii"), f"{host}:{request.url.port or 80}"} & set(self.options.insecure):
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
    return ImageError(ImageFailure.REGISTRY_AWAY, f"{reference} cannot be had from {reference.registry}: {what}.", hint=hint)


def _not_reached(reference: ImageReference, error: Exception, options: RegistryOptions) -> NoReturn:
    registry, words = reference.registry, str(error)
    host = registry
    with contextlib.suppress(AttributeError, RuntimeError):  # a URL that is none has no request
        host = error.request.url.netloc.decode("ascii")  # type: ignore[attr-defined]
    hint = "Try again later; if it stays so, check the network, and the name of the registry."
    if isinstance(error, httpx.TimeoutException):
        what = f"{host} does not answer within {options.timeout_s:g} s"
    elif "CERTIFICATE_VERIFY_FAILED" in words:
        what = f"the certificate of {host} is not to be trusted"
        hint = "If its authority is your own, name its certificates in SSL_CERT_FILE."
    elif "SSL" in words:
        what = f"{host} does not speak TLS"
        hint = f"If it is meant to be without, list '{host}' as insecure."
    elif isinstance(error, httpx.ConnectError):
        unknown = any(text in words for text in ("Name or service", "No address associated", "name resolution", "nodename nor"))
        what = f"the name '{host}' does not resolve" if unknown else f"{host} refuses connections"
        what = what if unknown or "refused" in words else f"{host} is not reached ({words[:100]})"
    elif isinstance(error, httpx.TooManyRedirects):
        what = f"{host} sends us on and on"
    else:
        what = f"the connection with {host} broke off ({type(error).__name__})"
    raise ImageError(ImageFailure.REGISTRY_AWAY, f"{reference} cannot be had: {what}.", hint=hint) from None


def _parameters(text: str) -> dict[str, str]:
    """The parameters of a WWW-Authenticate header."""
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PARAMETER.findall(text)}
