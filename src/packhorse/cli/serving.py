"""``packhorse serve``."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket
import ssl
import sys
from typing import Any

import uvicorn

from packhorse.api.app import create_app
from packhorse.api.draining import DrainingServer
from packhorse.api.metrics import Metrics
from packhorse.api.patience import PatientProtocol
from packhorse.api.peers import Network, networks
from packhorse.api.tracing import Traces
from packhorse.cli.output import note
from packhorse.domain.config import Config, ServerConfig, load_config
from packhorse.domain.errors import Conflict, InvalidRequest
from packhorse.domain.ourselves import expanded
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.kbase.service import KBase
from packhorse.identity.checkers import Checkers
from packhorse.identity.tokens import Tokens
from packhorse.logs import configure_logs, take_over_logging

_LINGER_S = 30.0  # a server's agent waits for the next task that long
_SHUTDOWN_S = 5
#: After which a thread that computes lets another one: Python's own 5 ms are waited for at each statement of a request,
#: while the rows of somebody's large table are looked at.
_SWITCH_S = 0.001


def serve(host: str | None, port: int | None, database: str | None, *, json_logs: bool) -> None:
    """``packhorse serve``: API and engine in one process, until SIGTERM. Agents go on with what they have."""
    config = load_config()
    settings = config.server
    host = settings.host if host is None else host
    port = settings.port if port is None else port
    trusted = _peers(settings, host)
    tls = _tls(settings)
    traces = None if settings.traces is None else Traces(settings.traces)
    listener = _listen(host, port)
    sys.setswitchinterval(_SWITCH_S)
    configure_logs(level=logging.INFO, as_json=json_logs)
    take_over_logging(as_json=json_logs)
    embedded = _open(config, database, serving=True)
    tokens = Tokens(embedded.database)
    token_file = embedded.home / "token"
    tokens.ensure_file(token_file, embedded.user.name)
    metrics = Metrics()
    embedded.time_schedulers(metrics.command)
    checkers = Checkers(tokens, config.auth, config.groups)
    options: dict[str, Any] = {"metrics": metrics, "traces": traces, "trusted": trusted}
    server: DrainingServer
    options["draining"] = lambda: server.is_draining
    kbase = KBase(embedded.service, config.kbase, embedded.seal)
    api = create_app(embedded.service, checkers, lambda: server.should_exit, kbase, **options)
    server = DrainingServer(
        uvicorn.Config(
            api,
            http=PatientProtocol,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            **tls,
        ),
        settings.drain_s,
    )
    address = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    note(f"Serving {address}; the token of {embedded.user.name} is in {token_file}")
    # uvicorn raises them again when it has shut down; the engine must be left in order
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        with embedded.run_engine():
            server.run(sockets=[listener])
    finally:
        listener.close()
        embedded.close()
        if traces is not None:
            traces.close()


def _peers(settings: ServerConfig, host: str) -> list[Network] | None:
    """Who may speak to the server besides this machine; None: everybody. Raises InvalidRequest where tokens could be
    read on the way.
    """
    trusted = networks(settings.trusted_proxies)
    if _is_loopback(host) or settings.tls_certificate is not None:
        return trusted or None
    if not trusted:
        raise InvalidRequest(
            f"Others can reach {host}, and without TLS tokens could be read on the way.",
            hint="Set 'tls_certificate' and 'tls_key' of [server], or put a proxy with TLS before it and name it in"
            " 'trusted_proxies'; a proxy on this machine needs no more than 127.0.0.1.",
        )
    return trusted


def _tls(settings: ServerConfig) -> dict[str, Any]:
    """Options of uvicorn. Raises InvalidRequest where the files cannot be used."""
    if settings.tls_certificate is None and settings.tls_key is None:
        return {}
    if settings.tls_certificate is None or settings.tls_key is None:
        raise InvalidRequest(
            "TLS needs a certificate and its key.", hint="Set 'tls_certificate' and 'tls_key' of [server]."
        )
    certificate, key = expanded(settings.tls_certificate), expanded(settings.tls_key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(f"The certificate {certificate} with the key {key} cannot be used: {why}.") from None
    return {"ssl_certfile": certificate, "ssl_keyfile": key}


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port that is taken is a refusal and not a server that dies."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # only of a socket that says that it is TCP does asyncio send answers at once; else each waits 40 ms for an
        # acknowledgement
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"Something else listens on port {port} of {host}.", hint="Choose another one with --port."
            ) from None
        raise InvalidRequest(f"Cannot listen on port {port} of {host}: {error}.") from None
    return listener


def _open(config: Config, database: str | None, *, serving: bool = False) -> Embedded:
    return Embedded(
        config.home_folder(),
        database_url=database or config.database,
        app_folders=config.app_folders(),
        data_roots=config.server.data_roots if serving else None,
        site_configs=config.sites,
        images=config.images,
        data=config.data,
        linger_s=_LINGER_S if serving else 2.0,
        serves=serving,
        weights=config.weights,
        limits=config.limits,
        estimates=config.estimates,
        private_networks=config.server.private_networks,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
