"""TES tasks with absolute paths, in the containers of real runtimes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.submitted import task_run
from packhorse.domain.views import RunView
from packhorse.sites.runtimes.base import Ability
from tests.fixtures.registry import TestRegistry, registry

from .rooms import Room, container_site, opened, room

__all__ = ["registry", "room"]

IMAGE = "packhorse/box:1"


def submit(room: Room, *commands: str, steps: list[dict[str, Any]] | None = None, **task: Any) -> RunView:
    executors = [
        {"image": IMAGE, "command": ["sh", "-c", command], **more}
        for command, more in zip(commands, steps or [{}] * len(commands))
    ]
    return room.embedded.mine.submit(task_run({"executors": executors, **task}))


def output(room: Room, run: RunView, path: str, index: int = 0) -> str:
    return room.embedded.mine.output_path(f"{run.id}.{index}", path).read_text()


def refused(room: Room, *commands: str, **task: Any) -> str:
    with pytest.raises(InvalidRequest) as said:
        submit(room, *commands, **task)
    return str(said.value)


def test_inputs_outputs_streams_and_volumes_of_several_executors(room: Room, tmp_path: Path) -> None:
    """An input by content, one of the site that is a link, one in the folder of an output, a folder; two executors on
    one volume.
    """
    site = tmp_path / "given"
    (site / "ref").mkdir(parents=True)
    (site / "ref" / "genome.fa").write_text("ACGT\n")
    (site / "reads").write_text("reads\n")
    (site / "link").symlink_to(site / "reads")
    inputs = [
        {"path": "/inputs/words.txt", "content": "one\ntwo\n"},
        {"path": "/data/out/reads.fq", "url": f"file://{site}/link"},
        {"path": "/data/ref", "url": f"file://{site}/ref", "type": "DIRECTORY"},
    ]
    if Ability.NEW_MOUNT_POINTS not in room.embedded.sites[0].runtime.abilities:
        site_root = Path(room.embedded.sites[0].root)
        (site_root / "given").parent.mkdir(parents=True, exist_ok=True)
        site.rename(site_root / "given")
        (site_root / "given" / "link").unlink()
        (site_root / "given" / "link").symlink_to("reads")
        inputs[2]["url"] = f"file://{site_root}/given/ref"
        inputs[1]["url"] = f"file://{site_root}/given/link"
    first = (
        "wc -l < /inputs/words.txt > /data/out/count.txt; cat /data/out/reads.fq /data/ref/genome.fa > /vol/A/both;"
        " pwd; echo err >&2"
    )
    second = "cat /vol/A/both - > x.txt; cat /tmp/one.log >> x.txt"
    steps: list[dict[str, Any]] = [
        {"stdout": "/tmp/one.log", "stderr": "/tmp/err.log", "workdir": "/data/out"},
        {"stdin": "/inputs/words.txt", "workdir": "/data/out/deep"},
    ]
    outputs = [{"path": path} for path in ("/data/out/count.txt", "/tmp/err.log", "/data/out/deep/x.txt")]
    run = submit(room, first, second, steps=steps, inputs=inputs, outputs=outputs, volumes=["/vol/A/"])
    room.complete(run)
    assert output(room, run, "/data/out/count.txt") == "2\n"
    assert output(room, run, "tmp/err.log") == "err\n"
    assert output(room, run, "/data/out/deep/x.txt") == "reads\nACGT\none\ntwo\n/data/out\n"
    assert [file["path"] for file in room.task(run).attempts[0].files] == [item["path"] for item in outputs]
    assert room.task(run).document["outputs"] == [{"path": item["path"], "type": "FILE"} for item in outputs]


def test_wildcards_go_to_their_url_without_the_prefix(room: Room, tmp_path: Path) -> None:
    outputs = [{"path": "/out/*.txt", "path_prefix": "/out", "url": f"file://{tmp_path}/parts/"}]
    run = submit(
        room, "mkdir -p /out/x; echo 1 > /out/a.txt; echo 2 > /out/b.txt; echo 3 > /out/c.log", outputs=outputs
    )
    room.complete(run)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["a.txt", "b.txt"]
    urls = {file["path"]: file["url"] for file in room.task(run).attempts[0].files}
    assert urls == {f"/out/{name}.txt": f"file://{tmp_path}/parts/{name}.txt" for name in "ab"}


def test_tasks_hand_files_to_each_other_and_a_folder_is_an_output(room: Room) -> None:
    first = {
        "image": IMAGE,
        "command": ["sh", "-c", "echo 1 > /out/part-1.txt; mkdir /results/d; echo f > /results/d/f"],
    }
    second = {"image": IMAGE, "command": ["sh", "-c", "cat /in/one /in/all/d/f > /out/sum"]}
    outputs = [{"path": "/out/part-*.txt"}, {"path": "/results", "type": "DIRECTORY"}]
    inputs = [
        {"path": "/in/one", "url": "task://a//out/part-1.txt"},
        {"path": "/in/all", "url": "task://a/results", "type": "DIRECTORY"},
    ]
    tasks = [
        {"name": "a", "task": {"executors": [first], "outputs": outputs}},
        {"name": "b", "task": {"executors": [second], "inputs": inputs, "outputs": [{"path": "/out/sum"}]}},
    ]
    run = room.embedded.mine.submit(task_run(tasks))
    room.complete(run)
    assert output(room, run, "/out/sum", 1) == "1\nf\n"


def test_below_tmp_where_the_site_itself_lies(room: Room, tmp_path: Path) -> None:
    """The folder that is bound over /tmp holds the site's root, the work folder and the input's own place; they stay as
    they are.
    """
    given = Path(room.embedded.sites[0].root) / "given.txt"
    given.parent.mkdir(parents=True, exist_ok=True)
    given.write_text("given\n")
    folder = str(given.parent.parent)
    if Ability.NEW_MOUNT_POINTS not in room.embedded.sites[0].runtime.abilities:
        folder = "/tmp"
    inputs = [{"path": f"{folder}/given.txt", "url": f"file://{given}"}, {"path": "rel.txt", "url": f"file://{given}"}]
    run = submit(
        room,
        f"cat {folder}/given.txt rel.txt > {folder}/sum.txt",
        inputs=inputs,
        outputs=[{"path": f"{folder}/sum.txt"}],
    )
    room.complete(run)
    assert output(room, run, f"{folder}/sum.txt") == "given\ngiven\n"


def test_the_same_path_inside_and_outside(registry: TestRegistry, tmp_path: Path) -> None:
    """An input whose own place is hidden by the folder that is bound there, and which is where it is to be seen."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "in.txt").write_text("in\n")
    (tmp_path / "ro").mkdir()
    (tmp_path / "ro" / "in.txt").write_text("ro\n")
    with opened(
        container_site("podman", tmp_path / "site"), tmp_path / "home", registry.address, default=registry.address
    ) as room:
        inputs = [
            {"path": str(path), "url": f"file://{path}"}
            for path in (tmp_path / "lab" / "in.txt", tmp_path / "ro" / "in.txt")
        ]
        first, second = (item["path"] for item in inputs)
        out = f"{tmp_path}/lab/out.txt"
        script = f"cat {first} {second} > {out}; echo x > {second} || echo kept >> {out}"
        run = submit(room, script, inputs=inputs, outputs=[{"path": out}])
        room.complete(run)
        assert output(room, run, out) == "in\nro\nkept\n"
        assert (tmp_path / "ro" / "in.txt").read_text() == "ro\n" and os.listdir(tmp_path / "lab") == ["in.txt"]
        inputs = [
            {"path": "/usr/bin/mine", "content": "#!/bin/sh\necho mine $(wc -l < /etc/given.conf)\n"},
            {"path": "/etc/given.conf", "content": "a\n"},
        ]
        run = submit(
            room, "sh /usr/bin/mine > /o/x; ls /usr/bin/env >> /o/x || true", inputs=inputs, outputs=[{"path": "/o/x"}]
        )
        room.complete(run)
        assert output(room, run, "/o/x").startswith("mine 1\n")


def test_what_cannot_be_is_said_before_anything_runs(room: Room) -> None:
    site = room.embedded.sites[0]
    assert "lies directly in the container's root" in refused(room, "true", outputs=[{"path": "/x.txt"}])
    assert "hide what the image has there" in refused(room, "true", outputs=[{"path": "/usr/bin/x"}])
    if Ability.NEW_MOUNT_POINTS in site.runtime.abilities:
        return
    said = refused(room, "true", outputs=[{"path": "/lab/x.txt"}])
    assert (
        "charliecloud cannot run this: it binds only to folders that the image has, and /lab may be none of them"
        in said
    )
    assert "Use one of /tmp, /data, /in," in said
    assert "it cannot bind a file to /data" in refused(room, "true", inputs=[{"path": "/data", "content": "x"}])
