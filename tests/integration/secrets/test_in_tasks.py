"""Tasks of TES are given secrets of their user, on the host and in containers, and nothing and nobody else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.config import ImagesConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import TaskRun
from packhorse.domain.users import User
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.room import wait_for
from tests.fixtures.tes import TesServer
from tests.integration.images.rooms import container_site
from tests.integration.secrets.test_secrets import command_lines, where_it_is

__all__ = ["registry"]

NEEDLE = "tr0ub4dor-and-3-more"
VALUE = f"{NEEDLE}-'\"$ words"
SUM = hashlib.sha256(VALUE.encode()).hexdigest()
CERT = "-----BEGIN-----"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TesServer]:
    """Without an engine; root has secrets."""
    made = TesServer(tmp_path / "home")
    keep(made)
    yield made
    made.close()


def keep(server: TesServer) -> None:
    for name, value in {"KEY": VALUE, "CERT": CERT}.items():
        server.room.service.as_user(User("root", admin=True)).secrets.set(name, value)


def document(secrets: Any, *scripts: str, **executor: Any) -> dict[str, Any]:
    executors = [{"command": ["/bin/sh", "-c", script], **executor} for script in scripts]
    return {"executors": executors, "resources": {"backend_parameters": {"secrets": secrets}}}


def test_a_task_has_variables_and_files_and_they_are_gone_afterwards(
    server: TesServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home, go, ready = server.room.home, tmp_path / "go", tmp_path / "ready"
    scripts = (
        f'printf %s "$API_KEY" | sha256sum; touch {ready}; while [ ! -e {go} ]; do sleep 0.05; done',
        'stat -c %a private/cert.pem; wc -c < private/cert.pem; test -n "$API_KEY"; echo kept > private/a.txt',
    )
    uses = {"KEY": {"variable": "API_KEY"}, "CERT": {"file": "private/cert.pem"}}
    with server.room.run_engine():
        task = server.create({**document(json.dumps(uses), *scripts), "outputs": [{"path": "private/*"}]})
        wait_for(ready.exists, 60, "the task")
        held = where_it_is(home, NEEDLE)
        assert len(held) == 1 and "/secrets/" in held[0], "in the private folder of its allocation"
        assert not any(NEEDLE.encode() in line for line in command_lines())
        go.touch()
        ended = server.end(task)
        wait_for(lambda: not where_it_is(home, NEEDLE), 60, "that nothing is left")
    assert ended["state"] == "COMPLETE", ended
    [log] = ended["logs"]
    assert log["logs"][0]["stdout"].split()[0] == SUM
    assert log["logs"][1]["stdout"].split() == ["600", str(len(CERT))]
    assert [one["path"] for one in log["outputs"]] == ["private/a.txt"] and where_it_is(tmp_path, CERT) == []
    assert NEEDLE not in "".join(capfd.readouterr())
    for view in ("MINIMAL", "BASIC", "FULL"):
        assert NEEDLE not in json.dumps(server.get(task, view)) and CERT not in json.dumps(server.get(task, view))
    assert "secrets" in server.told("GET", "/service-info")["tesResources_backend_parameters"]


def test_each_task_of_a_run_has_its_own(server: TesServer) -> None:
    def script(name: str) -> str:
        return f'printf %s "${name}" | sha256sum; env | grep -c ^[AB]_V='

    items: list[dict[str, Any]] = [
        {"name": name, "task": document({"KEY": {"variable": name}}, script(name))} for name in ("A_V", "B_V")
    ]
    items.append({"name": "none", "task": {"executors": [{"command": ["/bin/sh", "-c", "env | grep -c ^[AB]_V="]}]}})
    mine = server.room.service.as_user(User("root", admin=True))
    with server.room.run_engine():
        run = mine.submit(TaskRun.model_validate({"tasks": items}))
        wait_for(lambda: mine.run(run.id).ended, 60, "the end of the run")
    said = [mine.log(f"{run.id}.{index}", "stdout").data.decode().split() for index in range(3)]
    assert said == [[SUM, "-", "1"], [SUM, "-", "1"], ["0"]]


def test_a_retry_has_them_as_well(server: TesServer, tmp_path: Path) -> None:
    mine, go = server.room.service.as_user(User("root", admin=True)), tmp_path / "go"
    with server.room.run_engine():
        task = server.create(document({"KEY": {"variable": "V"}}, f'test -e {go} && test -n "$V"'))
        assert server.end(task)["state"] == "EXECUTOR_ERROR"
        go.touch()
        again = mine.retry(task.partition(".")[0])
        wait_for(lambda: mine.run(again.id).ended, 60, "its end")
    assert set(mine.run(again.id).counts) == {"COMPLETE"}


def test_refusals(server: TesServer) -> None:
    others = TaskRun.model_validate({"tasks": [{"name": "a", "task": document({"KEY": {"variable": "V"}}, "true")}]})
    with pytest.raises(InvalidRequest, match="The task wants the secret 'KEY', which you have not set"):
        server.room.service.as_user(User("ben", admin=True)).submit(others)
    told = server.refused(400, document({"NOBODYS": {"variable": "V"}}, "true"))
    assert "The task wants the secret 'NOBODYS', which you have not set." in told["msg"]
    told = server.refused(400, document({"KEY": {"variable": "V"}}, "true", env={"V": "1"}))
    assert "is given as the variable 'V', which executor 1 sets itself" in told["msg"]
    told = server.refused(400, document("KEY", "true"))
    assert "is a text that is no JSON" in told["msg"] and "task 'task'" not in told["msg"]
    told = server.refused(400, document({"KEY": {"file": "/run/x/y"}}, "true"))
    assert "absolute, which needs a container" in told["msg"]


def test_one_that_was_removed_fails_its_task_by_name(server: TesServer) -> None:
    task = server.create(document({"KEY": {"variable": "V"}}, "true"))
    server.room.service.as_user(User("root", admin=True)).secrets.remove("KEY")
    with server.room.run_engine():
        ended = server.end(task)
    assert ended["state"] in ("SYSTEM_ERROR", "EXECUTOR_ERROR")
    assert any("no secret 'KEY'" in line for line in ended["logs"][0]["system_logs"])


@pytest.mark.parametrize("kind", ["podman", "charliecloud"])
def test_in_a_container(kind: str, registry: TestRegistry, tmp_path: Path) -> None:
    images = ImagesConfig(default_registry=registry.address, insecure=[registry.address])
    site = container_site(kind, tmp_path / "site")
    server = TesServer(tmp_path / "home", sites=[site], images=images)
    keep(server)
    scripts = ('printf %s "$API_KEY" | sha256sum', 'wc -c < /work/secrets/cert.pem; test -n "$API_KEY"; sleep 1')
    uses = {"KEY": {"variable": "API_KEY"}, "CERT": {"file": "/work/secrets/cert.pem"}}
    seen: list[bytes] = []
    try:
        with server.room.run_engine():
            task = server.create(document(uses, *scripts, image="packhorse/box:1"))

            def over() -> bool:
                seen.extend(command_lines())
                return server.get(task, "MINIMAL")["state"] not in ("QUEUED", "INITIALIZING", "RUNNING")

            wait_for(over, 180, "the task's end")
            ended = server.get(task)
            wait_for(lambda: not where_it_is(tmp_path, NEEDLE), 60, "that nothing is left")
    finally:
        server.close()
    assert ended["state"] == "COMPLETE", ended
    [log] = ended["logs"]
    assert log["logs"][0]["stdout"].split()[0] == SUM and log["logs"][1]["stdout"].split() == [str(len(CERT))]
    assert any(kind[:6].encode() in line or b"ch-run" in line for line in seen), "its command line was looked at"
    assert not any(NEEDLE.encode() in line for line in seen)
    assert where_it_is(tmp_path, CERT) == [] == where_it_is(tmp_path, NEEDLE)
