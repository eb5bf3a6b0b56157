"""A run as a research object: the metadata of an RO-Crate 1.1 that follows the profile Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun/workflow/0.5), as JSON-LD.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from packhorse.domain.plain import plain
from packhorse.domain.text import holdable, holdable_value
from packhorse.report.facts import ImageFacts, RunFacts
from packhorse.report.units import hours, size, some

METADATA = "ro-crate-metadata.json"
PREVIEW = "ro-crate-preview.html"
README = "README.md"
#: What a file of a crate is to its run.
WORKFLOW, TABLE, APP, RESULTS, OUTPUT = "workflow", "table", "app", "results", "output"

_CRATE = "https://w3id.org/ro/crate/1.1"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    _WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
_BIOSCHEMAS = "https://bioschemas.org/profiles"
_DONE, _FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"
_LANGUAGE, _PROGRAM = "#packhorse-run", "#packhorse"
_MAX_WEB = 1000  # files that are named by URL

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CrateFile:
    """A file of a crate. ``kind`` is one of those above; ``of`` is what it belongs to: a step, or an app's digest."""

    path: str
    kind: str
    name: str
    media_type: str
    size: int
    sha256: str
    of: str = ""

    @property
    def id(self) -> str:
        return _quoted(self.path, "/")


def crate_metadata(facts: RunFacts, files: Sequence[CrateFile], folders: Mapping[str, str]) -> str:
    """The text of ``METADATA``; ``folders`` are those of the apps, by digest."""
    graph: dict[str, Entity] = {}
    for entity in _entities(facts, files, folders):
        told = {name: _single(value) for name, value in entity.items() if value not in (None, [], "")}
        graph.setdefault(entity["@id"], told)
    document = {"@context": [f"{_CRATE}/context", _TERMS], "@graph": list(graph.values())}
    return json.dumps(holdable_value(document), indent=1, ensure_ascii=False)


def _single(value: Any) -> Any:
    """A list of one is that one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _entities(facts: RunFacts, files: Sequence[CrateFile], folders: Mapping[str, str]) -> list[Entity]:
    inputs, outputs = _parameters(facts, files)
    web = [_web_file(url, sha256, length) for url, sha256, length in _by_url(facts)][:_MAX_WEB]
    apps = _apps(facts, folders, files)
    action = _action(facts, files, web)
    workflow = next(file for file in files if file.kind == WORKFLOW)
    return [
        _descriptor(),
        _root(facts, files, apps, web, workflow),
        *[_profile(profile, name, version) for profile, (name, version) in _PROFILES.items()],
        _workflow(facts, workflow, inputs, outputs, apps),
        *_language(facts),
        *apps,
        *[_file(file, outputs, inputs) for file in files if file is not workflow],
        *_about_it(facts),
        *inputs,
        *outputs,
        *web,
        action,
        *[_image(image) for image in facts.images],
        *_usage(facts),
        {"@id": "#user", "@type": "Person", "name": facts.user},
    ]


def _ids(entities: Sequence[Entity]) -> list[Entity]:
    return [{"@id": entity["@id"]} for entity in entities]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _title(facts: RunFacts) -> str:
    return facts.name or facts.app or facts.id


def _descriptor() -> Entity:
    return {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": [{"@id": _CRATE}, {"@id": _WORKFLOW_CRATE}],
    }


def _profile(profile: str, name: str, version: str) -> Entity:
    return {"@id": profile, "@type": "CreativeWork", "name": name, "version": version}


def _root(
    facts: RunFacts, files: Sequence[CrateFile], apps: Sequence[Entity], web: Sequence[Entity], workflow: CrateFile
) -> Entity:
    parts = [{"@id": file.id} for file in files if file.kind != APP]
    folders = [app for app in apps if str(app["@id"]).endswith("/")]
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{_title(facts)} ({facts.id})",
        "description": f"{some(facts.tasks, 'task')} in {some(len(facts.steps), 'step')}, run by Packhorse.",
        "author": {"@id": "#user"},
        "datePublished": _time(facts.made_at),
        "license": "Nothing is said of the license of this run's data; ask who made it.",
        "conformsTo": [{"@id": profile} for profile in _PROFILES],
        "mainEntity": {"@id": workflow.id},
        "hasPart": [*parts, {"@id": README}, {"@id": PREVIEW}, *_ids(folders), *_ids(web)],
        "mentions": [{"@id": f"#{facts.id}"}],
    }


def _workflow(
    facts: RunFacts, file: CrateFile, inputs: Sequence[Entity], outputs: Sequence[Entity], apps: Sequence[Entity]
) -> Entity:
    return {
        "@id": file.id,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": _title(facts),
        "conformsTo": {"@id": f"{_BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"},
        "programmingLanguage": {"@id": _LANGUAGE},
        "input": _ids(inputs),
        "output": _ids(outputs),
        "hasPart": _ids(apps),
        "version": file.sha256,
        "encodingFormat": file.media_type,
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }


def _language(facts: RunFacts) -> list[Entity]:
    about = {"name": "Packhorse", "version": facts.version}
    documents = "JSON document that 'packhorse run' and 'POST /api/v1/runs' take."
    return [
        {"@id": _LANGUAGE, "@type": "ComputerLanguage", **about, "description": documents},
        {"@id": _PROGRAM, "@type": "SoftwareApplication", "name": "Packhorse", "softwareVersion": facts.version},
    ]


def _apps(facts: RunFacts, folders: Mapping[str, str], files: Sequence[CrateFile]) -> list[Entity]:
    parts: dict[str, list[Entity]] = {}
    for file in files:
        if file.kind == APP:
            parts.setdefault(file.of, []).append({"@id": file.id})
    found: dict[str, Entity] = {}
    for step in facts.steps:
        app = step.app
        if app is not None and app.digest not in found:
            folder = folders.get(app.digest)
            found[app.digest] = {
                "@id": f"{folder}/" if folder else f"#app-{app.digest[:16]}",
                "@type": ["Dataset", "SoftwareApplication"] if folder else "SoftwareApplication",
                "name": app.name,
                "description": app.title,
                "softwareVersion": app.version,
                "identifier": f"sha256:{app.digest}",
                "hasPart": parts.get(app.digest, []),
            }
    return list(found.values())


def _file(file: CrateFile, outputs: Sequence[Entity], inputs: Sequence[Entity]) -> Entity:
    examples = [one for one in (*inputs, *outputs) if file.id in [of["@id"] for of in one["workExample"]]]
    return {
        "@id": file.id,
        "@type": "File",
        "name": file.name,
        "encodingFormat": file.media_type,
        "contentSize": str(file.size),
        "sha256": file.sha256,
        "exampleOfWork": _ids(examples),
    }


def _about_it(facts: RunFacts) -> list[Entity]:
    about = {"about": {"@id": "./"}}
    return [
        {"@id": PREVIEW, "@type": "File", "name": f"Report of {facts.id}", "encodingFormat": "text/html", **about},
        {"@id": README, "@type": "File", "name": "What is here", "encodingFormat": "text/markdown", **about},
    ]


def readme(facts: RunFacts) -> str:
    """The text of ``README``: what is in the crate, and how to run it again."""
    commands = "\n".join(f"    {plain(command)}" for command in facts.again.commands)
    return (
        f"# Run {facts.id}\n\n"
        f"A Workflow Run Crate of {facts.tasks:,} tasks in {len(facts.steps)} steps, by Packhorse {facts.version}.\n\n"
        f"- {PREVIEW}: the report. Open it in a browser; it needs no network.\n"
        "- run.json, apps/, tables/: what was run, with which values.\n"
        "- results.jsonl: the result of each task, one JSON object a line.\n"
        "- outputs/: files that the last steps left, by step and task.\n\n"
        f"Run it again, in this folder:\n\n{commands or '    (see the report)'}\n\n{plain(facts.again.note)}\n"
    )


def _parameters(facts: RunFacts, files: Sequence[CrateFile]) -> tuple[list[Entity], list[Entity]]:
    """The workflow's inputs, a table for each step that has one; its outputs: results, and files of the last steps."""
    inputs = [_parameter("in", file, f"Values of the tasks of step {file.of}") for file in files if file.kind == TABLE]
    outputs = [_parameter("out", file, file.name) for file in files if file.kind == RESULTS]
    by_step: dict[str, list[CrateFile]] = {}
    for file in files:
        if file.kind == OUTPUT:
            by_step.setdefault(file.of, []).append(file)
    for step, left in by_step.items():
        one = _parameter("out", left[0], f"Files that step {step} leaves")
        outputs.append({**one, "workExample": [{"@id": file.id} for file in left]})
    return inputs, outputs


def _parameter(which: str, file: CrateFile, name: str) -> Entity:
    return {
        "@id": f"#{which}-{_quoted(file.of or file.name)}",
        "@type": "FormalParameter",
        "additionalType": "File",
        "name": name,
        "conformsTo": {"@id": f"{_BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
        "workExample": [{"@id": file.id}],
    }


def _by_url(facts: RunFacts) -> list[tuple[str, str | None, int | None]]:
    taken = [(one.url, one.sha256, one.size) for one in facts.data]
    left = [
        (str(file["url"]), file.get("sha256"), file.get("size"))
        for step in facts.steps
        for file in step.outputs.examples
        if file.get("url")
    ]
    return [one for one in (*taken, *left) if one[0].startswith(("http://", "https://", "ftp://", "s3://"))]


def _quoted(name: str, safe: str = "") -> str:
    return quote(holdable(name), safe=safe)


def _url_id(url: str) -> str:
    return _quoted(url, ":/?#[]@!$&'()*+,;=%~")


def _web_file(url: str, sha256: str | None, length: int | None) -> Entity:
    told = {"@id": _url_id(url), "@type": "File", "name": url.rsplit("/", 1)[-1] or url}
    return {**told, "contentSize": None if length is None else str(length), "sha256": sha256}


def _action(facts: RunFacts, files: Sequence[CrateFile], web: Sequence[Entity]) -> Entity:
    taken = {_url_id(one.url) for one in facts.data}
    objects = [{"@id": file.id} for file in files if file.kind == TABLE]
    results = [{"@id": file.id} for file in files if file.kind in (RESULTS, OUTPUT)]
    workflow = next(file for file in files if file.kind == WORKFLOW)
    left = facts.tasks - sum(step.complete for step in facts.steps)
    failed = left > 0 and facts.ended_at is not None
    return {
        "@id": f"#{facts.id}",
        "@type": "CreateAction",
        "name": f"Run {facts.id}",
        "description": f"{some(facts.tasks, 'task')}, of which {facts.tasks - left:,} completed.",
        "instrument": {"@id": workflow.id},
        "agent": {"@id": "#user"},
        "startTime": _time(facts.created_at),
        "endTime": _time(facts.ended_at if facts.ended_at is not None else facts.made_at),
        "actionStatus": (_FAILED if failed else _DONE) if facts.ended_at is not None else None,
        "error": f"{some(left, 'task')} did not complete." if failed else None,
        "object": [*objects, *(one for one in _ids(web) if one["@id"] in taken)],
        "result": [*results, *(one for one in _ids(web) if one["@id"] not in taken)],
        "containerImage": [{"@id": _image(image)["@id"]} for image in facts.images],
        "resourceUsage": _ids(_usage(facts)),
    }


def _image(image: ImageFacts) -> Entity:
    name, _, tag = image.reference.partition("@")[0].rpartition(":")
    if not name or "/" in tag:
        name, tag = image.reference.partition("@")[0], ""
    registry, slash, rest = name.partition("/")
    has_registry = bool(slash) and ("." in registry or ":" in registry or registry == "localhost")
    return {
        "@id": f"#image-{_quoted(image.reference)}",
        "@type": "ContainerImage",
        "additionalType": {"@id": "https://w3id.org/ro/terms/workflow-run#DockerImage"},
        "registry": registry if has_registry else "docker.io",
        "name": rest if has_registry else name,
        "tag": tag,
        "sha256": (image.digest or "").removeprefix("sha256:"),
    }


def _usage(facts: RunFacts) -> list[Entity]:
    """What the whole run was granted and used."""
    measured = [step.measured for step in facts.steps]
    told = {
        "core-hours-granted": hours(sum(one.core_s.granted for one in measured)),
        "core-hours-used": hours(sum(one.core_s.used for one in measured)),
        "peak-memory-of-one-task": size(max((one.peak_memory.maximum for one in measured), default=0)),
        "attempts": f"{sum(one.attempts for one in measured)}",
    }
    return [
        {"@id": f"#usage-{name}", "@type": "PropertyValue", "name": name, "propertyID": f"#{name}", "value": value}
        for name, value in told.items()
    ]
