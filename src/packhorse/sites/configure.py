"""Makes sites from the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.placeholders import check_placeholders
from packhorse.domain.resources import GB
from packhorse.domain.siteconfig import SiteConfig
from packhorse.sites.base import LAUNCHER_WORDS
from packhorse.sites.environment import Composer
from packhorse.sites.runtimes.base import RuntimeOptions
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.registry import scheduler
from packhorse.sites.site import Site, local_site
from packhorse.sites.transports.registry import transport


def site_from(name: str, config: SiteConfig, home: Path, *, serves: bool = False) -> Site:
    """The site that ``[sites.name]`` describes.

    Connects to nothing yet. Raises InvalidRequest for what does not go together.

    ``serves``: for several users, so that tasks on this machine do not see this process's whole environment. Jobs of a
    batch scheduler never do.
    """
    try:
        return _with_containers(_site(name, config, home, serves=serves), config)
    except InvalidRequest as error:
        raise InvalidRequest(f"[sites.{name}]: {error.message}", hint=error.hint) from None


def _site(name: str, config: SiteConfig, home: Path, *, serves: bool) -> Site:
    """Without what concerns containers."""
    batch = scheduler(config.scheduler, _scheduler_options(config))
    passes = tuple(config.env_pass)
    here = batch.is_this_machine
    composer = Composer(own=not serves, here=True, passes=passes) if here else Composer(passes=passes)
    way = transport(config, composer)
    if config.root is None and not way.is_local:
        raise InvalidRequest("It needs 'root', a folder there that all nodes share.")
    root = str(config.root or home / "sites" / name)
    if not root.startswith("/"):
        raise InvalidRequest(f"root '{root}' must be an absolute path.")
    if here and not way.is_local:
        raise InvalidRequest(
            f"The scheduler '{batch.name}' runs jobs on this machine only.",
            hint=f'A site with transport = "{config.transport}" needs a batch scheduler, such as scheduler = "slurm".',
        )
    if here:
        site = local_site(
            root, scheduler=batch, linger_s=config.linger_s, python=config.python, name=name, composer=composer
        )
        site.env.update(config.env)
        return site
    return Site(
        name,
        root,
        way,
        batch,
        python=config.python or "python3",
        max_allocations=config.max_allocations,
        max_nodes=config.max_nodes,
        linger_s=config.linger_s,
        usual_walltime_s=config.walltime_s,
        env=dict(config.env),
        composer=composer,
    )


def _with_containers(site: Site, config: SiteConfig) -> Site:
    if (config.shifter_gateway is None) != (config.shifter_system is None):
        raise InvalidRequest("'shifter_gateway' and 'shifter_system' go together; one of them is missing.")
    if config.shifter_gateway is not None and config.runtime != "shifter":
        raise InvalidRequest("'shifter_gateway' is for runtime = \"shifter\" only.")
    options = RuntimeOptions(
        program=config.runtime_program, extra=tuple(config.runtime_options), squashfs=config.squashfs
    )
    quota_bytes = None if config.image_quota_gb is None else round(config.image_quota_gb * GB)
    try:
        check_placeholders("launcher", [*config.launcher], set(LAUNCHER_WORDS))
    except ValueError as error:
        raise InvalidRequest(f"{error}.") from None
    return replace(
        site, launcher=tuple(config.launcher),
        runtime=runtime(config.runtime or "none", options), binds=tuple(str(folder) for folder in config.binds),
        registry=config.registry, images=_text(config.images), image_tmp=_text(config.image_tmp),
        fetches=config.fetch == "site", reuse=config.reuse, estimates=config.estimates,
        data_quota_bytes=None if config.data_quota_gb is None else round(config.data_quota_gb * GB),
        image_quota_bytes=quota_bytes, image_patience_s=config.image_patience_s, architecture=config.architecture,
        gateway=config.shifter_gateway, gateway_system=config.shifter_system or "",
    )  # fmt: skip


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _scheduler_options(config: SiteConfig) -> SchedulerOptions:
    return SchedulerOptions(
        queue=config.queue,
        account=config.account,
        qos=config.qos,
        constraint=config.constraint,
        reservation=config.reservation,
        extra=tuple(config.submit_options),
        cores=config.cores,
        memory_mb=None if config.memory_gb is None else round(config.memory_gb * 1000),
    )
