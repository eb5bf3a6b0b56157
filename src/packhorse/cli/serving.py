"""Commands of a server: serve, and its tokens."""

from __future__ import annotations

import ipaddress
import logging
import signal

import uvicorn

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.cli.output import err, out
from packhorse.domain.config import Config, load_config
from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.engine.embedded import Embedded
from packhorse.logs import configure_logs

_LINGER_S = 30.0  # a server's agent waits for the next task that long
_SHUTDOWN_S = 5


def serve(host: str, port: int, database: str | None, *, json_logs: bool, allow_remote: bool) -> None:
    """``packhorse serve``: API and engine in one process, until SIGTERM. Agents go on with what they have."""
    if not _is_loopback(host) and not allow_remote:
        raise InvalidRequest(
            f"Others can reach {host}, and the API speaks plain HTTP, so tokens could be read on the way.",
            hint="Put a proxy with TLS before 127.0.0.1, or say --allow-remote.",
        )
    configure_logs(level=logging.INFO, as_json=json_logs)
    config = load_config()
    embedded = _open(config, database, serving=True)
    tokens = Tokens(embedded.database)
    token_file = embedded.home / "token"
    tokens.ensure_file(token_file, embedded.user.name)
    api = create_app(embedded.service, tokens)
    settings = uvicorn.Config(api, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=_SHUTDOWN_S)
    err.print(f"Serving http://{host}:{port}; the token of {embedded.user.name} is in {token_file}", highlight=False)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has shut down; the engine must be left in order
        signal.signal(number, lambda *_: None)
    try:
        with embedded.run_engine():
            uvicorn.Server(settings).run()
    finally:
        embedded.close()


def add_token(user: str, database: str | None, *, admin: bool) -> None:
    """``packhorse token add``."""
    embedded = _open(load_config(), database)
    out.print(Tokens(embedded.database).add(user, admin=admin), highlight=False)
    embedded.close()


def revoke_tokens(user: str, database: str | None) -> None:
    """``packhorse token revoke``."""
    embedded = _open(load_config(), database)
    number = Tokens(embedded.database).revoke(user)
    embedded.close()
    if not number:
        raise NotFound(f"There is no token of '{user}'.")
    out.print(f"Forgot {number} {'token' if number == 1 else 'tokens'} of {user}.", highlight=False)


def _open(config: Config, database: str | None, *, serving: bool = False) -> Embedded:
    return Embedded(
        config.home_folder(),
        database_url=database or config.database,
        app_folders=config.app_folders(),
        data_roots=config.server.data_roots if serving else None,
        linger_s=_LINGER_S if serving else 2.0,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
