"""Images that the batch scheduler sets up with a job: Shifter's, under Slurm."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from packhorse.domain.app import Session
from packhorse.domain.resources import Resources
from packhorse.engine.containers import ReadyImage, container, job_image
from packhorse.sites.base import Shape
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm import SlurmScheduler
from packhorse.sites.schedulers.slurm_commands import sbatch_command
from packhorse.sites.site import Site, local_site

DIGEST = "sha256:" + "ab" * 32
IMAGE = ReadyImage("registry.example/lab/tool:1", DIGEST, {"config": {}})
INDEX = ReadyImage("registry.example/lab/tool:1", DIGEST, {"config": {}}, "ef" * 32)
OTHER = ReadyImage("registry.example/lab/other:1", "sha256:" + "cd" * 32, {"config": {}})
VOLUME = "--volume=/data:/data:ro;/site:/site"


def site(name: str = "shifter") -> Site:
    made = local_site("/site")
    made.runtime, made.binds = runtime(name), ("/data",)
    made.scheduler = SlurmScheduler(SchedulerOptions())
    return made


@pytest.mark.parametrize(
    ("at", "images", "given"),
    [
        (site(), {"a": IMAGE}, [f"--image=id:{'ab' * 32}", VOLUME]),
        (site(), {"a": INDEX}, [f"--image=id:{'ef' * 32}", VOLUME]),
        (site(), {"a": IMAGE, "b": OTHER}, []),
        (site(), {}, []),
        (site("podman"), {"a": IMAGE}, []),
    ],
)
def test_what_a_job_is_submitted_with(at: Site, images: dict[str, ReadyImage], given: list[str]) -> None:
    job = at.job("a-1", Shape(4, None, image=job_image(at, images)))
    command = sbatch_command(job, SchedulerOptions())
    assert [word for word in command if word.startswith(("--image", "--volume"))] == given


def test_a_task_is_started_with_the_volumes_of_its_job() -> None:
    """One more would have Shifter set the image up anew for each."""
    head = container(site(), OTHER, {}, Resources(), ["/site/apps/a"], session=Session.NONE)["head"]
    assert [word for word in head if word.startswith("--volume=")] == [
        "--volume=/data:/data:ro",
        "--volume=/site:/site",
    ]
    assert f"--image=id:{'cd' * 32}" in head


def test_shapes_of_older_rows_still_load() -> None:
    old = asdict(Shape(4, 1000))
    del old["image"]
    assert Shape(**json.loads(json.dumps(old))) == Shape(4, 1000)
