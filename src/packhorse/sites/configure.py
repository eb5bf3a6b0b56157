"""Makes sites from the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from packhorse.domain.app import check_placeholders
from packhorse.domain.config import SiteConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.resources import GB
from packhorse.sites.base import LAUNCHER_WORDS, Transport
from packhorse.sites.environment import Composer
from packhorse.sites.runtimes.base import RuntimeOptions
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.schedulers.slurm_commands import SlurmOptions
from packhorse.sites.site import Site, local_site
from packhorse.sites.transports.local import LocalTransport


def site_from(name: str, config: SiteConfig, home: Path, *, serves: bool = False) -> Site:
    """The site that ``[sites.name]`` describes.

    Connects to nothing yet. Raises InvalidRequest for what does not go together.

    ``serves``: for several users, so that tasks on this machine do not see this process's whole environment. Jobs of a
    batch scheduler never do.
    """
    if config.root is None and config.transport != "local":
        raise InvalidRequest(f"[sites.{name}] needs 'root', a folder there that all nodes share.")
    root = str(config.root or home / "sites" / name)
    if not root.startswith("/"):
        raise InvalidRequest(f"[sites.{name}]: root '{root}' must be an absolute path.")
    if config.scheduler == "local":
        if config.transport != "local":
            raise InvalidRequest(f'[sites.{name}]: a site behind SSH needs a batch scheduler: scheduler = "slurm".')
        memory_mb = None if config.memory_gb is None else round(config.memory_gb * 1000)
        site = local_site(
            root, cores=config.cores, memory_mb=memory_mb, linger_s=config.linger_s, python=config.python, name=name,
            composer=Composer(own=not serves, here=True, passes=tuple(config.env_pass)),
        )  # fmt: skip
        site.env.update(config.env)
        return _with_containers(site, config)
    composer = Composer(passes=tuple(config.env_pass))
    site = Site(
        name,
        root,
        _transport(name, config, composer),
        SlurmScheduler(_slurm_options(config)),
        python=config.python or "python3",
        max_allocations=config.max_allocations,
        max_nodes=config.max_nodes,
        linger_s=config.linger_s,
        usual_walltime_s=config.walltime_s,
        env=dict(config.env),
        composer=composer,
    )
    return _with_containers(site, config)


def _with_containers(site: Site, config: SiteConfig) -> Site:
    if (config.shifter_gateway is None) != (config.shifter_system is None):
        raise InvalidRequest(
            f"[sites.{site.name}]: 'shifter_gateway' and 'shifter_system' go together; one of them is missing."
        )
    if config.shifter_gateway is not None and config.runtime != "shifter":
        raise InvalidRequest(f"[sites.{site.name}]: 'shifter_gateway' is for runtime = \"shifter\" only.")
    options = RuntimeOptions(
        program=config.runtime_program, extra=tuple(config.runtime_options), squashfs=config.squashfs
    )
    quota_bytes = None if config.image_quota_gb is None else round(config.image_quota_gb * GB)
    try:
        check_placeholders("launcher", [*config.launcher], set(LAUNCHER_WORDS))
    except ValueError as error:
        raise InvalidRequest(f"[sites.{site.name}]: {error}.") from None
    return replace(
        site, launcher=tuple(config.launcher),
        runtime=runtime(config.runtime or "none", options), binds=tuple(str(folder) for folder in config.binds),
        registry=config.registry, images=_text(config.images), image_tmp=_text(config.image_tmp),
        fetches=config.fetch == "site",
        data_quota_bytes=None if config.data_quota_gb is None else round(config.data_quota_gb * GB),
        image_quota_bytes=quota_bytes, image_patience_s=config.image_patience_s, architecture=config.architecture,
        gateway=config.shifter_gateway, gateway_system=config.shifter_system or "",
    )  # fmt: skip


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _transport(name: str, config: SiteConfig, composer: Composer) -> Transport:
    if config.transport == "local":
        return LocalTransport(composer)
    from packhorse.sites.transports.ssh import SshTransport  # slow to import, and most have no such site
    from packhorse.sites.transports.ssh_options import ssh_options

    return SshTransport(ssh_options(name, config), composer)


def _slurm_options(config: SiteConfig) -> SlurmOptions:
    return SlurmOptions(
        queue=config.queue,
        account=config.account,
        qos=config.qos,
        constraint=config.constraint,
        reservation=config.reservation,
        extra=tuple(config.submit_options),
    )
