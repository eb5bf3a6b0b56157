"""How long tasks of each template take on this node: those that take next to nothing are prefetched."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    from .task import Task

SHORT_S = 0.05  # tasks that take less on average are prefetched
SHORTEST_S = 1e-4
NEWEST = 0.2  # what the last task counts for


class Durations:
    """Running means in seconds, by template, and the core-seconds of all tasks together."""

    def __init__(self) -> None:
        self.means: "Dict[str, float]" = {}
        self.busy_core_s = 0.0

    def learn(self, task: "Task", wall: float) -> None:
        """A task has run for so long."""
        self.busy_core_s += wall * task.cores
        mean = self.means.get(task.template)
        self.means[task.template] = wall if mean is None else mean + NEWEST * (wall - mean)

    def mean(self, task: "Task") -> float:
        """How long tasks like this one take; SHORT_S where nothing is known."""
        return max(SHORTEST_S, self.means.get(task.template, SHORT_S))

    def is_short(self, task: "Task") -> bool:
        """Whether tasks like this one are known to be short."""
        return self.means.get(task.template, SHORT_S) < SHORT_S
