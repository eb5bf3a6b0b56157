"""The one configuration file, ``packhorse.toml``, as typed values; and the environment variables that win over it."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from packhorse.domain.accessconfig import AuthConfig, LimitsConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.images import DOCKER_HUB
from packhorse.domain.kbaseconfig import KBaseConfig
from packhorse.domain.numbers import Number, Whole
from packhorse.domain.ourselves import expanded, home, homeless, xdg
from packhorse.domain.problems import validated
from packhorse.domain.resources import Estimates
from packhorse.domain.section import Section
from packhorse.domain.siteconfig import SITE_NAME, SiteConfig
from packhorse.domain.utf8 import utf8_text

_MAX_FILE = 1_000_000


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{error}; a network is written like 10.1.0.0/16") from None


Network = Annotated[str, AfterValidator(_network)]


class ServerConfig(Section):
    """``[server]``: where ``packhorse serve`` listens, and what its users may read."""

    host: str = "127.0.0.1"
    """The address to listen on; ``--host`` wins."""
    port: Whole = Field(default=8765, ge=0, le=65535)
    """The port to listen on; ``--port`` wins."""
    tls_certificate: Path | None = None
    """A file with the certificate (PEM) by which it speaks TLS. Required, with ``tls_key``, to listen where others
    reach it, unless there are ``trusted_proxies``.
    """
    tls_key: Path | None = None
    """A file with the private key of that certificate."""
    trusted_proxies: list[Network] = []
    """Addresses or networks of proxies that have TLS: besides this machine, only these may speak to the server."""
    drain_s: Number = Field(default=0, ge=0, le=3600)
    """So long after SIGTERM it still answers, and only ``/api/v1/health/ready`` says that it will stop."""
    traces: str | None = None
    """The URL of an OpenTelemetry collector, such as http://127.0.0.1:4318, that is sent a trace of each request."""
    data_roots: list[Path] | None = None
    """Inputs must lie below one of these folders. Without it, admins may name every file, and others none."""
    private_networks: list[Network] = []
    """Networks of its own, as '["10.1.0.0/16"]', where URLs and images that users name may lead. Without it, loopback,
    private and link-local addresses are refused, by name, by number and by redirect; servers that this file names are
    not.
    """


class ShockConfig(Section):
    """``[data.shock."HOST"]``: a Shock server, by the host of its shock:// URLs."""

    url: str | None = None
    """Where it is; without it, https://HOST."""
    token_file: Path | None = None
    """A file with the token that it is sent."""


class DataConfig(Section):
    """``[data]``: how the engine reaches data by URL. Credentials stay in files that only the engine reads."""

    urls: list[str] | None = None
    """Beginnings of URLs that users who are no admins may read; without it, only admins name URLs."""
    output_urls: list[str] | None = None
    """Beginnings of URLs that outputs of such users may be delivered to; without it, only those of admins."""
    s3_endpoint: str | None = None
    """The URL of an S3 server; without it, Amazon's."""
    s3_region: str | None = None
    """The region of that server."""
    s3_profile: str | None = None
    """The profile in the credentials file."""
    s3_credentials_file: Path | None = None
    """Keys, in the form of ~/.aws/credentials, which is read without it. Where there are none, S3 is asked without a
    name.
    """
    shock: dict[str, ShockConfig] = {}
    """Shock servers by host, as tables ``[data.shock."HOST"]``."""


class ImagesConfig(Section):
    """``[images]``: where container images come from."""

    default_registry: str = DOCKER_HUB
    """The registry of images whose name says none."""
    insecure: list[str] = []
    """Registries, as ``host:port``, that are spoken to without TLS."""
    auth_file: Path | None = None
    """Credentials, as ``podman login`` or ``docker login`` write them; without it, $REGISTRY_AUTH_FILE, else the files
    that those commands write.
    """


class EstimatesConfig(Section):
    """``[estimates]``: whether what tasks ask for is decided from what tasks like them used (docs/estimation.md)."""

    mode: Estimates = Estimates.OBSERVE
    """``off``: nothing is remembered. ``observe``: what would be asked for can be seen. ``on``: it is asked for. A
    run's own word (``estimates`` among its resources) goes first, then that of ``apps``, then the site's.
    """
    apps: dict[str, Estimates] = {}
    """The same for apps by name, as a table ``[estimates.apps]``."""
    failure_cap: Number = Field(default=0.1, gt=0, lt=1)
    """The largest chance that an attempt is ended at a memory limit that was estimated."""
    walltime_failure_cap: Number = Field(default=0.005, gt=0, lt=1)
    """The same for an estimated walltime."""
    keep_rows: Whole = Field(default=200_000, ge=100)
    """Attempts that are remembered; the oldest leave."""
    keep_rows_of_user: Whole = Field(default=5_000, ge=100)
    """Of one user and app."""
    keep_days: Number = Field(default=730, gt=0)
    """For how long."""


class Config(Section):
    """The whole file. Every field has a default: without a file, Packhorse runs on this machine."""

    # defaults are not validated, for which validators would be built that most commands do without
    home: Path | None = None
    """Where everything is kept; $PACKHORSE_HOME wins; without both, ~/.local/share/packhorse."""
    database: str | None = None
    """The URL of the database, as SQLAlchemy writes it; without it, SQLite in the home folder."""
    apps: list[Path] = []
    """Folders whose subfolders are apps that can be run by name."""
    server: ServerConfig = ServerConfig.model_construct()
    """Where a server listens: the table ``[server]``."""
    images: ImagesConfig = ImagesConfig.model_construct()
    """Where images come from: the table ``[images]``."""
    data: DataConfig = DataConfig.model_construct()
    """How data by URL is reached: the table ``[data]``."""
    auth: AuthConfig = AuthConfig.model_construct()
    """Whose tokens a server accepts: the table ``[auth]``."""
    limits: LimitsConfig = LimitsConfig.model_construct()
    """What each user may take: the table ``[limits]``."""
    groups: dict[str, list[str]] = {}
    """Groups that runs may be shared with, as ``NAME = [USER, ...]`` in the table ``[groups]``."""
    estimates: EstimatesConfig = EstimatesConfig.model_construct()
    """What tasks are estimated to need: the table ``[estimates]``."""
    kbase: KBaseConfig = KBaseConfig.model_construct()
    """KBase, whose execution engine this server stands in for: the table ``[kbase]``."""
    weights: dict[str, Annotated[Number, Field(gt=0, le=1e6)]] = {}
    """Users' parts of each site while several have tasks: one of weight 2 gets twice as much as one of 1, the default.
    """
    sites: dict[Annotated[str, Field(pattern=SITE_NAME)], SiteConfig] = {}
    """Beside 'local', which is this machine.

    A run that names none goes to the first that can take it: 'local', then in this order.
    """

    def home_folder(self, environment: Mapping[str, str] = os.environ) -> Path:
        """Where everything is kept: PACKHORSE_HOME, else ``home``, else the user's data folder."""
        if given := environment.get("PACKHORSE_HOME"):
            return expanded(Path(given), environment)
        if self.home is not None:
            return expanded(self.home, environment)
        data = xdg("XDG_DATA_HOME", ".local/share", environment)
        if data is None:
            raise InvalidRequest(
                f"Packhorse has no folder to keep its data in: {homeless(environment)}.",
                hint="Set PACKHORSE_HOME to one of yours.",
            )
        return data / "packhorse"

    def app_folders(self) -> list[Path]:
        """Where apps are looked for by name: those of the file, then ``apps`` in the current folder."""
        try:
            here = [Path("apps").absolute()]
        except OSError:  # the current folder was removed
            here = []
        return [*(expanded(folder) for folder in self.apps), *here]


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the configuration is, or would be: $PACKHORSE_CONFIG, else the user's own file.

    Raises InvalidRequest where none is known.
    """
    if named := environment.get("PACKHORSE_CONFIG"):
        return Path(named)
    base = xdg("XDG_CONFIG_HOME", ".config", environment)
    if base is None:
        raise InvalidRequest(
            f"There is no place for a configuration file: {homeless(environment)}.", hint="PACKHORSE_CONFIG names one."
        )
    return base / "packhorse" / "packhorse.toml"


def _is_anybodys_home(file: Path, environment: Mapping[str, str]) -> bool:
    """Whether a file is below a HOME that is not ours: so that we cannot even look there."""
    own = home(environment)
    return own is not None and file.is_relative_to(own) and not os.access(own, os.X_OK)


def load_config(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration in ``path``, else in $PACKHORSE_CONFIG, else in the user's own file if there is one.

    Raises InvalidRequest that names the file and each wrong key.
    """
    if (
        path is None
        and not environment.get("PACKHORSE_CONFIG")
        and xdg("XDG_CONFIG_HOME", ".config", environment) is None
    ):
        return Config.model_construct()
    file = path or config_file(environment)
    try:
        with file.open("rb") as stream:
            return parse_config(stream.read(_MAX_FILE + 1), file)
    except FileNotFoundError:
        if path is None and not environment.get("PACKHORSE_CONFIG"):
            return Config.model_construct()
        raise InvalidRequest(
            f"The configuration file {file} is not there.", hint="PACKHORSE_CONFIG names it."
        ) from None
    except OSError as error:
        if path is None and not environment.get("PACKHORSE_CONFIG") and _is_anybodys_home(file, environment):
            return Config.model_construct()
        raise InvalidRequest(f"The configuration file {file} cannot be read: {error.strerror}.") from None


def parse_config(data: bytes, file: Path) -> Config:
    """What is in a configuration file. Raises InvalidRequest that names the file and each wrong key."""
    if len(data) > _MAX_FILE:
        raise InvalidRequest(f"{file} is larger than {_MAX_FILE:,} bytes, so it is not a configuration.")
    text = utf8_text(data, str(file))
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{file} is not valid TOML: {error}{_first_of_two(text, str(error))}.") from None
    except (ValueError, RecursionError):  # digits without end, brackets without end
        raise InvalidRequest(f"{file} is not valid TOML: a value is too long, or nested too deeply.") from None
    return validated(Config, document, f"{file} is not a valid configuration.", str(file), "key")


def _first_of_two(text: str, message: str) -> str:
    """Where a key or table stands already that TOML does not take a second time: its reader tells only of the
    second.
    """
    found = re.search(r"(?:overwrite|twice).*\(at line (\d+)", message)
    lines = [line.partition("#")[0].partition("=")[0].replace(" ", "") for line in text.splitlines()]
    if found is None or (second := int(found[1]) - 1) >= len(lines):
        return ""
    tables = [number for number, line in enumerate(lines[:second]) if line.startswith("[")]
    since = 0 if lines[second].startswith("[") or not tables else tables[-1]  # a key counts within its table
    first = next((number for number in range(since, second) if lines[number] == lines[second]), None)
    return "" if first is None else f"; it is in line {first + 1} already"
