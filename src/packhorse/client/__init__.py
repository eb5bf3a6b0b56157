"""The Python client: ``from packhorse.client import Client``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packhorse.client.client import Client
from packhorse.client.handle import RunHandle

if TYPE_CHECKING:
    from packhorse.client.pipeline import Output, Pipeline, Step, Value

__all__ = ["Client", "Output", "Pipeline", "RunHandle", "Step", "Value"]


def __getattr__(name: str) -> Any:
    """What pipelines are made of is imported by who makes one: commands do not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from packhorse.client import pipeline

    return getattr(pipeline, name)
