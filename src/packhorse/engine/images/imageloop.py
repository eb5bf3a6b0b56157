"""Brings the images that runs want to a site: asks their registries, prepares each digest once, and fails those who
wait in vain.

The store says how far each image is, and a ``Preparer`` has the work done: an engine that starts again goes on where
the last one was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog

from packhorse.domain.config import ImagesConfig
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.failures import FailureClass
from packhorse.domain.images import ImageError, ImageFailure, parse_reference
from packhorse.domain.states import TaskState
from packhorse.domain.text import dumps
from packhorse.engine.change import Change
from packhorse.engine.images.gatewaypreparer import preparer_for
from packhorse.engine.images.preparers import Preparer, Progress
from packhorse.engine.loop import AtSite, LoopOfSite
from packhorse.engine.steps.cache import Steps
from packhorse.http.reach import Reach
from packhorse.sites.images import file_name, growing_folder, image_folder, images_folder, keeps_files
from packhorse.staging.images import WORKING, ImageState, after_failure, to_evict
from packhorse.staging.registry import RegistryClient, ResolvedImage
from packhorse.staging.registry_http import RegistryOptions
from packhorse.store import images as stored
from packhorse.store.holds import settle_holds
from packhorse.store.moves import Move, apply_moves, lock_tasks
from packhorse.store.steps import steps_of_run
from packhorse.store.tasks import iter_tasks

_TIDY_S = 60.0
_LONGEST_WAIT_S = 600.0  # who is to wait longer was told so by a clock that was wrong
_TASKS_AT_ONCE = 1000

_log = structlog.get_logger("packhorse.images")


@dataclass(slots=True)
class _Asked:
    """How often a registry was asked for a reference in vain, in monotonic seconds."""

    first: float
    tries: int = 0
    next: float = 0.0


class ImageLoop(LoopOfSite):
    """Drives the images of one site. ``given`` is called when tasks may have got what they waited for."""

    wakes_for = Change.IMAGES

    def __init__(
        self,
        at: AtSite,
        config: ImagesConfig,
        given: Callable[[], None],
        reach: Reach | None = None,
    ) -> None:
        super().__init__(at, "images")
        self._config = config
        self._given = given
        self._ending = threading.Event()  # nothing that is far away holds up the engine's end
        own = [at.site.registry.partition("/")[0]] if at.site.registry else []
        trusted = (config.default_registry, *own)
        options = RegistryOptions(tuple(config.insecure), config.auth_file, reach=reach, trusted=trusted)
        self._client = RegistryClient(options, stop=self._ending)
        self._preparer: Preparer = preparer_for(at.site, config.insecure, self._client)
        self._steps = Steps()
        self._asked: dict[str, _Asked] = {}
        self._tidy_at = 0.0
        self._let_gone: set[tuple[int, str]] = set()  # wants that failed, and no longer hold their runs

    def recover(self) -> None:
        """After a start, whoever may be asked is waited for again."""
        self._ending.clear()
        self._steps = Steps()

    def end(self) -> None:
        """Waits for registries and gateways end at once."""
        self._ending.set()
        super().end()

    def tick(self, monotonic: float) -> bool:
        """One step; whether anything moved."""
        with self._database.read() as connection:
            unresolved = stored.unresolved(connection, self._site.name)
            failed = stored.failed_wants(connection, self._site.name)
            images = stored.images_at(connection, self._site.name)
        moved = False
        for reference, runs in unresolved.items():
            moved |= self._resolve(reference, runs, monotonic)
        for image in images:
            moved |= self._advance(image, monotonic)
        for want in failed:
            moved |= self._fail_tasks(want)
        moved |= self._let_go({(want.run_seq, want.reference) for want in failed})
        if monotonic >= self._tidy_at:
            self._tidy_at = monotonic + _TIDY_S
            self._tidy(images)
        if moved:
            self._notifier.notify()
            self._given()
        return moved

    # --- what a reference means ------------------------------------------------------------

    def _resolve(self, text: str, runs: Sequence[int], monotonic: float) -> bool:
        """Asks the registry which digest a reference means: once for all runs that want to know."""
        asked = self._asked.setdefault(text, _Asked(monotonic))
        if monotonic < asked.next:
            return False
        try:
            reference = parse_reference(text, self._config.default_registry)
            resolved = self._client.resolve(reference, self._site.architecture)
        except (ImageError, InvalidRequest) as error:
            self._not_resolved(text, runs, asked, error, monotonic)
            return True
        del self._asked[text]
        with self._database.read() as connection:
            known = stored.find_image(connection, self._site.name, resolved.digest)
        is_gone = known is not None and known.state == ImageState.READY and self._preparer.has(known) is False
        with self._lease.write() as connection:
            stored.set_digest(connection, text, runs, resolved.digest)
            self._want(connection, resolved, is_gone=is_gone)
            settle_holds(connection, self._site.name)
        _log.info("resolved", site=self._site.name, image=text, digest=resolved.digest, runs=len(runs))
        return True

    def _not_resolved(
        self, text: str, runs: Sequence[int], asked: _Asked, error: ImageError | InvalidRequest, monotonic: float
    ) -> None:
        kind = error.kind if isinstance(error, ImageError) else ImageFailure.BAD_REFERENCE
        asked.tries += 1
        again = after_failure(
            kind,
            f"{error.message} {error.hint}".strip(),
            asked.tries,
            monotonic - asked.first,
            self._site.image_patience_s,
        )
        asked.next = monotonic + min(
            _LONGEST_WAIT_S, max(again.delay_s, error.after_s if isinstance(error, ImageError) else 0.0)
        )
        failed = again.state is ImageState.FAILED
        if failed:
            del self._asked[text]
        _log.warning("not_resolved", site=self._site.name, image=text, kind=kind, reason=error.message, gives_up=failed)
        with self._lease.write() as connection:
            stored.note_want(connection, text, runs, again.why, failed=failed)

    def _want(self, connection: Any, resolved: ResolvedImage, *, is_gone: bool) -> None:
        """The image in the store, whichever way it got there; one that had failed, or that the site has removed, is
        tried again.
        """
        now = self._clock.now()
        image = stored.find_image(connection, self._site.name, resolved.digest)
        if image is None:
            values = {
                "site": self._site.name,
                "digest": resolved.digest,
                "reference": str(resolved.reference),
                "state": ImageState.WANTED,
                "download_bytes": resolved.size_bytes,
                "config": dumps(resolved.config),
            }
            stored.insert_image(connection, values, now)
            return
        values = {"reference": str(resolved.reference), "last_used_at": now}
        if image.state == ImageState.FAILED or (image.state == ImageState.READY and is_gone):
            values |= {"state": ImageState.WANTED, "tries": 0, "not_before": 0.0, "failure": None, "error": None}
        stored.update_image(connection, image.seq, **values)

    # --- one image ------------------------------------------------------------

    def _advance(self, image: Any, monotonic: float) -> bool:
        if image.state == ImageState.WANTED:
            due = image.not_before <= self._clock.now() or image.not_before > self._clock.now() + _LONGEST_WAIT_S
            return due and image.waiting_runs > 0 and self._begin(image)
        return image.state in WORKING and self._look(image, monotonic)

    def _begin(self, image: Any) -> bool:
        """Starts what prepares it; the store first, so that whoever comes after us finds what was begun."""
        if self._preparer.has(image):
            self._ready(image, image.gateway_id)
            return True
        name = f"image-{image.digest[7:19]}-{image.preparations + 1}"
        first = image.started_at if image.tries else self._clock.now()
        begun = {
            "state": ImageState.COPYING,
            "background_job": name,
            "tries": image.tries + 1,
            "preparations": image.preparations + 1,
            "done_bytes": 0,
            "started_at": first,
        }
        with self._lease.write() as connection:
            stored.update_image(connection, image.seq, **begun)
        _log.info("preparing", site=self._site.name, image=image.reference, digest=image.digest, try_=image.tries + 1)
        try:
            self._preparer.begin(image, name)
        except ImageError as error:
            with self._database.read() as connection:
                self._failed(stored.find_image(connection, self._site.name, image.digest), error)
        return True

    def _look(self, image: Any, monotonic: float) -> bool:
        """How far what prepares it is."""
        try:
            progress = self._preparer.look(image, monotonic)
        except ImageError as error:
            progress = Progress(ImageState.FAILED, error=error)
        if progress is None:
            return False
        if progress.error is not None:
            self._failed(image, progress.error, progress.again_s)
        elif progress.state is ImageState.READY:
            self._ready(image, progress.gateway_id)
        else:
            if (progress.state, progress.done_bytes) != (image.state, image.done_bytes):
                with self._lease.write() as connection:
                    stored.update_image(connection, image.seq, state=progress.state, done_bytes=progress.done_bytes)
            return False
        self._preparer.finish(image)
        return True

    def _ready(self, image: Any, gateway_id: str | None) -> None:
        now = self._clock.now()
        ready = {
            "state": ImageState.READY,
            "ready_at": now,
            "last_used_at": now,
            "size_bytes": self._size(image.digest),
            "tries": 0,
            "failure": None,
            "error": None,
            "background_job": None,
            "gateway_id": gateway_id,
        }
        with self._lease.write() as connection:
            stored.update_image(connection, image.seq, **ready)
            settle_holds(connection, self._site.name)
        self._tidy_at = 0.0  # it may be one too many
        _log.info("ready", site=self._site.name, image=image.reference, digest=image.digest)

    def _size(self, digest: str) -> int | None:
        if not keeps_files(self._site):
            return None
        said = self._site.transport.run(
            ["du", "-sk", "--", image_folder(self._site, digest)], timeout_s=600.0
        ).stdout.split()
        return int(said[0]) * 1024 if said and said[0].isdigit() else None

    def _failed(self, image: Any, error: ImageError, again_s: float = 0.0) -> None:
        """Another try, in ``again_s`` at the earliest, or the end."""
        waited_s = self._clock.now() - (image.started_at or self._clock.now())
        message = f"{error.message} {error.hint}".strip()
        again = after_failure(error.kind, message, image.tries, waited_s, self._site.image_patience_s)
        _log.warning(
            "not_prepared",
            site=self._site.name,
            image=image.reference,
            kind=error.kind,
            reason=message,
            next=again.state,
        )
        wait_s = min(max(again.delay_s, again_s, error.after_s), _LONGEST_WAIT_S)
        values = {"state": again.state, "failure": error.kind, "error": again.why, "background_job": None}
        with self._lease.write() as connection:
            stored.update_image(connection, image.seq, **values, not_before=self._clock.now() + wait_s)
            if again.state is ImageState.FAILED:
                stored.fail_wants(connection, self._site.name, image.digest, again.why)

    # --- those who wait, and those who have left ------------------------------------------------------------

    def _fail_tasks(self, want: Any) -> bool:
        """Ends the tasks of a run that wait for an image which they will never get."""
        with self._database.read() as connection:
            steps = self._steps.many(connection, [row.seq for row in steps_of_run(connection, want.run_seq)])
        queued = iter_tasks(self._database, want.run_seq, (TaskState.QUEUED,))
        waiting = (
            row.id
            for row in queued
            if row.step_seq in steps and want.reference in steps[row.step_seq].images(row.params)
        )
        moved = False
        while some := list(islice(waiting, _TASKS_AT_ONCE)):
            now = self._clock.now()
            end = {"failure": FailureClass.IMAGE, "reason": want.error, "ended_at": now}
            with self._lease.write() as connection:
                current = lock_tasks(connection, some)
                moves = [
                    Move(task, TaskState.SYSTEM_ERROR, now, want.error, dict(end))
                    for task, row in current.items()
                    if row.state is TaskState.QUEUED
                ]
                apply_moves(connection, moves, current)
            moved = True
        return moved

    def _let_go(self, failed: set[tuple[int, str]]) -> bool:
        """Lets the other tasks of runs go whose tasks in an image that they will never get have failed."""
        is_new = bool(failed - self._let_gone)
        if is_new:
            with self._lease.write() as connection:
                settle_holds(connection, self._site.name)
        self._let_gone = failed
        return is_new

    def _tidy(self, images: Sequence[Any]) -> None:
        """Notes what is in use, finds what the site has removed, and makes room."""
        with self._lease.write() as connection:
            in_use = stored.digests_in_use(connection, self._site.name)
            stored.touch_images(connection, self._site.name, in_use, self._clock.now())
        for image in images:
            if image.state == ImageState.READY and image.digest in in_use and self._preparer.has(image) is False:
                lost = {
                    "state": ImageState.WANTED,
                    "error": "It is not at the site as it has to be, and is prepared again.",
                    "size_bytes": None,
                }
                with self._lease.write() as connection:
                    stored.update_image(connection, image.seq, **lost, tries=0, not_before=0.0)
                    settle_holds(connection, self._site.name)
        if self._site.image_quota_bytes is not None:
            for image in to_evict(images, in_use, self._site.image_quota_bytes):
                self._evict(image)

    def _evict(self, image: Any) -> None:
        """Forgotten first, unless a run has wanted it meanwhile; then removed, in a way that never leaves half of it in
        its place.
        """
        with self._lease.write() as connection:
            if image.digest in stored.digests_in_use(connection, self._site.name):
                return
            stored.delete_image(connection, image.seq)
        growing = growing_folder(self._site, image.digest)
        self._site.transport.remove(growing)
        folder = images_folder(self._site)
        for name in self._site.transport.names(folder):
            if name.startswith(file_name(image.digest)) and self._site.transport.rename(f"{folder}/{name}", growing):
                self._site.transport.remove(growing)
        _log.info("evicted", site=self._site.name, image=image.reference, digest=image.digest, bytes=image.size_bytes)
