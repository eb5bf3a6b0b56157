"""An app as a step runs it: its manifest with what a run lays over it, and the templates of its tasks.

Shared by all runs that ask for the same, so that ten thousand runs of one app cost one manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from packhorse.domain.app import AppManifest, ParameterType, Session
from packhorse.domain.manifestkey import KeyParts, key_parts
from packhorse.domain.outputpath import below_prefix, fixed_folder, matching
from packhorse.domain.render import OutputPath, Renderer, Template, app_template, output_paths, template_key
from packhorse.domain.resources import Resources
from packhorse.domain.secretuse import SecretUse, as_told
from packhorse.engine.containers import Given
from packhorse.engine.steps.base import NO_IMAGE, Locations, StepSpec, demand_key, overridden
from packhorse.store.data import DataKey
from packhorse.store.demands import DemandKey

_FROM_SITE = ("site", "queue")  # of what a run lays over an app's resources, what concerns its gathering task as well


class Program:
    """An app, or its gathering part (``gathers``), with a run's options laid over it."""

    def __init__(self, manifest: AppManifest, spec: StepSpec) -> None:
        changes: dict[str, Any] = {"resources": manifest.resources.override(spec.resources)}
        if spec.session is not None:
            changes["session"] = Session(spec.session)
        if spec.image is not None:
            changes["image"] = None if spec.image == NO_IMAGE else spec.image
        self.manifest = manifest.model_copy(update=changes)
        self.gathers = spec.kind == "gather"
        self._sums = spec.reuse  # of outputs
        self._asked = changes["resources"]
        if self.gathers and manifest.gather is not None:
            laid_over = {name: spec.resources[name] for name in _FROM_SITE if name in spec.resources}
            self._asked = manifest.gather.resources.override(laid_over)
        self._by_overrides: dict[str | None, Resources] = {}
        self._demands: dict[str | None, DemandKey] = {}
        self._templates: dict[tuple[Any, ...], Template] = {}

    @staticmethod
    def key(spec: StepSpec) -> str:
        """Specs with the same key share a program."""
        shared = StepSpec(spec.kind, spec.app, {}, spec.resources, {}, spec.session, spec.image, reuse=spec.reuse)
        return shared.to_json()

    @property
    def session(self) -> Session:
        return Session.NONE if self.gathers else self.manifest.session

    @property
    def secrets(self) -> Mapping[str, SecretUse]:
        """What each task is given of its user's secrets, by their names."""
        return {} if self.gathers else self.manifest.secrets

    @cached_property
    def files(self) -> list[str]:
        """Names of the parameters that are files."""
        parameters = {} if self.gathers else self.manifest.parameters
        return [name for name, parameter in parameters.items() if parameter.type is ParameterType.FILE]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """What the app says of values that nobody gives."""
        return {name: parameter.default for name, parameter in self.manifest.parameters.items()}

    @cached_property
    def refdata(self) -> tuple[DataKey, ...]:
        """The reference data that each task reads."""
        return tuple(DataKey(wanted.url, wanted.version) for wanted in self.manifest.refdata.values())

    def resources(self, overrides: str | None) -> Resources:
        """What an attempt asks for; remembered, since it is asked for every task."""
        if overrides not in self._by_overrides:
            self._by_overrides[overrides] = overridden(self._asked, overrides)
        return self._by_overrides[overrides]

    def demand(self, overrides: str | None) -> DemandKey:
        """What its tasks are counted with."""
        if overrides not in self._demands:
            app = self.manifest
            label = f"{app.name}@{app.version} {app.session}{' gather' if self.gathers else ''}"
            self._demands[overrides] = demand_key(label, app.image, self.resources(overrides))
        return self._demands[overrides]

    def template(self, overrides: str | None, where: Locations, *, resume: bool) -> Template:
        """Compiled once for each set of raised resources, each place of the app's folder, and for restarts."""
        app = self.manifest
        refdata = {name: where.data[DataKey(wanted.url, wanted.version)] for name, wanted in app.refdata.items()}
        ready = None if app.image is None or where.containers is None else where.containers.images.get(app.image)
        image = (ready.digest, ready.gateway_id) if ready else None
        key = (overrides, where.app_dir, resume, tuple(refdata.values()), image)
        if key not in self._templates:
            self._templates[key] = self._compile(overrides, where, resume, refdata)
        return self._templates[key]

    def _compile(self, overrides: str | None, where: Locations, resume: bool, refdata: Mapping[str, str]) -> Template:
        app, asked = self.manifest, self.resources(overrides)
        template = app_template(app, where.app_dir, asked, gather=self.gathers, resume=resume, refdata=refdata)
        if self._sums and (template.document["outputs"] or template.outputs is not None):
            document = {**template.document, "sums": True}
            template = replace(template, key=template_key(document), document=document)
        if app.image is not None and where.containers is not None:
            how: dict[str, Any] = {"session": self.session, "network": app.network}
            if self.secrets:
                how["given"] = Given(secrets=tuple(as_told(self.secrets)["variables"]))
            folders = [where.app_dir, *refdata.values()]
            boxed = where.containers.of(app.image, template.document["env"], asked, folders, **how)
            document = {**template.document, "env": {}, "container": boxed}
            return replace(template, key=template_key(document), document=document)
        if launcher := where.launch(asked):
            return replace(template, arguments=_after(launcher, template.arguments))
        return template

    @cached_property
    def key_parts(self) -> KeyParts:
        """What of the manifest counts for the keys of its tasks."""
        return key_parts(self.manifest, self.resources(None), gathers=self.gathers)

    @cached_property
    def outputs(self) -> dict[str, OutputPath]:
        """The paths of its outputs that are files or folders, by name."""
        gather = self.manifest.gather
        return output_paths(gather.outputs if self.gathers and gather is not None else self.manifest.outputs)

    def gathered(self, values: Mapping[str, Any], kept: Sequence[str]) -> dict[str, str]:
        """Where the outputs of a task are below its folder, by name; ``kept`` is what it left, by path, and ``values``
        are those that paths are rendered with.
        """
        found: dict[str, str] = {}
        for name, output in self.outputs.items():
            path = output.render(values)["path"]
            if output.glob:
                folder = fixed_folder(path)
                found.update({f"{name}/{below_prefix(match, folder)}": match for match in matching(path, kept)})
            else:
                found[name] = path
        return found


def _after(words: Sequence[str], render: Renderer) -> Renderer:
    return lambda values: [*words, *render(values)]
