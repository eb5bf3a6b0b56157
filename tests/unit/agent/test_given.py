"""What a task is given that is gone afterwards."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from packhorse.agent.outcome import Verdict
from packhorse.agent.slot.given import give, take_back
from packhorse.agent.slot.result import read_result_file

SECRET = "a secret"


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "work").mkdir()
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"token": SECRET, "env": {"URL": "http://x/{task}", "KEY": "k"}}))
    secrets = {"file": str(kept), "token": "work/token"}
    return {"id": 17, "secrets": secrets, "shared": {"path": str(tmp_path / "a" / "shared"), "is_own": True}}


def test_a_token_is_its_owners_and_gone_afterwards(task: dict[str, Any], tmp_path: Path) -> None:
    token = tmp_path / "work" / "token"
    for _ in range(2):  # what an earlier attempt left is replaced
        assert give(str(tmp_path), task) == {"URL": "http://x/17", "KEY": "k"}
        assert token.read_text() == SECRET and stat.S_IMODE(token.stat().st_mode) == 0o600
    shared = Path(task["shared"]["path"])
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    (shared / "file").touch()
    take_back(str(tmp_path), task)
    assert not token.exists() and not shared.exists()
    take_back(str(tmp_path), task)


def test_what_belongs_to_another_task_stays(task: dict[str, Any], tmp_path: Path) -> None:
    task["shared"]["is_own"] = False
    give(str(tmp_path), task)
    take_back(str(tmp_path), task)
    assert Path(task["shared"]["path"]).is_dir()


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"token": "a secret", "env": []}', None])
def test_secrets_that_cannot_be_read_are_told_without_them(
    kept: str | None, task: dict[str, Any], tmp_path: Path
) -> None:
    file = Path(task["secrets"]["file"])
    file.unlink() if kept is None else file.write_text(kept)
    if kept and "env" in kept:
        assert give(str(tmp_path), task) == {}
        return
    with pytest.raises(Verdict) as verdict:
        give(str(tmp_path), task)
    assert verdict.value.why == "inputs" and SECRET not in verdict.value.msg


def test_a_token_does_not_leave_the_work_folder(task: dict[str, Any], tmp_path: Path) -> None:
    task["secrets"]["token"] = "../token"
    with pytest.raises(Verdict):
        give(str(tmp_path / "work"), task)
    assert not (tmp_path / "token").exists()


def test_a_result_file_is_read_whatever_became_of_the_task(tmp_path: Path) -> None:
    def read(ended_well: bool = True, most: int = 100) -> Any:
        return read_result_file(str(tmp_path), "out.json", most, ended_well)

    assert read() is None
    (tmp_path / "out.json").write_text('{"a": 1}')
    assert read() == read(False) == {"a": 1}
    for text in ("{", "NaN", "[" * 200):
        (tmp_path / "out.json").write_text(text)
        assert read(False, 1000) is None
        with pytest.raises(Verdict):
            read(True, 1000)
    (tmp_path / "out.json").write_text('"' + "x" * 200 + '"')
    with pytest.raises(Verdict, match="at most 100"):
        read()
    (tmp_path / "out.json").unlink()
    (tmp_path / "out.json").symlink_to("/etc/hostname")
    assert read() is None, "a link is not followed"
