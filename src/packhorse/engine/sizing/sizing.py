"""The parts of estimates at one site, put together."""

from __future__ import annotations

from packhorse.domain.config import EstimatesConfig
from packhorse.engine.sizing.estimator import Estimator
from packhorse.engine.sizing.retrying import Retrying
from packhorse.engine.sizing.rules import Rules
from packhorse.engine.sizing.sizer import Sizer
from packhorse.engine.steps.cache import Steps
from packhorse.sites.site import Site


class Sizing:
    """For the thread of one site's loop."""

    def __init__(self, site: Site, steps: Steps, config: EstimatesConfig) -> None:
        self.rules = Rules(config, site.estimates)
        estimator = Estimator(self.rules)
        self.sizer = Sizer(site, steps, self.rules, estimator)
        self.retrying = Retrying(site, estimator)
