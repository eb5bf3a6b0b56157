"""Where KBase's clients find what they know."""

from __future__ import annotations

from starlette.routing import Route

from packhorse.api.kbase.awe import awe_job, awe_jobs, awe_workers
from packhorse.api.kbase.callback import callback
from packhorse.api.kbase.ee2 import ee2
from packhorse.api.kbase.older import NJS, UJS
from packhorse.api.kbase.wire import RpcService
from packhorse.engine.requests.kbase.running import CALLBACK_PATH

_METHODS = ["GET", "POST", "OPTIONS"]


def _routes(path: str, service: RpcService) -> list[Route]:
    """The service at its path, and at every path below it."""
    name = f"kbase-{service.name}"
    return [
        Route(path, service.answer, methods=_METHODS, name=name),
        Route(f"{path}/{{rest:path}}", service.answer, methods=_METHODS, name=f"{name}-below"),
    ]


routes = [
    *_routes("/services/ee2", ee2),
    *_routes("/services/njs_wrapper", NJS),
    *_routes("/services/userandjobstate", UJS),
    Route(f"{CALLBACK_PATH}/{{secret}}/{{task:int}}", callback, methods=["GET", "POST"], name="kbase-callback"),
    Route("/awe/job", awe_jobs, methods=["GET", "POST"], name="awe-jobs"),
    Route("/awe/job/{job}", awe_job, methods=["GET", "PUT", "DELETE"], name="awe-job"),
    *(
        Route(f"/awe/{part}{rest}", awe_workers, methods=["GET", "POST", "PUT", "DELETE"], name=f"awe-{part}")
        for part in ("work", "client", "cgroup")
        for rest in ("", "/{rest:path}")
    ),
]
