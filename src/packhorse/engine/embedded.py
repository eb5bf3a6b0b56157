"""Packhorse in one process, on one folder: store, service, and an engine when it is wanted."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from packhorse.domain.accessconfig import LimitsConfig
from packhorse.domain.config import DataConfig, EstimatesConfig, ImagesConfig
from packhorse.domain.ourselves import make_own_folder, user_name
from packhorse.domain.siteconfig import SiteConfig
from packhorse.domain.users import User
from packhorse.engine.change import Change
from packhorse.engine.notifier import Notifier
from packhorse.engine.requests.filerules import FileRules
from packhorse.engine.requests.service import Service
from packhorse.engine.sealing import Seal
from packhorse.engine.timing import TimedScheduler, Told
from packhorse.http.reach import Reach
from packhorse.sites.environment import Composer
from packhorse.sites.site import Site, local_site
from packhorse.staging.apps import AppCatalog
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema

if TYPE_CHECKING:
    from packhorse.engine.reconciler import Engine


class Embedded:
    """Everything on ``home``: the database (unless ``database_url`` names another), and the local site's folder.

    Sites are this machine, as 'local', and those of ``site_configs``, unless ``sites`` are given. ``serves``: several
    users, whose tasks see nothing of this process's environment but what is listed (sites/environment.py).
    ``data_roots`` restricts which files may be inputs (a server's setting); None allows every readable one to an admin,
    none to others. ``private_networks`` (likewise) opens networks of its own to URLs of users of one that ``serves``.
    """

    def __init__(
        self,
        home: Path,
        *,
        database_url: str | None = None,
        sites: Sequence[Site] | None = None,
        site_configs: Mapping[str, SiteConfig] | None = None,
        images: ImagesConfig | None = None,
        data: DataConfig | None = None,
        app_folders: Sequence[Path] = (),
        data_roots: Sequence[Path] | None = None,
        linger_s: float = 2.0,
        serves: bool = False,
        weights: Mapping[str, float] | None = None,
        limits: LimitsConfig | None = None,
        estimates: EstimatesConfig | None = None,
        private_networks: Sequence[str] = (),
    ) -> None:
        self.home = home.absolute()
        make_own_folder(self.home)
        self.database = Database(database_url or f"sqlite:///{self.home}/packhorse.db")
        ensure_schema(self.database)
        self.sites = list(sites) if sites is not None else _sites(site_configs or {}, self.home, linger_s, serves)
        self._images = images
        self._weights = weights
        self._estimates = estimates or EstimatesConfig()
        reach = self._reach = Reach(tuple(private_networks)) if serves else None
        self._data = data or DataConfig()
        self.user = User(user_name(), admin=True)
        self._engine: Engine | None = None
        self._notifier = Notifier()
        self.seal = Seal(self.home / "seal.key")
        catalog = AppCatalog(app_folders)
        roots = None if data_roots is None else tuple(root.resolve() for root in data_roots)
        urls, output_urls = (
            None if some is None else tuple(some) for some in (self._data.urls, self._data.output_urls)
        )
        files = FileRules(roots, urls, output_urls, reach)
        self.service = Service(
            self.database,
            self.sites,
            catalog,
            files,
            self._wake,
            self._notifier,
            self.home / "downloads",
            self._estimates,
            limits,
            self.seal,
        )
        self.mine = self.service.as_user(self.user)
        """What this process's own user may ask for."""

    def time_schedulers(self, tell: Told) -> None:
        """From now on, tells how long commands of the sites' batch schedulers take."""
        for site in self.sites:
            site.scheduler = TimedScheduler(site.scheduler, site.name, tell)

    @contextmanager
    def run_engine(self) -> Iterator[Engine]:
        """Runs an engine in a thread meanwhile.

        While another process leads this store, ours waits and is ready to take over.
        """
        from packhorse.engine.reconciler import Engine  # a tenth of the start, which those who only look save

        engine = self._engine = Engine(
            self.database,
            self.sites,
            notifier=self._notifier,
            images=self._images,
            data=self._data,
            home=self.home,
            weights=self._weights,
            estimates=self._estimates,
            seal=self.seal,
            reach=self._reach,
        )
        thread = threading.Thread(target=engine.run, name="packhorse-engine", daemon=True)
        thread.start()
        try:
            yield engine
        finally:
            engine.stop()
            thread.join(30)
            self._engine = None

    def close(self) -> None:
        """Gives the database back."""
        self.database.close()

    def _wake(self, change: Change = Change.ANY, sites: Collection[str] | None = None) -> None:
        if self._engine is not None:
            self._engine.wake(change, sites)


def _sites(configs: Mapping[str, SiteConfig], home: Path, linger_s: float, serves: bool) -> list[Site]:
    configured = []
    if configs:
        from packhorse.sites.configure import site_from  # every scheduler and runtime: most have this machine only

        configured = [site_from(name, config, home, serves=serves) for name, config in configs.items()]
    return configured if "local" in configs else [_this_machine(home, linger_s, serves), *configured]


def _this_machine(home: Path, linger_s: float, serves: bool) -> Site:
    site = local_site(str(home / "site"), linger_s=linger_s, composer=Composer(own=not serves, here=True))
    # 'python3' of a task is the one that Packhorse runs in, with the apps' packages beside it
    site.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{site.env['PATH']}"
    return site
