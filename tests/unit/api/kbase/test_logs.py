"""Lines that are reported of jobs."""

from __future__ import annotations

import pytest

from tests.fixtures.kbase import KBaseServer, RpcFailure


def test_a_hundred_thousand_lines_at_once(server: KBaseServer) -> None:
    job = server.run("add")
    lines = [{"line": f"line {number}", "is_error": number % 2} for number in range(100_000)]
    assert server.call("add_job_logs", {"job_id": job}, lines)["line_number"] == 100_000
    page = server.call("get_job_logs", {"job_id": job, "skip_lines": 99_990, "limit": 5})
    assert [line["line"] for line in page["lines"]] == [f"line {number}" for number in range(99_990, 99_995)]
    assert [line["linepos"] for line in page["lines"]] == list(range(99_990, 99_995))
    assert page["last_line_number"] == 99_995 and page["count"] >= 100_000
    whole, skip = [], 0
    while page := server.call("get_job_logs", {"job_id": job, "offset": skip}):
        whole += page["lines"]
        skip = page["last_line_number"]
        if not page["lines"]:
            break
    assert [line["line"] for line in whole[:100_000]] == [line["line"] for line in lines]
    with pytest.raises(RpcFailure, match="200,001 lines come at once; the limit is 200,000"):
        server.call("add_job_logs", {"job_id": job}, [{"line": ""}] * 200_001)
    with pytest.raises(RpcFailure, match="Line 1 of the log has no 'line'"):
        server.call("add_job_logs", {"job_id": job}, [{"line": ""}, {"text": "x"}])


def test_a_line_of_any_length_and_with_any_letters(server: KBaseServer) -> None:
    job = server.run("add")
    server.call("add_job_logs", {"job_id": job}, [{"line": "x" * 200_000}, {"line": "é\0\ud800"}])
    page = server.call("get_job_logs", {"job_id": job})
    assert "".join(line["line"] for line in page["lines"][:4]) == "x" * 200_000
    assert page["lines"][4]["line"] == "é\ufffd\ufffd"
