"""What ``packhorse.toml`` says of KBase, as typed values."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from packhorse.domain.numbers import Number, Whole
from packhorse.domain.section import Section


class ClientGroupConfig(Section):
    """``[kbase.client_groups.NAME]``: what jobs of a client group are given where KBase's catalogue does not say."""

    cpus: Whole | None = Field(default=None, ge=1)
    """Cores."""
    memory_mb: Whole | None = Field(default=None, ge=1)
    """Memory in MB."""
    disk_gb: Whole | None = Field(default=None, ge=1)
    """Disk in GB."""
    queue: str | None = None
    """The partition of the batch scheduler."""


class KBaseConfig(Section):
    """``[kbase]``: the services of KBase that its execution engine's methods ask, and that its jobs are told of."""

    endpoint: str | None = None
    """Where KBase's services are: https://kbase.us/services. Without it, workspaces are only labels."""
    workspace_url: str | None = None
    """The Workspace service; without it, ``endpoint``/ws."""
    catalog_url: str | None = None
    """The Catalog; without it, ``endpoint``/catalog."""
    catalog_token_file: Path | None = None
    """A file with a token by which secure parameters are read from the Catalog; without it, no job has any."""
    external_url: str | None = None
    """This server as jobs reach it, for the jobs that they start below their own; without it, they cannot."""
    reference_data: Path | None = None
    """At the sites: the folder of KBase's reference data."""
    client_groups: dict[str, ClientGroupConfig] = {}
    """Client groups by name, as tables ``[kbase.client_groups.NAME]``."""
    default_client_group: str = "njs"
    """The client group of methods for which the Catalog names none."""
    permissions_kept_s: Number = Field(default=60.0, ge=0)
    """For how many seconds permissions and client groups are remembered."""

    @property
    def workspace(self) -> str | None:
        return self.workspace_url or self._below("ws")

    @property
    def catalog(self) -> str | None:
        return self.catalog_url or self._below("catalog")

    def services(self) -> dict[str, str]:
        """What jobs are told, by the names of their config.properties; empty where it is not known."""
        names = {
            "workspace_url": self.workspace or "",
            "shock_url": self._below("shock-api") or "",
            "handle_url": self._below("handle_service") or "",
            "srv_wiz_url": self._below("service_wizard") or "",
            "auth_service_url": self._below("auth/api/legacy/KBase/Sessions/Login") or "",
            "auth_service_url-v2": self._below("auth/api/V2/token") or "",
        }
        own = {"kbase_endpoint": self.endpoint or "", "external_url": self.external_url or ""}
        return {**own, **names, "auth_service_url_allow_insecure": "false"}

    def _below(self, name: str) -> str | None:
        return f"{self.endpoint.rstrip('/')}/{name}" if self.endpoint else None
