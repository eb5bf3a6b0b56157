"""From a name in a manifest to a command in a container, through the engine, with real registries and runtimes."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from packhorse.domain.errors import InvalidRequest, NotAllowed
from packhorse.domain.run import AppRun, NamedTask, TaskRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.sites.background import folder_of
from packhorse.sites.runtimes.base import Ability
from packhorse.staging import images
from tests.fixtures.oddserver import odd_server
from tests.fixtures.registries import PASSWORD, Layout, Registry, push
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.room import wait_for
from tests.fixtures.webserver import web_server
from tests.integration.data.rooms import archive

from .conftest import Guarded, Hub
from .rooms import Room, container_site, opened, room

__all__ = ["registry", "room"]

SAYS = "[sh, -c, 'echo \"$FROM_IMAGE $0\"; test ! -e /usr/bin/python3', '{i}']"
TEXT = "outputs:\n  said: {from: stdout, type: text}\n"


def test_tasks_run_in_their_image_which_is_prepared_once(room: Room, registry: TestRegistry) -> None:
    app = room.app("packhorse/box:1", SAYS, more=TEXT)
    first = room.submit(app, 5)
    room.complete(first)
    assert room.results(first) == [f"yes {index}" for index in range(5)]
    assert {room.task(first, index).attempts[0].image for index in range(5)} == {registry.digest("box")}
    second = room.submit(app, 2)
    room.complete(second)
    image = room.image()
    assert (image.state, image.preparations, image.digest) == ("READY", 1, registry.digest("box"))
    assert image.reference == f"{registry.address}/packhorse/box:1"
    assert image.size_bytes and image.ready_at and image.started_at


def test_inputs_and_outputs(room: Room, tmp_path: Path) -> None:
    """Also those that lie where no container looks by itself."""
    reads = tmp_path / "reads of mine.fq"
    reads.write_text("ACGT\n")
    command = "[sh, -c, 'cat \"$1\" \"$0/note.txt\" > out.txt; id -u >> out.txt', '{app}', '{reads}']"
    app = room.app("packhorse/box:1", command, more="outputs:\n  out: {path: out.txt}\n")
    manifest = Path(app) / "app.yaml"
    manifest.write_text(manifest.read_text().replace("i: {type: integer}", "reads: {type: file}"))
    (Path(app) / "note.txt").write_text("a note\n")
    run = room.embedded.mine.submit(AppRun(app=app, params={"reads": str(reads)}))
    room.complete(run)
    out = room.embedded.mine.output_path(f"{run.id}.0", "out.txt")
    assert out.read_text() == f"ACGT\na note\n{os.getuid()}\n"
    assert out.stat().st_uid == os.getuid()


def test_data_by_url_and_reference_data(room: Room) -> None:
    """A container sees what was fetched for it, though it knows of nothing else in the cache; reference data it cannot
    change.
    """
    with web_server() as web:
        web.files["/reads.fq"] = b"ACGT\n"
        web.files["/db.tar.gz"] = archive(names__index=b"one\n")
        refdata = f"refdata: {{db: {{url: '{web.url('/db.tar.gz')}', version: '1'}}}}\n"
        command = "[sh, -c, 'cat $0 $1/names/index; touch $1/new 2>&1 | grep -c . || true', '{reads}', '{db}']"
        app = room.app("packhorse/box:1", command, more=TEXT + refdata)
        manifest = Path(app) / "app.yaml"
        manifest.write_text(manifest.read_text().replace("i: {type: integer}", "reads: {type: file}"))
        run = room.embedded.mine.submit(AppRun(app=app, params={"reads": web.url("/reads.fq")}))
        room.complete(run)
        read_only = Ability.READ_ONLY_BINDS in room.embedded.sites[0].runtime.abilities
        assert room.results(run)[0].split()[:2] == ["ACGT", "one"]
        assert not read_only or room.results(run)[0].split()[2] == "1"


@pytest.mark.parametrize("session", ["shell", "worker"])
def test_one_container_serves_many_tasks(room: Room, session: str) -> None:
    if session == "shell":
        run = room.submit(room.app("packhorse/box:1", SAYS, more=TEXT + "session: shell\n"), 20)
    else:
        loop = 'while read -r line; do echo "{{\\"exitCode\\": 0, \\"output\\": \\"$$ $FROM_IMAGE\\"}}"; done'
        app = room.app("packhorse/box:1", f"[sh, -c, '{loop}']", more=TEXT + "session: worker\narguments: ['{i}']\n")
        run = room.submit(app, 20)
    room.complete(run)
    said = [str(result).split() for result in room.results(run)]
    assert [words[0] for words in said] == (["yes"] * 20 if session == "shell" else [words[0] for words in said])
    assert {words[-1] for words in said} == ({str(index) for index in range(20)} if session == "shell" else {"yes"})


def test_memory_is_limited_and_measured(room: Room) -> None:
    """A task that wants more than it may ends as that, and as nothing else; the others go on, and their peak is their
    own.
    """
    script = "dd if=/dev/zero of=/dev/null count=1 bs=$(test $0 = 1 && echo 300M || echo 60M)"
    command = f"[sh, -c, '{script}', '{{i}}']"
    run = room.submit(
        room.app("packhorse/box:1", command, more="resources: {ram_gb: 0.15}\nretry: {out_of_memory: 0}\n"), 3
    )
    assert room.end(run) == {TaskState.COMPLETE: 2, TaskState.EXECUTOR_ERROR: 1}
    assert room.task(run, 1).failure == "out_of_memory"
    for index in (0, 2):
        peak = room.task(run, index).attempts[0].peak_memory or 0
        assert 55e6 < peak < 140e6


def test_a_cancel_ends_what_is_in_the_container(room: Room) -> None:
    marker = str(300_000_000 + os.getpid())
    run = room.submit(room.app("packhorse/box:1", f"[sh, -c, 'sleep {marker} & exec sleep {marker}']"))
    wait_for(lambda: room.task(run).state == "RUNNING" and _processes(marker), 30, "its start")
    room.embedded.mine.cancel_run(run.id)
    assert room.end(run, 20) == {TaskState.CANCELED: 1}
    wait_for(lambda: not _processes(marker), 10, "the end of its processes")


def _processes(marker: str) -> bool:
    return subprocess.run(["pgrep", "-f", f"^sleep {marker}"], capture_output=True).returncode == 0


def test_executors_of_a_tes_task_each_in_its_image(registry: TestRegistry, tmp_path: Path) -> None:
    executors = [
        {
            "image": "packhorse/box:1",
            "command": ["sh", "-c", "echo $FROM_IMAGE-$MORE; pwd"],
            "env": {"MORE": "x"},
            "stdout": "one.txt",
        },
        {"image": "packhorse/box-bare:1", "command": ["cat"], "stdin": "one.txt", "stdout": "two.txt"},
        {"command": ["sh", "-c", "cat two.txt given.txt > three.txt; command -v python3 >> three.txt"]},
    ]
    task = {
        "executors": executors,
        "outputs": [{"path": "three.txt"}],
        "inputs": [{"path": "given.txt", "content": "given\n"}],
    }
    with opened(
        container_site("podman", tmp_path / "site"), tmp_path / "home", registry.address, default=registry.address
    ) as room:
        run = room.embedded.mine.submit(TaskRun(tasks=[NamedTask.model_validate({"name": "a", "task": task})]))
        room.complete(run)
        lines = room.embedded.mine.output_path(f"{run.id}.0", "three.txt").read_text().splitlines()
        assert (lines[0], lines[2]) == ("yes-x", "given") and lines[3].endswith("python3")
        assert room.task(run).attempts[0].image == registry.digest("box")
        assert len(room.images()) == 2


def test_by_way_of_the_sites_own_registry(registry: TestRegistry, tmp_path: Path) -> None:
    """It has the image under its digest afterwards, and is where nodes' images come from."""
    with Registry(tmp_path / "private") as private:
        site = container_site("charliecloud", tmp_path / "site", registry=f"{private.address}/mirror")
        with opened(site, tmp_path / "home", registry.address, private.address, default=registry.address) as room:
            run = room.submit(room.app("packhorse/box:1", SAYS))
            room.complete(run)
        name = f"{private.address}/mirror/{registry.address.replace(':', '__')}/packhorse/box@{registry.digest('box')}"
        subprocess.run(["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"], check=True, capture_output=True)


def test_fifty_tasks_and_three_engines_are_one_preparation(registry: TestRegistry, tmp_path: Path) -> None:
    """The background job goes on while no engine runs; the next one finds it."""
    site = container_site("charliecloud", tmp_path / "site")
    options = {"default": registry.address}
    with opened(site, tmp_path / "home", registry.address, **options) as room:
        run = room.submit(room.app("packhorse/box:1", SAYS), 50)
        wait_for(lambda: room.images() and room.image().preparations, 30, "the beginning of its preparation")
    for _ in range(2):
        with opened(
            container_site("charliecloud", tmp_path / "site"), tmp_path / "home", registry.address, **options
        ) as room:
            wait_for(lambda: room.image().state in ("COPYING", "CONVERTING", "READY"), 30, "the background job")
    with opened(
        container_site("charliecloud", tmp_path / "site"), tmp_path / "home", registry.address, **options
    ) as room:
        room.complete(run)
        assert room.image().preparations == 1
        assert not list(Path(folder_of(site, "x")).parent.iterdir()), "background jobs leave nothing"


def test_credentials_are_used_and_stay_secret(users: Guarded, tmp_path: Path) -> None:
    """The image has nothing to run: that it is prepared is enough."""
    site = container_site("charliecloud", tmp_path / "site")
    with opened(site, tmp_path / "home", users.address, auth_file=users.auth_file) as room:
        room.submit(room.app(f"{users.address}/lab/tool:1", "[tool]"))
        wait_for(lambda: room.images() and room.image().state == "READY", 30, "the image")
        assert room.image().digest == users.digest
    found = subprocess.run(
        ["grep", "-rlF", PASSWORD, tmp_path / "home", tmp_path / "site"], capture_output=True, text=True
    )
    assert found.stdout == ""


#: What is wrong → (image at the hub, what the task says).
WRONG = {
    "missing tag": ("lab/tool:10", "has no tag '10'"),
    "unknown digest": (f"lab/tool@sha256:{'0' * 64}", "has nothing with the digest"),
    "no repository": ("nobody/none:1", "There is no repository 'nobody/none'"),
    "wrong architecture": ("lab/arm:1", "is for linux/arm64; here linux/amd64 is needed"),
    "registry away": ("127.0.0.1:1/lab/tool:1", "127.0.0.1:1 refuses"),
    "not an image": ("UPPER/case:1", "is not the name of an image"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_by_every_task_that_waited(wrong: str, hub: Hub, tmp_path: Path) -> None:
    image, words = WRONG[wrong]
    site = container_site("charliecloud", tmp_path / "site", image_patience_s=0.0)
    with opened(site, tmp_path / "home", hub.address, "127.0.0.1:1", default=hub.address) as room:
        if wrong == "not an image":
            with pytest.raises(InvalidRequest, match=words):
                room.submit(room.app(image, "[tool]"))
            return
        run = room.submit(room.app(image, "[tool]"), 3)
        assert room.end(run) == {TaskState.SYSTEM_ERROR: 3}
        for index in range(3):
            assert room.task(run, index).failure == "image"
            assert words in (room.task(run, index).reason or "")


def test_without_credentials(users: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with opened(container_site("charliecloud", tmp_path / "site"), tmp_path / "home", users.address) as room:
        run = room.submit(room.app(f"{users.address}/lab/tool:1", "[tool]"))
        room.end(run)
        assert room.task(run).failure == "image"
        assert "credentials" in (room.task(run).reason or "")


def test_a_full_disk(hub: Hub, tmp_path: Path, full_disk: Path) -> None:
    site = container_site("charliecloud", tmp_path / "site", image_patience_s=0.0, images=str(full_disk / "images"))
    (full_disk / "filler").unlink()
    (full_disk / "images").mkdir()
    (full_disk / "filler").write_bytes(bytes(60_000))
    with opened(site, tmp_path / "home", hub.address, default=hub.address) as room:
        run = room.submit(room.app("lab/tool:1", "[tool]"))
        room.end(run)
        assert room.image().failure == "disk_full"
        assert "there is no room for it" in (room.task(run).reason or "")


def test_tools_that_the_site_lacks(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("sh", "setsid", "rm", "mkdir", "chmod", "id", "du", "mv"):
        (tmp_path / "bin" / program).symlink_to(f"/bin/{program}")
    with opened(
        container_site("charliecloud", tmp_path / "site"), tmp_path / "home", hub.address, default=hub.address
    ) as room:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        run = room.submit(room.app("lab/tool:1", "[tool]"))
        room.end(run)
        assert room.image().failure == "cannot_run"
        reason = room.task(run).reason or ""
        assert "Preparing images there takes" in reason and "skopeo, umoci" in reason


def test_a_registry_that_comes_back_is_waited_for(layout: Layout, tmp_path: Path) -> None:
    """Tasks wait, and say why."""
    late = Registry(tmp_path / "late")
    with late:
        push(f"oci:{layout.folder}:tool", f"{late.address}/lab/tool:1")
    with opened(container_site("charliecloud", tmp_path / "site"), tmp_path / "home", late.address) as room:
        run = room.submit(room.app(f"{late.address}/lab/tool:1", "[tool]"))
        wait_for(lambda: "refuses" in (room.task(run).reason or ""), 20, "the reason")
        assert room.task(run).state == "QUEUED"
        with late:
            wait_for(lambda: room.images() and room.image().state == "READY", 30, "the image")


def test_one_that_the_site_has_removed_is_prepared_again(registry: TestRegistry, tmp_path: Path) -> None:
    """Scratch filesystems are cleaned by others. A run that wants it finds out."""
    site = container_site("charliecloud", tmp_path / "site")
    with opened(site, tmp_path / "home", registry.address, default=registry.address) as room:
        app = room.app("packhorse/box:1", SAYS)
        room.complete(room.submit(app))
        [prepared] = (tmp_path / "site" / "images").iterdir()
        subprocess.run(["rm", "-rf", prepared], check=True)
        room.complete(room.submit(app))
        assert room.image().preparations == 2


def test_after_a_change_of_the_site_images_are_prepared_for_what_it_is_now(
    registry: TestRegistry, tmp_path: Path
) -> None:
    """Other binds need other mount points, another runtime another form. All forms leave together."""
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "word").write_text("deed")
    was, has_bind = (
        container_site("charliecloud", tmp_path / "site", binds=binds) for binds in ((), (str(tmp_path / "reference"),))
    )
    packed = container_site("charliecloud-squashfs", tmp_path / "site")
    for site, preparations in ((was, 1), (has_bind, 2), (has_bind, 2), (packed, 3)):
        with opened(site, tmp_path / "home", registry.address, default=registry.address) as room:
            room.complete(
                room.submit(
                    room.app("packhorse/box:1", f"[cat, {tmp_path}/reference/word]" if site is has_bind else SAYS)
                )
            )
            assert room.image().preparations == preparations
    packed.image_quota_bytes = 1
    with opened(packed, tmp_path / "home") as room:
        wait_for(lambda: not room.images(), 30, "the image to leave")
        wait_for(lambda: not list((tmp_path / "site" / "images").iterdir()), 10, "its files to leave")


def test_the_least_recently_used_leaves_and_never_one_in_use(registry: TestRegistry, tmp_path: Path) -> None:
    site = container_site("charliecloud", tmp_path / "site", image_quota_bytes=1)
    with opened(site, tmp_path / "home", registry.address, default=registry.address) as room:
        room.complete(room.submit(room.app("packhorse/box:1", SAYS)))
        busy = room.submit(
            room.app(
                "packhorse/box-bare:1", "[sh, -c, 'while test ! -e {app}/../../../go; do sleep 0.1; done']", name="b"
            )
        )
        wait_for(lambda: room.task(busy).state == "RUNNING", 30, "the second")
        wait_for(lambda: len(room.images()) == 1, 30, "the first to leave")
        assert room.image().digest == registry.digest("box-bare")
        assert [path.stem for path in (tmp_path / "site" / "images").iterdir()] == [
            room.image().digest.replace(":", "-")
        ]
        room.embedded.mine.cancel_run(busy.id)
        room.end(busy)


def test_where_no_containers_run_it_is_refused_and_the_host_may_be_asked_for(tmp_path: Path) -> None:
    with opened(container_site("none", tmp_path / "site"), tmp_path / "home") as room:
        app = room.app("packhorse/box:1", "[echo, '{i}']", more=TEXT)
        with pytest.raises(InvalidRequest, match="'local' runs no containers"):
            room.submit(app)
        run = room.submit(app, image="none")
        room.complete(run)
        assert room.results(run) == ["0"] and room.task(run).attempts[0].image is None
        with pytest.raises(NotAllowed, match="instead of the app's own"):
            room.embedded.service.as_user(User("somebody")).submit(AppRun(app=app, image="none"), [{"i": 1}])


def test_a_registry_that_says_nothing_does_not_hold_up_the_engines_end(tmp_path: Path) -> None:
    silent = threading.Event()
    asked = threading.Event()

    def answering(_: object, __: bytes) -> None:
        asked.set()
        silent.wait(30)

    with odd_server(answering) as there:
        with opened(container_site("podman", tmp_path / "site"), tmp_path / "home", there) as room:
            room.submit(room.app(f"{there}/lab/tool:1", "[echo]"))
            assert asked.wait(20)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        silent.set()


def test_a_registry_that_wants_to_be_left_alone_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_FIRST_BACKOFF_S", 0.02)
    heard: list[bytes] = []

    def busy(connection: socket.socket, head: bytes) -> None:
        heard.append(head)
        connection.sendall(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 500\r\nContent-Length: 0\r\n\r\n")

    with (
        odd_server(busy) as there,
        opened(container_site("podman", tmp_path / "site"), tmp_path / "home", there) as room,
    ):
        run = room.submit(room.app(f"{there}/lab/tool:1", "[echo]"))
        wait_for(lambda: "It says to wait 500 s" in (room.task(run).reason or ""), 20, "a reason that says so")
        time.sleep(0.5)
        assert len(heard) == 1
