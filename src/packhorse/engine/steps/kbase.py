"""A step whose tasks are jobs of a KBase SDK module: what the contract of the SDK says that a job finds, and leaves.

A job finds, in ``work`` of its work folder, which its container sees as ``/kb/module/work``: ``input.json``,
``config.properties``, ``token``, and ``tmp``, a folder that the jobs which it starts share with it. It leaves
``output.json``, which is its result, also of one that fails. Sources: kbase/kb_sdk, kbase/JobRunner (MethodRunner).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from packhorse.domain.cachekey import VALUE
from packhorse.domain.kbase import job_id
from packhorse.domain.render import app_template, template_key
from packhorse.engine.containers import Given
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Identity, Line, Locations
from packhorse.estimate.records import Kind
from packhorse.sites.runtimes.base import Ability, Bind
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.demands import DemandKey

WORK, TMP = "work", "tmp"
MODULE = "/kb/module"
OUTPUT = f"{WORK}/output.json"
CALLBACK = "SDK_CALLBACK_URL"
SECURE = "KBASE_SECURE_CONFIG_PARAM_"
MAX_OUTPUT_BYTES = 1_000_000  # a line of a journal holds it

_NO_OUTPUT = "No output generated. Check logs for more details"


class KBaseStep(AppStep):
    """Tasks of one method of an SDK module. ``spec.params`` is what all of them are told; a task's own is a request
    (``domain.kbase.JobRequest.stored``).
    """

    has_secrets = True
    result_type = "json"

    def needs(self, params: Mapping[str, Any], site: Site) -> tuple[DataKey, ...]:
        return ()

    @cached_property
    def _kind(self) -> Kind:
        """Jobs of one function are alike, and those of another are not."""
        return replace(super()._kind, step=self.spec.params["method"])

    def demand(self, params: str, overrides: str | None) -> DemandKey:
        usual = self.program.demand(overrides)
        return replace(usual, label=f"{self.spec.params['method']} {usual.label}"[:300])

    def identity(self, task: int, params: str, images: Mapping[str, str]) -> Identity:
        """What an estimate may go by: plain values of the method's first parameter, which is a mapping as a rule."""
        first = next(iter(json.loads(params)["params"]), None)
        values = first.items() if isinstance(first, dict) else ()
        plain = {VALUE + name: value for name, value in values if isinstance(value, str | int | float)}
        return Identity(plain, {})

    def secret_names(self) -> tuple[str, ...]:
        """Variables whose values are nobody's business: they come with the token."""
        secure = tuple(f"{SECURE}{name}" for name in self.spec.params.get("secure", ()))
        return (*secure, CALLBACK) if self.spec.params.get("callback") else secure

    def render(
        self, task: int, params: str, attempt: int, overrides: str | None, where: Locations, *, resume: bool = False
    ) -> tuple[str, Line, Line]:
        document, argv = self._template(overrides, where)
        stored, index = json.loads(params), self.row.index(task)
        own = f"{where.outputs}/{self.row.run_id}/{index}.shared"
        shared = stored.get("shared") or own
        line: Line = {
            "id": task,
            "n": attempt,
            "argv": argv,
            "inputs": [
                {"path": f"{WORK}/input.json", "content": json.dumps(self._input(task, stored))},
                {"path": f"{WORK}/config.properties", "content": self._properties()},
            ],
            "shared": {"path": shared, "is_own": shared == own},
            "secrets": {"file": f"{where.secrets}/{self.row.run_id}.json", "token": f"{WORK}/token"},
            "t": template_key(document),
        }
        if "container" in document and where.containers is not None:
            line["folders"] = [f"{WORK}/{TMP}"]
            line["binds"] = [where.containers.site.runtime.bind(Bind(shared, f"{MODULE}/{WORK}/{TMP}"))]
        else:
            line["inputs"].append({"path": f"{WORK}/{TMP}", "source": shared})
        return line["t"], document, line

    def _template(self, overrides: str | None, where: Locations) -> tuple[Line, list[str]]:
        asked, app = self.resources(self.row.name, overrides), self.app
        template = app_template(app, where.app_dir, asked)
        argv = template.arguments({"run": self.row.run_id, "task": ""})
        document = {**template.document, "result": "json", "result_file": OUTPUT, "max_result_bytes": MAX_OUTPUT_BYTES}
        if app.image is None or where.containers is None:
            return document, argv
        data = self.spec.params.get("data")
        given = Given(
            folders={f"{MODULE}/{WORK}": WORK},
            data={"/data": data} if data else {},
            secrets=self.secret_names(),
            writable=True,
        )
        how = {"network": app.network, "workdir": MODULE, "given": given}
        boxed = where.containers.of(app.image, document["env"], asked, [where.app_dir], **how)
        return {**document, "env": {}, "container": boxed}, argv

    def _input(self, task: int, stored: Mapping[str, Any]) -> dict[str, Any]:
        job = job_id(task, self.row.created_at)
        at = datetime.fromtimestamp(self.row.created_at, UTC).replace(microsecond=0).isoformat()
        call = {"method": stored["method"], "time": at, "job_id": job}
        context = {
            "call_stack": [*stored.get("call_stack", ()), call],
            "service_ver": self.spec.params.get("service_ver"),
        }
        return {"id": job, "version": "1.1", "method": stored["method"], "params": stored["params"], "context": context}

    def _properties(self) -> str:
        """config.properties, as Python's configparser and KBase's own readers take it."""
        told = {**self.spec.params.get("services", {}), "scratch": f"{MODULE}/{WORK}/{TMP}"}
        return "\n".join(["[global]", *(f"{name} = {value}" for name, value in told.items()), ""])

    def verdict(self, record: dict[str, Any]) -> dict[str, Any]:
        """A job that ended with 0 has failed where its output says so, or where it left none."""
        if record.get("why") or record.get("exit") != 0 or record.get("sig"):
            return record
        result = record.get("result")
        if not isinstance(result, dict):
            return {**record, "why": "outputs", "msg": _NO_OUTPUT}
        if result.get("error"):
            return {**record, "why": "result", "msg": f"The method says: {message_of(result['error'])}"}
        if not isinstance(result.get("result"), list):
            return {**record, "why": "result", "msg": "Its output.json has neither 'result', a list, nor 'error'."}
        return record

    def shown_params(self, params: str) -> dict[str, Any] | None:
        stored = json.loads(params)
        return {name: stored[name] for name in ("method", "params", "wsid") if name in stored}

    def document(self, task: Any) -> dict[str, Any]:
        document = super().document(task)
        return {**document, "name": json.loads(task.params)["method"], "outputs": [{"path": OUTPUT}]}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """A request has its own values."""
        return {}


def message_of(error: Any) -> str:
    """What an error of an output document says, for people."""
    if not isinstance(error, dict):
        return str(error)[:2000]
    return str(error.get("message") or error.get("name") or error.get("error") or "an error without a message")[:2000]


def why_not_here(step: KBaseStep, site: Site) -> str | None:
    """Why a module cannot run at a site; None when it can, or when that is found out elsewhere."""
    if step.app.image is None or not site.runs_images:
        return None
    abilities = site.runtime.abilities
    if Ability.WRITABLE_ROOT not in abilities:
        return (
            f"a module of KBase writes to {MODULE} of its image, and {site.runtime.name} of '{site.name}' lets nobody"
        )
    if Ability.NEW_MOUNT_POINTS not in abilities:
        seen = f"{site.runtime.name} of '{site.name}' shows each container the whole site"
        return f"a job of KBase has a token that no other may read, and {seen}"
    return None
