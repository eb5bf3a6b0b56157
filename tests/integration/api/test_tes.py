"""GA4GH TES over HTTP: tasks that really run, and how they are shown, listed, canceled and refused; on either
database.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from packhorse.identity.tokens import Tokens
from packhorse.store import listing
from tests.fixtures.room import wait_for
from tests.fixtures.tes import TRUE, TesServer


@pytest.fixture
def server(home: Path, database_url: str) -> Iterator[TesServer]:
    """Without an engine."""
    made = TesServer(home, database_url=database_url)
    yield made
    made.close()


def sh(command: str, **more: Any) -> dict[str, Any]:
    return {"command": ["/bin/sh", "-c", command], **more}


def test_tasks_run_and_tell_of_each_executor(server: TesServer) -> None:
    """In order, sharing a volume; one whose failure is ignored, one whose output goes into a file, one that fails."""
    document = {
        "name": "several",
        "description": "of all kinds",
        "tags": {"project": "x", "empty": ""},
        "inputs": [{"path": "words.txt", "content": "one two\n"}],
        "outputs": [{"path": "count.txt"}, {"path": "vol/*.log"}],
        "volumes": ["vol"],
        "executors": [
            sh("echo first; echo oops >&2; cat > vol/a.log; exit 3", stdin="words.txt", ignore_error=True),
            sh("wc -w", stdin="vol/a.log", stdout="count.txt"),
            sh("cat count.txt; cp count.txt vol/b.log"),
        ],
    }
    failing = {"name": "failing", "executors": [sh("echo one"), sh("echo two >&2; exit 7"), sh("echo three")]}
    with server.room.run_engine():
        task, failed = server.create(document), server.create(failing)
        done, broken = server.end(task), server.end(failed)
    assert (done["state"], done["id"], done["tags"]) == ("COMPLETE", task, {"project": "x", "empty": ""})
    [log] = done["logs"]
    logs = log["logs"]
    assert [one["exit_code"] for one in logs] == [3, 0, 0]
    assert [one["stdout"].split() for one in logs] == [["first"], ["2"], ["2"]]
    assert [one["stderr"] for one in logs] == ["oops\n", "", ""]
    times = [datetime.fromisoformat(one[name]) for one in logs for name in ("start_time", "end_time")]
    assert times == sorted(times) and all(time.tzinfo for time in times)
    assert sorted((one["path"], one["size_bytes"]) for one in log["outputs"]) == [
        ("count.txt", "2"), ("vol/a.log", "8"), ("vol/b.log", "2")
    ]  # fmt: skip
    assert (broken["state"], [one["exit_code"] for one in broken["logs"][0]["logs"]]) == ("EXECUTOR_ERROR", [0, 7])
    assert [one["stderr"] for one in broken["logs"][0]["logs"]] == ["", "two\n"]
    assert "exit code 7" in broken["logs"][0]["system_logs"][0]
    basic = server.get(task, "BASIC")
    assert "content" not in basic["inputs"][0] and basic["inputs"][0]["path"] == "words.txt"
    assert not {"stdout", "stderr"} & set(basic["logs"][0]["logs"][0]) and "system_logs" not in basic["logs"][0]
    assert basic["executors"] == done["executors"]
    assert server.get(task, "MINIMAL") == {"id": task, "state": "COMPLETE"}
    assert server.told("GET", f"/tasks/{task}") == {"id": task, "state": "COMPLETE"}
    assert server.told("GET", "/tasks", params={"view": "FULL", "name_prefix": "sev"})["tasks"] == [done]
    assert server.told("GET", "/tasks", params={"view": "BASIC", "name_prefix": "sev"})["tasks"] == [basic]


def test_a_task_that_runs_shows_when_it_began_and_can_be_canceled(server: TesServer) -> None:
    with server.room.run_engine():
        task = server.create({"executors": [sh("sleep 300")]})
        wait_for(lambda: server.get(task, "MINIMAL")["state"] == "RUNNING", 60, "its start")
        assert server.get(task, "BASIC")["logs"][0]["start_time"]
        assert server.told("POST", f"/tasks/{task}:cancel") == {}
        assert server.end(task)["state"] == "CANCELED"
    assert server.told("POST", f"/tasks/{task}:cancel") == {}, "one that has ended stays as it is"
    waiting = server.create(TRUE)
    server.told("POST", f"/tasks/{waiting}:cancel")
    assert server.get(waiting)["state"] == "CANCELED"
    assert server.get(waiting)["logs"][0]["system_logs"] == ["Canceled by root."]


def test_lists_are_filtered_and_paged(server: TesServer) -> None:
    made = [
        server.create({**TRUE, "name": name, "tags": tags})
        for name, tags in [
            ("align-1", {"p": "x", "kind": "a"}),
            ("align-2", {"p": "y"}),
            ("sort-1", {"p": "x", "empty": ""}),
            ("Ärger-1", {}),
            ("", {"p": ""}),
        ]
    ]
    server.told("POST", f"/tasks/{made[1]}:cancel")

    def names(**params: Any) -> list[int]:
        ids = server.all_ids(**params)
        assert sorted(server.all_ids(**params, page_size=1)) == sorted(ids), "pages of one hold the same"
        return sorted(made.index(task) for task in ids)

    assert server.all_ids() == made[::-1], "newest first"
    assert names(name_prefix="align") == [0, 1]
    assert names(name_prefix="align-1") == [0]
    assert names(name_prefix="Ä") == [3]
    assert names(name_prefix="%") == names(name_prefix="aligm") == names(name_prefix="align-11") == []
    assert names(state="CANCELED") == [1]
    assert names(state="QUEUED") == [0, 2, 3, 4]
    assert names(state="PAUSED") == names(state="UNKNOWN") == []
    assert names(tag_key="p", tag_value="x") == [0, 2]
    assert names(tag_key="p") == [0, 1, 2, 4]
    assert names(tag_key="p", tag_value="") == [0, 1, 2, 4]
    assert names(tag_key=["p", "kind"], tag_value=["x", "a"]) == [0]
    assert names(tag_key=["p", "kind"], tag_value=["x"]) == [0]
    assert names(tag_key=["empty", "p"], tag_value=["", "x"]) == [2]
    assert names(tag_key="x") == []
    assert names(tag_key="p", tag_value="x", state="QUEUED", name_prefix="sort") == [2]
    assert names(name_prefix="align", state="QUEUED") == [0]
    page = server.told("GET", "/tasks", params={"view": "BASIC", "page_size": 2})
    assert [task["name"] for task in page["tasks"]] == ["", "Ärger-1"]


def test_a_page_may_be_shorter_than_asked_for_and_nothing_is_left_out(
    server: TesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from packhorse.engine.requests import tes
    from packhorse.store import listing

    made = [server.create({**TRUE, "name": f"n{number % 3}", "tags": {"a": str(number % 2)}}) for number in range(20)]
    monkeypatch.setattr(listing, "_LOOKED_AT", 4)
    monkeypatch.setattr(listing, "_AT_ONCE", 3)
    wanted = [task for number, task in enumerate(made) if number % 3 == 1 and number % 2]
    for page_size in (1, 2, 256):
        params = {"name_prefix": "n1", "tag_key": "a", "tag_value": "1", "page_size": page_size}
        assert sorted(server.all_ids(**params)) == sorted(wanted)
        assert sorted(server.all_ids(name_prefix="n1", state="QUEUED", page_size=page_size)) == sorted(made[1::3])
    monkeypatch.setattr(tes, "_MOST_CHARACTERS", 300)
    assert server.all_ids(view="BASIC") == made[::-1]
    assert server.all_ids(view="FULL", name_prefix="n") == [*made[::3], *made[1::3], *made[2::3]]


def test_users_see_their_own_and_an_admin_all(server: TesServer) -> None:
    from packhorse.domain.tes import tes_run
    from packhorse.domain.users import User

    mine = server.create({**TRUE, "name": "a", "tags": {"k": "v"}})
    theirs = []
    for user in ("alice", "bob"):  # with commands of their own they need an image; an admin of that name does not
        run = server.room.service.as_user(User(user, admin=True)).submit(
            tes_run({**TRUE, "name": "a", "tags": {"k": "v"}})
        )
        theirs.append(f"{run.id}.0")
    for params in ({}, {"name_prefix": "a"}, {"state": "QUEUED"}, {"tag_key": "k"}, {"tag_key": "k", "tag_value": "v"}):
        assert server.all_ids("alice", **params) == [theirs[0]]
        assert server.all_ids("bob", page_size=1, **params) == [theirs[1]]
        assert sorted(server.all_ids("root", page_size=1, **params)) == sorted([mine, *theirs])
    for method, path in (("GET", f"/tasks/{mine}"), ("POST", f"/tasks/{mine}:cancel")):
        answer, none = (
            server.ask(method, path, "alice"),
            server.ask(method, path.replace(mine, f"{mine[:-3]}zz.0"), "alice"),
        )
        assert (answer.status_code, none.status_code) == (404, 404)
    page = server.told("GET", "/tasks", "root", params={"page_size": 1})
    stolen = server.all_ids("bob", page_token=page["next_page_token"])
    assert set(stolen) <= {theirs[1]}, "a token gives nobody what is not theirs"


def test_an_admin_pages_through_more_owners_than_are_asked_for_at_once(
    server: TesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_SOME_OWNERS", listing._SOME_OWNERS.limit(None).limit(2))
    monkeypatch.setattr(listing, "_OWNERS_AT_ONCE", 2)
    tokens = Tokens(server.room.database)
    server.tokens |= {name: tokens.add(name, admin=True) for name in ("ana", "ben", "cem", "dan")}
    made = {user: [server.create(TRUE, user) for _ in range(2)][::-1] for user in ("root", "ana", "ben", "cem", "dan")}
    expected = [task for user in sorted(made) for task in made[user]]
    for size in (1, 3, 100):
        assert server.all_ids(page_size=size) == expected
        assert server.all_ids(page_size=size, state="QUEUED", name_prefix="x") == []
    forged = base64.urlsafe_b64encode(b'["aaa", "", 1]').decode()
    listed = server.told("GET", "/tasks", params={"page_token": forged})["tasks"]
    assert [task["id"] for task in listed] == expected


def test_runs_of_other_doors_are_shown_by_id_and_not_listed(server: TesServer) -> None:
    from packhorse.domain.submitted import task_run

    run = server.room.mine.submit(task_run([TRUE, TRUE], {"tags": {"k": "v"}}))
    assert server.get(f"{run.id}.1")["state"] == "QUEUED"
    assert server.all_ids() == server.all_ids(tag_key="k") == []


def test_own_commands_need_an_image_that_isolates_them(server: TesServer) -> None:
    body = server.refused(403, TRUE, "alice")
    assert "need an image" in body["msg"] and body["error"]["code"] == "not_allowed"
    with_image = {"executors": [{"image": "debian:12", "command": ["true"]}]}
    assert "runs no containers" in server.refused(400, with_image, "alice")["msg"]
    server.refused(403, {"executors": [{"image": "none", "command": ["true"]}]}, "alice")
    assert server.create({"executors": [{"image": "none", "command": ["true"]}]})


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "expected a TES task"),
        ({}, "'executors'"),
        ({"executors": []}, "executors"),
        ({"executors": [{"image": "x"}]}, "executors[0].command"),
        ({**TRUE, "colour": "blue"}, "colour"),
        ({**TRUE, "tasks": []}, "tasks"),
        ({**TRUE, "name": "a\0"}, "NUL"),
        ({**TRUE, "name": 7}, "name"),
        ({**TRUE, "tags": {"a": 1}}, "tags"),
        ({**TRUE, "tags": {"a": "\ud800"}}, "surrogate"),
        ({**TRUE, "inputs": [{"path": "x"}]}, "neither 'url' nor 'content'"),
        ({**TRUE, "inputs": [{"path": "../x", "content": ""}]}, "'..'"),
        ({**TRUE, "inputs": [{"path": "/x/y", "content": ""}]}, "absolute"),
        ({**TRUE, "inputs": [{"path": "x", "url": "gs://bucket/x"}]}, "scheme"),
        ({**TRUE, "outputs": [{"path": "x", "url": "http://example.org/x"}]}, "cannot be delivered"),
        ({**TRUE, "outputs": [{"path": "*.txt", "url": "s3://bucket/x"}]}, "path_prefix"),
        ({**TRUE, "resources": {"cpu_cores": -1}}, "cpu_cores"),
        ({**TRUE, "resources": {"ram_gb": 1e12}}, "ram_gb"),
        ({**TRUE, "resources": {"cpu_cores": 90_000}}, "no site can run it"),
        ({**TRUE, "resources": {"backend_parameters": {"nodes": "many"}}}, "nodes"),
        ({**TRUE, "resources": {"backend_parameters": {"VmSize": "x"}, "backend_parameters_strict": True}}, "VmSize"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_by_its_place(server: TesServer, document: Any, where: str) -> None:
    body = server.refused(400, document)
    assert where in body["msg"] and "task 'task'" not in body["msg"], body
    assert "Traceback" not in body["msg"]
    assert server.all_ids() == []


def test_backend_parameters_that_are_not_known_are_left_out_and_told(server: TesServer) -> None:
    given = {"VmSize": "Standard", "WallTime_S": "60"}
    task = server.create({**TRUE, "resources": {"cpu_cores": 0, "backend_parameters": given}})
    shown = server.get(task)
    assert shown["resources"] == {"backend_parameters": {"walltime_s": "60"}}
    assert "'VmSize' is not known here" in shown["logs"][0]["system_logs"][0]


def test_what_the_server_says_of_a_task_is_not_taken_from_a_client(server: TesServer) -> None:
    first = server.get(server.create({**TRUE, "name": "again"}))
    again = server.create({**first, "state": "UNKNOWN", "logs": [{"logs": [], "outputs": []}]})
    assert again != first["id"]
    assert {**server.get(again), "id": "", "creation_time": ""} == {**first, "id": "", "creation_time": ""}


def test_a_content_as_large_as_the_specification_asks_for(server: TesServer) -> None:
    contents = ["\n" * (128 << 10), "é" * (64 << 10)]
    task = server.create({**TRUE, "inputs": [{"path": f"{i}", "content": text} for i, text in enumerate(contents)]})
    assert [item["content"] for item in server.get(task)["inputs"]] == contents


def test_errors_have_the_fields_of_ga4gh(server: TesServer) -> None:
    for method, path, status, options in [
        ("GET", "/tasks/nope", 404, {}),
        ("GET", "/tasks/r-0123456789abcdef.0", 404, {}),
        ("POST", "/tasks/nope:cancel", 404, {}),
        ("GET", "/nothing", 404, {}),
        ("DELETE", "/tasks", 405, {}),
        ("GET", "/tasks", 401, {"user": None}),
        ("GET", "/service-info", 401, {"user": None}),
        ("POST", "/tasks", 400, {"content": "{"}),
        ("POST", "/tasks", 400, {"content": "[" * 100_000}),
        ("POST", "/tasks", 413, {"headers": {"Content-Length": "100000000000"}, "content": "{}"}),
        ("GET", "/tasks", 400, {"params": {"page_size": 2048}}),
        ("GET", "/tasks", 400, {"params": {"page_size": 0}}),
        ("GET", "/tasks", 400, {"params": {"page_token": "x" * 40}}),
        ("GET", "/tasks", 400, {"params": {"page_token": "WzFd"}}),
        ("GET", "/tasks", 400, {"params": {"state": "SLEEPING"}}),
        ("GET", "/tasks", 400, {"params": {"view": "ALL"}}),
        ("GET", "/tasks", 400, {"params": {"name_prefix": "a\0"}}),
        ("GET", "/tasks", 400, {"params": {"tag_value": "x"}}),
    ]:
        answer = server.ask(method, path, **options)
        assert answer.status_code == status, (path, options, answer.text)
        body = answer.json()
        assert (body["status_code"], type(body["msg"])) == (status, str)
        assert body["error"]["message"] in body["msg"]


def test_cores_are_whole_numbers_where_they_are(server: TesServer) -> None:
    """As TES has them; clients of Toil and Snakemake fail on 1.0."""
    for cores, shown in ((2, 2), (2.0, 2), (0.5, 0.5)):
        found = server.get(server.create({**TRUE, "resources": {"cpu_cores": cores}}))["resources"]["cpu_cores"]
        assert (found, type(found)) == (shown, type(shown))


def test_a_task_is_shown_in_each_view_and_no_other(server: TesServer) -> None:
    task = server.create(TRUE)
    assert server.told("GET", f"/tasks/{task}") == {"id": task, "state": "QUEUED"}
    assert server.told("GET", f"/tasks/{task}", params={"view": "MINIMAL"}) == {"id": task, "state": "QUEUED"}
    for view in ("BASIC", "FULL"):
        assert server.told("GET", f"/tasks/{task}", params={"view": view})["executors"]
    for odd in ("", "minimal", "x"):
        answer = server.ask("GET", f"/tasks/{task}", params={"view": odd})
        told = f"the query parameter 'view' expected 'MINIMAL', 'BASIC' or 'FULL' (found: '{odd}')."
        [problem] = answer.json()["error"]["problems"]
        assert (answer.status_code, f"{problem['where']} {problem['what']}") == (400, told)
    assert server.ask("HEAD", f"/tasks/{task}").status_code == 200
    assert server.ask("GET", f"/tasks/{task}0000000").status_code == 404
    assert server.told("GET", "/tasks/service-info")["name"] == "Packhorse"


def test_a_token_may_be_a_password(server: TesServer) -> None:
    """Clients that know no other way, such as Galaxy, take it from http://USER:TOKEN@HOST."""
    for password, status in ((server.tokens["alice"], 200), ("wrong", 401), ("", 401)):
        given = base64.b64encode(f"anybody:{password}".encode()).decode()
        answer = server.ask("GET", "/tasks", None, headers={"Authorization": f"Basic {given}"})
        assert answer.status_code == status
    for odd in ("Basic", "Basic ", "Basic =", "Basic é", "Basic /w=="):
        assert server.ask("GET", "/tasks", None, headers={"Authorization": odd.encode()}).status_code == 401


def test_metacharacters_are_text(server: TesServer) -> None:
    odd = "'; DROP TABLE tasks; -- $(id) `id` %_\\"
    task = server.create({**TRUE, "name": odd, "description": odd, "tags": {odd: odd}})
    shown = server.get(task)
    assert (shown["name"], shown["description"], shown["tags"]) == (odd, odd, {odd: odd})
    assert server.all_ids(name_prefix=odd) == server.all_ids(tag_key=odd, tag_value=odd) == [task]


def test_a_batch_is_answered_by_position(server: TesServer) -> None:
    documents = [{**TRUE, "name": "a"}, {}, {**TRUE, "name": "b\0"}, 7, {**TRUE, "name": "c"}]
    told = server.told("POST", "/tasks:batch", json={"tasks": documents})["tasks"]
    assert ["id" in one for one in told] == [True, False, False, False, True]
    assert all(one["error"]["message"].endswith(".") for one in told if "error" in one)
    assert server.all_ids() == [told[4]["id"], told[0]["id"]]
    for body in ([], {"tasks": {}}, {"tasks": [], "more": 1}):
        assert server.ask("POST", "/tasks:batch", json=body).status_code == 400
    assert server.told("POST", "/tasks:batch", json={"tasks": []}) == {"tasks": []}


def test_the_service_tells_about_itself(home: Path) -> None:
    from packhorse.domain.config import DataConfig

    made = TesServer(home, data_roots=[home.parent], data=DataConfig(urls=["s3://in/"], output_urls=["s3://out/"]))
    info = made.told("GET", "/service-info", "alice")
    assert (info["type"]["group"], info["type"]["artifact"], info["type"]["version"]) == ("org.ga4gh", "tes", "1.1.0")
    assert info["storage"] == [f"file://{home.parent.resolve()}", "s3://in/", "s3://out/"]
    assert "walltime_s" in info["tesResources_backend_parameters"]
    assert {"id", "name", "organization", "version"} <= set(info)
    old = made.told("GET", "/tasks/service-info", "alice")
    assert old == {"name": "Packhorse", "doc": "GA4GH TES 1.1.0", "storage": info["storage"]}
    made.close()


def test_a_program_that_is_not_there_and_an_output_that_is_missing(server: TesServer) -> None:
    with server.room.run_engine():
        absent = server.create({"executors": [{"command": ["/no/such/program"]}]})
        missing = server.create({**TRUE, "outputs": [{"path": "x.txt"}]})
        ended = [server.end(task) for task in (absent, missing)]
    assert [one["state"] for one in ended] == ["EXECUTOR_ERROR"] * 2
    assert [one["logs"][0]["logs"][0]["exit_code"] for one in ended] == [127, 0]
    assert [word in one["logs"][0]["system_logs"][0] for one, word in zip(ended, ("/no/such", "x.txt"))] == [True, True]


def test_outputs_may_have_paths_for_urls_as_workflow_engines_write_them(server: TesServer, tmp_path: Path) -> None:
    target = tmp_path / "kept here" / "x.txt"
    document = {"outputs": [{"path": "x.txt", "url": str(target)}], "executors": [sh("echo x > x.txt")]}
    with server.room.run_engine():
        done = server.end(server.create(document))
    assert (done["state"], target.read_text()) == ("COMPLETE", "x\n")
    assert done["logs"][0]["outputs"] == [
        {"url": f"file://{tmp_path}/kept%20here/x.txt", "path": "x.txt", "size_bytes": "2"}
    ]
