"""An SSH server for the tests of transports."""

from __future__ import annotations

from tests.fixtures.sshd import shared_sshd

__all__ = ["shared_sshd"]
