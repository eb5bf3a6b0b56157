"""What the node has, and what of it no task has taken."""

from .pack import never_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .task import Task


class Resources:
    """Cores, and memory in bytes."""

    def __init__(self, cores: float, memory: int) -> None:
        self.cores, self.memory = cores, memory
        self.free_cores, self.free_memory = cores, memory

    def take(self, task: "Task") -> None:
        """A task starts."""
        self.free_cores -= task.cores
        self.free_memory -= task.memory

    def give(self, task: "Task") -> None:
        """A task is over, and none takes its place."""
        self.free_cores += task.cores
        self.free_memory += task.memory

    def can_never_take(self, task: "Task") -> bool:
        """Whether a task wants more than there is."""
        return never_fits(task.cores, task.memory, self.cores, self.memory) is not None
