"""A client's requests, answered by an engine room in this process.

Slow to import: a client of a server does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from packhorse.domain.config import DataConfig, EstimatesConfig, ImagesConfig
from packhorse.domain.siteconfig import SiteConfig
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.service import UserService


class EmbeddedBackend(UserService):
    """Everything in this process, on one folder, for its own user."""

    def __init__(
        self,
        home: Path,
        app_folders: Iterable[Path] = (),
        database_url: str | None = None,
        site_configs: Mapping[str, SiteConfig] | None = None,
        images: ImagesConfig | None = None,
        data: DataConfig | None = None,
        estimates: EstimatesConfig | None = None,
    ) -> None:
        self._embedded = Embedded(
            home,
            app_folders=list(app_folders),
            database_url=database_url,
            site_configs=site_configs,
            images=images,
            data=data,
            estimates=estimates,
        )
        super().__init__(self._embedded.service, self._embedded.user)

    @contextmanager
    def working(self) -> Iterator[None]:
        """An engine works meanwhile."""
        with self._embedded.run_engine():
            yield

    def close(self) -> None:
        """Gives the database back."""
        self._embedded.close()
