"""What a command line asks for, as a run: an app, a file of tasks, or a file of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packhorse.client.tables import read_table
from packhorse.domain.app import Session
from packhorse.domain.errors import InvalidRequest, NotFound
from packhorse.domain.images import refuse_image_beside
from packhorse.domain.jsontext import read_json
from packhorse.domain.numbers import number
from packhorse.domain.run import SubmittedRun
from packhorse.domain.submitted import run_of, task_run
from packhorse.domain.utf8 import utf8_text
from packhorse.domain.yamltext import read_yaml

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_FILE = 16_000_000  # bytes of a file of tasks or steps
_SEE_HELP = "See 'packhorse run --help'."


@dataclass(frozen=True, slots=True)
class RunArguments:
    """What was said on the command line."""

    app: str | None
    over: str | None
    settings: list[str]
    tasks: str | None
    steps: str | None
    name: str
    tags: list[str]
    cores: float | None
    memory_gb: float | None
    walltime: str | None
    session: str | None
    gather: bool
    key: str | None
    site: str | None = None
    queue: str | None = None
    nodes: int | None = None
    image: str | None = None
    outputs: str | None = None
    priority: int = 0
    reuse: bool | None = None
    estimates: str | None = None
    hard: bool = False


def request_of(arguments: RunArguments) -> SubmittedRun:
    """The run that was asked for. Raises the refusals of ``packhorse.domain.errors``."""
    options = _options(arguments)
    if arguments.image not in (None, "none", ""):
        refuse_image_beside(arguments.image or "", "this folder", lambda name: Path(name).exists())
    if sum(what is not None for what in (arguments.app, arguments.tasks, arguments.steps)) != 1:
        what = "Say what to run: an app, --tasks with a file of tasks, or --steps with a file of steps."
        raise InvalidRequest(what, hint=_SEE_HELP)
    if arguments.app is not None:
        params = _pairs("--set", arguments.settings)
        return run_of({"app": arguments.app, "params": params, "gather": arguments.gather, **options})
    if arguments.over is not None or arguments.settings:
        raise InvalidRequest("--over and --set are for an app, and --tasks and --steps have none.", hint=_SEE_HELP)
    if arguments.tasks is not None:
        return task_run(_read(Path(arguments.tasks), "a TES task, or a list of tasks: name, task, after"), options)
    path = Path(arguments.steps or "")
    document = _read(path, "a list of steps: name, app, and how their tasks come to be")
    steps = document if isinstance(document, list) else document.get("steps") if isinstance(document, dict) else None
    if not isinstance(steps, list):
        raise InvalidRequest(f"{path} is no run of steps.", hint="Give a list of steps, or {steps: [...]}.")
    own = document if isinstance(document, dict) else {}
    return run_of({**own, **options, "steps": [_beside(path, step) for step in steps]}, str(path))


def _options(arguments: RunArguments) -> dict[str, Any]:
    """What was said of the run, whatever it runs; it goes over what a file says."""
    resources = {
        "cpu_cores": arguments.cores,
        "ram_gb": arguments.memory_gb,
        "walltime_s": None if arguments.walltime is None else parse_duration(arguments.walltime),
        "site": arguments.site,
        "queue": arguments.queue,
        "nodes": arguments.nodes,
        "estimates": arguments.estimates,
        "hard": arguments.hard or None,
    }
    options: dict[str, Any] = {
        "name": arguments.name,
        "tags": _pairs("--tag", arguments.tags),
        "client_key": arguments.key,
        "resources": {name: value for name, value in resources.items() if value is not None},
        "session": _session(arguments.session),
        "image": arguments.image,
        "outputs": arguments.outputs,
        "priority": arguments.priority or None,
        "reuse": arguments.reuse,
    }
    return {name: value for name, value in options.items() if value not in (None, "", {})}


def _beside(document: Path, step: Any) -> Any:
    """A step of a file, with paths of apps and tables from the file's own folder."""
    if not isinstance(step, Mapping):
        return step
    found = dict(step)
    if isinstance(app := step.get("app"), str) and ("/" in app or app in (".", "..")):
        found["app"] = str(document.parent.absolute() / app)
    if isinstance(table := step.get("over"), str):
        found["over"] = list(read_table(document.parent / table))
    return found


def _read(path: Path, holds: str) -> Any:
    """The JSON or YAML of a file."""
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", hint=f"It holds {holds}.")
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if path.suffix.lower() == ".json":
        return read_json(data, str(path), MAX_FILE)
    found = read_yaml(utf8_text(data, str(path)), str(path), MAX_FILE)
    if found.problems:
        raise InvalidRequest(f"{path} is not accepted.", problems=found.problems)
    return found.value


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"{option} {text}: expected NAME=VALUE.")
        if name in pairs:
            raise InvalidRequest(
                f"{option} {name} is there twice: '{pairs[name][:60]}' and '{value[:60]}'.", hint="Keep one of them."
            )
        pairs[name] = value
    return pairs


def _session(text: str | None) -> Session | None:
    if text is None:
        return None
    try:
        return Session(text)
    except ValueError:
        raise InvalidRequest(f"--session {text}: expected one of {', '.join(Session)}.") from None


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``2h``, ``1d`` or ``90``."""
    digits, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    try:
        seconds = number(digits) * _UNITS_S[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InvalidRequest(f"'{text}' is not a duration.", hint="Give a number and a unit: 90s, 10m, 2h or 1d.")
    return seconds
