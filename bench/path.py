"""The whole path of 5000 × ``true``, from submission to durable results, against the agent alone on as many."""

from __future__ import annotations

from bench.agent import alone
from bench.harness import Figures, bracketed, ratio, record
from bench.overhead import whole_path
from packhorse.logs import configure_logs

ROUNDS = 5


def measure() -> Figures:
    """path_vs_agent: each run of the whole path lies between two of the agent."""
    configure_logs()
    whole_path()
    alone()
    rounds = bracketed(whole_path, alone, ROUNDS)
    figures = {"path_vs_agent": round(ratio(rounds), 3)}
    record("path", figures, rounds)
    return figures
