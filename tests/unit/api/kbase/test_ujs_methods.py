"""UserAndJobState's lists, and what of it is refused, without an engine."""

from __future__ import annotations

from typing import Any

import pytest

from packhorse.api.kbase.older import UJS
from tests.fixtures.kbase import KBaseServer, RpcFailure

#: Every ``funcdef`` of ``userandjobstate.spec``.
SPEC = {
    "ver", "set_state", "set_state_auth", "get_state", "has_state", "get_has_state", "remove_state",
    "remove_state_auth", "list_state", "list_state_services", "create_job2", "create_job", "start_job",
    "create_and_start_job", "update_job_progress", "update_job", "get_job_description", "get_job_status",
    "complete_job", "cancel_job", "get_results", "get_detailed_error", "get_job_info2", "get_job_info", "list_jobs2",
    "list_jobs", "list_job_services", "share_job", "unshare_job", "get_job_owner", "get_job_shared", "delete_job",
    "force_delete_job",
}  # fmt: skip


def ujs(server: KBaseServer, method: str, *params: Any, user: str = "alice") -> Any:
    """The list of results of a method."""
    body = {"version": "1.1", "method": f"UserAndJobState.{method}", "params": list(params), "id": "1"}
    document = server.post(body, user, "/services/userandjobstate").json()
    if "error" in document:
        raise RpcFailure(document["error"])
    return document["result"]


def ids(found: Any) -> list[str]:
    return [info[0] for info in found[0]]


def test_every_method_is_there() -> None:
    assert set(UJS.methods) == SPEC


def test_jobs_are_listed_by_what_became_of_them(server: KBaseServer) -> None:
    waits, done, bad, gone = (server.run("add", number) for number in range(4))
    server.run("add", 1, user="bob")
    in_workspace = server.run("add", 1, wsid=5)
    ujs(server, "complete_job", done, "token", "fine", None, None)
    ujs(server, "complete_job", bad, "token", "broken", "a traceback", None)
    ujs(server, "cancel_job", gone, "no more of it")
    assert ujs(server, "get_job_status", gone)[1:3] == ["canceled", "no more of it"]
    assert ujs(server, "get_job_status", gone)[5:] == [1, 0], "it is over, and that is no error"
    assert ids(ujs(server, "list_jobs", [], None)) == [gone, bad, done, waits]
    assert ids(ujs(server, "list_jobs", ["packhorse"], "RC")) == [done, waits]
    assert ids(ujs(server, "list_jobs", None, "NE")) == [gone, bad]
    assert ids(ujs(server, "list_jobs", None, "S")) == [gone, bad, done, waits], "as UJS has it"
    assert ujs(server, "list_jobs", ["another"], None) == [[]]
    [one] = ujs(server, "list_jobs2", {"filter": "E"})[0]
    assert (one[0], one[1], one[3], one[4], len(one)) == (bad, ["alice", None], "error", "broken", 13)
    found = ujs(server, "list_jobs2", {"authstrat": "kbaseworkspace", "authparams": ["5"]})
    assert ids(found) == [in_workspace] and found[0][0][9] == ["kbaseworkspace", "5"]
    assert ujs(server, "list_job_services") == [["packhorse"]]
    assert ujs(server, "list_job_services", user="root") == [[]]


@pytest.mark.parametrize(
    ("method", "params", "told"),
    [
        ("list_jobs", ["x", None], "The services must be a list, and the filter a string"),
        ("list_jobs", [None, 7], "The services must be a list, and the filter a string"),
        ("list_jobs2", [{"authstrat": "x"}], "Invalid authorization strategy: x"),
        ("list_jobs2", [{"authstrat": "kbaseworkspace"}], "'authparams' must be a list of 1 to 10 workspace ids"),
    ],
)
def test_lists_that_make_no_sense(method: str, params: list[Any], told: str, server: KBaseServer) -> None:
    with pytest.raises(RpcFailure) as failure:
        ujs(server, method, *params)
    assert failure.value.message == told


REFUSED = {
    "Jobs that only report are not kept here: a job is made by run_job, which runs it": (
        ("create_job", 0), ("create_job2", 1), ("create_and_start_job", 5),
    ),
    "Values under keys of one's own are not kept here": (
        ("set_state", 3), ("set_state_auth", 3), ("remove_state", 2), ("remove_state_auth", 2),
    ),
    "A job cannot be shared by itself: who may read its workspace sees it": (("share_job", 2), ("unshare_job", 2)),
    "A job is not deleted by hand: the server forgets it in its time": (("delete_job", 1), ("force_delete_job", 2)),
}  # fmt: skip


@pytest.mark.parametrize("told", REFUSED)
def test_what_is_refused_says_what_to_do_instead(told: str, server: KBaseServer) -> None:
    for method, number in REFUSED[told]:
        with pytest.raises(RpcFailure) as failure:
            ujs(server, method, *["x"] * number)
        assert failure.value.message == told and failure.value.error, method


def test_nothing_is_kept_under_any_key(server: KBaseServer) -> None:
    assert ujs(server, "has_state", "ui", "colour", 0) == [0]
    assert ujs(server, "get_has_state", "ui", "colour", 0) == [0, None]
    assert ujs(server, "list_state", "ui", 0) == [[]] == ujs(server, "list_state_services", 0)
    with pytest.raises(RpcFailure, match=r"^There is no key colour for the unauthorized service ui$"):
        ujs(server, "get_state", "ui", "colour", 0)
    with pytest.raises(RpcFailure, match=r"^There is no key colour for the authorized service ui$"):
        ujs(server, "get_state", "ui", "colour", 1)
