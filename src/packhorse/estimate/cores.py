"""How many cores are worth it: what a task would keep busy, by Amdahl's law from what it kept busy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def serial_share(granted: float, busy: float) -> float:
    """The share of a task's work that one core does alone, from how many of those granted were busy on average.

    Amdahl (1967): with a serial share s, c cores are busy to 1 / (s + (1 - s) / c).
    """
    if granted <= 1:
        return 1.0
    share = (granted / max(busy, 1e-6) - 1) / (granted - 1)
    return min(max(share, 0.0), 1.0)


def busy_cores(cores: float, serial: float) -> float:
    """How many of ``cores`` are busy on average."""
    return 1 / (serial + (1 - serial) / cores) if cores > 1 else min(cores, 1.0)


def worth(observed: Sequence[tuple[float, float]], asked: float, efficiency: float) -> tuple[float, float, float]:
    """Cores worth asking for, of those ``asked`` for, and the busy ones: their median and the most.

    ``observed`` are pairs of cores granted and CPU seconds for each second of wall time. The most cores of which the
    share ``efficiency`` stays busy; never more than were asked for, since nothing is known of more.
    """
    serial = median(serial_share(granted, busy) for granted, busy in observed)
    busy = [each for _, each in observed]
    cores = asked
    while cores > 1 and busy_cores(cores, serial) < efficiency * cores:
        cores -= 1
    return max(cores, min(asked, 1.0)), median(busy), max(busy)
