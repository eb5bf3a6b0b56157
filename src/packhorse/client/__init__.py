"""The Python client: ``from packhorse.client import Client``."""

from packhorse.client.client import Client
from packhorse.client.handle import RunHandle
from packhorse.client.pipeline import Output, Pipeline, Step, Value

__all__ = ["Client", "Output", "Pipeline", "RunHandle", "Step", "Value"]
