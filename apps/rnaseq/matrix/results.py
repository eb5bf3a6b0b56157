"""Reads what a gathering step is given: a line of JSON for each task of the steps before.

The same file lies in each app that needs it: an app's folder is copied alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kept:
    """A sample, and the files that its task left, by the names of outputs."""

    name: str
    condition: str
    state: str
    reason: str
    files: dict[str, Path]


def read_results(path: Path) -> tuple[list[Kept], list[Kept]]:
    """(samples whose task completed, the others), in the order of the table."""
    kept: list[Kept] = []
    missing: list[Kept] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            task = json.loads(line)
            params = task.get("params") or {}
            files = {name: Path(path) for name, path in (task.get("outputs") or {}).items() if isinstance(path, str)}
            name, condition = str(params.get("sample", task["index"])), str(params.get("condition", ""))
            sample = Kept(name, condition, task["state"], task.get("reason") or "", files)
            (kept if task["state"] == "COMPLETE" else missing).append(sample)
    return kept, missing
