"""What of an app's manifest counts for the keys of its tasks: what decides what they leave. Pure.

Titles, help, comments, resources and retries do not, but where the command names what is granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from packhorse.domain.app import AppManifest, OutputDeclaration
from packhorse.domain.placeholders import placeholders
from packhorse.domain.render import granted
from packhorse.domain.resources import Resources


@dataclass(frozen=True, slots=True)
class KeyParts:
    """``common`` to all tasks; ``names`` of the placeholders that are filled in, of which the values count."""

    common: dict[str, Any]
    names: frozenset[str]


def key_parts(manifest: AppManifest, resources: Resources, *, gathers: bool) -> KeyParts:
    """Of the tasks of an app, or (``gathers``) of its gathering one."""
    command, arguments, outputs = manifest.command, manifest.arguments, manifest.outputs
    if gathers and manifest.gather is not None:
        command = manifest.gather.command or command
        arguments, outputs = manifest.gather.arguments, manifest.gather.outputs
    names = placeholders([*command, *arguments]) | placeholders(
        [path for one in outputs.values() if (path := one.path)]
    )
    common: dict[str, Any] = {
        "app": f"{manifest.name}@{manifest.version}",
        "command": [command, arguments, manifest.session.value, *(["gather"] if gathers else [])],
        "environment": dict(sorted(manifest.env.items())),
        "outputs": {name: _output(one) for name, one in sorted(outputs.items())},
        "network": manifest.network,
    }
    common |= {f"granted {name}": value for name, value in granted(resources).items() if name in names}
    return KeyParts(common, frozenset(names))


def _output(output: OutputDeclaration) -> dict[str, Any]:
    return output.model_dump(mode="json", by_alias=True, exclude_defaults=True)
