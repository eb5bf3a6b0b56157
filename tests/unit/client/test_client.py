"""The client's own decisions: which token goes where, and what a wait bears."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.client.client import find_token
from packhorse.domain.errors import InvalidRequest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PACKHORSE_TOKEN", "PACKHORSE_TOKEN_FILE", "PACKHORSE_URL", "PACKHORSE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PACKHORSE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "token").write_text("ph_owner\n")
    return tmp_path


@pytest.mark.parametrize("url", ["http://127.0.0.1:8765", "http://localhost:8765", "http://[::1]:8765"])
def test_the_owners_token_goes_to_a_server_on_this_machine(url: str) -> None:
    assert find_token(url) == "ph_owner"


@pytest.mark.parametrize(
    "url", ["https://hpc.example.org", "http://192.0.2.1:8765", "http://127.0.0.1.example.org", "http://127.0.0.1@example.org", "nonsense"]
)
def test_the_owners_token_never_leaves_this_machine(url: str) -> None:
    assert find_token(url) is None


def test_a_token_that_was_named_goes_where_the_user_says(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_home / "mine").write_text("ph_mine\n")
    monkeypatch.setenv("PACKHORSE_TOKEN_FILE", str(own_home / "mine"))
    assert find_token("https://hpc.example.org") == "ph_mine"
    monkeypatch.setenv("PACKHORSE_TOKEN", "ph_env")
    assert find_token("https://hpc.example.org") == "ph_env"
    assert find_token("https://hpc.example.org", "ph_given") == "ph_given"


def test_a_token_file_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(InvalidRequest, match="/nowhere/token"):
        find_token("https://hpc.example.org")
