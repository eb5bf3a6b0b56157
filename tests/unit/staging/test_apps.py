"""The catalogue of apps, and the archives of their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.domain.apparchive import unpack_app
from packhorse.domain.errors import InvalidManifest, NotFound, TooLarge
from packhorse.staging import apps
from packhorse.staging.apps import AppCatalog, load_app, pack_folder

MANIFEST = "packhorse: 1\nname: {name}\nversion: '1'\ncommand: [/bin/true]\n"


def make_app(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "app.yaml").write_text(MANIFEST.format(name=name))
    return folder / name


def catalog(tmp_path: Path) -> AppCatalog:
    return AppCatalog([tmp_path / "apps"])


def test_an_app_is_found_by_name_by_folder_and_by_manifest(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "apps", "count")
    for name in ("count", str(folder), str(folder / "app.yaml")):
        assert catalog(tmp_path).get(name, paths_allowed=True).manifest.name == "count"


def test_the_name_in_the_manifest_counts_not_the_folder(tmp_path: Path) -> None:
    make_app(tmp_path / "apps", "count").rename(tmp_path / "apps" / "somewhere")
    assert catalog(tmp_path).get("count", paths_allowed=True).folder.name == "somewhere"


def test_an_unknown_app_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    make_app(tmp_path / "apps", "count")
    with pytest.raises(NotFound, match=r"no app 'cuont'. Known apps: count\."):
        catalog(tmp_path).get("cuont", paths_allowed=True)


@pytest.mark.parametrize("name", ["../secret", "/etc/app.yaml", "..", "", "sub/app.yaml"])
def test_a_server_takes_no_paths(tmp_path: Path, name: str) -> None:
    make_app(tmp_path, "secret")
    make_app(tmp_path / "apps", "sub")
    with pytest.raises(NotFound):
        catalog(tmp_path).get(name, paths_allowed=False)


def test_a_broken_manifest_does_not_hide_the_others(tmp_path: Path) -> None:
    make_app(tmp_path / "apps", "count")
    (make_app(tmp_path / "apps", "broken") / "app.yaml").write_text("name: [")
    assert [app.manifest.name for app in catalog(tmp_path).all()] == ["count"]
    with pytest.raises(InvalidManifest):
        catalog(tmp_path).get("broken", paths_allowed=True)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a list", b"name: [1"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (make_app(tmp_path / "apps", "bad") / "app.yaml").write_bytes(content)
    with pytest.raises(InvalidManifest, match=r"app\.yaml"):
        load_app(tmp_path / "apps" / "bad")


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no app manifest at"):
        load_app(tmp_path)


def test_an_edit_gives_another_digest_and_leaves_what_was_packed(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "apps", "count")
    (folder / "tool.sh").write_text("echo 1")
    mine = catalog(tmp_path)
    app = mine.get("count", paths_allowed=True)
    first, archive = pack_folder(app)
    assert mine.digest(app) == mine.digest(app) == first
    (folder / "tool.sh").write_text("echo 2")
    assert mine.digest(app) != first
    assert [file.content for file in unpack_app(archive, first)][1] == b"echo 1"


def test_what_is_packed_has_its_modes_and_neither_links_nor_caches(tmp_path: Path) -> None:
    folder = make_app(tmp_path / "apps", "count")
    (folder / "tool").write_text("x")
    (folder / "tool").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    digest, archive = pack_folder(load_app(folder))
    assert [(file.path, file.executable) for file in unpack_app(archive, digest)] == [
        ("app.yaml", False),
        ("tool", True),
    ]


def test_an_app_that_is_really_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_app(tmp_path / "apps", "count")
    monkeypatch.setattr(apps, "MAX_FILES", 3)
    for number in range(4):
        (folder / f"{number}").write_text("x")
    with pytest.raises(TooLarge, match="give data as 'file' parameters"):
        pack_folder(load_app(folder))
