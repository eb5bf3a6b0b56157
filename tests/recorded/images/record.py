"""Records what skopeo, umoci, podman and mksquashfs say when they fail: python -m tests.recorded.images.record, as
root, in half a minute.

Each file is named for what it means: KIND-of-tool[-words].txt, with the exit code in the first line.
"""

from __future__ import annotations

import random
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packhorse.domain.images import ImageReference
from packhorse.staging.imagecopy import copy_command
from tests.fixtures.registries import PASSWORD, USER, Layout, Registry, htpasswd, push, tar_of

HERE = Path(__file__).parent
NOTHING = "sha256:" + "0" * 64


def record(name: str, command: list[str], hidden: str) -> None:
    """Runs a command that fails, and keeps what it says; ``hidden`` is a path of this machine."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode != 0, command
    words = re.sub(r" on [0-9.]+:53", " on 192.0.2.1:53", (done.stdout + done.stderr).replace(hidden, "FOLDER"))[-2000:]
    (HERE / f"{name}.txt").write_text(f"{done.returncode}\n{words}")
    print(name, words)


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A small disk."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, Registry(Path(temporary) / "r") as server:
        folder = Path(temporary)
        made = Layout(folder / "made")
        big = tar_of([(tarfile.TarInfo("big"), random.Random(1).randbytes(8_000_000))])
        image = made.tag(made.image([big]), "big")
        digest = push(image, f"{server.address}/lab/tool:1")
        arm = made.tag(made.index(arm64=made.image(architecture="arm64")), "arm")
        push(arm, f"{server.address}/lab/arm:1")
        source = ImageReference(server.address, "lab/tool", "1")
        layout = f"oci:{folder}/out:x"

        def copy(source: ImageReference, digest: str = digest, target: str = layout, tls: bool = False) -> list[str]:
            return copy_command(source, digest, target, source_tls=tls, target_tls=tls, authfile=None)

        def by_tag(name: str, tag: str) -> list[str]:
            return [
                "skopeo",
                "copy",
                "--quiet",
                "--src-tls-verify=false",
                f"docker://{server.address}/lab/{name}:{tag}",
                layout,
            ]

        record("unknown_digest-skopeo", copy(source, NOTHING), temporary)
        record(
            "unknown_digest-skopeo-repository", copy(ImageReference(server.address, "nobody/none"), NOTHING), temporary
        )
        record("missing_tag-skopeo", by_tag("tool", "none"), temporary)
        record("wrong_architecture-skopeo", by_tag("arm", "1"), temporary)
        record("registry_away-skopeo-refused", copy(ImageReference("127.0.0.1:1", "lab/tool")), temporary)
        record("registry_away-skopeo-name", copy(ImageReference("registry.invalid", "lab/tool"), tls=True), temporary)
        record("registry_away-skopeo-tls", copy(source, tls=True), temporary)
        record(
            "registry_away-podman-refused", ["podman", "pull", "--quiet", f"127.0.0.1:1/lab/tool@{digest}"], temporary
        )
        name = f"{server.address}/lab/tool"
        record("missing_tag-podman", ["podman", "pull", "--quiet", "--tls-verify=false", f"{name}:none"], temporary)
        record(
            "unknown_digest-podman", ["podman", "pull", "--quiet", "--tls-verify=false", f"{name}@{NOTHING}"], temporary
        )
        record(
            "conversion-umoci-layout",
            ["umoci", "unpack", "--rootless", f"--image={folder}/none:x", f"{folder}/bundle"],
            temporary,
        )
        broken = made.tag(made.image([b"no archive" * 100]), "broken")
        record(
            "conversion-umoci-tar",
            ["umoci", "unpack", "--rootless", f"--image={broken[4:]}", f"{folder}/bundle"],
            temporary,
        )
        with tmpfs(folder / "small", "6m") as small:
            record("disk_full-skopeo", copy(source, target=f"oci:{small}/out:x"), temporary)
        with tmpfs(folder / "small2", "4m") as small:
            record(
                "disk_full-umoci",
                ["umoci", "unpack", "--rootless", f"--image={image[4:]}", f"{small}/bundle"],
                temporary,
            )
        with tmpfs(folder / "small3", "1m") as small:
            noise = folder / "noise"
            noise.mkdir()
            (noise / "x").write_bytes(random.Random(2).randbytes(4_000_000))
            record(
                "disk_full-mksquashfs",
                ["mksquashfs", str(noise), f"{small}/i.sqfs", "-noappend", "-quiet", "-no-progress"],
                temporary,
            )
        record(
            "conversion-mksquashfs",
            ["mksquashfs", f"{folder}/none", f"{folder}/i.sqfs", "-noappend", "-quiet", "-no-progress"],
            temporary,
        )
        with tmpfs(folder / "small4", "1m") as small, Registry(small) as private:
            record("registry_away-skopeo-full", copy(source, target=f"{private.address}/site/tool"), temporary)
        (folder / "users").mkdir()
        with Registry(folder / "users", htpasswd(folder / "users")) as private:
            secret = ImageReference(private.address, "lab/tool")
            push(image, f"{secret.name}:1", f"--dest-creds={USER}:{PASSWORD}")
            record("denied-skopeo", copy(secret), temporary)
            record("denied-skopeo-target", copy(source, target=f"{private.address}/site/tool"), temporary)
            record("denied-podman", ["podman", "pull", "--quiet", "--tls-verify=false", f"{secret.name}:1"], temporary)
            wrong = folder / "auth.json"
            wrong.write_text(f'{{"auths": {{"{private.address}": {{"auth": "YWxpY2U6d3Jvbmc="}}}}}}')
            record("denied-skopeo-password", [*copy(secret)[:2], f"--authfile={wrong}", *copy(secret)[2:]], temporary)


if __name__ == "__main__":
    main()
