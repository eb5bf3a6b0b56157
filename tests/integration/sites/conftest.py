"""An SSH server for the tests of transports."""

from __future__ import annotations

from tests.fixtures.sshd import noisy_sshd, shared_sshd

__all__ = ["noisy_sshd", "shared_sshd"]
