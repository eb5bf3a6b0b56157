"""The Python client: ``from packhorse.client import Client``."""

from packhorse.client.client import Client
from packhorse.client.handle import RunHandle

__all__ = ["Client", "RunHandle"]
