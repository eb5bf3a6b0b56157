"""SSH servers to treat badly."""

from __future__ import annotations

from tests.fixtures.sshd import noisy_sshd, shared_sshd, sshd

__all__ = ["noisy_sshd", "shared_sshd", "sshd"]
