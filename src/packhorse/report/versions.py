"""Versions, digests and checksums of all that the run was made with, took and left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packhorse.report.facts import AppFacts, RunFacts
from packhorse.report.markup import Markup, el, table
from packhorse.report.units import size

_MAX_ROWS = 300


def versions_section(facts: RunFacts) -> Markup:
    """Packhorse, apps, images, data that was taken, and files that were left."""
    parts: list[Markup] = [el("p", f"Packhorse {facts.version}; run {facts.id}.")]
    apps = list(dict.fromkeys(step.app for step in facts.steps if step.app is not None))
    if apps:
        parts += [el("h3", "Apps"), _apps(facts, apps)]
    if facts.images:
        rows = [
            [one.reference, _code(one.digest or "not known"), one.site, size(one.size) if one.size else ""]
            for one in facts.images
        ]
        parts += [el("h3", "Images"), table(["image", "digest", "site", "prepared"], rows, numbers=[3])]
    else:
        parts.append(el("p", "No container images: programs of the site itself.", class_="note"))
    if facts.data:
        parts += [el("h3", "Data taken by URL"), _data(facts)]
    examples = [(step.name, file) for step in facts.steps for file in step.outputs.examples]
    if examples:
        parts += [el("h3", "Outputs"), _outputs(facts, examples)]
    return el("section", el("h2", "Versions, digests and checksums"), parts)


def _code(value: object) -> Markup:
    return el("span", value, class_="mono")


def _apps(facts: RunFacts, apps: list[AppFacts]) -> Markup:
    rows = []
    for app in apps:
        steps = [step.name for step in facts.steps if step.app == app]
        more = f" and {len(steps) - 5:,} more" if len(steps) > 5 else ""
        rows.append([app.name, app.version, _code(f"sha256:{app.digest}"), ", ".join(steps[:5]) + more])
    return table(["app", "version", "digest of its folder", "steps"], rows[:_MAX_ROWS])


def _data(facts: RunFacts) -> Markup:
    rows = [
        [
            one.url,
            one.version,
            _code(f"sha256:{one.sha256}" if one.sha256 else "not there yet"),
            size(one.size) if one.size is not None else "",
            f"{one.tasks:,}",
        ]
        for one in facts.data
    ]
    told = table(["URL", "version", "content", "size", "tasks"], rows, numbers=(3, 4))
    if not facts.data_left_out:
        return told
    return el("div", told, el("p", f"And {facts.data_left_out:,} more URLs.", class_="note"))


def _outputs(facts: RunFacts, examples: list[tuple[str, Mapping[str, Any]]]) -> Markup:
    files = sum(step.outputs.files for step in facts.steps)
    rows = []
    for step, of in examples[:_MAX_ROWS]:
        sha256 = of.get("sha256")
        where = of.get("url") or of.get("path")
        rows.append([step, _code(of.get("task", "")), where, size(of.get("size")), _code(sha256 or "")])
    told = table(["step", "task", "file", "size", "SHA-256"], rows, numbers=[3])
    shown = f"{min(len(examples), _MAX_ROWS):,} of {files:,} files, some of each step"
    known = "A checksum is known of what was delivered to a URL; a crate of the run has those of the files in it."
    return el("details", el("summary", shown), told, el("p", known, class_="note"))
