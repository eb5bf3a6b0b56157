"""Commands of a server: serve, and its tokens."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket
import sys

import uvicorn

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.cli.output import note, say
from packhorse.domain.config import Config, load_config
from packhorse.domain.errors import Conflict, InvalidRequest, NotFound
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.kbase.service import KBase
from packhorse.logs import configure_logs, take_over_logging

_LINGER_S = 30.0  # a server's agent waits for the next task that long
_SHUTDOWN_S = 5
#: After which a thread that computes lets another one: Python's own 5 ms are waited for at each statement of a request,
#: while the rows of somebody's large table are looked at.
_SWITCH_S = 0.001


def serve(host: str | None, port: int | None, database: str | None, *, json_logs: bool, allow_remote: bool) -> None:
    """``packhorse serve``: API and engine in one process, until SIGTERM. Agents go on with what they have."""
    config = load_config()
    host = config.server.host if host is None else host
    port = config.server.port if port is None else port
    if not _is_loopback(host) and not allow_remote:
        raise InvalidRequest(
            f"Others can reach {host}, and the API speaks plain HTTP, so tokens could be read on the way.",
            hint="Put a proxy with TLS before 127.0.0.1, or say --allow-remote.",
        )
    listener = _listen(host, port)
    sys.setswitchinterval(_SWITCH_S)
    configure_logs(level=logging.INFO, as_json=json_logs)
    take_over_logging(as_json=json_logs)
    embedded = _open(config, database, serving=True)
    tokens = Tokens(embedded.database)
    token_file = embedded.home / "token"
    tokens.ensure_file(token_file, embedded.user.name)
    kbase = KBase(embedded.service, config.kbase, embedded.seal)
    api = create_app(embedded.service, tokens, lambda: server.should_exit, kbase)
    settings = uvicorn.Config(api, log_config=None, access_log=False, timeout_graceful_shutdown=_SHUTDOWN_S)
    server = uvicorn.Server(settings)
    address = f"[{host}]" if ":" in host else host
    note(f"Serving http://{address}:{listener.getsockname()[1]}; the token of {embedded.user.name} is in {token_file}")
    # uvicorn raises them again when it has shut down; the engine must be left in order
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        with embedded.run_engine():
            server.run(sockets=[listener])
    finally:
        listener.close()
        embedded.close()


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


def add_token(user: str, database: str | None, *, admin: bool) -> None:
    """``packhorse token add``."""
    embedded = _open(load_config(), database)
    say(Tokens(embedded.database).add(user, admin=admin))
    embedded.close()


def revoke_tokens(user: str, database: str | None) -> None:
    """``packhorse token revoke``."""
    embedded = _open(load_config(), database)
    number = Tokens(embedded.database).revoke(user)
    embedded.close()
    if not number:
        raise NotFound(f"There is no token of '{user}'.")
    say(f"Forgot {number} {'token' if number == 1 else 'tokens'} of {user}.")


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
        private_networks=config.server.private_networks,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
