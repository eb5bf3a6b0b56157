"""Images that Shifter's gateway prepares, through the engine: a real registry, real MUNGE, and a server that behaves
like it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.states import TaskState
from tests.fixtures.registries import Layout, Registry, push
from tests.fixtures.room import wait_for
from tests.fixtures.shifter_gateway import Refused, ShifterGatewayServer

from .conftest import Hub
from .rooms import Room, container_site, opened


@dataclass(frozen=True)
class Munge:
    """A MUNGE daemon of our own; ``bin`` has a ``munge`` that speaks to it."""

    socket: Path
    bin: Path
    seen: list[str]

    def decode(self, credential: str) -> tuple[int, int]:
        """uid and gid of who made it; each is good for once."""
        self.seen.append(credential)
        done = subprocess.run(["unmunge", f"--socket={self.socket}"], input=credential, capture_output=True, text=True)
        found = re.findall(r"^(?:UID|GID):.*\((\d+)\)$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or len(found) != 2:
            raise Refused(done.stderr)
        return int(found[0]), int(found[1])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Munge]:
    """Below /var/tmp: MUNGE wants folders that nobody else can write to."""
    if shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("MUNGE is not installed (Debian: munge)")
    folder = Path(f"/var/tmp/ph-munge-{os.getpid()}")
    folder.mkdir(mode=0o755)
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    names = {
        "key-file": key,
        "socket": folder / "socket",
        "pid-file": folder / "pid",
        "log-file": folder / "log",
        "seed-file": folder / "seed",
    }
    program = shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin") or ""
    process = subprocess.Popen(
        [program, "--foreground", "--force", *(f"--{name}={path}" for name, path in names.items())]
    )
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "munge"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("munge")} --socket={folder}/socket "$@"\n')
    wrapper.chmod(0o755)
    try:
        wait_for(lambda: (folder / "socket").exists(), 10, "MUNGE")
        yield Munge(folder / "socket", folder / "bin", [])
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


@pytest.fixture
def munge(daemon: Munge, monkeypatch: pytest.MonkeyPatch) -> Munge:
    """``munge`` on the PATH is the daemon's."""
    monkeypatch.setenv("PATH", f"{daemon.bin}:{os.environ['PATH']}")
    daemon.seen.clear()
    return daemon


@pytest.fixture
def gateway(munge: Munge, hub: Hub, tmp_path: Path) -> Iterator[ShifterGatewayServer]:
    (tmp_path / "gateway").mkdir()
    with ShifterGatewayServer(
        tmp_path / "gateway", [hub.address], decode=munge.decode, admins=[os.getuid()]
    ) as started:
        yield started


@pytest.fixture
def room(gateway: ShifterGatewayServer, hub: Hub, tmp_path: Path) -> Iterator[Room]:
    with opened(at(gateway, tmp_path), tmp_path / "home", hub.address, default=hub.address) as made:
        yield made


def at(gateway: ShifterGatewayServer, tmp_path: Path, **fields: Any) -> Any:
    fields = {"gateway": gateway.url, "gateway_system": gateway.system, "image_patience_s": 0.0, **fields}
    site = container_site("shifter", tmp_path / "site", **fields)
    site.max_allocations = 0  # nothing runs: there is no Shifter
    return site


def ready(room: Room) -> Callable[[], Any]:
    return lambda: room.images() and room.image().state == "READY"


def test_it_is_pulled_until_it_is_ready(
    room: Room, gateway: ShifterGatewayServer, hub: Hub, munge: Munge, tmp_path: Path
) -> None:
    """Each question has a credential of its own, and none is kept anywhere."""
    with gateway.held("PULLING"), gateway.held("CONVERSION"):
        run = room.submit(room.app("lab/tool:1", "[tool]"))
        wait_for(lambda: room.images() and room.image().state == "COPYING", 20, "copying")
    wait_for(ready(room), 20, "the image")
    assert (room.image().digest, gateway.pulls, room.image().preparations) == (hub.digests["tool"], 1, 1)
    assert len(set(munge.seen)) == len(munge.seen) >= 1
    found = subprocess.run(
        ["grep", "-rlF", *(f"-e{used}" for used in munge.seen), tmp_path / "home", tmp_path / "site"],
        capture_output=True,
    )
    assert found.stdout == b""
    assert room.task(run).state == "QUEUED"


def test_of_several_platforms_tasks_run_the_id_that_it_tells(room: Room, hub: Hub) -> None:
    """The index's, while what is recorded is the manifest's digest."""
    room.submit(room.app("lab/both:1", "[tool]"))
    wait_for(ready(room), 20, "the image")
    assert room.image().digest == hub.digests["tool"] != hub.digests["both"]
    with room.embedded.database.read() as connection:
        [row] = connection.exec_driver_sql("SELECT gateway_id FROM images").all()
    assert row.gateway_id == hub.digests["both"].removeprefix("sha256:")


def test_its_failure_has_no_reason(room: Room, gateway: ShifterGatewayServer) -> None:
    gateway.locations[0] = "127.0.0.1:1"
    run = room.submit(room.app("lab/tool:1", "[tool]"), 2)
    assert room.end(run, 20) == {TaskState.SYSTEM_ERROR: 2}
    assert room.image().failure == "conversion"
    assert "could not fetch" in (room.task(run).reason or "") and "does not say why" in (room.task(run).reason or "")


def test_after_a_failure_it_is_left_alone(gateway: ShifterGatewayServer, hub: Hub, tmp_path: Path) -> None:
    gateway.locations[0] = "127.0.0.1:1"
    with opened(
        at(gateway, tmp_path, image_patience_s=60.0), tmp_path / "home", hub.address, default=hub.address
    ) as room:
        room.submit(room.app("lab/tool:1", "[tool]"))
        wait_for(lambda: room.images() and room.image().failure == "conversion", 20, "the failure")
        with room.embedded.database.read() as connection:
            [row] = connection.exec_driver_sql("SELECT state, not_before, started_at FROM images").all()
        assert row.state == "WANTED" and row.not_before >= row.started_at + 300


def test_one_that_has_expired_is_wanted_again(room: Room, gateway: ShifterGatewayServer) -> None:
    app = room.app("lab/tool:1", "[tool]")
    room.submit(app)
    wait_for(ready(room), 20, "the image")
    for record in gateway._records:
        record["status"] = "EXPIRED"
    room.submit(app)
    wait_for(lambda: room.image().preparations == 2 and room.image().state == "READY", 20, "the second pull")
    assert gateway.pulls == 2


def test_a_credential_that_is_refused(
    room: Room, gateway: ShifterGatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(credential: str) -> tuple[int, int]:
        raise Refused("munge")

    monkeypatch.setattr(gateway, "_decode", refuse)
    run = room.submit(room.app("lab/tool:1", "[tool]"))
    room.end(run, 20)
    assert room.image().failure == "denied" and "refuses to act for us" in (room.task(run).reason or "")


def test_without_munge(room: Room, munge: Munge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("sh", "setsid", "rm", "mkdir", "chmod", "id", "du", "mv"):
        (tmp_path / "bin" / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    run = room.submit(room.app("lab/tool:1", "[tool]"))
    room.end(run, 20)
    assert room.image().failure == "cannot_run" and "'munge -n' at 'local' makes no credential" in (
        room.task(run).reason or ""
    )


def test_a_tag_that_has_moved(munge: Munge, layout: Layout, tmp_path: Path) -> None:
    """What the gateway has is not what the run resolved: nothing runs."""
    (tmp_path / "gateway").mkdir()
    other = layout.image(Cmd=["/bin/other"])
    layout.tag(other, "other")
    with Registry(tmp_path / "moving") as moving:
        push(f"oci:{layout.folder}:tool", f"{moving.address}/lab/tool:1")
        with (
            ShifterGatewayServer(tmp_path / "gateway", [moving.address], decode=munge.decode) as gateway,
            opened(at(gateway, tmp_path), tmp_path / "home", moving.address, default=moving.address) as room,
        ):
            with gateway.held("PULLING"):
                run = room.submit(room.app("lab/tool:1", "[tool]"))
                wait_for(lambda: room.images() and gateway.pulls, 20, "the pull")
                push(f"oci:{layout.folder}:other", f"{moving.address}/lab/tool:1")
            room.end(run, 20)
            assert room.image().failure == "cannot_run" and "its tag means sha256:" in (room.task(run).reason or "")


def test_by_way_of_the_sites_own_registry(munge: Munge, hub: Hub, tmp_path: Path) -> None:
    """Pinned by a digest alone, which no gateway can pull otherwise."""
    (tmp_path / "gateway").mkdir()
    image = f"{hub.address}/lab/tool@{hub.digests['tool']}"
    with (
        Registry(tmp_path / "private") as private,
        ShifterGatewayServer(tmp_path / "gateway", [private.address], decode=munge.decode) as gateway,
        opened(
            at(gateway, tmp_path, registry=f"{private.address}/mirror"), tmp_path / "home", hub.address, private.address
        ) as room,
    ):
        room.submit(room.app(image, "[tool]"))
        wait_for(ready(room), 30, "the image")
        assert room.image().digest == hub.digests["tool"]


def test_a_digest_alone_has_no_tag_to_pull(room: Room, hub: Hub) -> None:
    run = room.submit(room.app(f"lab/tool@{hub.digests['tool']}", "[tool]"))
    room.end(run, 20)
    assert room.image().failure == "cannot_run" and "pulls by tag, and the name has none" in (
        room.task(run).reason or ""
    )
