"""The client of Shifter's gateway against a server that behaves like it and fetches from a real registry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.images import ImageError, ImageFailure
from packhorse.sites.runtimes.shifter_gateway import GatewayImage, ShifterGateway, Step, pull_failed
from tests.fixtures.shifter_gateway import ShifterGatewayServer

from .conftest import Hub

ADMIN = 7


@pytest.fixture
def server(hub: Hub, tmp_path: Path) -> Iterator[ShifterGatewayServer]:
    with ShifterGatewayServer(tmp_path, [hub.address], admins=[ADMIN]) as started:
        yield started


def client(server: ShifterGatewayServer, uid: int = 1000, gid: int = 1000) -> ShifterGateway:
    return ShifterGateway(server.url, server.system, lambda: server.credential(uid, gid))


def pulled(
    gateway: ShifterGateway, name: str, tag: str, until: tuple[Step, ...] = (Step.READY, Step.FAILED), **ids: list[int]
) -> GatewayImage:
    """Asks until it is where it should come to."""
    give_up = time.monotonic() + 30
    while (image := gateway.pull(name, tag, **ids)).step not in until:  # type: ignore[arg-type]
        assert time.monotonic() < give_up, image
        time.sleep(0.02)
    return image


@pytest.mark.parametrize("located", [True, False])
def test_an_image_is_fetched(server: ShifterGatewayServer, hub: Hub, located: bool) -> None:
    """With its registry in front, or in the gateway's default one; once, however often one asks."""
    gateway, name = client(server), f"{hub.address}/lab/tool" if located else "lab/tool"
    assert gateway.lookup(name, "1") is None
    assert gateway.pull(name, "1").step is Step.WAITING
    image = pulled(gateway, name, "1")
    assert (image.step, image.tags, image.is_digest(hub.digests["tool"])) == (Step.READY, (f"{name}:1",), True)
    assert image.reference == f"id:{hub.digests['tool'][7:]}"
    assert gateway.lookup(name, "1") == image and gateway.images() == [image] and gateway.queue() == []
    assert (server.folder / f"{image.id}.squashfs").exists()
    assert gateway.pull(name, "1") == image and server.pulls == 1


@pytest.mark.parametrize(
    ("state", "step"),
    [
        ("PENDING", Step.WAITING),
        ("PULLING", Step.COPYING),
        ("EXAMINATION", Step.CONVERTING),
        ("CONVERSION", Step.CONVERTING),
        ("TRANSFER", Step.CONVERTING),
    ],
)
def test_each_state_on_the_way(server: ShifterGatewayServer, state: str, step: Step) -> None:
    gateway = client(server)
    with server.held(state):
        give_up = time.monotonic() + 30
        while (image := gateway.pull("lab/tool", "1")).status != state:
            assert time.monotonic() < give_up, image
            time.sleep(0.02)
        assert (image.step, image.reference, gateway.lookup("lab/tool", "1")) == (step, None, None)
        assert gateway.queue() == [("lab/tool:1", state)]
    assert pulled(gateway, "lab/tool", "1").step is Step.READY


def test_a_failure_is_kept_for_300_s(server: ShifterGatewayServer) -> None:
    gateway = client(server)
    image = pulled(gateway, "lab/tool", "none")
    assert (image.step, image.status) == (Step.FAILED, "FAILURE")
    assert "manifest unknown" in (server.folder / "log").read_text()
    error = pull_failed("lab/tool", "none", image)
    assert error.kind is ImageFailure.CONVERSION and "could not fetch lab/tool:none, and does not say why." in str(
        error
    )
    server.pass_time(290)
    assert gateway.pull("lab/tool", "none").step is Step.FAILED and server.pulls == 1
    server.pass_time(20)
    assert gateway.pull("lab/tool", "none").step is Step.WAITING and server.pulls == 2


def test_of_several_platforms_the_id_is_the_indexs(server: ShifterGatewayServer, hub: Hub) -> None:
    image = pulled(client(server), "lab/both", "1")
    assert image.is_digest(hub.digests["both"]) and not image.is_digest(hub.digests["tool"])


def test_a_ready_image_is_looked_at_again_after_a_while(server: ShifterGatewayServer) -> None:
    gateway = client(server)
    first = pulled(gateway, "lab/tool", "1")
    server.pass_time(310)
    assert gateway.pull("lab/tool", "1").step is Step.WAITING
    assert gateway.lookup("lab/tool", "1") == first
    assert pulled(gateway, "lab/tool", "1").id == first.id


def test_who_may_use_it(server: ShifterGatewayServer) -> None:
    """The users and groups that it was pulled for, and who pulled it; and the lists can be changed."""
    owner, friend, group, other = (
        client(server, 1000, 1),
        client(server, 1001, 1),
        client(server, 5, 100),
        client(server, 2000, 2),
    )
    pulled(owner, "lab/tool", "1", uids=[1001], gids=[100])
    seen = [gateway.lookup("lab/tool", "1") is not None for gateway in (owner, friend, group, other)]
    assert seen == [True, True, True, False] and other.images() == []
    server.pass_time(20)
    assert owner.pull("lab/tool", "1").step is Step.WAITING
    pulled(owner, "lab/tool", "1")
    assert other.lookup("lab/tool", "1") is not None


def test_removing_is_for_admins(server: ShifterGatewayServer) -> None:
    gateway, admin = client(server), client(server, ADMIN)
    pulled(gateway, "lab/tool", "1")
    assert not gateway.expire("lab/tool", "1") and not admin.expire("lab/tool", "none")
    assert admin.expire("lab/tool", "1") and gateway.lookup("lab/tool", "1") is None
    assert pulled(gateway, "lab/tool", "1").step is Step.READY and server.pulls == 2


def test_a_credential_that_is_used_twice_is_refused(server: ShifterGatewayServer) -> None:
    credential = server.credential()
    gateway = ShifterGateway(server.url, server.system, lambda: credential)
    assert gateway.images() == []
    with pytest.raises(ImageError) as caught:
        gateway.pull("lab/tool", "1")
    assert caught.value.kind is ImageFailure.DENIED and f"system '{server.system}'" in str(caught.value)
    assert credential not in str(caught.value) and gateway.lookup("lab/tool", "1") is None


def test_another_system(server: ShifterGatewayServer) -> None:
    with pytest.raises(ImageError, match="refuses to act for us on its system 'cori'"):
        ShifterGateway(server.url, "cori", server.credential).pull("lab/tool", "1")


def test_a_gateway_that_is_away() -> None:
    with pytest.raises(ImageError, match=r"The image gateway at http://127\.0\.0\.1:1 is not reached") as caught:
        ShifterGateway("http://127.0.0.1:1/", "perl", lambda: "secret").pull("lab/tool", "1")
    assert caught.value.kind is ImageFailure.REGISTRY_AWAY
