"""Images are prepared from an OCI layout as from a registry, without leaving anything half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.sites.runtimes.base import CannotRun, Image
from tests.fixtures.registry import TestRegistry

from .harness import WORK, Site


def test_from_an_oci_layout(container: Site, registry: TestRegistry) -> None:
    folder = container.folder
    image = Image(
        registry.name("box"),
        registry.digest("box"),
        f"{folder}/image",
        "box",
        str(registry.layout),
        (WORK,),
        f"{folder}/mounted",
    )
    try:
        container.carry_out(container.runtime.prepare(image))
    except CannotRun as refusal:
        assert container.runtime.name in ("podman_hpc", "shifter"), refusal
        return
    with container.mounted(image):
        assert container.run("sh", "-c", "echo $FROM_IMAGE", image=container.runtime.prepared(image)).out == "yes\n"
    container.forget(container.runtime.prepared(image))
    assert not Path(f"{image.folder}.partial").exists()


def test_an_interrupted_preparation_is_repeated(container: Site, registry: TestRegistry) -> None:
    folder = container.folder
    image = Image(
        registry.name("box-bare"),
        registry.digest("box-bare"),
        f"{folder}/image",
        "1",
        None,
        (WORK,),
        f"{folder}/mounted",
        tls=False,
    )
    commands = container.runtime.prepare(image)
    container.carry_out(commands[: len(commands) // 2])
    container.carry_out(commands)
    with container.mounted(image):
        assert container.run("echo", "here", image=container.runtime.prepared(image)).out == "here\n"
    container.forget(container.runtime.prepared(image))


def test_an_image_that_is_not_there(container: Site, registry: TestRegistry) -> None:
    """Preparing fails, and so does running what was not prepared; no registry is asked then."""
    image = Image(
        registry.name("box"),
        "sha256:" + "0" * 64,
        f"{container.folder}/none",
        "1",
        None,
        (),
        f"{container.folder}/m",
        tls=False,
    )
    with pytest.raises(AssertionError):
        container.carry_out(container.runtime.prepare(image))
    assert container.run("true", image=container.runtime.prepared(image)).code != 0
