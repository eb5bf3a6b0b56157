"""Which task goes to which slot, and when: filling the node, claiming more, prefetching what is short."""

from .durations import SHORT_S
from .handle import PREFETCH, PREFETCH_MAX_LINE, SlotHandle
from .intake import claim
from .pack import EPSILON, LOOK_AHEAD, fits_in_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .node import Node
    from .task import Task

REFILL_BELOW = PREFETCH // 2 + 1  # tasks in a slot: it is topped up with several in one write
MAX_NAP_S = 0.02


def fill(node: "Node", now: float) -> None:
    """Start what fits; claim more if that leaves room."""
    node.refill = False
    while not node.drain.why:
        started = start_tasks(node, now)
        for slot in started:  # only now: a task that can run at once should not wait behind another
            prefetch(node, slot, now)
        if not has_room(node, now) or not claim(node, now):
            return


def nap_s(node: "Node") -> float:
    """How long every slot is sure to have work: until then reports gather, and are handled a dozen at a time.

    To be woken for each of thousands of short tasks would cost as much as a good part of running them.
    """
    shortest = MAX_NAP_S
    for slot in node.slots.by_fd.values():
        if len(slot.sent) < 3:
            return 0.0
        shortest = min(shortest, node.durations.means.get(slot.sent[0].template, 0.0) * (len(slot.sent) - 1) / 2)
    return shortest if node.slots.by_fd else 0.0


def has_room(node: "Node", now: float) -> bool:
    """Whether a further block would be put to use at once: nobody else should wait for what only lies here."""
    if node.drain.closed or not node.ledger.takes(now) or len(node.queue) >= LOOK_AHEAD:
        return False
    if node.resources.free_cores > EPSILON:
        return not node.queue.has_reserved(now)
    return not node.queue and any(node.durations.is_short(slot.sent[0]) for slot in node.slots.busy())


def start_tasks(node: "Node", now: float) -> "List[SlotHandle]":
    """Start queued tasks for as long as one fits; returns their slots."""
    late: "List[Task]" = []
    started = []
    while True:
        task = node.queue.take(node.resources, now, node.drain.at, late)
        if task is None:
            break
        node.resources.take(task)
        slot = node.slots.for_task(task, node.resources)
        send(node, slot, task, now)
        node.slots.flush(slot)
        started.append(slot)
    node.ledger.give_back(late, "walltime")
    return started


def send(node: "Node", slot: SlotHandle, task: "Task", now: float) -> None:
    """Hand a task to a slot."""
    node.seq += 1
    task.seq = node.seq
    task.recalled = False
    task.started = now
    node.spool.template(task.template)
    slot.send(task, node.spool.template_lines[task.template])


def prefetch(node: "Node", slot: SlotHandle, now: float) -> None:
    """Give a busy slot the next tasks too, if they are short and like its own, so that it does not wait for us between
    them.
    """
    head = slot.sent[0]
    mean = node.durations.mean(head)
    if (
        node.drain.why
        or slot.unfinished
        or mean >= SHORT_S
        or now - head.started > SHORT_S
        or len(slot.sent) > REFILL_BELOW
    ):
        return
    depth = min(PREFETCH, int(SHORT_S / mean))
    tasks = node.queue.tasks
    while len(slot.sent) <= depth:
        if not tasks:
            node.refill = True
            break
        task = tasks[0]
        if (
            task.shape != head.shape
            or not node.durations.is_short(task)
            or len(task.line) > PREFETCH_MAX_LINE
            or not fits_in_time(task.walltime, now, node.drain.at)
        ):
            break
        tasks.popleft()
        send(node, slot, task, now)
    node.slots.flush(slot)
