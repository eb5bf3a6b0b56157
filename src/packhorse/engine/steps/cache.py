"""The steps of runs, read once each and kept while they are in use; and what their demands and images are."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from packhorse.domain.app import STORED, AppManifest
from packhorse.domain.resources import Resources
from packhorse.engine.containers import ReadyImage
from packhorse.engine.steps.app import AppStep
from packhorse.engine.steps.base import Step, StepRow, StepSpec
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

        def load() -> Step:
            return self.made_of(connection, load_steps(connection, [seq])[seq])

        return self._keep(self._steps, _STEPS, seq, load)

    def many(self, connection: sa.Connection, seqs: Collection[int]) -> dict[int, Step]:
        """Those steps that can be understood, in one query."""
        found: dict[int, Step] = {}
        with self._turn:
            known = {seq: self._steps[seq] for seq in seqs if seq in self._steps}
        rows = load_steps(connection, [seq for seq in seqs if seq not in known])
        for seq, row in rows.items():
            with suppress(*SENSELESS):
                found[seq] = self._keep(self._steps, _STEPS, seq, partial(self.made_of, connection, row))
        return found | known

    def made_of(self, connection: sa.Connection, row: Any) -> Step:
        """The step of a row of ``store.steps.load_steps``."""
        return self.made(connection, StepRow.of(row), StepSpec.from_json(row.spec))

    def made(self, connection: sa.Connection, place: StepRow, spec: StepSpec) -> Step:
        """A step that need not be in the store."""
        if spec.kind == "documents":
            from packhorse.engine.steps.document import DocumentStep  # most steps are of apps

            return DocumentStep(place, spec)
        if spec.kind not in ("app", "gather", "kbase"):
            raise ValueError(f"a step of a kind that is not known: {spec.kind}")

        def program() -> Program:
            manifest = json.loads(app_manifest(connection, spec.app))
            return Program(AppManifest.model_validate(manifest, context=STORED), spec)

        kind = AppStep
        if spec.kind == "kbase":
            from packhorse.engine.steps.kbase import KBaseStep as kind  # noqa: N813

        return kind(place, spec, self._keep(self._programs, _PROGRAMS, Program.key(spec), program))

    def asked(self, connection: sa.Connection, demand_seq: int) -> Asked:
        """What the tasks of a demand ask for: of one that was placed, what it was granted."""
        return self._keep(
            self._demands,
            _DEMANDS,
            demand_seq,
            lambda: _asked(demands_of(connection, [demand_seq])[demand_seq]),
        )

    def asked_of(self, row: Any) -> Asked:
        """The same, of a row of demands."""
        return self._keep(self._demands, _DEMANDS, row.seq, lambda: _asked(row))

    def images_of(self, connection: sa.Connection, run_seq: int) -> dict[str, ReadyImage]:
        """The images of a run whose tasks may be placed, by reference: what they mean does not change any more."""
        with self._turn:
            images = self._images.get(run_seq)
        return self.fresh_images(connection, [run_seq])[run_seq] if images is None else images

    def fresh_images(self, connection: sa.Connection, run_seqs: Collection[int]) -> dict[int, dict[str, ReadyImage]]:
        """The same for whoever runs them, by run: what a site's gateway calls one may change."""
        found: dict[int, dict[str, ReadyImage]] = {}
        for run_seq, wants in wants_of(connection, run_seqs).items():
            images = {
                want.reference: ReadyImage(want.full_reference, want.digest, json.loads(want.config), want.gateway_id)
                for want in wants
                if want.config
            }
            if len(images) == len(wants):
                with self._turn:
                    self._images.pop(run_seq, None)
                images = self._keep(self._images, _IMAGES, run_seq, partial(dict, images))
            found[run_seq] = images
        return found

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


def _asked(row: Any) -> Asked:
    return Asked(row.label, row.image, Resources.model_validate(json.loads(row.resources)))
