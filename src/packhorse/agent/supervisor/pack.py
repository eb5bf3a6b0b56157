"""What runs next on this node? Decisions as values, without I/O."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Optional, Tuple

LOOK_AHEAD = 64
MAX_PASSED = 32
MAX_BLOCKED_S = 30.0
EPSILON = 1e-6  # cores are fractions; ten times 0.1 must be 1


def never_fits(cores: float, memory: int, node_cores: float, node_memory: int) -> "Optional[str]":
    """Why a task can never run on this node, or None. Memory in bytes, 0 for no demand."""
    if cores > node_cores + EPSILON:
        return "%g cores of %g" % (cores, node_cores)
    if memory > node_memory:
        return "%d bytes of memory of %d" % (memory, node_memory)
    return None


def choose(
    wants: "Iterable[Tuple[float, int]]", free_cores: float, free_memory: int, reserved: bool
) -> "Optional[int]":
    """Index of the task to start: the first that fits, of the first LOOK_AHEAD; None if none does.

    `wants` are (cores, bytes) in order of claim. Where what gets free is `reserved` for the first, nothing passes it.
    """
    for index, (cores, memory) in enumerate(wants):
        if index >= LOOK_AHEAD:
            return None
        if cores <= free_cores + EPSILON and memory <= free_memory:
            return index
        if reserved:
            return None
    return None


def is_reserved(passed: int, blocked_s: float) -> bool:
    """Whether the node drains for a task that does not fit: enough tasks that came after it have started before it, or
    it has been first in line for long enough. So it waits for no longer than MAX_BLOCKED_S and what runs then.
    """
    return passed >= MAX_PASSED or blocked_s >= MAX_BLOCKED_S


def fits_in_time(walltime_s: "Optional[float]", now: float, drain_at: "Optional[float]") -> bool:
    """Whether a task started now would be over before the agent drains; one without walltime is given the chance."""
    return drain_at is None or now + (walltime_s or 0.0) <= drain_at
