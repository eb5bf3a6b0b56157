"""The folder of an app on its way from the store to a site: of this machine, and of one that has not our files."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.domain.apparchive import AppFile, digest_of, pack_app
from packhorse.sites.apps import AppDamaged, app_folder, bring_app
from packhorse.sites.base import CommandResult
from packhorse.sites.site import Site, local_site
from packhorse.sites.transports.local import LocalTransport

FILES = [
    AppFile("app.yaml", b"name: t\n", False),
    AppFile("bin/tool", b"#!/bin/sh\n", True),
    AppFile("odd\\name\nhere", b"odd", False),
]
DIGEST = digest_of(FILES)


class Elsewhere(LocalTransport):
    """Counts what is written."""

    is_local = False

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def write(self, path: str, data: bytes) -> None:
        self.written.append(path)
        super().write(path, data)


@pytest.fixture(params=["here", "elsewhere"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    site = local_site(str(tmp_path))
    if request.param == "elsewhere":
        site.transport = Elsewhere()
    return site


def test_an_app_is_brought_once_with_what_may_be_executed(site: Site) -> None:
    folder = Path(bring_app(site, "t", DIGEST, pack_app(FILES)))
    assert str(folder) == app_folder(site, "t", DIGEST)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        file.path for file in FILES
    }
    assert (folder / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert (folder / "app.yaml").stat().st_mode & 0o777 == 0o644
    inode, compiled = folder.stat().st_ino, folder / "__pycache__"
    compiled.mkdir()
    assert bring_app(site, "t", DIGEST, pack_app(FILES)) == str(folder)
    assert folder.stat().st_ino == inode and compiled.exists(), "what tasks make there is no damage"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing is left beside it"


@pytest.mark.parametrize("archive", [b"", pack_app(FILES)[:-30], pack_app(FILES[:1])])
def test_an_app_that_is_damaged_in_the_store_is_not_brought(site: Site, archive: bytes) -> None:
    said = r"It is damaged in the store: .* Change the app, .* submit it again\."
    with pytest.raises(AppDamaged, match=said) as refusal:
        bring_app(site, "t", DIGEST, archive)
    assert refusal.value.for_good and not list(Path(site.root).glob("apps/*"))
    assert Path(bring_app(site, "t", DIGEST, pack_app(FILES))).is_dir()


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_folder_that_is_damaged_at_the_site_is_brought_again(site: Site, damage: str) -> None:
    tool = Path(bring_app(site, "t", DIGEST, pack_app(FILES)), "bin", "tool")
    match damage:
        case "changed":
            tool.write_bytes(b"#!/bin/rm\n")
        case "cut":
            tool.write_bytes(b"")
        case "gone":
            tool.unlink()
    bring_app(site, "t", DIGEST, pack_app(FILES))
    assert tool.read_bytes() == FILES[1].content
    assert len(list(Path(site.root).glob("apps/*"))) == 1


def test_a_folder_that_does_not_get_there_as_it_was_sent_is_told_by_its_checksums(tmp_path: Path) -> None:
    class Damaging(Elsewhere):
        def run(self, argv: list[str], **options: object) -> CommandResult:
            done = super().run(argv, **options)  # type: ignore[arg-type]
            if argv[0] == "chmod":
                Path(argv[-1], "app.yaml").write_bytes(b"name: x\n")
            return done

    site = local_site(str(tmp_path))
    site.transport = Damaging()
    with pytest.raises(AppDamaged, match=r"It is damaged at 'local': sha256sum says .*app.yaml: FAILED\.") as refusal:
        bring_app(site, "t", DIGEST, pack_app(FILES))
    assert not refusal.value.for_good and not list(tmp_path.glob("apps/*"))
