"""How EE2's door is spoken to: tokens, other origins, and what makes no sense."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packhorse.api.kbase.ee2 import METHODS
from tests.fixtures.kbase import KBaseServer

PATH = "/services/ee2"


def error_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 500 and answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["version"] == "1.1" and set(document) == {"version", "id", "error"}
    assert set(document["error"]) == {"code", "name", "message", "error"}
    return dict(document["error"])


def test_what_needs_no_token(server: KBaseServer) -> None:
    assert server.call("ver", user=None)
    status = server.call("status", user=None)
    assert (
        set(status) == {"git_commit", "version", "service", "server_time"}
        and abs(status["server_time"] - time.time()) < 60
    )
    assert server.call("get_client_groups", user=None) == ["njs"]
    assert server.call("list_config", user=None)["scratch"] == "/kb/module/work/tmp"
    body = {"version": "1.1", "method": "execution_engine2.ver", "params": [], "id": 3}
    for path in (PATH, f"{PATH}/", f"{PATH}/rpc/any"):
        assert server.post(body, None, path).json()["id"] == 3


def test_without_a_token_and_with_a_wrong_one(server: KBaseServer) -> None:
    for name, method in METHODS.items():
        if method.is_open:
            continue
        body = {"version": "1.1", "method": f"execution_engine2.{name}", "params": [{}] * min(method.counts), "id": "1"}
        error = error_of(server.post(body, None))
        told = "Authentication required for execution_engine2 but no authentication header was passed"
        assert (error["code"], error["name"], error["message"]) == (-32000, "Server error", told), name
        error = error_of(server.post(body, "not a token"))
        assert error["code"] == -32000 and error["message"].startswith("Token validation failed: "), name


def test_pages_of_other_origins_may_ask(server: KBaseServer) -> None:
    asked = {"Access-Control-Request-Headers": "authorization,content-type", "Origin": "https://narrative.example"}
    answer = server.http.options(PATH, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert server.post({"version": "1.1"}).headers["access-control-allow-origin"] == "*"


MALFORMED = {
    "no JSON": (b"{", -32700),
    "nothing": (b"", -32700),
    "not UTF-8": (b'{"method": "\xff"}', -32700),
    "twice": (b'{"id": 1, "id": 2}', -32700),
    "deep": (b"[" * 100_000, -32700),
    "a list": (b"[]", -32600),
    "a number": (b"7", -32600),
    "no version": (b'{"method": "execution_engine2.ver", "params": [], "id": "1"}', -32600),
    "2.0": (b'{"version": "2.0", "method": "execution_engine2.ver", "params": [], "id": "1"}', -32600),
    "no method": (b'{"version": "1.1", "params": [], "id": "1"}', -32600),
    "a method of numbers": (b'{"version": "1.1", "method": 7, "params": [], "id": "1"}', -32600),
    "unknown": (b'{"version": "1.1", "method": "execution_engine2.rm", "params": [], "id": "1"}', -32601),
    "another's": (b'{"version": "1.1", "method": "Workspace.ver", "params": [], "id": "1"}', -32601),
    "by name": (b'{"version": "1.1", "method": "execution_engine2.ver", "params": {"a": 1}, "id": "1"}', -32602),
    "too many": (b'{"version": "1.1", "method": "execution_engine2.ver", "params": [1], "id": "1"}', -32602),
    "too few": (b'{"version": "1.1", "method": "execution_engine2.run_job", "params": [], "id": "1"}', -32602),
    "no mapping": (b'{"version": "1.1", "method": "execution_engine2.run_job", "params": [[]], "id": "1"}', -32000),
    "nulls": (b'{"version": "1.1", "method": "execution_engine2.check_job", "params": [null], "id": "1"}', -32000),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_makes_no_sense_is_told_as_an_error(case: str, server: KBaseServer) -> None:
    body, code = MALFORMED[case]
    error = error_of(server.post(body))
    assert error["code"] == code and error["message"] and "Traceback" not in error["error"]


def test_who_has_no_token_cannot_send_much(server: KBaseServer) -> None:
    body = json.dumps({"version": "1.1", "method": "execution_engine2.ver", "params": [], "id": "x" * 100_000}).encode()
    assert "larger than 64,000 bytes" in error_of(server.post(body, None))["message"]
    assert "larger than 64,000,000 bytes" in error_of(server.post(b" " * 64_000_001))["message"]


ODD = st.sampled_from(
    [None, 7, -1, 1.5, True, "", "'; DROP TABLE runs; --", "$(id)", "\0", "\ud800", [], [[]], {}, {"a": 1}, 1 << 70]
)
FIELDS = (
    "job_id", "job_ids", "wsid", "workspace_id", "method", "params", "skip_lines", "limit", "status", "exclude_fields",
    "start_time", "filter", "user", "batch_id", "child_job_ids", "terminated_code", "job_output", "error_code",
    "as_admin", "job_requirements", "meta", "source_ws_objects",
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(METHODS)), odd=st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=3))
def test_odd_values_break_nothing(server: KBaseServer, name: str, odd: dict[str, Any]) -> None:
    """Each is refused in words, or taken for what it is."""
    usual = {"job_id": server.any, "job_ids": [server.any], "workspace_id": 1, "method": "Tester.add"}
    params: list[Any] = [{**usual, "start_time": 0, "end_time": 1, **odd}, [odd]][: max(METHODS[name].counts)]
    answer = server.post({"version": "1.1", "method": f"execution_engine2.{name}", "params": params, "id": "1"})
    if answer.status_code != 200:
        assert "Something broke" not in error_of(answer)["message"]
