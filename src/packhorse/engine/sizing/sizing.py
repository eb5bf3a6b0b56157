"""The parts of estimates at one site, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packhorse.domain.config import EstimatesConfig
from packhorse.engine.sizing.retrying import Retrying
from packhorse.engine.sizing.rules import Rules
from packhorse.engine.sizing.sizer import Sizer
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site

if TYPE_CHECKING:
    from packhorse.engine.sizing.estimator import Estimator


class Sizing:
    """For the thread of one site's loop."""

    def __init__(self, site: Site, steps: Steps, config: EstimatesConfig) -> None:
        self.rules = Rules(config, site.estimates)
        self.sizer = Sizer(site, steps, self.rules, self._estimator)
        self.retrying = Retrying(site, self._estimator)
        self._made: Estimator | None = None

    def _estimator(self) -> Estimator:
        """Made when something is estimated: most sites only observe, and it is slow to import."""
        if self._made is None:
            from packhorse.engine.sizing.estimator import Estimator

            self._made = Estimator(self.rules)
        return self._made
