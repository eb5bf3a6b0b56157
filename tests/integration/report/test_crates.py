"""Runs as RO-Crates: the community's validator finds nothing wrong, what is said of files is so, and what a crate says
runs it again.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from packhorse.client.crates import unpack_crate
from packhorse.domain.errors import Conflict, NotFound
from packhorse.domain.run import SubmittedRun
from packhorse.domain.submitted import run_of
from packhorse.domain.users import User
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.store.database import NoRoom
from tests.fixtures import cratecheck
from tests.fixtures.apps import Apps
from tests.fixtures.reports import parsed
from tests.fixtures.room import wait_for

PROFILE = "workflow-run-crate-0.5"
VALIDATOR = Path(sys.prefix) / "rocrate" / "bin" / "python"  # 'make setup-test' makes it

TOTAL = {
    "command": ["/bin/sh", "-c", "sort {results} > all; cat all", "total"],
    "outputs": {"all": {"path": "all"}, "is": {"from": "stdout", "type": "text"}},
}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Embedded]:
    room = Embedded(tmp_path / "home", linger_s=0.5)
    with room.run_engine():
        yield room
    room.close()


@pytest.fixture
def apps(tmp_path: Path) -> Apps:
    (tmp_path / "apps").mkdir()
    return Apps(tmp_path / "apps")


def ended(room: Embedded, request: SubmittedRun) -> RunView:
    run = room.mine.submit(request)
    wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    return room.mine.run(run.id)


def crate_of(room: Embedded, run: RunView, folder: Path) -> dict[str, Any]:
    """Writes a run's crate; returns its metadata."""
    unpack_crate(partial(room.mine.crate, run.id), folder)
    return dict(json.loads((folder / "ro-crate-metadata.json").read_text()))


def wrong_with(folder: Path) -> list[dict[str, str]]:
    """What the community's validator says."""
    assert VALIDATOR.exists(), "'make setup-test' installs the validator"
    command = [str(VALIDATOR), cratecheck.__file__, str(folder), PROFILE, "REQUIRED"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout))


def requests(apps: Apps) -> dict[str, SubmittedRun]:
    parameters = {"i": {"type": "integer"}, "say": {"type": "string", "default": "hi"}}
    script = 'test "$1" != 3 || exit 4; echo "$2 $1" | tee out'
    outputs = {"out": {"path": "out"}, "is": {"from": "stdout", "type": "text"}}
    app = apps.make("said", script, parameters, outputs=outputs, gather={**TOTAL, "accept_failures": True})
    task = {"executors": [{"command": ["/bin/sh", "-c", "echo $$ > pid; echo a > x"]}], "outputs": [{"path": "x"}]}
    second = {
        "executors": [{"command": ["cat", "y"], "stdout": "z"}],
        "inputs": [{"url": "task://first/x", "path": "y"}],
        "outputs": [{"path": "z"}],
    }
    documents: dict[str, dict[str, Any]] = {
        "app": {
            "app": app, "over": [{"i": i} for i in range(5)], "params": {"say": "<b>it's</b> $HOME"},
            "name": "Said & done", "resources": {"ram_gb": 1, "walltime_s": 90}, "tags": {"of": "us"}, "priority": 2,
        },
        "steps": {"steps": [
            {"name": "make", "app": apps.number(), "over": [{"i": i} for i in range(4)]},
            {"name": "listing", "app": apps.listing("echo '[1, 2]'")},
            {"name": "squares", "app": apps.squares(), "items": "listing", "item": "n"},
            {"name": "one", "app": apps.twice(), "inputs": {"reads": "listing.log"}},
            {"name": "twice", "app": apps.make("again", 'cat "$1" > out', {"reads": {"type": "file"}},
             outputs={"out": {"path": "out"}}), "each": "make", "inputs": {"reads": "make.out"}},
            {"name": "total", "app": apps.total(), "gather": ["one", "squares"], "results": "rows",
             "accept_failures": True, "resources": {"cpu_cores": 1, "walltime_s": 60}},
        ]},
        "tasks": {"tasks": [{"name": "first", "task": task}, {"name": "second", "task": second, "after": ["first"]}]},
    }  # fmt: skip
    return {name: run_of(document) for name, document in documents.items()}


def results_of(room: Embedded, run: RunView) -> list[Any]:
    return [(row["state"], row["result"], [file["path"] for file in row["files"]])
            for row in room.mine.results(run.id)]  # fmt: skip


@pytest.mark.parametrize("kind", ["app", "steps", "tasks"])
def test_a_crate_is_valid_and_says_how_the_same_is_run_again(
    room: Embedded, apps: Apps, tmp_path: Path, kind: str
) -> None:
    run = ended(room, requests(apps)[kind])
    folder = tmp_path / "crate"
    metadata = crate_of(room, run, folder)
    assert cratecheck.terms_of(metadata) <= cratecheck.known_terms()
    assert wrong_with(folder) == []
    for entity in metadata["@graph"]:
        if "File" in entity["@type"] and "sha256" in entity:
            data = (folder / unquote(entity["@id"])).read_bytes()
            assert (entity["contentSize"], entity["sha256"]) == (str(len(data)), hashlib.sha256(data).hexdigest())
    lines = (folder / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == list(range(run.tasks))
    (tmp_path / "apps").rename(tmp_path / "gone")
    [command] = [line.strip() for line in (folder / "README.md").read_text().splitlines() if "packhorse run " in line]
    words = shlex.split(command)
    assert words[0] == "packhorse"
    environment = {**os.environ, "PACKHORSE_HOME": str(room.home)}
    environment.pop("PACKHORSE_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "packhorse.cli.main", *words[1:], "--json"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == (1 if run.failed else 0), done.stdout + done.stderr
    second = RunView.model_validate(json.loads(done.stdout)["run"])
    assert second.counts == run.counts and [step.name for step in second.steps] == [step.name for step in run.steps]
    if kind != "tasks":
        assert results_of(room, second) == results_of(room, run)
    crate_of(room, second, tmp_path / "second")
    asked, asked_again = (json.loads((one / "run.json").read_text()) for one in (folder, tmp_path / "second"))
    assert asked == asked_again


def test_a_crate_of_a_retry_says_so_and_is_valid(room: Embedded, apps: Apps, tmp_path: Path) -> None:
    run = ended(room, requests(apps)["app"])
    again = room.mine.retry(run.id)
    wait_for(lambda: room.mine.run(again.id).ended, 60, "the run's end")
    crate_of(room, again, tmp_path / "crate")
    assert f"packhorse retry {run.id}" in (tmp_path / "crate" / "README.md").read_text()
    assert wrong_with(tmp_path / "crate") == []


def test_a_crate_goes_to_a_new_folder_and_to_whose_run_it_is(room: Embedded, apps: Apps, tmp_path: Path) -> None:
    run = ended(room, requests(apps)["tasks"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "of").touch()
    with pytest.raises(Conflict, match="not empty"):
        crate_of(room, run, tmp_path / "full")
    with pytest.raises(NotFound):
        unpack_crate(partial(room.service.as_user(User("somebody")).crate, run.id), tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_odd_names_and_words_of_a_real_run_are_kept_and_harm_nothing(
    embedded: Embedded, apps: Apps, tmp_path: Path
) -> None:
    said = "</style><script>alert(1)</script>"
    script = """printf c > 'a b%.txt'; printf d > "$1"
printf a > "$(printf 'caf\\351')"; printf b > "$(printf 'caf\\350')";
printf '\\033[31m%s\\n\\377' "$1" >&2; test "$1" != no"""
    app = apps.make("odd", script, {"of": {}}, outputs={"all": {"path": "[ac<]*", "optional": True}})
    request = {"app": app, "name": said, "over": [{"of": "<b>"}, {"of": "no"}], "tags": {said: "\u202e"}}
    run = embedded.mine.submit(run_of(request))
    with embedded.run_engine():
        wait_for(lambda: embedded.mine.run(run.id).ended, 60, "the run's end")
    page = embedded.mine.report(run.id).decode()
    assert "".join(parsed(page).itertext()).count(said) >= 2 and "script>" not in page
    assert "\\x1b[31mno" in page
    metadata = crate_of(embedded, run, tmp_path / "crate")
    files = sorted(str(file.relative_to(tmp_path / "crate")) for file in (tmp_path / "crate").rglob("outputs/*/*/*"))
    assert [name.rpartition("/")[2] for name in files] == ["<b>", "a b%.txt", "caf\ufffd", "caf\ufffd~"]
    ids = {unquote(entity["@id"]) for entity in metadata["@graph"]}
    assert set(files) <= ids


def test_a_crate_that_there_is_no_room_for_is_told_so(room: Embedded, apps: Apps) -> None:
    class Full(io.BytesIO):
        def write(self, _data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    run = ended(room, requests(apps)["tasks"])
    with pytest.raises(NoRoom, match="no room for the crate"):
        room.mine.crate(run.id, Full())
