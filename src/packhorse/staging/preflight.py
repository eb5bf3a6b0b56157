"""What of an image will bite on a supercomputer, found out before it is sent there: from its configuration, and from
its files.

There, a task runs as the user who submitted it, who is nobody in particular inside; the image is read-only; and what is
found here is evidence only where the sentence says so without 'seems'. What a program does when it runs cannot be known
from its image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from packhorse.staging.layers import Files, Kind, LayerSource, read_layers
from packhorse.staging.registry import ResolvedImage

MAX_SCAN_BYTES = 8 * 1024**3
_GB = 1e9
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWNERS = "so it is with Apptainer and Shifter; Charliecloud and rootless Podman make the user the owner of all files"
_SAFE = re.compile(r"/(dev|proc|tmp|var/tmp)(/|\Z)")
_WRITES = (
    re.compile(r">{1,2}\|?\s*[\"']?(/[^\s\"';|&)$`]+)"),
    re.compile(
        r"(?:^|[;&|]|\bthen|\bdo)\s*(?:tee|touch|mkdir|rm|ln|sed\s+-i)\s[^\n;|&#]*?(?<=\s)[\"']?(/[^\s\"';|&)$`]+)",
        re.MULTILINE,
    ),
)
_ROOTS = re.compile(
    r"(?:^|[;&|]|\bthen|\bdo|\bexec)\s*(gosu|su-exec|sudo|su|chown|chroot|setpriv|useradd|usermod|groupadd|apt-get|service)\s",
    re.M,
)


class Level(StrEnum):
    """How much it matters."""

    FINE = "fine"
    """Looked at, and good."""
    NOTE = "note"
    """Good to know."""
    WARNING = "warning"
    """Some tasks, or some runtimes, will have trouble."""
    PROBLEM = "problem"
    """Nobody can run it so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``what`` it is about in a word or two, ``detail`` the sentence with the evidence, ``hint`` what to do (may be
    empty).
    """

    level: Level
    what: str
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an image; anything in its configuration that is not as it should be is left out."""

    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: dict[str, str]
    workdir: str
    user: str
    volumes: tuple[str, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Settings:
        """From an OCI image configuration."""
        config = document.get("config")
        config = config if isinstance(config, dict) else {}
        entrypoint, cmd, env, volumes = (_strings(config.get(name)) for name in ("Entrypoint", "Cmd", "Env", "Volumes"))
        variables = dict(item.partition("=")[::2] for item in env)
        return cls(
            entrypoint, cmd, variables, str(config.get("WorkingDir") or ""), str(config.get("User") or ""), volumes
        )

    @property
    def words(self) -> tuple[str, ...]:
        """What the image starts by itself, without the arguments that CMD adds to an ENTRYPOINT."""
        return self.entrypoint or self.cmd

    @property
    def path(self) -> list[str]:
        """Where programs are looked for."""
        return (self.env.get("PATH") or _PATH).split(":")


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list | dict) else ()


def examine_image(
    client: LayerSource, image: ResolvedImage, *, architecture: str = "amd64", max_scan_bytes: int = MAX_SCAN_BYTES
) -> list[Finding]:  # fmt: skip
    """All findings about an image, worst first.

    Reads its layers once, ``max_scan_bytes`` of them at most. Raises ImageError.

    Where a layer was not read nothing is said about files, but that.
    """
    config = Settings.of(image.config)
    names = {word.rpartition("/")[2] for word in config.words}
    files = read_layers(client, image.reference, image.layers, names, max_scan_bytes)
    found = [*_architecture(image.config, architecture), *_size(image, files), *_settings(config)]
    if files.unread:
        hint = "Look into it by hand, or unpack it somewhere and try."
        found += [
            Finding(Level.NOTE, "not looked into", f"Nothing is said about its files: {why}.", hint)
            for why in files.unread
        ]
    else:
        found += [
            *_programs(config, files),
            *_folders(config, files),
            *_script(config, files),
            *_shell(files),
            *_setuid(files),
        ]
    order = list(Level)
    return sorted(found, key=lambda finding: -order.index(finding.level))


def _architecture(document: Mapping[str, Any], wanted: str) -> Iterable[Finding]:
    made_for = document.get("architecture")
    if not made_for:
        yield Finding(
            Level.NOTE, "architecture", f"The image does not say for which processors it is; {wanted} is needed."
        )
    elif made_for != wanted:
        hint = f"Build it for linux/{wanted}."
        yield Finding(
            Level.PROBLEM, "architecture", f"It is for {_shown(str(made_for))}, and {wanted} is needed.", hint
        )
    else:
        yield Finding(Level.FINE, "architecture", f"It is for {wanted}.")


def _size(image: ResolvedImage, files: Files) -> Iterable[Finding]:
    unpacked = files.size_bytes
    large = max(image.size_bytes, 0 if files.unread else unpacked) > _GB
    detail = f"Compressed it has {_size_text(image.size_bytes)}, in {_counted(len(image.layers), 'layer')}"
    if not files.unread:
        detail += (
            f"; unpacked it has {_size_text(unpacked)}, in"
            f" {_counted(len(files.entries) - 1, 'file or folder', 'files and folders')}"
        )
    hint = "Each site prepares it once, which takes a while and room; smaller images start faster." if large else ""
    yield Finding(Level.NOTE if large else Level.FINE, "size", f"{detail}.", hint)
    if not files.unread and (hidden := files.layered_bytes - unpacked) > _GB / 2:
        hint = "Remove files in the step of the recipe that makes them."
        yield Finding(
            Level.NOTE, "size", f"{_size_text(hidden)} lie in layers and are deleted or replaced by later ones.", hint
        )


def _settings(config: Settings) -> Iterable[Finding]:
    """What the configuration says by itself."""
    if config.entrypoint:
        detail = (
            f"It has an ENTRYPOINT, {_shown(' '.join(config.entrypoint))}, which does not run before a task's command."
        )
        yield Finding(
            Level.NOTE, "entrypoint", detail, "If the program needs what it sets up, begin the command with it."
        )
    else:
        yield Finding(Level.FINE, "entrypoint", "It has none: a task's command runs as it is.")
    for volume in config.volumes:
        detail = (
            f"It declares the VOLUME {_shown(volume)}: it wants to write there, and nobody makes that folder writable."
        )
        yield Finding(
            Level.WARNING, "writes", detail, "Tell the program to write into its work folder, or bind a folder there."
        )
    if "PATH" not in config.env:
        yield Finding(Level.NOTE, "environment", f"It sets no PATH; programs are looked for in {_PATH}.")
    if config.user.partition(":")[0] not in ("", "0", "root"):
        detail = f"USER {_shown(config.user)} is not used: programs run as the user who submitted the task."
        yield Finding(Level.NOTE, "user", detail, "Files that only that user may read or write are closed to them.")


def _programs(config: Settings, files: Files) -> Iterable[Finding]:
    """Whether what the image starts is there, and may be started by everybody."""
    if not config.words:
        return
    name, word = "ENTRYPOINT" if config.entrypoint else "CMD", config.words[0]
    found = _program(word, config, files)
    if found is None:
        detail = f"{name} starts {_shown(word)}, which is not in the image."
        yield Finding(
            Level.WARNING, "entrypoint", detail, "Tasks with a command of their own run; those without one fail."
        )
    elif not files.open_to_all(found, 5 if files.contents.get(found, b"").startswith(b"#!") else 1):
        yield _root_only(f"{name} starts {_shown('/' + found)}", files, found)


def _root_only(what: str, files: Files, path: str) -> Finding:
    detail = (
        f"{what}, which is closed to other users ({_closed_at(files, path)}). As an ordinary user nobody gets there:"
        f" {_OWNERS}."
    )
    return Finding(
        Level.WARNING,
        "needs root",
        detail,
        "Open it in the recipe: 'chmod -R a+rX', or install it elsewhere than below /root.",
    )


def _folders(config: Settings, files: Files) -> Iterable[Finding]:
    closed: dict[str, str] = {}
    for name, value in [*config.env.items(), ("WORKDIR", config.workdir)]:
        for folder in value.split(":") if name.endswith("PATH") else [value]:
            found = files.find(folder) if folder.startswith("/") else None
            if found and found[1].kind is Kind.FOLDER and not files.open_to_all(found[0], 1):
                closed.setdefault(found[0], f"{_shown(name)} names {_shown(folder)}")
    yield from (_root_only(what, files, path) for path, what in closed.items())
    if not closed:
        yield Finding(Level.FINE, "needs root", "No folder that its settings name is closed to ordinary users.")
    for name, folder, level in (
        ("WORKDIR", config.workdir, Level.NOTE),
        ("HOME", config.env.get("HOME", ""), Level.WARNING),
    ):
        found = files.find(folder) if folder.strip("/") else None
        if folder.strip("/") and found is None:
            yield Finding(
                Level.NOTE,
                "writes",
                f"{name} is {_shown(folder)}, which is not in the image; not every runtime makes it.",
            )
        elif found and found[0] not in closed and not files.open_to_all(found[0], 3):
            detail = (
                f"{name} is {_shown(folder)}, where only its owner may write (mode {found[1].mode:04o}), and images are"
                " read-only."
            )
            hint = (
                "Tasks have a work folder of their own and start there"
                if name == "WORKDIR"
                else "Let tasks set HOME to their work folder"
            )
            yield Finding(level, "writes", detail, f"{hint}; a program that insists on this one cannot write.")


def _script(config: Settings, files: Files) -> Iterable[Finding]:
    """What the ENTRYPOINT's script seems to do; it is read, not understood."""
    if files.find("/kb/module/kbase.yml") or files.find("/kb/module/scripts/prepare_deploy_cfg.py"):
        detail = "It is a KBase module: its ENTRYPOINT writes /kb/module/deploy.cfg, inside the image."
        yield Finding(
            Level.WARNING,
            "writes",
            detail,
            "It needs a runtime with a writable root: Podman, Docker or Apptainer, not Charliecloud or Shifter.",
        )
    seen: set[str] = set()
    for name, text in _texts(config, files):
        code = re.sub(r"(?m)^\s*#.*$", "", text)
        written = {
            match.group(1) for pattern in _WRITES for match in pattern.finditer(code) if not _SAFE.match(match.group(1))
        }
        if written - seen:
            detail = f"{name} seems to write to {_listed(sorted(written - seen))}, inside the image."
            yield Finding(
                Level.WARNING, "writes", detail, "Read it. Images are read-only, unless a task gets a writable root."
            )
        if calls := sorted({match.group(1) for match in _ROOTS.finditer(code)}):
            yield Finding(
                Level.WARNING,
                "needs root",
                f"{name} seems to call {_listed(calls)}, for which one must be root.",
                "Read it.",
            )
        seen |= written


def _shell(files: Files) -> Iterable[Finding]:
    found = files.find("/bin/sh")
    if found is None or found[1].kind is not Kind.FILE:
        hint = (
            "Without one, no session in a container, and no script; commands that are programs of the image still run."
        )
        yield Finding(Level.WARNING, "shell", "There is no shell, /bin/sh.", hint)
    elif not files.open_to_all(found[0], 1):
        yield _root_only("/bin/sh is there", files, found[0])
    else:
        where = "" if found[0] == "bin/sh" else f" (it is {_shown('/' + found[0])})"
        yield Finding(Level.FINE, "shell", f"/bin/sh is there{where}.")
    if files.find("/usr/bin/env") is None:
        yield Finding(
            Level.NOTE,
            "environment",
            "There is no /usr/bin/env: scripts that begin with '#!/usr/bin/env' do not start.",
        )


def _setuid(files: Files) -> Iterable[Finding]:
    found = [f"/{path}" for path, entry in files.entries.items() if entry.kind is Kind.FILE and entry.mode & 0o6000]
    if found:
        detail = (
            f"{_listed(sorted(found))} would run as another user or group (setuid, setgid). In containers of users they"
            " do not."
        )
        yield Finding(Level.NOTE, "setuid", detail, "It matters only if the program calls one of them.")


def _texts(config: Settings, files: Files) -> Iterable[tuple[str, str]]:
    """The script that starts, or one that its interpreter is given, or the text behind 'sh -c'."""
    for word in config.words:
        found = _program(word, config, files)
        content = files.contents.get(found, b"") if found else b""
        if found and content.startswith(b"#!"):
            yield f"The script {_shown('/' + found)}", content.decode("utf-8", "replace")
    if len(config.words) > 2 and config.words[1] == "-c":
        yield "What it starts", config.words[2]


def _program(word: str, config: Settings, files: Files) -> str | None:
    """The file that a program's name means."""
    folders = [""] if word.startswith("/") else [config.workdir] if "/" in word else config.path
    for folder in folders:
        found = files.find(f"{folder}/{word}")
        if found and found[1].kind is Kind.FILE:
            return found[0]
    return None


def _closed_at(files: Files, path: str) -> str:
    """The first folder on the way, or the path itself, that keeps others out."""
    steps = [path[:index] for index, character in enumerate(path) if character == "/"] + [path]
    at = next((step for step in steps if not files.entries[step].mode & 1), path)
    return f"{_shown('/' + at)} has mode {files.entries[at].mode:04o}"


def _size_text(size: int) -> str:
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / 1e6:.1f} MB"


def _counted(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(_shown, names[:5])) + more


def _shown(text: str) -> str:
    """For a terminal: whatever an image calls its files."""
    return ascii(text[:200])[1:-1]
