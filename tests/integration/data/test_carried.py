"""What a delivery carries of what was kept: folders with their links, modes and odd names, from sites of either
kind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import DataConfig, ShockConfig
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.submitted import task_run
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.sites.site import local_site
from packhorse.sites.transports.ssh import SshTransport
from tests.fixtures.s3server import S3Server
from tests.fixtures.shockserver import ShockServer
from tests.fixtures.sshd import SshServer, noisy_sshd

from .rooms import end_of, first_task, running, sha
from .test_elsewhere import Elsewhere

__all__ = ["noisy_sshd"]

SCRIPT = r"""
mkdir -p out/empty out/deep/er out/closed
echo a > out/a; chmod 640 out/a
printf '#!/bin/sh\n' > out/run; chmod 755 out/run
ln -s a out/link; ln -s deep out/linked
echo d > out/deep/er/d
echo l > "$(printf 'out/caf\351.txt')"; echo u > out/é.txt; echo s > 'out/with space%41?'
echo c > out/closed/c; chmod 555 out/closed; chmod 750 out/deep
"""
CONTENT = {
    b"a": b"a\n",
    b"run": b"#!/bin/sh\n",
    b"link": b"a\n",
    b"deep/er/d": b"d\n",
    b"linked/er/d": b"d\n",
    b"caf\xe9.txt": b"l\n",
    "é.txt".encode(): b"u\n",
    b"with space%41?": b"s\n",
    b"closed/c": b"c\n",
}


@pytest.fixture(params=["here", "elsewhere"])
def room(request: pytest.FixtureRequest, home: Path, s3: S3Server, shock_config: ShockConfig) -> Iterator[Embedded]:
    site = local_site(str(home / "site"), linger_s=0.5)
    if request.param == "elsewhere":
        site.transport, site.shares_our_files = Elsewhere(), False
    config: DataConfig = s3.config.model_copy(update={"shock": {"shock.test": shock_config}})
    with running(home, sites=[site], data=config) as made:
        yield made


def submit(room: Embedded, script: str, *outputs: dict[str, Any]) -> RunView:
    return room.mine.submit(task_run({"executors": [{"command": ["/bin/sh", "-c", script]}], "outputs": list(outputs)}))


def content(folder: Path) -> dict[bytes, bytes]:
    top = os.fsencode(folder)
    found = [os.path.join(where, name) for where, _, names in os.walk(top) for name in names]
    return {os.path.relpath(path, top): Path(os.fsdecode(path)).read_bytes() for path in found}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_folder_becomes_the_same_folder_where_there_are_folders(room: Embedded, tmp_path: Path) -> None:
    run = end_of(room, submit(room, SCRIPT, {"path": "out", "url": f"file://{tmp_path}/there"}))
    assert run.counts == {TaskState.COMPLETE: 1}, first_task(room, run).reason
    there = tmp_path / "there"
    assert content(there) == CONTENT
    assert (there / "empty").is_dir() and not (there / "link").is_symlink() and not (there / "linked").is_symlink()
    assert [mode(there / name) for name in ("a", "run", "closed", "deep")] == [0o640, 0o755, 0o555, 0o750]
    files = {str(file["path"]): file for file in first_task(room, run).attempts[0].files}
    assert files["out/a"] == {"path": "out/a", "size": 2, "sha256": sha(b"a\n"), "url": f"file://{there}/a"}
    assert {str(file["url"]) for file in files.values()} >= {
        f"file://{there}/caf%E9.txt",
        f"file://{there}/with%20space%2541%3F",
    }
    assert len(files) == len(CONTENT) and "out/" not in files


def test_outputs_in_each_other_and_under_two_names_are_delivered_once(room: Embedded, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    outputs = "{file: {path: out/d/f}, folder: {path: out}, again: {path: ./out/d/f}, all: {path: 'out/*'}}"
    script = "mkdir -p out/d; echo f > out/d/f; echo g > out/g"
    (app / "app.yaml").write_text(
        f"packhorse: 1\nname: n\nversion: '1'\ncommand: [/bin/sh, -c, '{script}']\noutputs: {outputs}\n"
    )
    run = end_of(room, room.mine.submit(AppRun(app=str(app), outputs=f"file://{tmp_path}/o")))
    assert run.counts == {TaskState.COMPLETE: 1}, first_task(room, run).reason
    assert content(tmp_path / "o" / run.id / "0") == {b"out/d/f": b"f\n", b"out/g": b"g\n"}
    assert sorted(str(file["path"]) for file in first_task(room, run).attempts[0].files) == ["out/d/f", "out/g"]


def test_names_that_are_no_text_are_keys_with_percent_signs(room: Embedded, s3: S3Server) -> None:
    bucket = s3.bucket(f"carried-{room.sites[0].transport.is_local}".lower())
    run = end_of(room, submit(room, SCRIPT, {"path": "out", "url": f"s3://{bucket}/x"}))
    assert run.counts == {TaskState.COMPLETE: 1}, first_task(room, run).reason
    keys = {item["Key"] for item in s3.client.list_objects_v2(Bucket=bucket)["Contents"]}
    names = {name.decode("utf-8", "replace").replace("\ufffd", "%E9") for name in CONTENT}
    assert keys == {f"x/{name}" for name in names}
    urls = {file.get("url") for file in first_task(room, run).attempts[0].files}
    assert f"s3://{bucket}/x/caf%25E9.txt" in urls


def test_an_empty_folder_and_a_single_file(room: Embedded, s3: S3Server, shock: ShockServer, tmp_path: Path) -> None:
    bucket = s3.bucket(f"empty-{room.sites[0].transport.is_local}".lower())
    outputs = [
        {"path": "e", "url": f"file://{tmp_path}/e%20e"},
        {"path": "./f/", "url": f"s3://{bucket}/f"},
        {"path": "x", "url": f"file://{tmp_path}/x"},
        {"path": "caf?.txt", "path_prefix": "caf", "url": "shock://shock.test"},
    ]
    script = r"""mkdir e f; chmod 700 e; echo x > x; chmod 400 x; echo l > "$(printf 'caf\351.txt')" """
    run = end_of(room, submit(room, script, *outputs))
    assert run.counts == {TaskState.COMPLETE: 1}, first_task(room, run).reason
    assert (mode(tmp_path / "e e"), mode(tmp_path / "x")) == (0o700, 0o400)
    assert [(name, data) for name, data in shock.nodes.values()] == [("caf%E9.txt", b"l\n")]
    files = {str(file["path"]): file.get("url") for file in first_task(room, run).attempts[0].files}
    assert files["e/"] == f"file://{tmp_path}/e%20e" and None in files.values()


def test_a_name_that_a_target_does_not_take_is_named(room: Embedded, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket(f"long-{room.sites[0].transport.is_local}".lower())
    deep = "/".join(["d" * 200] * 6)
    run = end_of(
        room, submit(room, f"mkdir -p out/{deep}; echo x > out/{deep}/f", {"path": "out", "url": f"s3://{bucket}/x"})
    )
    task = first_task(room, run)
    assert (task.state, task.failure) == (TaskState.SYSTEM_ERROR, "staging")
    assert f"its output 'out/{deep}/f' could not be delivered" in (task.reason or "")
    assert "its key would have 1,209 bytes, and S3 takes at most 1,024." in (task.reason or "")
    run = end_of(room, submit(room, "echo x > o", {"path": "o", "url": f"file://{tmp_path}/{'n' * 256}"}))
    assert "File name too long" in (first_task(room, run).reason or "")


def test_wildcards_of_an_app_below_a_prefix(room: Embedded, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    script = "mkdir d; echo 1 > d/$0-1.txt; echo 2 > d/$0-2.txt; echo > $0.log"
    outputs = "  parts: {path: 'd/{s}-*.txt'}\n  log: {path: '{s}.log'}\n  none: {path: '*.none', optional: true}\n"
    (app / "app.yaml").write_text(
        f"packhorse: 1\nname: w\nversion: '1'\ncommand: [/bin/sh, -c, '{script}', '{{s}}']\nparameters:\n  s:"
        f" {{}}\noutputs:\n{outputs}"
    )
    request = AppRun(app=str(app), over=[{"s": "A"}, {"s": "a*"}], outputs=f"file://{tmp_path}/o")
    run = end_of(room, room.mine.submit(request))
    assert run.counts == {TaskState.COMPLETE: 2}, first_task(room, run).reason
    assert set(content(tmp_path / "o" / run.id)) == {
        b"0/d/A-1.txt",
        b"0/d/A-2.txt",
        b"0/A.log",
        b"1/d/a*-1.txt",
        b"1/d/a*-2.txt",
        b"1/a*.log",
    }


def test_over_ssh(home: Path, noisy_sshd: SshServer, tmp_path: Path) -> None:
    """Of a login node that prints a banner around every command."""
    site = local_site(str(home / "site"), linger_s=0.5)
    site.transport, site.shares_our_files = SshTransport(noisy_sshd.options()), False
    with running(home, sites=[site]) as room:
        run = end_of(room, submit(room, SCRIPT, {"path": "out", "url": f"file://{tmp_path}/there"}))
        assert run.counts == {TaskState.COMPLETE: 1}, first_task(room, run).reason
        app = tmp_path / "app"
        app.mkdir()
        gathers = (
            f"gather:\n  command: [/bin/sh, {tmp_path}/script]\n  outputs:\n    all: {{path: out}}\n    parts: {{path:"
            " 'out/*.txt'}\n"
        )
        (tmp_path / "script").write_text(SCRIPT)
        (app / "app.yaml").write_text(
            f"packhorse: 1\nname: g\nversion: '1'\ncommand: ['true']\n{gathers}    none: {{path: none, optional:"
            " true}\n"
        )
        run = end_of(room, room.mine.submit(AppRun(app=str(app))))
        found = room.mine.gathered(run.id)
        assert sorted(found) == ["all", "parts/caf\udce9.txt", "parts/é.txt"] and content(found["all"]) == CONTENT
        assert found["parts/é.txt"].read_bytes() == b"u\n"
    site.transport.close()
    assert content(tmp_path / "there") == CONTENT and mode(tmp_path / "there" / "closed") == 0o555
