"""What the tasks of a step wait for: not for an app whose folder an earlier engine has brought to this machine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from packhorse.domain.apparchive import AppFile, digest_of, pack_app
from packhorse.engine.appfolders import AppFolders
from packhorse.engine.placing import needs as module
from packhorse.engine.placing.needs import Needs
from packhorse.engine.steps.cache import Steps
from packhorse.sites.apps import bring_app
from packhorse.sites.site import Site, local_site
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema
from packhorse.store.steps import keep_app
from tests.fixtures.far import far_site

FILES = [AppFile("app.yaml", b"name: t\n", False), AppFile("tool", b"#!/bin/sh\n", True)]
DIGEST, ARCHIVE = digest_of(FILES), pack_app(FILES)
STEP: Any = SimpleNamespace(
    row=SimpleNamespace(seq=1),
    app=SimpleNamespace(name="t"),
    spec=SimpleNamespace(app=DIGEST),
    common_needs=tuple,
)


@pytest.fixture
def store(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/packhorse.db")
    ensure_schema(database)
    with database.write() as connection:
        keep_app(connection, DIGEST, "t", json.dumps({}), ARCHIVE, 1.0)
    return database


def is_lacking(site: Site, store: Database) -> bool:
    with store.read() as connection:
        return bool(Needs(site, AppFolders(), Steps()).lacking(connection, {1: STEP}))


def test_an_app_that_is_here_is_not_waited_for(tmp_path: Path, store: Database) -> None:
    site = local_site(str(tmp_path / "site"))
    assert is_lacking(site, store)
    bring_app(site, "t", DIGEST, ARCHIVE)
    assert not is_lacking(site, store)


@pytest.mark.parametrize("damage", ["changed", "gone", "not to be executed"])
def test_one_that_is_damaged_is_brought_again(tmp_path: Path, store: Database, damage: str) -> None:
    site = local_site(str(tmp_path / "site"))
    tool = Path(bring_app(site, "t", DIGEST, ARCHIVE), "tool")
    match damage:
        case "changed":
            tool.write_bytes(b"#!/bin/rm\n")
        case "gone":
            tool.unlink()
        case _:
            tool.chmod(0o644)
    assert is_lacking(site, store)


def test_a_large_one_and_one_elsewhere_are_looked_for_by_the_data_loop(
    tmp_path: Path, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, transport = far_site(str(tmp_path / "far"))
    bring_app(site, "t", DIGEST, ARCHIVE)
    transport.commands = transport.others = 0
    assert is_lacking(site, store)
    assert transport.commands + transport.others == 0, "placing asks a far site for nothing"
    here = local_site(str(tmp_path / "here"))
    bring_app(here, "t", DIGEST, ARCHIVE)
    monkeypatch.setattr(module, "_SMALL", len(ARCHIVE) - 1)
    assert is_lacking(here, store)
