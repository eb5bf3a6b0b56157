"""How commands become containers: tokens, what a container sees, what the agent is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.app import Session
from packhorse.domain.resources import Launch, Resources
from packhorse.engine.containers import ReadyImage, Tokens, container, input_binds, must_copy, why_no_container
from packhorse.sites.images import image_folder
from packhorse.sites.runtimes.base import RuntimeOptions
from packhorse.sites.runtimes.registry import RUNTIMES, runtime
from packhorse.sites.site import Site, local_site

DIGEST = "sha256:" + "ab" * 32
IMAGE = ReadyImage(
    "registry.example/lab/tool:1", DIGEST, {"config": {"Env": ["PATH=/opt/bin:/bin"], "Entrypoint": ["/bin/entry"]}}
)
RANKS = Resources(nodes=2, cpu_cores=3, ranks_per_node=3, launch=Launch.RANKS)
WITH_IMAGES = sorted(set(RUNTIMES) - {"none"})


def site(name: str, *binds: str, **options: Any) -> Site:
    made = local_site("/site")
    made.runtime = runtime(name, RuntimeOptions(**options))
    made.binds = binds
    return made


def composed(name: str, session: Session = Session.NONE, **how: Any) -> dict[str, Any]:
    return container(
        site(name, "/data"), IMAGE, {"THREADS": "2"}, Resources(), ["/site/apps/a"], session=session, **how
    )


@pytest.mark.parametrize("session", list(Session))
@pytest.mark.parametrize("name", WITH_IMAGES)
def test_only_tokens_that_occur_are_told(name: str, session: Session) -> None:
    boxed = composed(name, session)
    text = json.dumps({key: value for key, value in boxed.items() if key != "tokens"})
    assert boxed["tokens"]
    assert all(token in text for token in boxed["tokens"].values())
    assert ("packhorse-" in text.replace("packhorse:", "")) == any(
        token.strip("/") in text for token in boxed["tokens"].values()
    )
    assert boxed["head"][-1] != "command", "the task's own command follows"


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_the_same_content_has_the_same_words_and_other_content_has_others(name: str) -> None:
    assert composed(name) == composed(name)
    assert composed(name, workdir="sub")["tokens"]["work"] == composed(name)["tokens"]["work"]
    assert composed(name)["tokens"] != composed(name, session=Session.SHELL)["tokens"]


@given(st.dictionaries(st.text("abc", min_size=1), st.text()))
def test_what_users_give_cannot_hold_a_token(env: dict[str, str]) -> None:
    tokens = Tokens.for_content(env)
    again = Tokens.for_content({**env, "x": tokens.work})
    assert again.work not in json.dumps({**env, "x": tokens.work})


def test_a_container_of_one_task_sees_its_folders_and_inputs_only() -> None:
    head = composed("podman")["head"]
    sources = [word.split("source=")[1].split(",")[0] for word in head if word.startswith("--mount=")]
    assert sources == ["/site/apps/a", composed("podman")["tokens"]["work"]]
    assert composed("podman")["tokens"]["binds"] in head
    [option] = input_binds(site("podman"), Session.NONE, ["/reads.fq"])
    assert option == "--mount=type=bind,source=/reads.fq,target=/reads.fq,readonly"


def test_a_container_of_many_tasks_sees_the_root_and_writes_only_where_tasks_work() -> None:
    boxed = composed("podman", Session.SHELL)
    binds = {
        word.split("source=")[1].split(",")[0]: word.endswith(",readonly")
        for word in boxed["head"]
        if word.startswith("--mount=")
    }
    assert binds == {"/site": True, "/data": True, boxed["tokens"]["work"]: False, boxed["tokens"]["capture"]: False}
    assert input_binds(site("podman"), Session.SHELL, ["/reads.fq"]) == []
    assert boxed["binds_capture"] == "/packhorse"


def test_where_mount_points_must_exist_all_tasks_see_the_root() -> None:
    binds = [word for word in composed("charliecloud")["head"] if word.startswith("--bind=")]
    assert binds == ["--bind=/site:/site", "--bind=/data:/data"]


def test_inputs_that_no_container_sees_are_copied() -> None:
    assert must_copy(site("charliecloud", "/data"), Session.NONE, "/home/me/reads.fq")
    assert not must_copy(site("charliecloud", "/data"), Session.NONE, "/data/reads.fq")
    assert not must_copy(site("podman"), Session.NONE, "/home/me/reads.fq")
    assert must_copy(site("podman"), Session.WORKER, "/home/me/reads.fq")


def test_a_node_loads_what_its_runtime_keeps_by_itself() -> None:
    attach = composed("podman")["attach"]
    assert attach["ready"][-1] == f"localhost/packhorse:{'ab' * 32}"
    assert any(
        word == f"oci:{image_folder(site('podman'), DIGEST)}/oci:image" for command in attach["run"] for word in command
    )
    assert composed("charliecloud")["attach"] == {"ready": None, "run": [], "mount": None}
    boxed = container(site("charliecloud", squashfs=True), IMAGE, {}, Resources(), [])
    assert boxed["attach"]["mount"][:2] == ["squashfuse", "-f"]
    assert boxed["attach"]["mount"][-1] == boxed["tokens"]["mounted"]


@pytest.mark.parametrize(("name", "how", "why"), [
    ("none", {}, "runs no containers"),
    ("podman", {"resources": Resources(nodes=2)}, "spans 2 nodes"),
    ("podman", {"resources": RANKS}, "cannot be started by a launcher"),
    ("charliecloud", {"resources": RANKS}, None),
    ("shifter", {"network": False}, "cannot take the network away"),
    ("charliecloud", {"resources": Resources(gpus=1)}, "GPU"),
    ("podman", {}, None),
])  # fmt: skip
def test_what_cannot_run_in_a_container_is_known_beforehand(name: str, how: dict[str, Any], why: str | None) -> None:
    said = why_no_container(site(name), "lab/tool:1", how.pop("resources", Resources()), env={}, **how)
    assert said is None if why is None else why in (said or "")


def test_a_launcher_starts_a_container_for_each_rank() -> None:
    head = container(site("charliecloud"), IMAGE, {}, RANKS, [])["head"]
    assert head[:4] == ["mpirun", "-np", "6", "env"] and "ch-run" in head
