"""Tasks that this node has claimed and not started, and which of them comes next."""

import collections

from .pack import EPSILON, choose, fits_in_time, is_reserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Iterator, List, Optional, Set

    from .resources import Resources
    from .task import Key, Task


class Queue:
    """In order of claim."""

    def __init__(self) -> None:
        self.tasks: "Deque[Task]" = collections.deque()

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> "Iterator[Task]":
        return iter(self.tasks)

    def put(self, task: "Task") -> None:
        """A task was claimed."""
        self.tasks.append(task)

    def put_back(self, tasks: "List[Task]") -> None:
        """Tasks have left the queue and were not started: they come first again."""
        for task in reversed(tasks):
            task.seq, task.started = 0, 0.0
            self.tasks.appendleft(task)

    def drop(self, keys: "Set[Key]") -> None:
        """These are wanted no more."""
        self.tasks = collections.deque(task for task in self.tasks if task.key not in keys)

    def clear(self) -> "List[Task]":
        """Take all out."""
        tasks = list(self.tasks)
        self.tasks.clear()
        return tasks

    def take(
        self, resources: "Resources", now: float, drain_at: "Optional[float]", late: "List[Task]"
    ) -> "Optional[Task]":
        """Take out the task that starts next; None if none can. Those that would not be over in time go to `late`."""
        tasks = self.tasks
        while tasks and resources.free_cores > EPSILON:
            head = tasks[0]
            if not fits_in_time(head.walltime, now, drain_at):  # the node must not drain for it in vain
                late.append(tasks.popleft())
                continue
            wants = ((task.cores, task.memory) for task in tasks)
            index = choose(wants, resources.free_cores, resources.free_memory, self.has_reserved(now))
            if index != 0 and not head.blocked_at:
                head.blocked_at = now
            if index is None:
                return None
            task = tasks[index]
            del tasks[index]
            if index:
                if not fits_in_time(task.walltime, now, drain_at):
                    late.append(task)
                    continue
                head.passed += 1
            return task
        return None

    def has_reserved(self, now: float) -> bool:
        """Whether what gets free is for the first in line, and for nobody else."""
        if not self.tasks or not self.tasks[0].blocked_at:
            return False
        return is_reserved(self.tasks[0].passed, now - self.tasks[0].blocked_at)
