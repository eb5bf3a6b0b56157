"""The one configuration file, ``packhorse.toml``, as typed values; and the environment variables that win over it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from packhorse.domain.errors import InvalidRequest, Problem

_SITE_NAME = r"^[a-z][a-z0-9_-]{0,63}$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerConfig(_Section):
    """``[server]``: where ``packhorse serve`` listens, and what its users may read."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    data_roots: list[Path] | None = None
    """Inputs must lie below one of these; None allows every file that the server may read."""


class SiteConfig(_Section):
    """``[sites.NAME]``: a place where tasks run. Sizes are per node."""

    transport: Literal["local", "ssh"] = "local"
    scheduler: Literal["local", "slurm"] = "local"
    runtime: str | None = None
    """The container runtime; None takes what the site has."""
    host: str | None = None
    root: Path | None = None
    """A folder on the filesystem that all nodes share."""
    python: str = "python3"
    cores: int | None = Field(default=None, gt=0)
    memory_gb: float | None = Field(default=None, gt=0)
    walltime_s: float | None = Field(default=None, gt=0)
    queue: str | None = None
    account: str | None = None
    max_allocations: int = Field(default=1, ge=1)


class Config(_Section):
    """The whole file. Every field has a default: without a file, Packhorse runs on this machine."""

    home: Path | None = None
    database: str | None = None
    """SQLAlchemy URL; None is SQLite below ``home``."""
    apps: list[Path] = []
    """Folders whose subfolders are apps."""
    server: ServerConfig = ServerConfig()
    sites: dict[Annotated[str, Field(pattern=_SITE_NAME)], SiteConfig] = {}

    def home_folder(self, environment: Mapping[str, str] = os.environ) -> Path:
        """Where everything is kept: PACKHORSE_HOME, else ``home``, else the user's data folder."""
        if given := environment.get("PACKHORSE_HOME"):
            return Path(given).expanduser()
        if self.home is not None:
            return self.home.expanduser()
        data = environment.get("XDG_DATA_HOME")
        return (Path(data) if data else Path.home() / ".local" / "share") / "packhorse"

    def app_folders(self) -> list[Path]:
        """Where apps are looked for by name: those of the file, then ``apps`` in the current folder."""
        return [*(folder.expanduser() for folder in self.apps), Path("apps").absolute()]


def load_config(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in ``path``, else in $PACKHORSE_CONFIG, else in the user's own file if there is one.

    Raises InvalidRequest that names the file and each wrong key.
    """
    named = environment.get("PACKHORSE_CONFIG")
    asked = path or (Path(named) if named else None)
    base = environment.get("XDG_CONFIG_HOME")
    file = asked or (Path(base) if base else Path.home() / ".config") / "packhorse" / "packhorse.toml"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if asked is None:
            return Config()
        raise InvalidRequest(f"The configuration file {file} is not there.", hint="PACKHORSE_CONFIG names it.") from None
    except OSError as error:
        raise InvalidRequest(f"The configuration file {file} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise InvalidRequest(f"{file} is not valid TOML: {error}.") from None
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(f"{file} is not a valid configuration.", problems=problems_of(error, str(file), "key")) from None


def problems_of(error: ValidationError, where: str, kind: str = "field") -> list[Problem]:
    """What pydantic found, as sentences: ``where, key 'server.port': expected ... (found: ...)``."""
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        name = ".".join(str(step) for step in detail["loc"])
        place = ", ".join(part for part in (where, f"{kind} '{name}'" if name else "") if part)
        problems.setdefault(place, Problem(place, _sentence(detail, kind)))
    return list(problems.values())


def _sentence(detail: Any, kind: str) -> str:
    given = detail.get("input")
    match detail["type"]:
        case "missing":
            return "is required and missing."
        case "extra_forbidden":
            return f"is not a {kind} that is known here."
        case "value_error":
            return f"{detail['ctx']['error']}."
        case _:
            text = repr(given)
            shown = "" if isinstance(given, dict | list) else f" (found: {text if len(text) <= 60 else text[:57] + '...'})"
            message = detail["msg"]
            return f"expected: {message[0].lower()}{message[1:]}{shown}."
