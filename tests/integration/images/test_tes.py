"""TES tasks of ordinary users: in images, at sites that keep containers to what they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packhorse.domain.errors import InvalidRequest, NotAllowed
from packhorse.domain.states import TERMINAL
from packhorse.domain.tes import View
from packhorse.domain.users import User
from packhorse.engine.containers import why_not_isolated
from packhorse.engine.requests.service import UserService
from tests.fixtures.registry import registry
from tests.fixtures.room import wait_for

from .rooms import Room, room

__all__ = ["registry", "room"]

IMAGE = "packhorse/box:1"


def alice(room: Room) -> UserService:
    return room.embedded.service.as_user(User("alice"))


def end(user: UserService, task: str) -> dict[str, Any]:
    wait_for(lambda: user.tes.get(task, View.MINIMAL)["state"] in TERMINAL, 90, "the task's end")
    return user.tes.get(task, View.FULL)


def test_a_user_s_commands_run_where_nothing_of_others_is_seen(room: Room) -> None:
    """They are refused at once where containers see the site's root, or what others left there."""
    user, site = alice(room), room.embedded.sites[0]
    home = room.embedded.home
    looking = f"ls {site.root}/spool/*/journal {site.root}/runs {site.root}/agents {home} {home}/packhorse.db; exit 0"
    document = {
        "executors": [
            {"image": IMAGE, "command": ["sh", "-c", looking]},
            {"image": IMAGE, "command": ["sh", "-c", "cat /data/in.txt > /data/out/x"]},
        ],
        "inputs": [{"path": "/data/in.txt", "content": "mine\n"}],
        "outputs": [{"path": "/data/out/x"}],
    }
    if why := why_not_isolated(site):
        assert "see what belongs to others" in why
        try:
            user.tes.create(document)
        except InvalidRequest as refused:
            assert why in str(refused)
        else:
            raise AssertionError("it was accepted")
        return
    done = end(user, user.tes.create(document))
    assert (done["state"], done["logs"][0]["logs"][0]["stdout"]) == ("COMPLETE", ""), done["logs"]
    said = done["logs"][0]["logs"][0]["stderr"]
    assert said.count("No such file") == 5, said
    assert done["logs"][0]["outputs"][0]["size_bytes"] == "5"


def test_a_command_without_an_image_is_refused_wherever(room: Room, tmp_path: Path) -> None:
    mixed = {"executors": [{"image": IMAGE, "command": ["true"]}, {"command": ["cat", "/etc/passwd"]}]}
    for document in (mixed, {"executors": [{"image": "none", "command": ["true"]}]}):
        try:
            alice(room).tes.create(document)
        except NotAllowed as refused:
            assert "need an image" in str(refused)
        else:
            raise AssertionError("it was accepted")
