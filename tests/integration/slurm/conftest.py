"""The real cluster, for every test here."""

from __future__ import annotations

from tests.fixtures.slurm import slurm

__all__ = ["slurm"]
