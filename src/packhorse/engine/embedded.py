"""Packhorse in one process, on one folder: store, service, and an engine when it is wanted."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packhorse.domain.views import User
from packhorse.engine.accept import FileRules
from packhorse.engine.reconciler import Engine
from packhorse.engine.service import Service
from packhorse.sites.site import Site, local_site
from packhorse.staging.apps import AppCatalog
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema


class Embedded:
    """Everything on ``home``: the database (unless ``database_url`` names another), kept apps, and the local site's folder.

    ``data_roots`` restricts which files may be inputs (a server's setting); None allows every readable one to an admin, none to others.
    """

    def __init__(
        self,
        home: Path,
        *,
        database_url: str | None = None,
        sites: Sequence[Site] | None = None,
        app_folders: Sequence[Path] = (),
        data_roots: Sequence[Path] | None = None,
        linger_s: float = 2.0,
    ) -> None:
        self.home = home.absolute()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.database = Database(database_url or f"sqlite:///{self.home}/packhorse.db")
        ensure_schema(self.database)
        self.sites = list(sites) if sites is not None else [_this_machine(self.home, linger_s)]
        self.user = User(getpass.getuser(), admin=True)
        self._engine: Engine | None = None
        catalog = AppCatalog(app_folders, self.home / "apps")
        files = FileRules(None if data_roots is None else tuple(root.resolve() for root in data_roots))
        self.service = Service(self.database, self.sites, catalog, files, self._wake)

    @contextmanager
    def run_engine(self) -> Iterator[Engine]:
        """Runs an engine in a thread meanwhile. While another process leads this store, ours waits and is ready to take over."""
        engine = self._engine = Engine(self.database, self.sites)
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

    def _wake(self) -> None:
        if self._engine is not None:
            self._engine.wake()


def _this_machine(home: Path, linger_s: float) -> Site:
    site = local_site(str(home / "site"), linger_s=linger_s)
    # 'python3' of a task is the one that Packhorse runs in, with the apps' packages beside it
    site.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{site.env['PATH']}"
    return site
