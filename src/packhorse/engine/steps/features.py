"""What is known of tasks before they start: their numbers, digests of their texts, and the sizes of their inputs."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from packhorse.domain.app import ParameterType
from packhorse.domain.cachekey import VALUE
from packhorse.domain.history import Features
from packhorse.domain.outputpath import kept_as
from packhorse.domain.text import kept_json
from packhorse.engine.steps.base import Identity, Input, LocalFile, Step, UpstreamFile
from packhorse.engine.steps.cache import SENSELESS
from packhorse.store import lookups as stored
from packhorse.store.data import DataKey, sizes_of_data
from packhorse.store.records import secret
from packhorse.store.schema import TASKS_PER_RUN

_LARGEST = 1e300
_MOST = 50  # of each sort: numbers, texts, inputs
_KEPT = 20_000
_LOOK_AGAIN_S = 60.0
_COMPRESSED = frozenset(
    (".gz", ".bgz", ".bz2", ".xz", ".zst", ".zip", ".tgz", ".lz4", ".br", ".bam", ".cram", ".sra", ".7z")
)


class TaskRow(NamedTuple):
    """As much of a task's row as is looked at here."""

    id: int
    params: str


class Texts:
    """Digests of texts. Those of users' texts need a secret of the store, so that nobody can try them out."""

    def __init__(self) -> None:
        self._key: bytes | None = None

    def digest(self, connection: sa.Connection, text: str) -> str:
        """16 hexadecimal digits, always the same in one store."""
        if self._key is None:
            self._key = bytes.fromhex(secret(connection, "history"))
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


class FeatureReader:
    """Reads the features of tasks. Remembers the sizes of files for a minute."""

    def __init__(self) -> None:
        self.texts = Texts()
        self._sizes: OrderedDict[str, tuple[float, int | None]] = OrderedDict()

    def of(self, connection: sa.Connection, step: Step, rows: Sequence[TaskRow]) -> list[Features]:
        """Those of tasks of one step, in order; of what makes no sense, none."""
        identities = [_identity(step, row) for row in rows]
        wanted = [one for each in identities for one in each.inputs.values()]
        by_url, left = self._elsewhere(connection, step.row.site, wanted)
        return [self._features(connection, step, one, by_url, left) for one in identities]

    def _elsewhere(
        self, connection: sa.Connection, site: str, wanted: Sequence[Input]
    ) -> tuple[Mapping[str, int], Mapping[tuple[str, int], Mapping[str, int]]]:
        """Sizes of what came by URL, and of what other tasks left: with a few statements, however many tasks."""
        urls = {one.url for one in wanted if isinstance(one, DataKey)}
        by_url = sizes_of_data(connection, site, urls) if urls else {}
        upstream = {(one.run_id, one.index) for one in wanted if isinstance(one, UpstreamFile)}
        if not upstream:
            return by_url, {}
        seqs = stored.run_seqs(connection, {run_id for run_id, _ in upstream})
        ids = {(run, index): seqs[run] * TASKS_PER_RUN + index for run, index in upstream if run in seqs}
        files = stored.files_left(connection, ids.values())
        return by_url, {place: _sizes_in(files.get(task)) for place, task in ids.items()}

    def _features(
        self,
        connection: sa.Connection,
        step: Step,
        identity: Identity,
        by_url: Mapping[str, int],
        left: Mapping[tuple[str, int], Mapping[str, int]],
    ) -> Features:
        found = Features()
        for part, value in identity.parts.items():
            name = part.removeprefix(VALUE)
            if name == part or value is None:
                continue
            if isinstance(value, bool | int | float):
                if len(found.numbers) < _MOST and abs(value) < _LARGEST:
                    found.numbers[name] = float(value)
            elif isinstance(value, str) and len(found.categories) < _MOST:
                found.categories[name] = self._category(connection, step, name, value)
        for number, (own, wanted) in enumerate(list(identity.inputs.items())[:_MOST]):
            # the inputs of a TES document are called as its user likes
            name = own if step.app is not None else f"input{number + 1}"
            match wanted:
                case LocalFile(path):
                    size = self._size(path)
                case UpstreamFile(run_id, index, path):
                    size = left.get((run_id, index), {}).get(kept_as(path))
                case DataKey(url, _):
                    path, size = url.partition("?")[0], by_url.get(url)
                case _:
                    continue
            if size is not None:
                found.inputs[name] = size
                if Path(path).suffix.lower() in _COMPRESSED:
                    found.compressed.append(name)
        return found

    def _category(self, connection: sa.Connection, step: Step, name: str, value: str) -> str:
        """A choice is a text of the app's, and the same at every site; any other is its user's."""
        parameter = step.app.parameters.get(name) if step.app is not None else None
        if parameter is not None and parameter.type is ParameterType.CHOICE:
            return hashlib.sha256(value.encode()).hexdigest()[:16]
        return self.texts.digest(connection, value)

    def _size(self, path: str) -> int | None:
        """Of a file of this machine."""
        now = time.monotonic()
        known = self._sizes.get(path)
        if known is None or now > known[0]:
            try:
                status = Path(path).stat()
                size = status.st_size if Path(path).is_file() else None
            except (OSError, ValueError):
                size = None
            known = self._sizes[path] = (now + _LOOK_AGAIN_S, size)
            while len(self._sizes) > _KEPT:
                self._sizes.popitem(last=False)
        return known[1]


def features_json(features: Features) -> str:
    """As the store keeps them."""
    return kept_json(features.model_dump(exclude_defaults=True))


def _identity(step: Step, row: TaskRow) -> Identity:
    try:
        return step.identity(row.id, row.params, {})
    except SENSELESS:
        return Identity({}, {})


def _sizes_in(files: str | None) -> dict[str, int]:
    """Of the outputs in a task's ``files``, by where they are kept."""
    return {kept_as(str(file["path"])): int(file.get("size") or 0) for file in json.loads(files or "[]")}
