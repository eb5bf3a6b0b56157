"""The callback server of KBase's SDK: a running job starts others, each a job of its own, and asks for provenance.

A job is told a URL with a secret of its run, since not every call of the SDK sends a token. Source: kbase/JobRunner
(``callback_server.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from packhorse.api.bodies import MAX_JSON_BYTES, read_body
from packhorse.api.kbase.wire import PARAMS, RpcError, document_of, failed, json_answer
from packhorse.domain.access import POLICY, Action
from packhorse.domain.errors import PackhorseError
from packhorse.engine.requests.kbase.below import JobBelow
from packhorse.engine.requests.kbase.service import KBase

_PAUSE_S = (0.1, 2.0)
_SUBMIT, _CHECK = "_submit", "_check_job"


async def callback(request: Request) -> Response:
    """A call of a running job."""
    if request.method == "GET":
        return json_answer(request, 200, [{}])
    kbase: KBase = request.app.state.kbase
    call_id: Any = None
    try:
        task = request.path_params["task"]
        job = await run_in_threadpool(JobBelow.of, kbase, request.path_params["secret"], task)
        POLICY.require(job.caller.caller.user, Action.SUBMIT)
        with await read_body(request, MAX_JSON_BYTES, "Hand large data over as files in the shared folder.") as file:
            document = document_of(file.read())
        call_id = document.get("id")
        return json_answer(
            request, 200, {"version": "1.1", "id": call_id, "result": await _answer(request, job, document)}
        )
    except RpcError as error:
        return failed(request, call_id, error)
    except PackhorseError as error:
        return failed(request, call_id, RpcError.of(error))


async def _answer(request: Request, job: JobBelow, document: Mapping[str, Any]) -> list[Any]:
    module, _, function = str(document.get("method") or "").partition(".")
    params = document.get("params")
    if not isinstance(params, list):
        raise RpcError(PARAMS, "params must be a list")
    if module == "CallbackServer":
        if function == "get_provenance":
            return [await run_in_threadpool(job.provenance)]
        if function == "set_provenance" and len(params) == 1:
            return [await run_in_threadpool(job.set_provenance, params[0])]
        raise RpcError(PARAMS, f"The callback server has no method '{function[:60]}' of so many parameters")
    if function == _CHECK:
        state = await run_in_threadpool(job.check, params[0] if params else None)
        _raise(state)
        return [state]
    submits = function.startswith("_") and function.endswith(_SUBMIT)
    name = function[1 : -len(_SUBMIT)] if submits else function
    context = document.get("context") if isinstance(document.get("context"), dict) else {}
    asked = {"method": f"{module}.{name}", "params": params, "service_ver": (context or {}).get("service_ver")}
    started = await run_in_threadpool(job.start, asked)
    if submits:
        return [started]
    return await _result(request, job, started)


async def _result(request: Request, job: JobBelow, started: str) -> list[Any]:
    """What a job has left, once it is over. Nothing is held meanwhile, neither a thread nor a connection."""
    pause_s = _PAUSE_S[0]
    while True:
        state = await run_in_threadpool(job.check, started)
        _raise(state)
        if state["finished"]:
            return list(state["result"])
        if request.app.state.stopping() or await request.is_disconnected():
            raise RpcError(-32000, "The server is stopping; the job goes on.", f"Ask for it as {started}.")
        await asyncio.sleep(pause_s)
        pause_s = min(_PAUSE_S[1], pause_s * 1.3)


def _raise(state: Mapping[str, Any]) -> None:
    if (error := state.get("error")) is not None:
        raise RpcError(int(error.get("code") or -32000), str(error.get("message") or ""), str(error.get("error") or ""))
