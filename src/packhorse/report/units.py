"""Numbers with units, for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_MINUTES = (1, 2, 5, 10, 20, 60, 120, 300, 600)


def duration(seconds: float | None) -> str:
    """``0.25 s``, ``3 min 12 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 0.01 else f"{seconds * 1000:.1g} ms" if seconds > 0 else "0 s"
    whole = round(seconds)
    for size, unit, smaller, lesser in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{whole} s"


def size(number: float | None) -> str:
    """Bytes in the unit in which they are short: ``1.5 GB`` of 10⁹."""
    if number is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} PB"


def hours(seconds: float) -> str:
    """Core- or GB-seconds as hours: three digits that count, and at most four after the point."""
    value = seconds / 3600
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    if value < 0.0001:
        return "<0.0001"
    return f"{value:.{min(4, max(0, 2 - math.floor(math.log10(value))))}f}"


def some(count: int, what: str) -> str:
    """``1 task``, ``2,000 tasks``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def share(part: float, whole: float) -> str:
    """``12 %``; of nothing, nothing."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 9.5 or percent == 0 else f"{percent:.1f} %"


def moment(at: float | None) -> str:
    """A time in UTC, to the second."""
    if at is None:
        return "–"
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "–"


def number(value: float) -> str:
    """``2``, ``2.5``, ``12,000``: at most three digits after a whole part that is small."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def time_ticks(length_s: float, about: int = 6) -> list[float]:
    """Seconds from a start at which an axis of ``length_s`` has a mark: about so many, at round numbers."""
    wanted = length_s / about
    if wanted < 1:
        step = _round_up(wanted)
    elif wanted > _STEPS_S[-1]:
        step = 86400 * _round_up(wanted / 86400)
    else:
        step = next(one for one in _STEPS_S if one >= wanted)
    return [step * index for index in range(int(length_s / step) + 1)]


def log_ticks(low: float, high: float, show: Callable[[float], str], most: int = 5) -> list[float]:
    """At most so many round values between ``low`` and ``high``, for an axis that is logarithmic and ``show``s them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    round_ones = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    if show is duration:
        round_ones = [one for one in round_ones if one < 30] + [60.0 * one for one in _MINUTES]
        round_ones += [86400.0 * digit * 10**power for power in range(5) for digit in (1, 2, 5)]
    found = [one for one in round_ones if low <= one <= high]
    return found[:: max(1, -(-len(found) // most))]


def ticks(upper: float, show: Callable[[float], str], about: int) -> list[float]:
    """Values from 0 to ``upper`` at which an axis has a mark, that are round as it ``show``s them."""
    return time_ticks(upper, about) if show is duration else value_ticks(upper, about)


def _round_up(value: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(one * power for one in (1, 2, 5, 10) if one * power >= value * (1 - 1e-9))


def value_ticks(upper: float, about: int = 4) -> list[float]:
    """Values from 0 to ``upper`` at which an axis has a mark."""
    if upper <= 0:
        return [0.0]
    step = _round_up(upper / about)
    return [step * index for index in range(int(upper / step * (1 + 1e-9)) + 1)]
