"""A site that is not configured yet: what is found there, and whether what is to be configured is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from packhorse.domain.siteconfig import SiteConfig
from packhorse.domain.views import Check
from packhorse.engine.requests.doctor import examine_site
from packhorse.sites.base import SiteUnreachable
from packhorse.sites.configure import site_from
from packhorse.sites.environment import Purpose
from packhorse.sites.profiles import PROFILES, Profile, Value, expand, profile
from packhorse.sites.schedulers.description import Queue
from packhorse.sites.transports.framing import run_after_login

__all__ = ["PROFILES", "NewSite", "Profile", "Queue", "Value", "expand", "likely_queue", "profile", "root_there"]

_LOGIN_S = 20.0  # a login profile that takes longer is done without


class NewSite:
    """Connects once, with what ``config`` says of the way there; its root need not be known yet."""

    def __init__(self, name: str, config: SiteConfig, home: Path) -> None:
        self._home = home
        self._site = site_from(name, config.model_copy(update={"root": Path("/")}), home)

    def environment(self) -> dict[str, str]:
        """Variables of the user's login there. Raises SiteUnreachable."""
        transport = self._site.transport
        transport.run(
            ["uname", "-n"], timeout_s=_LOGIN_S
        )  # the site itself does not answer, rather than a profile of the user's
        for ask in (partial(run_after_login, transport), transport.run):
            try:
                done = ask(["env", "-0"], timeout_s=_LOGIN_S, purpose=Purpose.LOOK)
            except (SiteUnreachable, OSError):
                continue
            if done.exit_code == 0:
                pairs = (entry.partition("=") for entry in done.stdout.split("\0") if "=" in entry)
                return {name: value for name, _, value in pairs}
        return {}

    def queues(self) -> tuple[Queue, ...]:
        """The queues there. Raises SiteUnreachable when the batch scheduler does not answer."""
        return self._site.scheduler.describe(self._site.transport).queues

    def checks(self, config: SiteConfig) -> list[Check]:
        """What a task needs there, up to the first thing that is missing.

        Raises InvalidRequest for what does not go together.
        """
        site = site_from(self._site.name, config, self._home)
        return examine_site(replace(site, transport=self._site.transport), with_job=False)


def root_there(profile: Profile, environment: Mapping[str, str]) -> str | None:
    """The root to suggest; None when nothing is known."""
    return next((root for path in profile.roots if (root := expand(path, environment))), None)


def likely_queue(queues: tuple[Queue, ...]) -> str | None:
    """The queue to suggest: the site's default, else of those that are up the one with the most nodes."""
    default = next((queue for queue in queues if queue.is_default), None)
    up = [queue for queue in queues if queue.is_up]
    return (default or max(up, key=lambda queue: queue.nodes)).name if default or up else None
