"""A module of KBase's SDK as apps: what kbase.yml, spec.json and display.yaml say, as manifests. Pure.

Each method of the narrative becomes an app, and the module one more, which runs its other functions. What a method is
asked with are its own parameters; the manifest's ``parameters`` tell people what the narrative asks for.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import ValidationError

from packhorse.domain.app import AppManifest, Parameter
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.problems import problems_of
from packhorse.domain.text import holdable_value

#: Where KBase keeps the images of modules, by name and commit.
_IMAGES = "dockerhub-prod.kbase.us/kbase"
_ENTRYPOINT = "/kb/module/scripts/entrypoint.sh"
_SHELL = re.compile(r"^\s*ENTRYPOINT\s+(\[.*\])\s*$", re.MULTILINE)
_WORKDIR = re.compile(r"^\s*WORKDIR\s+(\S+)\s*$", re.MULTILINE)
_TOP_KEY = re.compile(r"^(?=[A-Za-z][A-Za-z0-9_-]*[ \t]*:)", re.MULTILINE)
_TAGS = re.compile(r"<[^>]*>")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MAX_HELP = 300
_MAX_DESCRIPTION = 4000


@dataclass(frozen=True, slots=True)
class ModuleFiles:
    """The texts of a module. ``methods`` has (spec.json, display.yaml or nothing) of each method of the narrative."""

    kbase_yml: str
    dockerfile: str = ""
    methods: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedModule:
    """Manifests by the name of their app, and what a person should know of them."""

    apps: Mapping[str, dict[str, Any]]
    notes: list[str]


def import_module(files: ModuleFiles, image: str | None, commit: str = "") -> ImportedModule:
    """The apps of a module whose image is ``image`` (None: KBase's own), made of ``commit``. Raises InvalidRequest."""
    about = _yaml(files.kbase_yml, "kbase.yml")
    module, version = _word(about.get("module-name")), _word(about.get("module-version"))
    if not module or not version:
        raise InvalidRequest(
            "kbase.yml names no 'module-name' or no 'module-version', so this is no module of the SDK."
        )
    if image is None and not commit:
        raise InvalidRequest(
            "The module's commit is not known, and so its image is not.", hint="Say --image or --commit."
        )
    notes: list[str] = []
    common: dict[str, Any] = {
        "packhorse": 1,
        "version": version,
        "image": image or f"{_IMAGES}:{module.lower()}.{commit}",
        "command": [*_entrypoint(files.dockerfile), "async"],
    }
    kbase: dict[str, Any] = {"module": module} | ({"git_commit": commit} if commit else {})
    if data := _word(about.get("data-version")):
        kbase |= {"data_folder": module.lower(), "data_version": data}
        notes.append(f"Its reference data is {module.lower()}/{data} below 'reference_data' of the configuration.")
    described = _plain(about.get("module-description"))
    apps = {
        _app_name(module): {
            **common,
            "name": _app_name(module),
            "title": f"{module}: functions without an app of their own",
            "description": described,
            "kbase": kbase,
        }
    }
    for folder, (spec, display) in sorted(files.methods.items()):
        made = _method(folder, spec, display, module, notes)
        if made is None:
            continue
        function, told = made
        name = _app_name(f"{module}-{function}")
        if name in apps:
            notes.append(f"{folder}: another method runs {module}.{function} as well; the first one's app is kept.")
            continue
        apps[name] = {**common, "name": name, **told, "kbase": {**kbase, "function": function}}
    for name, manifest in apps.items():
        _check(name, manifest)
    return ImportedModule(apps, notes)


def _method(folder: str, spec: str, display: str, module: str, notes: list[str]) -> tuple[str, dict[str, Any]] | None:
    """(function, what its manifest says) of a method of the narrative; None where it runs no function of the module."""
    try:
        document = json.loads(spec)
    except (ValueError, RecursionError) as error:
        notes.append(f"{folder}: its spec.json is not JSON ({error}); it becomes no app of its own.")
        return None
    mapping = _get(document, "behavior", "service-mapping")
    function = _get(mapping, "method")
    if not isinstance(function, str) or not _NAME.fullmatch(function):
        notes.append(f"{folder}: it runs no function (it is a viewer), and becomes no app.")
        return None
    if (other := _get(mapping, "name")) not in (module, None, ""):
        notes.append(f"{folder}: it runs a function of {other}, another module, and becomes no app.")
        return None
    shown = _display(display, folder, notes) if display else {}
    words = shown.get("parameters")
    hints = words if isinstance(words, dict) else {}
    parameters: dict[str, Any] = {}
    rows = document.get("parameters")
    for one in rows if isinstance(rows, list) else []:
        name = _word(_get(one, "id"))
        if not _NAME.fullmatch(name):
            notes.append(
                f"{folder}: the parameter '{name[:60]}' has no name that a manifest can have, and is left out."
            )
            continue
        parameters[name] = _parameter(folder, name, one, hints.get(name), notes)
    title = _plain(shown.get("name")) or function
    about = _plain(shown.get("description")) or _plain(shown.get("tooltip"))
    return function, {"title": title[:200], "description": about, "parameters": parameters}


def _parameter(folder: str, name: str, said: Mapping[str, Any], hint: Any, notes: list[str]) -> dict[str, Any]:
    kind, found = said.get("field_type"), dict[str, Any]()
    options = said.get("text_options") or {}
    valid = options.get("validate_as") if isinstance(options, dict) else None
    if kind == "text" and valid in ("int", "float"):
        found["type"] = "integer" if valid == "int" else "number"
        for ours, theirs in (("minimum", f"min_{valid}"), ("maximum", f"max_{valid}")):
            if isinstance(options.get(theirs), int | float):
                found[ours] = options[theirs]
    elif kind == "checkbox":
        found["type"] = "boolean"
    elif kind == "dropdown":
        rows = _get(said, "dropdown_options", "options")
        choices = [_word(_get(row, "value")) for row in rows] if isinstance(rows, list) else []
        if choices and all(choices):
            found |= {"type": "choice", "choices": choices}
    if help_text := ": ".join(part for key in ("ui-name", "short-hint") if (part := _plain(_get(hint, key)))):
        found["help"] = help_text[:_MAX_HELP]
    if said.get("allow_multiple"):
        notes.append(f"{folder}: '{name}' may have several values; its manifest tells of one.")
    given = said.get("default_values")
    default = _word(given[0]) if isinstance(given, list) and given else ""
    if default and found.get("type") == "boolean":
        found["default"] = default in ("1", "true")
    elif default:
        found["default"] = default
    elif said.get("optional"):
        found["optional"] = True
    try:
        Parameter.model_validate(found)
    except ValidationError:  # the default is none of the choices, or beyond the limits
        notes.append(
            f"{folder}: the default of '{name}', '{default[:60]}', is no value that it may have; it is left out."
        )
        found.pop("default", None)
        found["optional"] = True
    return found


def _check(name: str, manifest: Mapping[str, Any]) -> None:
    try:
        AppManifest.model_validate(manifest)
    except ValidationError as error:
        problems = problems_of(error, name, document=manifest)
        raise InvalidRequest(
            f"The module cannot be an app: its manifest '{name}' would not be valid.", problems=problems
        ) from None


def _entrypoint(dockerfile: str) -> list[str]:
    """What the image starts, with a path that does not depend on a folder."""
    found = _SHELL.findall(dockerfile)
    try:
        words = [str(word) for word in json.loads(found[-1])] if found else []
    except ValueError:
        words = []
    if not words:
        return [_ENTRYPOINT]
    workdir = (_WORKDIR.findall(dockerfile) or ["/kb/module"])[-1]
    first = words[0].removeprefix("./")
    return [first if first.startswith("/") or "/" not in words[0] else f"{workdir.rstrip('/')}/{first}", *words[1:]]


def _display(text: str, folder: str, notes: list[str]) -> dict[str, Any]:
    """What display.yaml says, for people: nothing depends on it. Of one that is broken, the parts that are not."""
    try:
        return _yaml(text, f"{folder}/display.yaml")
    except InvalidRequest as error:
        notes.append(f"{folder}: what can be read of its display.yaml is taken. {error.message}")
    found: dict[str, Any] = {}
    for part in _TOP_KEY.split(text):
        with suppress(InvalidRequest):
            found |= _yaml(part, folder)
    return found


def _yaml(text: str, name: str) -> dict[str, Any]:
    """KBase's files may be indented with tabs, which YAML does not have."""
    try:
        value = yaml.safe_load(text.expandtabs(4))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidRequest(f"{name} is not YAML: {' '.join(str(error).split())[:300]}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} has no keys, where a mapping was expected.")
    return dict(holdable_value(value)) if all(isinstance(key, str) for key in value) else {}


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _word(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _plain(value: Any) -> str:
    """Text without the marks of HTML."""
    return " ".join(html.unescape(_TAGS.sub(" ", value)).split())[:_MAX_DESCRIPTION] if isinstance(value, str) else ""


def _app_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    return (name if name[:1].isalpha() else f"m-{name}")[:64]
