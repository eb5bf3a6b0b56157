"""SSH servers to treat badly."""

from __future__ import annotations

from tests.fixtures.sshd import shared_sshd, sshd

__all__ = ["shared_sshd", "sshd"]
