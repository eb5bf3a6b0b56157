"""Engine rooms whose only site is this machine with a container runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import ImagesConfig
from packhorse.domain.run import AppRun
from packhorse.domain.states import TERMINAL, TaskState
from packhorse.domain.views import ImageView, RunView, TaskDetail
from packhorse.engine.embedded import Embedded
from packhorse.sites.runtimes.base import RuntimeOptions
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.site import Site, local_site
from tests.fixtures.registry import TestRegistry
from tests.fixtures.room import make_app, wait_for
from tests.fixtures.truth import assert_each_ended_once

#: crun refuses mixed cgroups v1 and v2; Podman's default limits are more than root may have in a container or virtual
#: machine.
PODMAN = ("--runtime=runc", "--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096")
KINDS = ("podman", "charliecloud", "charliecloud-squashfs")


def container_site(kind: str, root: Path, **fields: Any) -> Site:
    """This machine with a runtime."""
    name, _, form = kind.partition("-")
    site = local_site(str(root), linger_s=0.5)
    site.runtime = runtime(name, RuntimeOptions(extra=PODMAN if name == "podman" else (), squashfs=form == "squashfs"))
    for field, value in fields.items():
        setattr(site, field, value)
    return site


class Room:
    """An engine room, and what tests ask of it."""

    def __init__(self, embedded: Embedded, apps: Path) -> None:
        self.embedded = embedded
        self._apps = apps

    def app(self, image: str, command: str, name: str = "t", more: str = "") -> str:
        """An app that runs in an image; ``command`` is a YAML list."""
        return make_app(self._apps / name, command=command, name=name, more=f"image: {image!r}\n{more}")

    def submit(self, app: str, number: int = 1, **options: Any) -> RunView:
        """A run of ``number`` tasks, numbered."""
        return self.embedded.mine.submit(AppRun(app=app, **options), ({"i": index} for index in range(number)))

    def run(self, run: RunView) -> RunView:
        """How far a run is."""
        return self.embedded.mine.run(run.id)

    def task(self, run: RunView, index: int = 0) -> TaskDetail:
        """All that is known of a task."""
        return self.embedded.mine.task(f"{run.id}.{index}")

    def results(self, run: RunView) -> list[Any]:
        """By index."""
        return [row["result"] for row in self.embedded.mine.results(run.id)]

    def images(self) -> list[ImageView]:
        """All images."""
        return self.embedded.mine.images()

    def image(self) -> ImageView:
        """The only one."""
        [image] = self.images()
        return image

    def end(self, run: RunView, seconds: float = 60) -> dict[TaskState, int]:
        """Waits for a run's end."""
        wait_for(lambda: self.run(run).ended, seconds, "the run's end")
        assert_each_ended_once(self.embedded)
        return self.run(run).counts

    def complete(self, run: RunView, seconds: float = 60) -> None:
        """Waits for a run's end, at which every task must be complete."""
        counts = self.end(run, seconds)
        failed = next(
            (
                self.task(run, index)
                for index in range(self.run(run).tasks)
                if self.task(run, index).state != "COMPLETE"
            ),
            None,
        )
        assert set(counts) <= TERMINAL
        assert failed is None, (failed.reason, [attempt.evidence for attempt in failed.attempts])


@contextlib.contextmanager
def opened(
    site: Site, home: Path, *insecure: str, default: str = "registry.invalid", auth_file: Path | None = None
) -> Iterator[Room]:
    """A room with an engine that runs."""
    config = ImagesConfig(default_registry=default, insecure=list(insecure), auth_file=auth_file)
    embedded = Embedded(home, sites=[site], images=config)
    try:
        with embedded.run_engine():
            yield Room(embedded, home.parent / "apps")
    finally:
        embedded.close()


@pytest.fixture(params=KINDS)
def room(request: pytest.FixtureRequest, registry: TestRegistry, tmp_path: Path) -> Iterator[Room]:
    """Each runtime, with the test registry as the one of names that say none."""
    with opened(
        container_site(request.param, tmp_path / "site"), tmp_path / "home", registry.address, default=registry.address
    ) as made:
        yield made
