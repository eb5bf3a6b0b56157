"""Writes the blocks that were planned to the bundles of allocations: each task as a line, rendered for its site."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog

from packhorse.domain.dataurl import is_url
from packhorse.domain.errors import PackhorseError
from packhorse.domain.failures import Evidence, FailureClass
from packhorse.domain.text import kept_json
from packhorse.engine.clock import Clock
from packhorse.engine.collecting.collect import Collector
from packhorse.engine.collecting.verdict import Failure
from packhorse.engine.containers import Containers, ReadyImage
from packhorse.engine.lease import Lease
from packhorse.engine.placing.sealed import Sealed, names_of
from packhorse.engine.sealing import Seal
from packhorse.engine.steps.base import InputNotBrought, Locations, Step, results_key
from packhorse.engine.steps.cache import Steps
from packhorse.engine.steps.files import is_brought, url_of
from packhorse.engine.steps.results import runs_read
from packhorse.sites.apps import app_folder
from packhorse.sites.site import BLOCK, Site
from packhorse.store import allocations as stored
from packhorse.store.data import DataKey, given_data
from packhorse.store.database import Database
from packhorse.store.images import wants_of
from packhorse.store.kbase.runs import sealed_token
from packhorse.store.schema import TASKS_PER_RUN
from packhorse.store.secrets import sealed_secrets
from packhorse.store.stepdata import given_to_steps
from packhorse.store.tasks import failures_of, tasks_of_block

_log = structlog.get_logger("packhorse.dispatch")


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is in the store and must get to the site. ``tasks`` are rows of the store."""

    allocation_seq: int
    allocation_id: str
    number: int
    tasks: Sequence[Any]


class _NoImage(Exception):  # noqa: N818  the image's own error says what is wrong
    """The image of a task will never be there; the message says why."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a block needs to know of the store, read at once."""

    steps: Mapping[int, Step]
    images: Mapping[int, Mapping[str, ReadyImage]]
    data: Mapping[int, Mapping[DataKey, str]]
    common: Mapping[int, Mapping[DataKey, str]]
    """Of steps: what all of their tasks need."""
    wants: Mapping[int, Sequence[Any]]
    """Of runs: the images that they want, each with what is wrong with it."""
    reads: Mapping[int, Sequence[str]]
    """Of steps in images: the folders of the runs whose results they read."""
    begun: Collection[int]
    """Tasks of which an earlier attempt got on."""
    sealed: Mapping[str, Sealed]
    """What tasks of runs by these ids are given that nobody else sees."""
    places: dict[tuple[int, bool], Locations] = field(default_factory=dict)
    """Where things are for tasks without data of their own, by step and whether they run in an image."""


class Blocks:
    """The blocks of one site. ``written`` are those that are there, and the store does not know yet."""

    def __init__(
        self,
        site: Site,
        database: Database,
        lease: Lease,
        steps: Steps,
        collector: Collector,
        clock: Clock,
        seal: Seal,
    ) -> None:
        self._site = site
        self._database = database
        self._lease = lease
        self._steps = steps
        self._collector = collector
        self._clock = clock
        self._seal = seal
        self._unsealed: set[tuple[str, str]] = set()  # allocations, and runs whose secrets they have
        self.written: dict[int, list[int]] = {}
        self._templates: set[tuple[str, str]] = set()
        self._spools: set[str] = set()  # of allocations for whose blocks there is a folder

    def note_written(self, connection: sa.Connection) -> None:
        """Tells the store which blocks are at the site."""
        for seq, numbers in self.written.items():
            stored.set_block_states(connection, seq, numbers, "written")
        self.written = {}

    def forget_all_but(self, allocation_ids: set[str]) -> None:
        """Of allocations that are over nothing is remembered: an engine runs for months."""
        self._templates = {known for known in self._templates if known[0] in allocation_ids}
        self._spools &= allocation_ids
        self._unsealed = {known for known in self._unsealed if known[0] in allocation_ids}

    def recover(self) -> None:
        """After a restart: writes the planned blocks that are not at the site."""
        with self._database.read() as connection:
            live = stored.live_allocations(connection, self._site.name)
            planned = [
                Block(one.seq, one.id, row.number, tasks_of_block(connection, one.seq, row.number))
                for one in live
                for row in stored.blocks_of(connection, one.seq, ["planned"])
            ]
        for block in planned:
            if not block.tasks or self._is_at_site(block.allocation_id, block.number):
                self.written.setdefault(block.allocation_seq, []).append(block.number)
            else:
                self.write(block)

    def write(self, block: Block) -> None:
        """Renders the tasks of a block and writes it. What cannot be rendered fails, and holds up no other task."""
        spool = self._site.spool(block.allocation_id)
        if block.allocation_id not in self._spools:
            self._site.make_spool(block.allocation_id)
            self._spools.add(block.allocation_id)
        lines: list[str] = []
        unfit: dict[int, Failure] = {}
        known = self._known(block.tasks)
        locked = self._write_secrets(block.allocation_id, known.sealed)
        for row in block.tasks:
            try:
                key, template, line = self._render(row, known, f"{spool}/secrets", locked)
            except (OSError, PackhorseError):
                raise
            except InputNotBrought as error:
                unfit[row.id] = Failure(FailureClass.STAGING, Evidence(str(error)))
                continue
            except _NoImage as error:
                unfit[row.id] = Failure(FailureClass.IMAGE, Evidence(str(error)))
                continue
            except Exception as error:  # one task that cannot be rendered must not hold up the others
                _log.exception("not_rendered", task=row.id)
                said = f"It could not be prepared: {type(error).__name__}: {error}."
                unfit[row.id] = Failure(FailureClass.STAGING, Evidence(said))
                continue
            if (block.allocation_id, key) not in self._templates:
                self._site.transport.make_folder(f"{spool}/templates")
                self._site.transport.write(
                    f"{spool}/templates/{key}.json", kept_json({"key": key, **template}).encode()
                )
                self._templates.add((block.allocation_id, key))
            lines.append(kept_json(line) + "\n")
        if unfit:
            with self._lease.write() as connection:
                self._collector.close(connection, block.allocation_seq, unfit, {}, self._clock.now())
        self._lease.check()  # who has taken over has written it as well, and its tasks may have been claimed
        self._site.transport.write(f"{spool}/bundle/{BLOCK.format(block.number)}", "".join(lines).encode())
        self.written.setdefault(block.allocation_seq, []).append(block.number)

    def _write_secrets(self, allocation_id: str, sealed: Mapping[str, Sealed]) -> Mapping[str, str]:
        """What tasks are given that nobody else sees, once for each run and allocation: it goes with that
        (``Watcher``). Returns why it does not open, of runs of which it does not.
        """
        folder = f"{self._site.spool(allocation_id)}/secrets"
        locked: dict[str, str] = {}
        for run_id, data in sealed.items():
            if (allocation_id, run_id) in self._unsealed:
                continue
            try:
                opened = data.opened(self._seal)
            except PackhorseError as error:  # of this run: the others go on
                _log.error("not_unsealed", run=run_id, reason=error.message)
                locked[run_id] = error.message
                continue
            self._site.transport.make_folder(folder, private=True)
            self._site.transport.write(f"{folder}/{run_id}.json", kept_json(opened).encode())
            self._unsealed.add((allocation_id, run_id))
        return locked

    def _known(self, rows: Sequence[Any]) -> _Known:
        with self._database.read() as connection:
            steps = self._steps.many(connection, {row.step_seq for row in rows})
            runs = {step.row.run_seq for step in steps.values()} if self._site.runs_images else set()
            images = self._steps.fresh_images(connection, runs)
            needing = [row.id for row in rows if row.step_seq in steps and steps[row.step_seq].spec.has_data]
            common = given_to_steps(connection, [seq for seq, step in steps.items() if step.common_needs()])
            data = given_data(connection, needing)
            wants = wants_of(connection, runs) if runs else {}
            gathering = [step for step in steps.values() if step.is_gathering] if runs else []
            reads = {step.row.seq: runs_read(connection, step) for step in gathering}
            with_secrets = {step.row.run_id: step.row.run_seq for step in steps.values() if step.has_secrets}
            kept = {run_id: sealed_token(connection, seq) for run_id, seq in with_secrets.items()}
            wanted = {step.row.run_id: step.row.user for step in steps.values() if step.user_secrets}
            own = {
                run_id: sealed_secrets(connection, user, names_of(steps.values(), run_id))
                for run_id, user in wanted.items()
            }
        again = [row for row in rows if row.attempt > 1 and row.step_seq in steps and steps[row.step_seq].is_resumable]
        begun = {row.id for row in again if self._has_begun(steps[row.step_seq], row.id)}
        sealed = {run_id: Sealed(None, wanted[run_id], data) for run_id, data in own.items()}
        sealed |= {run_id: Sealed(data) for run_id, data in kept.items() if data is not None}
        return _Known(steps, images, data, common, wants, reads, begun, sealed)

    def _render(
        self, row: Any, known: _Known, secrets: str, locked: Mapping[str, str]
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """A function of what is known: all that it names is at the site. ``locked`` are runs that cannot go on."""
        step = known.steps[row.step_seq]
        if why := locked.get(step.row.run_id):
            raise InputNotBrought(why)
        self._refuse_without_image(step, row, known)
        where = self._where(step, row, known, secrets)
        return step.render(row.id, row.params, row.attempt, row.overrides, where, resume=row.id in known.begun)

    def _refuse_without_image(self, step: Step, row: Any, known: _Known) -> None:
        """A list's tasks may come to be when it is known already that their image cannot be had."""
        there = known.images.get(step.row.run_seq, {})
        missing = [image for image in step.images(row.params) if image not in there] if self._site.runs_images else []
        if missing:
            wants = known.wants.get(step.row.run_seq, ())
            why = next((want.error for want in wants if want.reference == missing[0]), None)
            raise _NoImage(why or f"Its image '{missing[0]}' is not there.")

    def _where(self, step: Step, row: Any, known: _Known, secrets: str) -> Locations:
        """Where things are for a task."""
        common, own, in_image = (
            known.common.get(row.step_seq, {}),
            known.data.get(row.id),
            bool(step.images(row.params)),
        )
        if own:
            return self._locations(step, {**common, **own}, known, in_image=in_image, secrets=secrets)
        place = row.step_seq, in_image
        if place not in known.places:
            known.places[place] = self._locations(step, common, known, in_image=in_image, secrets=secrets)
        return known.places[place]

    def _locations(
        self, step: Step, given: Mapping[DataKey, str], known: _Known, *, in_image: bool, secrets: str
    ) -> Locations:
        """What a task is rendered for that was ``given`` this, and that runs in an image or not."""
        results = given.get(results_key(step.row), "")
        if step.is_gathering and not results:
            raise InputNotBrought(f"The table of the results that it reads is not at '{self._site.name}'.")
        images = known.images.get(step.row.run_seq)
        by_url = {key.url: path for key, path in given.items()}

        def bring(path: str) -> str:
            found = by_url.get(path if is_url(path) else url_of(path))
            if found is None and (is_url(path) or is_brought(self._site, step.session, path, in_image=in_image)):
                said = f"The input '{path}' is not at '{self._site.name}', where it should have been brought before."
                raise InputNotBrought(f"{said} 'packhorse retry' brings it.")
            return found or path

        return Locations(
            f"{self._site.root}/runs",
            app_folder(self._site, step.app.name, step.spec.app) if step.app is not None else "",
            bring,
            results,
            Containers(self._site, images) if images else None,
            given,
            self._site.launch,
            [self._site.run_folder(run_id) for run_id in known.reads.get(step.row.seq, ())],
            secrets,
        )

    def _has_begun(self, step: Step, task: int) -> bool:
        """Whether an earlier attempt got on: its log said so, or it was lost and its work folder is not empty."""
        with self._database.read() as connection:
            earlier = failures_of(connection, task)
        from packhorse.engine.collecting.effects import progress_in

        if any(progress_in(attempt.evidence) for attempt in earlier):
            return True
        kept = f"{self._site.output_folder(step.row.run_id, task % TASKS_PER_RUN)}.work"
        return any(attempt.failure == FailureClass.NODE_LOST for attempt in earlier) and bool(
            self._site.transport.names(kept)
        )

    def _is_at_site(self, allocation_id: str, number: int) -> bool:
        spool, name = self._site.spool(allocation_id), BLOCK.format(number)
        if self._site.transport.exists(f"{spool}/bundle/{name}") or self._site.transport.exists(
            f"{spool}/revoked/{name}"
        ):
            return True
        stem = name.removesuffix(".jsonl")
        return any(claimed.startswith(f"{stem}.") for claimed in self._site.transport.names(f"{spool}/claimed"))
