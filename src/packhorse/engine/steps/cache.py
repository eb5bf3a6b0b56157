"""The steps of runs, read once each and kept while they are in use; and what their demands and images are."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from packhorse.domain.app import STORED, AppManifest
from packhorse.domain.resources import Resources
from packhorse.engine.containers import ReadyImage
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step, StepRow, StepSpec
from packhorse.engine.steps.document import DocumentStep
from packhorse.engine.steps.program import Program
from packhorse.store.demands import demands_of
from packhorse.store.images import wants_of
from packhorse.store.steps import app_manifest, load_steps

Key = TypeVar("Key")
Value = TypeVar("Value")

_STEPS = 4096
_PROGRAMS = 256
_DEMANDS = 4096
_IMAGES = 1024

#: What a stored step raises that we do not understand: one of a newer version, or a damaged one.
SENSELESS = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the tasks of a demand ask for, and how they are called that are likely to take as long."""

    label: str
    image: str | None
    resources: Resources


class Steps:
    """Step by ``seq``; the least recently used leave. Threads may share one."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._steps: OrderedDict[int, Step] = OrderedDict()
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._demands: OrderedDict[int, Asked] = OrderedDict()
        self._images: OrderedDict[int, dict[str, ReadyImage]] = OrderedDict()

    def of(self, connection: sa.Connection, seq: int) -> Step:
        """The step. Raises one of ``SENSELESS`` where it cannot be understood."""
        return self._keep(
            self._steps, _STEPS, seq, lambda: self.made_of(connection, load_steps(connection, [seq])[seq])
        )

    def made_of(self, connection: sa.Connection, row: Any) -> Step:
        """The step of a row of ``store.steps.load_steps``."""
        spec, place = StepSpec.from_json(row.spec), StepRow.of(row)
        if spec.kind == "documents":
            return DocumentStep(place, spec)

        def program() -> Program:
            manifest = json.loads(app_manifest(connection, spec.app))
            return Program(AppManifest.model_validate(manifest, context=STORED), spec)

        return AppStep(place, spec, self._keep(self._programs, _PROGRAMS, Program.key(spec), program))

    def asked(self, connection: sa.Connection, demand_seq: int) -> Asked:
        """What the tasks of a demand ask for: of one that was placed, what it was granted."""

        def read() -> Asked:
            row = demands_of(connection, [demand_seq])[demand_seq]
            return Asked(row.label, row.image, Resources.model_validate(json.loads(row.resources)))

        return self._keep(self._demands, _DEMANDS, demand_seq, read)

    def images_of(self, connection: sa.Connection, run_seq: int, *, fresh: bool = False) -> dict[str, ReadyImage]:
        """The images of a run whose tasks may be placed, by reference: what they mean does not change any more.

        ``fresh``: whoever runs them asks again, since what a site's gateway calls one may change.
        """
        images = None if fresh else self._images.get(run_seq)
        if images is not None:
            return images
        wants = wants_of(connection, run_seq)
        images = {
            want.reference: ReadyImage(want.full_reference, want.digest, json.loads(want.config), want.gateway_id)
            for want in wants
            if want.config
        }
        if len(images) == len(wants):
            with self._turn:
                self._images.pop(run_seq, None)
            self._keep(self._images, _IMAGES, run_seq, lambda: images)
        return images

    def _keep(self, kept: OrderedDict[Key, Value], number: int, key: Key, make: Callable[[], Value]) -> Value:
        with self._turn:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        value = make()  # two threads may make the same
        with self._turn:
            kept[key] = value
            kept.move_to_end(key)
            while len(kept) > number:
                kept.popitem(last=False)
        return value
