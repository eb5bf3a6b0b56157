"""What all that KBase's clients ask for needs: the store, the sites, the registry of methods, and KBase's services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from packhorse.domain.kbaseconfig import KBaseConfig
from packhorse.engine.change import Wake
from packhorse.engine.requests.kbase.methods import Methods
from packhorse.engine.requests.kbase.services import Catalog, Workspaces
from packhorse.engine.requests.limits import Limits
from packhorse.engine.requests.submitting import Submissions
from packhorse.engine.sealing import Seal
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site
from packhorse.store.database import Database


@dataclass(frozen=True, slots=True)
class KBaseContext:
    """Shared by all callers."""

    database: Database
    steps: Steps
    sites_by_name: Mapping[str, Site]
    submissions: Submissions
    methods: Methods
    workspaces: Workspaces
    catalog: Catalog
    config: KBaseConfig
    seal: Seal
    limits: Callable[[], Limits]
    """What each user may take."""
    wake: Wake

    @property
    def sites(self) -> Sequence[Site]:
        return list(self.sites_by_name.values())
