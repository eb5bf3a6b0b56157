"""Each runtime of this machine with the test image prepared once; the others are skipped with the reason."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from packhorse.sites.runtimes.base import Image, ImageConfig, RuntimeOptions
from packhorse.sites.runtimes.registry import runtime
from tests.fixtures.registry import TestRegistry, registry

from .harness import WORK, Site

__all__ = ["registry"]

#: crun refuses mixed cgroups v1 and v2, so runc; Podman's default limits are more than root may have in a container or
#: virtual machine.
PODMAN = ("--runtime=runc", "--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096")


@dataclass(frozen=True)
class Case:
    """A runtime to be tested; as root it is also tested as a user."""

    runtime: str
    program: str
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    as_user: bool = False


CASES = {
    "none": Case("none", "sh"),
    "charliecloud": Case("charliecloud", "ch-run"),
    "charliecloud-squashfs": Case("charliecloud", "ch-run", RuntimeOptions(squashfs=True)),
    "charliecloud-user": Case("charliecloud", "ch-run", as_user=True),
    "podman": Case("podman", "podman", RuntimeOptions(extra=PODMAN)),
    "podman-rootless": Case("podman", "podman", RuntimeOptions(extra=PODMAN[:1]), as_user=True),
    "docker": Case("docker", "docker"),
    "apptainer": Case("apptainer", "apptainer"),
    "podman_hpc": Case("podman_hpc", "podman-hpc", RuntimeOptions(extra=PODMAN)),
    "shifter": Case("shifter", "shifter"),
}


#: A container takes Podman about half a second: as a user, only what differs for users.
ROOTLESS = (
    "belong_to",
    "arguments",
    "exit_codes",
    "environment",
    "root",
    "no_network",
    "cgroup",
    "signal",
    "sigterm",
    "cancel",
    "layout",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what rootless Podman does as root's does."""
    items[:] = [
        item
        for item in items
        if "podman-rootless" not in item.name or any(word in item.name.partition("[")[0] for word in ROOTLESS)
    ]


def why_not(case: str) -> str | None:
    """Why a runtime cannot be tested on this machine; None when it can."""
    if shutil.which(CASES[case].program) is None:
        return f"{CASES[case].program} is not installed"
    if case == "shifter":
        return "shifter needs a site's image gateway"
    if case == "docker" and "DOCKER_HOST" not in os.environ:
        return "DOCKER_HOST does not name a Docker engine that tests may use"
    if case == "charliecloud-squashfs" and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    if CASES[case].as_user and os.getuid() != 0:
        return "only root can become somebody else"
    return None


@pytest.fixture(scope="session")
def folders() -> Iterator[Path]:
    """Below /var/tmp: every user can come here, which pytest's own folders do not allow.

    With a short name: where that of XDG_RUNTIME_DIR is long, rootless Podman 4.3 does not see a container end until 20
    s later.
    """
    folder = Path(f"/var/tmp/ph-{os.getpid()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def packages() -> None:
    """What Debian has of the runtimes, installed where it is missing."""
    script = Path(__file__).parents[3] / "deploy" / "testimages" / "install.sh"
    subprocess.run([script], check=True, stdin=subprocess.DEVNULL, capture_output=True)


@pytest.fixture(scope="session", params=CASES)
def ready(request: pytest.FixtureRequest, packages: None, folders: Path) -> Iterator[Site]:
    """A runtime with the image ``box`` prepared by its own commands, without a work folder."""
    name, case = str(request.param), CASES[str(request.param)]
    if reason := why_not(name):
        pytest.skip(reason)
    made = Site(runtime(case.runtime, case.options), "", ImageConfig(), folders / name, os.getuid(), os.getgid())
    made.folder.mkdir()
    if case.as_user:
        made = as_user(made)
    if case.runtime == "none":
        yield made
        return
    registry: TestRegistry = request.getfixturevalue("registry")
    image = Image(
        registry.name("box"),
        registry.digest("box"),
        f"{made.folder}/image",
        "1",
        None,
        (WORK,),
        f"{made.folder}/mounted",
        tls=False,
    )
    made.carry_out(made.runtime.prepare(image))
    with made.mounted(image):
        yield made.options(image=made.runtime.prepared(image), config=registry.config("box"))
    made.forget(made.runtime.prepared(image))
    if name == "podman-rootless":
        made.carry_out([["podman", "system", "migrate"]])  # ends the process that keeps its namespaces


def as_user(site: Site) -> Site:
    """As 'nobody', with a home and a runtime folder."""
    user = pwd.getpwnam("nobody")
    home = site.folder.parent / f"u{len(list(site.folder.parent.iterdir()))}"
    home.mkdir(mode=0o700)
    for folder in (site.folder, home):
        os.chown(folder, user.pw_uid, user.pw_gid)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "TMPDIR": str(home),
        "USER": user.pw_name,
    }
    setup = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return site.options(uid=user.pw_uid, gid=user.pw_gid, setup=setup, env=env)


@pytest.fixture
def site(ready: Site, request: pytest.FixtureRequest) -> Site:
    """A runtime with an empty work folder, whose name is not a plain one."""
    folder = ready.folder / f"work of {abs(hash(request.node.nodeid))}"
    folder.mkdir()
    os.chown(folder, ready.uid, ready.gid)
    return ready.options(folder=folder)


@pytest.fixture
def container(site: Site) -> Site:
    """The same, for what only containers can."""
    if not site.image:
        pytest.skip("the host is no container")
    return site
