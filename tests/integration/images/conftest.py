"""Real registries on loopback: an open one with some images, one with users, one with a token server; and the programs
they need.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.registries import PASSWORD, USER, Layout, Registry, TokenServer, auth_json, htpasswd, push

CREDENTIALS = f"--dest-creds={USER}:{PASSWORD}"


@dataclass(frozen=True)
class Hub:
    """An open registry; ``digests`` are those of what lies there, by image."""

    server: Registry
    layout: Layout
    digests: dict[str, str]

    @property
    def address(self) -> str:
        return self.server.address


@dataclass(frozen=True)
class Guarded:
    """A registry that wants credentials, for USER; ``auth_file`` has them.

    The image is lab/tool:1, and public/tool:1 with tokens.
    """

    server: Registry
    auth_file: Path
    digest: str
    tokens: TokenServer | None = None

    @property
    def address(self) -> str:
        return self.server.address

    @property
    def insecure(self) -> tuple[str, ...]:
        return (self.address, *([self.tokens.address] if self.tokens else []))


@pytest.fixture(scope="session")
def programs() -> None:
    """What Debian has of registries and image tools, installed where it is missing."""
    script = Path(__file__).parents[3] / "deploy" / "testimages" / "install.sh"
    subprocess.run([script], check=True, stdin=subprocess.DEVNULL, capture_output=True)


@pytest.fixture(scope="session")
def layout(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Images made by hand:

    'tool' for amd64, 'both' an index of two platforms, 'arm' for arm64 only, 'arms' an index with arm64 only.
    """
    made = Layout(tmp_path_factory.mktemp("layout"))
    tool = made.image(Cmd=["/bin/tool"])
    arm = made.image(architecture="arm64")
    made.tag(tool, "tool")
    made.tag(arm, "arm")
    made.tag(made.index(arm64=arm, amd64=tool), "both")
    made.tag(made.index(arm64=arm), "arms")
    return made


@pytest.fixture(scope="session")
def hub(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """lab/tool:1, lab/both:1, lab/arm:1, lab/arms:1, and lab/docker:1, which is the tool in Docker's own format."""
    with Registry(tmp_path_factory.mktemp("hub")) as server:
        names = ("tool", "both", "arm", "arms")
        digests = {name: push(f"oci:{layout.folder}:{name}", f"{server.address}/lab/{name}:1") for name in names}
        digests["docker"] = push(f"oci:{layout.folder}:tool", f"{server.address}/lab/docker:1", "--format=v2s2")
        yield Hub(server, layout, digests)


@pytest.fixture(scope="session")
def users(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """It asks for user and password."""
    folder = tmp_path_factory.mktemp("users")
    with Registry(folder, htpasswd(folder)) as server:
        digest = push(f"oci:{layout.folder}:tool", f"{server.address}/lab/tool:1", CREDENTIALS)
        (folder / "auth.json").write_text(auth_json(server.address))
        yield Guarded(server, folder / "auth.json", digest)


@pytest.fixture(scope="session")
def tokens(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """It asks for tokens of a token server."""
    folder = tmp_path_factory.mktemp("tokens")
    with TokenServer(folder) as token_server, Registry(folder, token_server.settings()) as server:
        for name in ("lab", "public"):
            digest = push(f"oci:{layout.folder}:tool", f"{server.address}/{name}/tool:1", CREDENTIALS)
        (folder / "auth.json").write_text(auth_json(server.address))
        yield Guarded(server, folder / "auth.json", digest, token_server)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a byte left."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    try:
        with pytest.raises(OSError, match="No space left"):
            (folder / "filler").write_bytes(bytes(200_000))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
