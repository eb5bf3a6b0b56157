"""The specs of runs, read once each and kept while they are in use."""

from __future__ import annotations

import json
from collections import OrderedDict

import sqlalchemy as sa

from packhorse.engine.containers import ReadyImage
from packhorse.engine.spec import RunSpec
from packhorse.store.images import wants_of
from packhorse.store.runs import spec_of_run
from packhorse.store.schema import TASKS_PER_RUN

_KEPT = 256


class Specs:
    """RunSpec by a run's ``seq``; the least recently used leave."""

    def __init__(self) -> None:
        self._specs: OrderedDict[int, RunSpec] = OrderedDict()
        self._images: OrderedDict[int, dict[str, ReadyImage]] = OrderedDict()

    def of_run(self, connection: sa.Connection, run_seq: int) -> RunSpec:
        """The spec of a run."""
        spec = self._specs.get(run_seq)
        if spec is None:
            spec = self._specs[run_seq] = RunSpec.from_json(spec_of_run(connection, run_seq))
            if len(self._specs) > _KEPT:
                self._specs.popitem(last=False)
        self._specs.move_to_end(run_seq)
        return spec

    def images_of(self, connection: sa.Connection, run_seq: int, *, fresh: bool = False) -> dict[str, ReadyImage]:
        """The images of a run whose tasks may be placed, by reference: what they mean does not change any more.

        ``fresh``: whoever runs them asks again, since what a site's gateway calls one may change.
        """
        images = None if fresh else self._images.get(run_seq)
        if images is None:
            wants = wants_of(connection, run_seq)
            images = {
                want.reference: ReadyImage(want.full_reference, want.digest, json.loads(want.config), want.gateway_id)
                for want in wants
                if want.config
            }
            if len(images) < len(wants):
                return images
            self._images[run_seq] = images
            if len(self._images) > _KEPT:
                self._images.popitem(last=False)
        return images

    def of_task(self, connection: sa.Connection, task: int) -> RunSpec:
        """The spec of a task's run."""
        return self.of_run(connection, task // TASKS_PER_RUN)


def duration_key(spec: RunSpec, role: str) -> str:
    """Tasks that are likely to take equally long."""
    if spec.app is None:
        return f"run {spec.run_id}"
    return f"{spec.app.name}@{spec.app.version} {spec.app.session} {role}"
