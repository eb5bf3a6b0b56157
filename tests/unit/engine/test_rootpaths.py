"""Absolute paths of a task: what each runtime is told to bind, and what it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from packhorse.domain.resources import Resources
from packhorse.domain.task import Task
from packhorse.domain.taskpaths import AbsolutePaths
from packhorse.engine.containers import ReadyImage, container, why_no_container
from packhorse.engine.rootpaths import RootPaths, in_work
from packhorse.sites.runtimes.base import Bind, CannotRun
from packhorse.sites.runtimes.registry import runtime
from packhorse.sites.site import Site, local_site

ANYWHERE = ["apptainer", "docker", "podman", "podman_hpc"]
INPUTS = [
    {"path": "/ref/g.fa", "url": "file:///lab/g.fa"},
    {"path": "/data/in.txt", "content": "x"},
    {"path": "/w/o.txt", "content": "x"},
]


def site(name: str, *binds: str, root: str = "/site") -> Site:
    made = local_site(root)
    made.runtime, made.binds = runtime(name), binds
    return made


def root_of(sources: dict[str, str] | None = None, **fields: Any) -> RootPaths:
    paths = AbsolutePaths.of(Task.model_validate({"executors": [{"command": ["x"], "image": "i"}], **fields}))
    assert paths is not None
    return RootPaths(paths, sources or {})


@pytest.mark.parametrize("name", ANYWHERE)
def test_inputs_are_bound_read_only_at_their_paths_and_shared_folders_from_the_work_folder(name: str) -> None:
    root = root_of({"/ref/g.fa": "/lab/g.fa"}, inputs=INPUTS, outputs=[{"path": "/w/x"}], volumes=["/v"])
    binds = root.binds(site(name), "/slot")
    assert binds == (
        Bind("/slot/.root/v", "/v"), Bind("/slot/.root/w", "/w"),
        Bind("/lab/g.fa", "/ref/g.fa", read_only=True), Bind("/slot/.root/data/in.txt", "/data/in.txt", read_only=True),
    )  # fmt: skip
    assert root.folders(site(name)) == [".root/v", ".root/w"] and root.linked() == []
    assert root_of({"/w/o.txt": "/lab/o"}, inputs=INPUTS, outputs=[{"path": "/w/x"}]).linked() == ["/lab/o"]
    head = container(
        site(name), ReadyImage("h.x/i:1", f"sha256:{'a' * 64}", {}), {}, Resources(), [], root=root, workdir="/w/sub"
    )["head"]
    targets = [word for word in head if ".root/w" in word]
    assert len(targets) == 1 and any(word in ("--workdir=/w/sub", "--pwd=/w/sub") for word in head)


def test_charliecloud_binds_top_folders_and_makes_room_for_the_sites_own() -> None:
    here = site("charliecloud", "/tmp/refs", root="/tmp/site")
    root = root_of({"/data/in.txt": "/tmp/site/in"}, inputs=INPUTS[1:2], outputs=[{"path": "/tmp/x/y"}])
    assert root.binds(here, "/slot") == (Bind("/slot/.root/data", "/data"), Bind("/slot/.root/tmp", "/tmp"))
    assert root.folders(here) == [".root/data", ".root/tmp", ".root/tmp/refs", ".root/tmp/site", ".root/tmp/x"]
    whole = root_of({"/data": "/tmp/site/d"}, inputs=[{"path": "/data", "url": "file:///d", "type": "DIRECTORY"}])
    assert whole.binds(here, "/slot") == (Bind("/slot/.root/data", "/data"),) and whole.folders(here) == []


@pytest.mark.parametrize(
    ("name", "root", "outputs", "says"),
    [
        (
            "charliecloud",
            "/site",
            "/lab/x",
            "it binds only to folders that the image has, and /lab may be none of them. Use one of /tmp, /data,",
        ),
        (
            "charliecloud",
            "/data",
            "/data/x",
            "its containers see the folder /data of 'local' itself. Use paths relative to",
        ),
        (
            "shifter",
            "/site",
            "/data/x",
            "the same folders are bound for all tasks of a job, so not /data. Use paths relative to",
        ),
    ],
)
def test_what_a_runtime_cannot_do_is_said_when_the_run_is_submitted(
    name: str, root: str, outputs: str, says: str
) -> None:
    paths = root_of(outputs=[{"path": outputs}]).paths
    assert says in (why_no_container(site(name, root=root), "i:1", Resources(), env={}, paths=paths) or "")
    assert why_no_container(site("podman", root=root), "i:1", Resources(), env={}, paths=paths) is None


def test_a_file_as_a_top_folder_is_refused() -> None:
    with pytest.raises(CannotRun, match="it cannot bind a file to /data"):
        root_of(inputs=[{"path": "/data", "content": "x"}]).binds(site("charliecloud"), "/slot")


def test_paths_as_the_agent_finds_them() -> None:
    assert [in_work(path) for path in ("/a//b/", "a", None)] == [".root/a/b", "a", None]
