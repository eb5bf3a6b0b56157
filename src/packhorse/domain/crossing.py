"""What steps of a run at different sites may hand to each other, in words: (what is wrong, what to do next). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from packhorse.domain.app import AppManifest


def no_site(others: Sequence[str]) -> tuple[str, str]:
    """Of a step that asks for no site while others ask for different ones."""
    told = f"asks for no site, and other steps for {_listed(others)}."
    return told, "Where steps go to different sites, each says its own: 'resources: {site: NAME}'."


def many_elsewhere(upstream: str, site: str) -> tuple[str, str]:
    """Of a step that takes files of a step with many tasks at another site."""
    told = f"step '{upstream}' has many tasks, at the site '{site}', and what these leave is not brought to another."
    return told, "Let one task there gather them into one output, and take that, or let both steps go to one site."


def leaves_files(app: AppManifest | None) -> bool:
    """Whether tasks of an app leave files or folders."""
    return app is not None and any(output.path is not None for output in app.outputs.values())


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
