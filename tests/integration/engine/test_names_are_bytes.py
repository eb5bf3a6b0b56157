"""Names of files are bytes from end to end: in an app's folder, a table, a command, a kept output and a download.

And odd results, run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.client.tables import read_table
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import AppRun
from packhorse.domain.text import kept_json
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import wait_for

NAME = b"caf\xe9.txt"
SHOWN = "caf\ufffd.txt"
APP = """\
packhorse: 1
name: bytes
version: '1'
command: [sh, -c, 'mkdir -p out && cp "$1" out/ && cat "$1" "$2"/caf*.txt && echo "$1" >&2', sh, '{file}', '{app}']
parameters: {file: {type: file}}
outputs: {value: {from: stdout, type: text}, out: {path: out}}
gather: {command: [cp, '{results}', all.jsonl], outputs: {all: {path: all.jsonl}}}
"""
RESULT = "packhorse: 1\nname: r\nversion: '1'\ncommand: [printf, '%s', '{text}']\nparameters: {text: {}}\n"


def run(room: Embedded, **asked: Any) -> str:
    rows = asked.pop("rows", None)
    run_id = room.mine.submit(AppRun(**asked), rows).id
    with room.run_engine():
        wait_for(lambda: room.mine.run(run_id).ended, what="the end of the run")
    return run_id


def put(folder: Path, content: bytes) -> str:
    """A file of that name in ``folder``; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = os.fsencode(folder) + b"/" + NAME
    with open(path, "wb") as file:
        file.write(content)
    return os.fsdecode(path)


def test_a_latin_1_name_is_carried_from_a_table_to_a_download(embedded: Embedded, home: Path, tmp_path: Path) -> None:
    app, data = tmp_path / "app", tmp_path / "data"
    put(app, b"of the app")
    (app / "app.yaml").write_text(APP)
    path = put(data, b"hello, ")
    table = tmp_path / "table.csv"
    table.write_bytes(b"file\n" + os.fsencode(path) + b"\n")
    lines = tmp_path / "table.jsonl"
    lines.write_bytes(b'{"file": "' + os.fsencode(path) + b'"}\n')
    assert list(read_table(table)) == list(read_table(lines)) == [{"file": path}]
    run_id = run(embedded, app=str(app), rows=read_table(table))
    (row,) = embedded.mine.results(run_id)
    assert (row["state"], row["result"], row["reason"]) == ("COMPLETE", "hello, of the app", None)
    assert row["params"] == {"file": f"{data}/{SHOWN}"}
    assert os.listdir(os.fsencode(home / "site" / "runs" / run_id / "0" / "out")) == [NAME]
    gathered = embedded.mine.gathered(run_id)["all"].read_bytes()
    assert json.loads(gathered.decode("ascii"))["params"] == row["params"]
    tokens = Tokens(embedded.database)
    http = TestClient(
        create_app(embedded.service, tokens), headers={"Authorization": f"Bearer {tokens.add('root', admin=True)}"}
    )
    detail = http.get(f"/api/v1/tasks/{run_id}.0").json()
    assert detail["document"]["executors"][0]["command"][-2] == f"{data}/{SHOWN}"
    download = http.get(f"/api/v1/tasks/{run_id}.0/files/out/caf%E9.txt")
    assert (download.status_code, download.content) == (200, b"hello, ")
    assert "caf%EF%BF%BD.txt" in download.headers["Content-Disposition"]
    assert http.get(f"/api/v1/tasks/{run_id}.0/files/out/caf%E8.txt").status_code == 404
    again = http.post(
        "/api/v1/runs", content=kept_json({"app": str(app), "params": {"file": path}})
    )  # as our client sends it
    assert again.status_code == 201, again.text
    assert http.get(f"/api/v1/runs/{again.json()['id']}/tasks").json()["items"][0]["params"] == row["params"]


def test_odd_results_fail_their_tasks_and_leave_the_others(embedded: Embedded, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "app.yaml").write_text(RESULT + "outputs: {value: {from: stdout, type: json}}\n")
    printed = [
        r'"\ud800"',
        "1e999",
        "[1, Infinity]",
        '"plain"',
        "9" * 400,
        '{"a": 1, "a": 2}',
        '{"é": "😀"}',
        "[" * 20_000,
    ]
    run_id = run(embedded, app=str(tmp_path / "r"), over=[{"text": text} for text in printed])
    rows = list(embedded.mine.results(run_id))
    assert [row["result"] for row in rows] == [None, None, None, "plain", None, None, {"é": "😀"}, None]
    assert [row["state"] for row in rows] == ["COMPLETE" if row["result"] else "EXECUTOR_ERROR" for row in rows]
    reasons = [row["reason"] or "" for row in rows]
    for reason, words in zip(
        reasons,
        [
            "$ holds a lone",
            "$ is Infinity",
            "$[1] is Infinity",
            "",
            "$ is beyond",
            "$.a is there twice",
            "",
            "100 levels deep",
        ],
        strict=True,
    ):
        assert words in reason


def test_a_text_that_is_no_utf_8_is_refused_with_its_row(embedded: Embedded, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "app.yaml").write_text(RESULT)
    table = tmp_path / "t.csv"
    table.write_bytes(b"text\nfine\ncaf\xe9\n")
    with pytest.raises(InvalidRequest, match="row 2, parameter 'text': is not UTF-8 text"):
        embedded.mine.submit(AppRun(app=str(tmp_path / "r")), read_table(table))
