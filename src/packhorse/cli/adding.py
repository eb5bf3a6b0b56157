"""``packhorse sites add``: asks, looks what is at the site, and writes it into the configuration file."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packhorse.cli.conffile import add_site, refuse_name, refuse_unwritable, site_table
from packhorse.cli.output import duration, note, print_json, print_lines, print_table, say
from packhorse.domain.config import Config, config_file, parse_config
from packhorse.domain.errors import Conflict, InvalidRequest, Problem
from packhorse.domain.plain import plain
from packhorse.domain.problems import validated
from packhorse.domain.siteconfig import SITE_NAME, SiteConfig
from packhorse.domain.views import Check
from packhorse.engine.requests.newsite import (
    PROFILES,
    NewSite,
    Profile,
    Queue,
    Value,
    expand,
    likely_queue,
    profile,
    root_there,
)


@dataclass(frozen=True)
class Given:
    """What the command line says:

    ``settings`` are keys of ``[sites.NAME]``; those that are None were not given, and '' is none.
    """

    name: str | None
    profile: str | None
    settings: Mapping[str, Value | None]
    yes: bool


@dataclass
class Asker:
    """Gets values: what was given, else what a person answers, else what is suggested."""

    settings: Mapping[str, Value | None]
    asks: bool
    found: dict[str, Value] = field(default_factory=dict)

    def get(
        self,
        key: str,
        question: str,
        suggested: Value | None = None,
        *,
        required: bool = False,
        choices: Collection[str] = (),
    ) -> Value | None:
        """The value of ``key``, which is kept in ``found`` unless it is empty."""
        value = self.settings.get(key)
        if value is None:
            value = self._ask(question, suggested, required, choices) if self.asks else suggested
        if value in (None, ""):
            if required:
                raise InvalidRequest(f"It is not known: {question.lower()}.", hint=f"Say it with {option(key)}.")
            return None
        assert value is not None
        self.found[key] = value
        return value

    def _ask(self, question: str, suggested: Value | None, required: bool, choices: Collection[str]) -> str:
        among = f" ({', '.join(choices)})" if choices else ""
        usual = f" [{suggested}]" if suggested else "" if required else " [none]"
        while True:
            answer = ask(f"{question}{among}{usual}: ") or str(suggested or "")
            if answer or not required:
                return "" if answer == "none" else answer


def option(key: str) -> str:
    """The command line's word for a key."""
    return "NAME" if key == "name" else f"--{key.replace('_', '-')}"


def ask(question: str) -> str:
    """One line from the terminal."""
    sys.stderr.write(plain(question))
    sys.stderr.flush()
    try:
        return input().strip()
    except EOFError:
        raise InvalidRequest("The answers ended before the questions did; nothing was written.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"An answer is not text in {sys.stdin.encoding}; nothing was written.") from None


def add(given: Given, *, as_json: bool) -> None:
    """``packhorse sites add``.

    Without a terminal, or with ``yes``, what was not given is what is suggested, and nothing is asked.
    """
    file = config_file()
    refuse_unwritable(file)
    asker = Asker(given.settings, asks=sys.stdin.isatty() and not given.yes)
    kind = _profile(given, asker)
    name = _name(given, asker, file)
    site = NewSite(name, _way(asker, kind), _configuration(file).home_folder())
    environment = site.environment()
    queues = site.queues()
    if not as_json:
        _show_queues(queues)
    config = _rest(asker, kind, environment, queues)
    checks = site.checks(config)
    table = site_table(name, _written(asker.found))
    if not as_json:
        print_table(
            ["", "check", "found"], [("ok" if check.ok else "NO", check.name, check.detail) for check in checks]
        )
        say()
        print_lines(table)
        say()
    _refuse_failed(checks)
    is_written = given.yes or (asker.asks and ask(f"Write this to {file}? [yes] ").lower() in ("", "y", "yes"))
    if is_written:
        add_site(file, name, _written(asker.found))
    if as_json:
        print_json(
            {
                "name": name,
                "file": file,
                "written": is_written,
                "site": _written(asker.found),
                "toml": table,
                "checks": checks,
            }
        )
    elif is_written:
        say(f"Written to {file}. Next: 'packhorse doctor {name}' runs a real job there.")
    if not is_written and not asker.asks:
        raise InvalidRequest("Nothing was written.", hint=f"Say --yes, or put the lines above into {file}.")


def _profile(given: Given, asker: Asker) -> Profile:
    name = given.profile
    if name is None and asker.asks:
        for known, one in PROFILES.items():
            note(f"  {known:<12} {one.title}")
        name = ask("Profile [slurm]: ")
    kind = profile(name or "slurm")
    if kind.note:
        note(kind.note)
    return kind


def _name(given: Given, asker: Asker, file: Path) -> str:
    name = given.name
    if name is None and asker.asks:
        name = ask("Name of the site: ")
    if not name:
        raise InvalidRequest("The new site has no name.", hint="packhorse sites add NAME")
    if not re.fullmatch(SITE_NAME, name):
        hint = "Small letters, digits, '-' and '_', beginning with a letter, at most 64."
        raise InvalidRequest(f"'{name[:80]}' is not a name for a site.", hint=hint)
    if name == "local":
        raise Conflict("The site 'local' is this machine.", hint="Choose another name.")
    refuse_name(file, name)
    return name


def _way(asker: Asker, kind: Profile) -> SiteConfig:
    """How to get there: all that is needed to look what is there."""
    usual = {**kind.settings}
    here = "local" if shutil.which("sbatch") and not asker.settings.get("host") else "ssh"
    transport = asker.get("transport", "How to get there", usual.get("transport", here), choices=("local", "ssh"))
    asker.found["scheduler"] = usual["scheduler"]
    if transport == "ssh":
        asker.get("host", "Login node, or its name in the SSH configuration", usual.get("host"), required=True)
        asker.get("user", "User there", usual.get("user"))
        asker.get(
            "key_file", "Private key; none takes those of the SSH configuration and of the agent", usual.get("key_file")
        )
    for key in ("port", "known_hosts", "ssh_config"):
        if (value := asker.settings.get(key)) not in (None, ""):
            assert value is not None
            asker.found[key] = value
    return _valid(asker.found)


def _rest(asker: Asker, kind: Profile, environment: Mapping[str, str], queues: Sequence[Queue]) -> SiteConfig:
    """What the site is told by a person who has seen what is there."""
    usual = kind.settings
    root = asker.get("root", "Folder there that all nodes share", root_there(kind, environment), required=True)
    expanded = expand(str(root), environment)
    if expanded is None:
        hint = "It may begin with ~ or a variable of your login there, such as $SCRATCH."
        raise InvalidRequest(f"'{root}' is not an absolute path there.", hint=hint)
    asker.found["root"] = expanded
    names = [queue.name for queue in queues]
    queue = asker.get("queue", "Queue", None if kind.picks_queue else likely_queue(tuple(queues)))
    if queue is not None and queue not in names:
        raise InvalidRequest(f"There is no queue '{queue}' there.", hint=f"There are: {', '.join(names) or 'none'}.")
    asker.get("account", "Account to charge", usual.get("account"), required="account" in kind.required)
    for key, question in (("qos", "QOS"), ("constraint", "Constraint, a feature of nodes")):
        asker.get(key, question, usual.get(key), choices=kind.choices.get(key, ()))
    if python := asker.settings.get("python"):
        asker.found["python"] = python
    if runtime := usual.get("runtime"):
        asker.found["runtime"] = runtime
    return _valid(asker.found)


def _valid(settings: Mapping[str, Value]) -> SiteConfig:
    return validated(SiteConfig, settings, "This is not a valid site.", kind="key")


def _written(found: Mapping[str, Value]) -> dict[str, Value]:
    """In the order of the documentation."""
    return {key: found[key] for key in SiteConfig.model_fields if key in found}


def _configuration(file: Path) -> Config:
    """As it is; a file that was named and is not there yet is empty."""
    return parse_config(file.read_bytes(), file) if file.exists() else Config()


def _show_queues(queues: Sequence[Queue]) -> None:
    rows: list[tuple[object, ...]] = []
    for queue in queues:
        name = f"{queue.name} (default)" if queue.is_default else queue.name
        walltime = duration(queue.max_walltime_s) if queue.max_walltime_s else "no limit"
        state = "" if queue.is_up else "down"
        for kind in queue.kinds:
            features = ",".join(kind.features)
            rows.append(
                (
                    name,
                    kind.count,
                    kind.cores,
                    f"{kind.memory_mb / 1000:.1f} GB",
                    kind.gpus or "",
                    walltime,
                    features,
                    state,
                )
            )
    print_table(["queue", "nodes", "cores", "memory", "GPUs", "walltime", "features", ""], rows)
    say()


def _refuse_failed(checks: Sequence[Check]) -> None:
    failed = [Problem(check.name, check.detail, check.hint) for check in checks if not check.ok]
    if failed:
        raise InvalidRequest("Nothing was written: tasks could not run there.", problems=failed)
