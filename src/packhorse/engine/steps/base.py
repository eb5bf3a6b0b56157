"""A step of a run: the questions that the engine, the collector and the doors ask of it, and what the store keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, Protocol
from urllib.parse import quote

from packhorse.domain.app import AppManifest, Session
from packhorse.domain.failures import FailureClass
from packhorse.domain.ids import task_id as public_task_id
from packhorse.domain.resources import Resources
from packhorse.domain.text import kept_json
from packhorse.engine.containers import Containers
from packhorse.engine.retry import RetryPolicy
from packhorse.estimate.records import Kind
from packhorse.sites.site import Site
from packhorse.store.data import DataKey
from packhorse.store.demands import DemandKey
from packhorse.store.schema import TASKS_PER_RUN

Line = dict[str, Any]

#: The scheme of outputs of tasks at other sites, among what is brought.
OUTPUT = "output"

#: As the image of a run: none, the host's own programs.
NO_IMAGE = "none"


def _starts_itself(resources: Resources) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Locations:
    """Where things are at a site, for the tasks that are rendered: its folder of ``outputs``, the app's folder, and
    where an input file or URL is there (``bring``, which raises InputNotBrought).

    ``results`` is the file that a gathering task reads, ``reads`` are folders that it names; ``containers`` is for
    steps that name images; ``data`` is what came by URL; ``launch`` says the words before a command that start it on
    all ranks of a task; ``secrets`` is the folder with what runs keep sealed.
    """

    outputs: str
    app_dir: str
    bring: Callable[[str], str]
    results: str = ""
    containers: Containers | None = None
    data: Mapping[DataKey, str] = field(default_factory=dict)
    launch: Callable[[Resources], list[str]] = _starts_itself
    reads: Sequence[str] = ()
    secrets: str = ""


class InputNotBrought(Exception):
    """What a task needs is not at its site; the message says why. Trying the others is not pointless."""


@dataclass(frozen=True)
class StepSpec:
    """What the store keeps of a step besides its tasks. ``app`` is a digest; ``params`` are common to all tasks.

    ``kind``: the tasks of an app, its gathering task, TES documents, or jobs of a KBase module.
    """

    kind: Literal["app", "gather", "documents", "kbase"]
    app: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    retry: dict[str, int] = field(default_factory=dict)
    session: str | None = None
    image: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    outputs: str | None = None
    """The URL that outputs are delivered below."""
    has_data: bool = False
    """Whether any of its tasks needs data of its own: by URL, or files that are brought."""
    files: dict[str, str] = field(default_factory=dict)
    """Files that all of its tasks are given, and the site is brought: URL and version (``engine.steps.files``)."""
    results_to: str = ""
    """Of a step that gathers: the parameter that is given the file with results of tasks that it waits for."""
    results_of: list[str] = field(default_factory=list)
    """The steps whose results those are; empty for all that it waits for."""
    leaves_list: bool = False
    """Whether the result of its only task is the list that the tasks of another step come from."""
    item: str = ""
    """Of a step that comes from a list: the parameter that an item is; empty where items are objects of values."""
    takes: dict[str, list[str]] = field(default_factory=dict)
    """Of a step whose tasks come from a list, or from those of another: parameters that are outputs of the task that
    theirs comes from, as [step, output].
    """
    reuse: bool = False
    """Whether results of earlier tasks are taken where nothing has changed."""
    reference: bool = False
    """Whether what its tasks leave is the site's, and not a user's: it is made once."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Parameters that are outputs of a task at another site, and which: they are brought from there."""
    from_history: dict[str, str] = field(default_factory=dict)
    """Values that come from earlier runs, each with how: they say how fast something is done, and not what."""

    def to_json(self) -> str:
        return kept_json({name: value for name in _FIELDS if (value := getattr(self, name)) or name == "kind"})

    @classmethod
    def from_json(cls, text: str) -> StepSpec:
        return cls(**json.loads(text))


_FIELDS = tuple(one.name for one in fields(StepSpec))


@dataclass(frozen=True)
class StepRow:
    """Where a step stands in the store (``store.steps.load_steps``)."""

    seq: int
    run_seq: int
    run_id: str
    user: str
    priority: int
    site: str
    name: str
    first: int
    created_at: float = 0.0
    """When its run was, in seconds since the epoch."""

    @classmethod
    def of(cls, row: Any) -> StepRow:
        return cls(
            row.seq, row.run_seq, row.run_id, row.user, row.priority, row.site, row.name, row.first, row.created_at
        )

    def index(self, task: int) -> int:
        """The index in its run of a task's id."""
        return task % TASKS_PER_RUN

    def public_id(self, task: int) -> str:
        """What users call a task."""
        return public_task_id(self.run_id, task % TASKS_PER_RUN)


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """An output of another task, as an input."""

    run_id: str
    index: int
    path: str


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the engine's machine, as an input."""

    path: str


@dataclass(frozen=True, slots=True)
class BroughtFile:
    """A file of the engine's machine that the site is brought, as an input: its content is that of what came."""

    path: str


@dataclass(frozen=True, slots=True)
class Results:
    """The results of all tasks that a step gathers, as an input."""


Input = UpstreamFile | LocalFile | BroughtFile | DataKey | Results


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a task of a step from others: parts of its key, and inputs by name, whose content is the rest."""

    parts: dict[str, Any]
    inputs: dict[str, Input]


class Step(Protocol):
    """What is asked of a step. ``params`` are a task's as they are stored: JSON text."""

    row: StepRow
    spec: StepSpec

    @property
    def app(self) -> AppManifest | None:
        """The manifest with what the run lays over it; None for documents."""

    def kind(self, params: str) -> Kind:
        """The tasks that are expected to behave as this one, here and in other runs."""

    @property
    def sizes_itself(self) -> bool:
        """Whether its command is told the memory that a task is granted, which it may fill."""

    @property
    def retry_policy(self) -> RetryPolicy:
        """What is tried again, and how often."""

    @property
    def is_resumable(self) -> bool:
        """Whether a task keeps its work folder, and goes on there after a failure."""

    @property
    def is_gathering(self) -> bool:
        """Whether its only task reads the results of others."""

    @property
    def session(self) -> Session:
        """How processes serve its tasks."""

    @property
    def may_deliver(self) -> bool:
        """Whether outputs of its tasks may have URLs."""

    @property
    def has_secrets(self) -> bool:
        """Whether its tasks are given what is kept, sealed, with their run."""

    @property
    def user_secrets(self) -> Collection[str]:
        """Names of its user's secrets that its tasks are given."""

    @property
    def result_type(self) -> str:
        """``none``, ``text`` or ``json``: what a task's result is."""

    def resources(self, params: str, overrides: str | None) -> Resources:
        """What one attempt at a task asks for, raised where an earlier one failed for want of it."""

    def demand(self, params: str, overrides: str | None) -> DemandKey:
        """What the task is counted with while it is ready."""

    def needs(self, params: Mapping[str, Any], site: Site) -> tuple[DataKey, ...]:
        """What a task needs by URL, and which files of this machine its site is brought for it."""

    def common_needs(self) -> tuple[DataKey, ...]:
        """What all of its tasks need, besides the folder of their app."""

    def images(self, params: str) -> list[str]:
        """The images that a task runs in, as its run names them."""

    def render(
        self, task: int, params: str, attempt: int, overrides: str | None, where: Locations, *, resume: bool = False
    ) -> tuple[str, Line, Line]:
        """(template key, template, line) of docs/spool.md for one attempt; ``resume``: an earlier attempt got on."""

    def common_parts(self, images: Mapping[str, str], folder: Callable[[], str]) -> dict[str, Any]:
        """What of the keys of its tasks (domain.cachekey) is the same for all: ``images`` has the digests of those that
        they run in, ``folder`` tells that of the app's folder.
        """

    def identity(self, task: int, params: str, images: Mapping[str, str]) -> Identity:
        """What of the key of one task is its own."""

    def verdict(self, record: dict[str, Any]) -> dict[str, Any]:
        """An ``end`` record of docs/spool.md, with what the step itself has against a task that ended well."""

    def delivers(self, params: str) -> bool:
        """Whether outputs of a task go to URLs."""

    def kept(self, index: int, params: str, paths: Sequence[str]) -> dict[str, str | list[str]]:
        """The outputs of a task by name, of the files that it left; none of documents, whose outputs have no names."""

    def output_urls(self, params: str, index: int, files: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """(path, URL) of those ``files`` of a task, as its journal names them, that are delivered."""

    def shown_params(self, params: str) -> dict[str, Any] | None:
        """The values that a task runs with, defaults included; None where there are none."""

    def document(self, task: Any) -> dict[str, Any]:
        """The TES document of a task's row, less what its run and its attempts say."""


def results_key(row: StepRow) -> DataKey:
    """The table that the tasks of a gathering step read."""
    return DataKey(f"results:{row.run_id}/{row.seq}", "1")


def output_key(site: str, run_id: str, index: int, path: str) -> DataKey:
    """An output of a task at another site (``engine.data.outputcopy``)."""
    return DataKey(f"{OUTPUT}:{site}/{run_id}/{index}/{quote(os.fsencode(path))}", "1")


class StepBase:
    """What all steps have in common."""

    def __init__(self, row: StepRow, spec: StepSpec) -> None:
        self.row = row
        self.spec = spec

    @property
    def app(self) -> AppManifest | None:
        return None

    def images(self, params: str) -> list[str]:
        own = self.app.image if self.app is not None else None
        return [] if own is None else [own]

    def kept(self, index: int, params: str, paths: Sequence[str]) -> dict[str, str | list[str]]:
        return {}

    has_secrets = False

    @property
    def user_secrets(self) -> Collection[str]:
        return ()

    def verdict(self, record: dict[str, Any]) -> dict[str, Any]:
        return record

    @property
    def is_gathering(self) -> bool:
        return False

    @property
    def sizes_itself(self) -> bool:
        return False

    def common_needs(self) -> tuple[DataKey, ...]:
        files = tuple(DataKey(url, version) for url, version in self.spec.files.items())
        return (results_key(self.row), *files) if self.is_gathering else files

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        own = self.app.retry if self.app else {}
        laid_over = {FailureClass(name): number for name, number in self.spec.retry.items()}
        return RetryPolicy.default().override({**own, **laid_over})


def overridden(asked: Resources, overrides: str | None) -> Resources:
    """Resources, raised by what an earlier attempt lacked (JSON)."""
    return asked.override(json.loads(overrides)) if overrides else asked


def demand_key(label: str, image: str | None, asked: Resources, *, sized: bool = False) -> DemandKey:
    """The demand of tasks that take as long as others of ``label``; ``sized``: what they ask for was decided."""
    return DemandKey(label[:300], kept_json(asked.model_dump(mode="json", exclude_defaults=True)), image, sized)
