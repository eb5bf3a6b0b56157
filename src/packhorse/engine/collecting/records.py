"""What attempts used becomes history, in the transaction that ends them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packhorse.domain.failures import FailureClass
from packhorse.domain.resources import Estimates, Resources
from packhorse.engine.collecting.thinning import Thinning
from packhorse.engine.sizing.rules import Rules
from packhorse.engine.steps.base import Step
from packhorse.engine.steps.cache import SENSELESS
from packhorse.engine.steps.features import FeatureReader, TaskRow, features_json
from packhorse.sites.site import Site
from packhorse.store.allocations import Node
from packhorse.store.records import add_history
from packhorse.store.tasks import params_of

Row = dict[str, Any]

#: Failures that end a task before it has used all that it would.
_CUT_SHORT = frozenset(
    {
        FailureClass.OUT_OF_MEMORY,
        FailureClass.OUT_OF_TIME,
        FailureClass.NODE_LOST,
        FailureClass.PREEMPTED,
        FailureClass.CANCELED,
    }
)
#: Those that end a task that never ran.
_NEVER_RAN = frozenset({FailureClass.IMAGE, FailureClass.STAGING, FailureClass.SCHEDULER, FailureClass.UPSTREAM})


class Recorder:
    """What the collector of one site remembers from one transaction to the next."""

    def __init__(self, site: Site, rules: Rules) -> None:
        self.site = site
        self.rules = rules
        self.thinning = Thinning()
        self.features = FeatureReader()


@dataclass(frozen=True, slots=True)
class _Ended:
    """An attempt that is remembered. ``tried`` is its row of the attempts table."""

    step: Step
    tried: Row
    granted: Resources
    stands_for: int


class Records:
    """The attempts that end in one transaction."""

    def __init__(self, recorder: Recorder, node: Node) -> None:
        self._recorder = recorder
        self._node = node
        self._ended: dict[int, _Ended] = {}  # by task: an attempt of it ends

    def add(self, step: Step, tried: Row, granted: Resources) -> None:
        """An attempt ended."""
        wall_s, failure = tried["wall_s"], tried["failure"]
        if wall_s is None or wall_s < 0 or failure in _NEVER_RAN:
            return
        app = step.app.name if step.app is not None else ""
        if self._recorder.rules.mode(app, granted) is Estimates.OFF:
            return
        core_s = granted.nodes * granted.cpu_cores * wall_s
        memory = float(tried["peak_memory"] or 0)
        stands_for = self._recorder.thinning.keep(step.row.seq, failure, core_s, wall_s, memory)
        if stands_for:
            self._ended[tried["task_id"]] = _Ended(step, tried, granted, stands_for)

    def write(self, connection: sa.Connection) -> None:
        """A statement or two, however many there are."""
        if not self._ended:
            return
        params = params_of(connection, self._ended)
        by_step: dict[int, list[_Ended]] = {}
        for task_id, one in self._ended.items():
            if task_id in params:
                by_step.setdefault(one.step.row.seq, []).append(one)
        rows: list[Row] = []
        for some in by_step.values():
            step = some[0].step
            tasks = [TaskRow(one.tried["task_id"], params[one.tried["task_id"]]) for one in some]
            features = self._recorder.features.of(connection, step, tasks)
            owner = self._recorder.features.texts.digest(connection, f"user {step.row.user}")
            about = {"owner": owner, "site": self._recorder.site.name, "node_type": self._node.type or ""}
            for one, task, found in zip(some, tasks, features, strict=True):
                with suppress(*SENSELESS):
                    used = self._used(one, task.params)
                    rows.append({**about, **used, "features": features_json(found)})
        add_history(connection, rows)

    def _used(self, one: _Ended, params: str) -> Row:
        step, tried, granted, site = one.step, one.tried, one.granted, self._recorder.site
        kind, asked = step.kind(params), step.resources(params, None)
        runtime = site.runtime.name if site.runs_images and step.images(params) else "host"
        cut_short = tried["failure"] in _CUT_SHORT
        return {
            "app": kind.app,
            "version": kind.version,
            "part": kind.step,
            "step": step.row.name,
            "executor": f"{runtime} {step.session}",
            "ended_at": tried["ended_at"],
            "task_id": tried["task_id"],
            "attempt": tried["attempt"],
            "image": tried["image"],
            "asked_cores": asked.cpu_cores,
            "asked_memory_mb": asked.memory_mb,
            "asked_walltime_s": asked.walltime_s,
            "nodes": granted.nodes,
            "cores": granted.cpu_cores,
            "memory_mb": granted.memory_mb,
            "walltime_s": granted.walltime_s,
            "peak_memory": tried["peak_memory"] or None,  # of what was too short, nothing was measured
            "cpu_s": tried["cpu_s"],
            "wall_s": tried["wall_s"],
            "read_bytes": tried["read_bytes"],
            "write_bytes": tried["write_bytes"],
            "disk_bytes": _disk_bytes(tried["files"]),
            "failure": tried["failure"],
            "memory_censored": cut_short,
            "time_censored": cut_short,
            "stands_for": one.stands_for,
        }


def _disk_bytes(files: str | None) -> int | None:
    """What the outputs of an attempt take: it used at least that."""
    if not files:
        return None
    found: list[Mapping[str, Any]] = json.loads(files)
    return sum(int(file.get("size") or 0) for file in found)
