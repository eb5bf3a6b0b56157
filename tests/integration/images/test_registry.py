"""Names resolved at real registries, each failure of its own kind, and copies by the commands that sites run."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from packhorse.domain.images import ImageError, ImageFailure, ImageReference, parse_reference
from packhorse.staging.imagecopy import copy_command, private_name, why_failed
from packhorse.staging.preflight import examine_image
from packhorse.staging.registry import RegistryClient, RegistryOptions, authfile_for
from tests.fixtures.proxy import forward_proxy
from tests.fixtures.registries import PASSWORD, Layout, Registry, auth_json, push, tar_of

from .conftest import Guarded, Hub

NOTHING = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have some."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def client(*insecure: str, auth_file: Path | None = None, timeout_s: float = 20.0) -> RegistryClient:
    return RegistryClient(RegistryOptions(insecure, auth_file, timeout_s))


def fails(make: Callable[[], object]) -> ImageError:
    with pytest.raises(ImageError) as caught:
        make()
    message = str(caught.value)
    assert PASSWORD not in message and "correct" not in message and len(message) < 600
    assert caught.value.hint
    return caught.value


def test_a_tag_means_a_digest(hub: Hub) -> None:
    with client(hub.address) as asked:
        image = asked.resolve(parse_reference(f"{hub.address}/lab/tool:1"))
        assert image.digest == hub.digests["tool"] and image.media_type == "application/vnd.oci.image.manifest.v1+json"
        assert image.config["config"] == {"Cmd": ["/bin/tool"]} and image.config["architecture"] == "amd64"
        assert image.size_bytes == sum(layer.size for layer in image.layers) > 0
        content = b"".join(asked.iter_layer(image.reference, image.layers[0]))
        assert (
            f"sha256:{hashlib.sha256(content).hexdigest()}" == image.layers[0].digest
            and len(content) == image.layers[0].size
        )
        assert asked.resolve(parse_reference(f"{hub.address}/lab/tool:gone@{image.digest}")).digest == image.digest


def test_dockers_own_format(hub: Hub) -> None:
    with client(hub.address) as asked:
        image = asked.resolve(parse_reference(f"{hub.address}/lab/docker:1"))
    assert (
        image.digest == hub.digests["docker"]
        and image.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    )


def test_an_index_gives_the_manifest_of_the_platform(hub: Hub) -> None:
    reference = parse_reference(f"{hub.address}/lab/both:1")
    with client(hub.address) as asked:
        assert asked.resolve(reference).digest == hub.digests["tool"]
        assert asked.resolve(reference, "arm64").digest == hub.digests["arm"]
        assert asked.resolve(reference.at(hub.digests["both"])).digest == hub.digests["tool"]
        error = fails(lambda: asked.resolve(reference, "ppc64le"))
    assert error.kind is ImageFailure.WRONG_ARCHITECTURE
    assert "is for linux/amd64 and linux/arm64; here linux/ppc64le is needed" in error.message


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("lab/arm:1", "wrong_architecture", "is for linux/arm64; here linux/amd64 is needed"),
        ("lab/arms:1", "wrong_architecture", "is for linux/arm64; here linux/amd64 is needed"),
        ("lab/tool:10", "missing_tag", "has no tag '10'. It has, for example: 1."),
        ("nobody/none:1", "no_repository", "There is no repository 'nobody/none'"),
        (f"lab/tool@{NOTHING}", "unknown_digest", f"has nothing with the digest {NOTHING}"),
        (f"nobody/none@{NOTHING}", "no_repository", "There is no repository 'nobody/none'"),
    ],
)
def test_what_is_not_there(hub: Hub, name: str, kind: str, words: str) -> None:
    with client(hub.address) as asked:
        error = fails(lambda: asked.resolve(parse_reference(f"{hub.address}/{name}")))
    assert error.kind == kind and words in str(error) and hub.address in str(error)


def test_a_registry_that_is_down() -> None:
    with client("127.0.0.1:1") as asked:
        error = fails(lambda: asked.resolve(parse_reference("127.0.0.1:1/lab/tool")))
    assert (
        error.kind is ImageFailure.REGISTRY_AWAY
        and "127.0.0.1:1/lab/tool:latest cannot be had: 127.0.0.1:1 refuses" in str(error)
    )


def test_a_name_that_does_not_resolve() -> None:
    with client() as asked:
        error = fails(lambda: asked.resolve(parse_reference("registry.invalid/lab/tool")))
    assert error.kind is ImageFailure.REGISTRY_AWAY and "'registry.invalid' does not resolve" in str(error)


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_registry_that_does_not_answer() -> None:
    with listening() as server:
        name = f"127.0.0.1:{server.getsockname()[1]}"
        with client(name, timeout_s=0.3) as asked:
            error = fails(lambda: asked.resolve(parse_reference(f"{name}/lab/tool")))
    assert error.kind is ImageFailure.REGISTRY_AWAY and f"{name} does not answer in time" in str(error)


def test_a_connection_that_breaks_off() -> None:
    """In the middle of a manifest."""
    with listening() as server:
        name = f"127.0.0.1:{server.getsockname()[1]}"

        def half() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

        thread = threading.Thread(target=half)
        thread.start()
        with client(name) as asked:
            error = fails(lambda: asked.resolve(parse_reference(f"{name}/lab/tool")))
        thread.join()
    assert error.kind is ImageFailure.REGISTRY_AWAY and "broke off" in str(error)


def test_tls_is_not_given_up(hub: Hub) -> None:
    """Only what is listed is spoken to in the clear."""
    with client() as asked:
        error = fails(lambda: asked.resolve(parse_reference(f"{hub.address}/lab/tool:1")))
    assert error.kind is ImageFailure.REGISTRY_AWAY and f"list '{hub.address}' as insecure" in str(error)


@pytest.mark.parametrize("kind", ["users", "tokens"])
def test_credentials(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With them, without them, and with wrong ones."""
    private: Guarded = request.getfixturevalue(kind)
    reference = parse_reference(f"{private.address}/lab/tool:1")
    with client(*private.insecure, auth_file=private.auth_file) as asked:
        image = asked.resolve(reference)
        assert image.digest == private.digest
        assert len(b"".join(asked.iter_layer(reference, image.layers[0]))) == image.size_bytes
        assert (
            fails(lambda: asked.resolve(parse_reference(f"{private.address}/lab/tool:2"))).kind
            is ImageFailure.MISSING_TAG
        )
    with client(*private.insecure) as asked:
        error = fails(lambda: asked.resolve(reference))
    assert error.kind is ImageFailure.DENIED and f"'skopeo login {private.address}'" in error.hint
    (tmp_path / "wrong.json").write_text(auth_json(private.address, password="correct, but old"))
    with client(*private.insecure, auth_file=tmp_path / "wrong.json") as asked:
        error = fails(lambda: asked.resolve(reference))
    assert error.kind is ImageFailure.DENIED and f"with the credentials in {tmp_path}/wrong.json" in error.message


def test_tokens_for_what_is_public(tokens: Guarded) -> None:
    """Nobody needs a name for that, and one token serves for all requests about an image."""
    assert tokens.tokens is not None
    before = len(tokens.tokens.asked)
    with client(*tokens.insecure) as asked:
        image = asked.resolve(parse_reference(f"{tokens.address}/public/tool:1"))
        assert b"".join(asked.iter_layer(image.reference, image.layers[0]))
    assert tokens.tokens.asked[before:] == [{"service": "tests", "scope": "repository:public/tool:pull"}]


def test_a_token_server_in_the_clear_gets_no_password(tokens: Guarded) -> None:
    assert tokens.tokens is not None
    before = len(tokens.tokens.asked)
    with client(tokens.address, auth_file=tokens.auth_file) as asked:
        error = fails(lambda: asked.resolve(parse_reference(f"{tokens.address}/lab/tool:1")))
    assert error.kind is ImageFailure.DENIED and f"list '{tokens.tokens.address}' as insecure" in str(error)
    assert len(tokens.tokens.asked) == before


def test_an_image_is_examined_where_it_lies(hub: Hub, tmp_path: Path) -> None:
    """Its layers are read from the registry as they are there, compressed."""
    layout = Layout(tmp_path / "layout")
    script = tarfile.TarInfo("app/start.sh")
    script.mode = 0o700
    lower = tar_of([(script, b"#!/bin/sh\necho started > /app/state\n"), tarfile.TarInfo("bin/sh")])
    upper = tar_of([tarfile.TarInfo("bin/.wh.sh")])
    source = layout.tag(layout.image([lower, upper], Entrypoint=["/app/start.sh"]), "odd")
    push(source, f"{hub.address}/lab/odd:1")
    with client(hub.address) as asked:
        image = asked.resolve(parse_reference(f"{hub.address}/lab/odd:1"))
        assert all(layer.media_type.endswith("+gzip") for layer in image.layers)
        found = [f"{finding.level}: {finding.detail}" for finding in examine_image(asked, image)]
    assert "warning: The script /app/start.sh seems to write to /app/state, inside the image." in found
    assert "warning: There is no shell, /bin/sh." in found
    assert any(
        "ENTRYPOINT starts /app/start.sh, which is closed to other users (/app/start.sh has mode 0700)" in text
        for text in found
    )


def run(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def private(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A site's own registry."""
    with Registry(tmp_path_factory.mktemp("private")) as server:
        yield server


@pytest.mark.parametrize("name", ["tool", "both", "docker"])
def test_from_the_public_to_a_private_registry(hub: Hub, private: Registry, name: str) -> None:
    """By digest, and it has the same digest there; doing it again does no harm."""
    with client(hub.address, private.address) as asked:
        image = asked.resolve(parse_reference(f"{hub.address}/lab/{name}:1"))
        target = private_name(f"{private.address}/site", image.reference)
        for _ in range(2):
            command = copy_command(
                image.reference, image.digest, target, source_tls=False, target_tls=False, authfile=None
            )
            assert run(command) == (0, "")
        copy = asked.resolve(parse_reference(f"{target}@{image.digest}"))
        assert (copy.digest, copy.config, copy.layers) == (image.digest, image.config, image.layers)


def test_from_a_registry_with_users_and_to_one(users: Guarded, hub: Hub, tmp_path: Path) -> None:
    """With a file that has the credentials of these registries only."""
    options = RegistryOptions(users.insecure, users.auth_file)
    (tmp_path / "both.json").write_text(auth_json(users.address, "elsewhere.org"))
    content = authfile_for(RegistryOptions(auth_file=tmp_path / "both.json"), [users.address])
    assert content == authfile_for(options, [users.address, "nobody.org"]) and list(content["auths"]) == [users.address]
    (tmp_path / "auth.json").write_text(json.dumps(content))
    source = ImageReference(users.address, "lab/tool", "1")
    given = {"source_tls": False, "target_tls": False}
    target = private_name(hub.address, source)
    assert run(copy_command(source, users.digest, target, authfile=str(tmp_path / "auth.json"), **given)) == (0, "")
    code, words = run(copy_command(source, users.digest, target, authfile=None, **given))
    assert code != 0 and why_failed(words, "copy") is ImageFailure.DENIED


def test_to_a_layout(hub: Hub, tmp_path: Path) -> None:
    """Docker's format becomes OCI's there: umoci takes nothing else."""
    for name in ("tool", "docker"):
        source = ImageReference(hub.address, f"lab/{name}", "1")
        target = f"oci:{tmp_path}/{name}:image"
        assert run(
            copy_command(source, hub.digests[name], target, source_tls=False, target_tls=True, authfile=None)
        ) == (0, "")
        code, words = run(
            ["umoci", "unpack", "--rootless", f"--image={tmp_path}/{name}:image", f"{tmp_path}/{name}-files"]
        )
        assert code == 0, words


@pytest.mark.parametrize(
    ("address", "digest", "tls", "kind"),
    [
        (None, NOTHING, False, "unknown_digest"),
        ("127.0.0.1:1", NOTHING, False, "registry_away"),
        (None, None, True, "registry_away"),
    ],
)
def test_copies_that_fail_say_why(
    hub: Hub, tmp_path: Path, address: str | None, digest: str | None, tls: bool, kind: str
) -> None:
    source = ImageReference(address or hub.address, "lab/tool", "1")
    command = copy_command(
        source, digest or hub.digests["tool"], f"oci:{tmp_path}/x:x", source_tls=tls, target_tls=True, authfile=None
    )
    code, words = run(command)
    assert code != 0 and why_failed(words, "copy") == kind


def test_a_disk_that_is_full(hub: Hub, full_disk: Path) -> None:
    source = ImageReference(hub.address, "lab/tool", "1")
    command = copy_command(
        source, hub.digests["tool"], f"oci:{full_disk}/x:x", source_tls=False, target_tls=True, authfile=None
    )
    code, words = run(command)
    assert code != 0 and why_failed(words, "copy") is ImageFailure.DISK_FULL


def test_through_a_proxy(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with forward_proxy({"hub.test:5000": hub.address}, "al:hunter2") as proxy, client("hub.test:5000") as asked:
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv("http_proxy", f"http://al:hunter2@{proxy.address}")
        reference = parse_reference("hub.test:5000/lab/tool:1")
        image = asked.resolve(reference)
        assert (
            image.digest == hub.digests["tool"]
            and len(b"".join(asked.iter_layer(reference, image.layers[0]))) == image.layers[0].size
        )
        assert proxy.asked and all(" http://hub.test:5000/v2/lab/tool/" in line for line in proxy.asked)
        monkeypatch.setenv("http_proxy", f"http://al:hunter3@{proxy.address}")
        error = fails(lambda: asked.resolve(reference))
        assert f"the proxy http://{proxy.address}, which http_proxy names, wants a name and a password" in str(error)
        assert "hunter" not in str(error)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert "the proxy http://127.0.0.1:1, which http_proxy names, does not work" in str(
            fails(lambda: asked.resolve(reference))
        )
