"""Sites from the configuration: what each kind of scheduler gets, and what does not go together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import load_config
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.siteconfig import SiteConfig
from packhorse.sites.base import Transport
from packhorse.sites.configure import site_from
from packhorse.sites.schedulers.description import Description, NodeKind, Queue
from packhorse.sites.schedulers.local import LocalScheduler
from packhorse.sites.schedulers.registry import SCHEDULERS
from packhorse.sites.site import Site
from packhorse.sites.transports.local import LocalTransport
from packhorse.sites.transports.registry import TRANSPORTS


def made(home: Path, **given: Any) -> Site:
    return site_from("x", SiteConfig.model_validate(given), home)


@pytest.mark.parametrize(
    ("given", "words", "hint"),
    [
        ({"scheduler": "lsf"}, "There is no batch scheduler 'lsf'.", "There are: local, slurm."),
        ({"transport": "telnet"}, "There is no transport 'telnet'.", "There are: local, ssh."),
        ({"runtime": "rkt"}, "There is no container runtime 'rkt'.", "There are: apptainer, "),
        ({"transport": "ssh", "scheduler": "slurm", "root": "/r"}, "reached by SSH and has no host", "Set 'host'"),
        ({"transport": "ssh", "scheduler": "slurm", "host": "h"}, "needs 'root'", ""),
        (
            {"transport": "ssh", "host": "h", "root": "/r"},
            "'local' runs jobs on this machine only",
            'scheduler = "slurm"',
        ),
        ({"root": "r"}, "root 'r' must be an absolute path", ""),
    ],
)
def test_what_does_not_go_together_names_the_site(given: dict[str, Any], words: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        made(tmp_path, **given)
    assert refused.value.message.startswith("[sites.x]: ")
    assert words in refused.value.message
    assert hint in refused.value.hint


def test_this_machine_is_what_the_configuration_says_of_it(tmp_path: Path) -> None:
    (limits,) = made(tmp_path, cores=3, memory_gb=1.5).limits()
    assert (limits.cores, limits.memory_mb, limits.nodes, limits.queue) == (3, 1500, 1, None)
    assert (limits.walltime_s, limits.usual_walltime_s, limits.whole_nodes) == (None, None, True)


def test_this_machine_is_what_this_process_may_use(tmp_path: Path) -> None:
    (limits,) = made(tmp_path).limits()
    assert limits.cores == len(os.sched_getaffinity(0))
    assert 0 < limits.memory_mb * 1e6 < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_our_files_are_there_only_where_jobs_are_ours(tmp_path: Path) -> None:
    assert made(tmp_path).shares_our_files
    assert not made(tmp_path, scheduler="slurm").shares_our_files


def test_the_queue_of_the_configuration_is_the_schedulers(tmp_path: Path) -> None:
    assert made(tmp_path, scheduler="slurm", queue="short").scheduler.queue == "short"


class Toy(LocalScheduler):
    """A batch scheduler that Packhorse has not."""

    name = "toy"
    is_this_machine = False

    def describe(self, transport: Transport) -> Description:
        nodes = NodeKind(4, 4, 8, 16_000)
        queue = Queue("main", True, True, 600.0, None, 2, 1, False, False, 1, None, (nodes,))
        return Description("Toy", "1", (queue,), has_accounting=False, remembers_s=None)


class Pigeon(LocalTransport):
    """A transport that Packhorse has not."""

    is_local = False


def test_a_new_scheduler_or_transport_needs_its_registry_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEDULERS, "toy", Toy)
    monkeypatch.setitem(TRANSPORTS, "pigeon", lambda config, composer: Pigeon(composer))
    file = tmp_path / "packhorse.toml"
    file.write_text('[sites.x]\nscheduler = "toy"\ntransport = "pigeon"\nroot = "/r"\nmax_nodes = 1\n')
    site = site_from("x", load_config(file).sites["x"], tmp_path)
    assert not site.shares_our_files
    (limits,) = site.limits()
    assert (limits.cores, limits.nodes, limits.walltime_s, limits.queue) == (8, 1, 600.0, "main")


def test_a_site_s_policy_of_reuse_is_off_by_default(home: Path) -> None:
    assert not made(home).reuse
    assert made(home, reuse=True).reuse
    assert made(home, scheduler="slurm", transport="ssh", host="h", root="/r", reuse=True).reuse
