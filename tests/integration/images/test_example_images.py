"""The image of an example app, built from packages: always the same one, and its app's command runs in it unchanged."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packhorse.sites.runtimes.base import Bind, Image, ImageConfig
from packhorse.sites.runtimes.registry import runtime
from tests.integration.runtimes.conftest import CASES, as_user, packages, why_not
from tests.integration.runtimes.harness import Site

__all__ = ["packages"]

REPOSITORY = Path(__file__).resolve().parents[3]
BUILD = REPOSITORY / "deploy" / "images" / "build.sh"
APP = REPOSITORY / "apps" / "assembly"
CACHE = Path(os.environ.get("PACKHORSE_IMAGE_CACHE", "/var/tmp/packhorse-images"))

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None, reason="images are built from Debian's packages, by apt-get"
)


@dataclass(frozen=True)
class Built:
    """What ``build.sh`` says of an image."""

    name: str
    megabytes: int
    digest: str
    layout: str
    tag: str


def build(app: str, *layout: Path, **environment: str) -> Built:
    """Builds it, unless that was done."""
    done = subprocess.run([BUILD, app, *layout], env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, megabytes, unit, digest, place = done.stdout.split()
    assert unit == "MB"
    return Built(name, int(megabytes), digest, *place.removeprefix("oci:").split(":"))


@pytest.fixture(scope="module")
def image(packages: None) -> Built:
    """The image of ``apps/assembly``."""
    return build("assembly")


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    """Below /var/tmp: every user can come here, which pytest's own folders do not allow."""
    folder = Path(f"/var/tmp/ph-{os.getpid()}-images")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def app(folders: Path) -> Path:
    """A copy of the app's folder, where every user can read it."""
    return Path(shutil.copytree(APP, folders / "app"))


@pytest.fixture(scope="module")
def sample(folders: Path) -> list[str]:
    """Arguments of the app for a sample of 8 kb."""
    folder = folders / "sample"
    command = [sys.executable, APP / "simulate.py", "--samples", "1", "--part-bp", "8000", "--folder", folder]
    subprocess.run(command, check=True, capture_output=True)
    names = {"--reads1": "_1.fq", "--reads2": "_2.fq", "--genome": ".fasta"}
    return [word for option, end in names.items() for word in (option, str(next(folder.glob(f"*{end}"))))] + [
        "--sample",
        "s",
    ]


def test_the_same_packages_give_the_same_digest(image: Built, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(CACHE / "debian", cache / "debian")
    again = build("assembly", tmp_path / "layout", PACKHORSE_IMAGE_CACHE=str(cache))
    assert (again.name, again.digest) == ("packhorse/assembly:1.0", image.digest)
    assert (again.layout, again.tag) == (str(tmp_path / "layout"), "assembly-1.0")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert [manifest["digest"] for manifest in index["manifests"]] == [image.digest]
    assert image.megabytes < 50


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "there is no recipe .*/apps/nothing/image; there are: assembly/image"),
        (["assembly", "/var/tmp/a:b"], "':' in a path would be taken for the separator of a tag"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(arguments: list[str], sentence: str) -> None:
    done = subprocess.run([BUILD, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.search(sentence, done.stderr)


def report(site: Site, app: Path, arguments: list[str]) -> dict[str, Any]:
    """What the app's command prints; without an image by this machine's own tools."""
    folders = (str(site.folder), str(app), str(Path(arguments[1]).parent)) if site.image else ()
    binds = tuple(Bind(folder, folder) for folder in folders)
    done = site.run(
        "python3", f"{app}/assemble.py", *arguments, workdir=str(site.folder), network=not site.image, binds=binds
    )
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


@pytest.mark.parametrize("name", ["charliecloud-user", "podman"])
def test_the_app_runs_in_it_as_on_the_host(
    name: str, image: Built, app: Path, sample: list[str], folders: Path
) -> None:
    """With a root that is read-only, without a network, and with Charliecloud as an ordinary user."""
    if reason := why_not(name):
        pytest.skip(reason)
    case, folder = CASES[name], folders / name
    site = Site(runtime(case.runtime, case.options), "", ImageConfig(), folder, os.getuid(), os.getgid())
    folder.mkdir()
    site = as_user(site) if case.as_user else site
    made = Image(
        image.name,
        image.digest,
        f"{folder}/image",
        image.tag,
        image.layout,
        (str(folder), str(app), str(folders / "sample")),
    )
    site.carry_out(site.runtime.prepare(made))
    try:
        inside = report(site.options(image=site.runtime.prepared(made)), app, sample)
    finally:
        site.forget(site.runtime.prepared(made))
    contigs = folder / "contigs.fasta"
    assert contigs.stat().st_uid == site.uid

    host = folders / f"{name}-host"
    host.mkdir()
    assert inside == report(Site(runtime("none"), "", ImageConfig(), host), app, sample)
    assert inside["genome_fraction"] >= 0.95
    assert contigs.read_bytes() == (host / "contigs.fasta").read_bytes()
