"""Which task goes to which slot, and when: filling the node, reusing sessions, prefetching what is short."""

import os
import select

from .intake import give_back
from .pack import EPSILON, LOOK_AHEAD, choose, fits_in_time, is_reserved
from .slots import PAIRS, PREFETCH, PREFETCH_MAX_LINE, SlotHandle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .main import Agent
    from .task import Task

SHORT_S = 0.05  # tasks that take less on average are prefetched
REFILL_BELOW = PREFETCH // 2 + 1  # tasks in a slot: it is topped up with several in one write
MAX_NAP_S = 0.005


def nap_s(agent: "Agent") -> float:
    """How long every slot is sure to have work: until then reports gather, and are handled a dozen at a time.

    To be woken for each of thousands of short tasks would cost as much as a good part of running them.
    """
    shortest = MAX_NAP_S
    for slot in agent.slots.values():
        if len(slot.sent) < 3:
            return 0.0
        shortest = min(shortest, agent.means.get(slot.sent[0].template, 0.0) * (len(slot.sent) - 1) / 2)
    return shortest if agent.slots else 0.0


def has_room(agent: "Agent", now: float) -> bool:
    """Whether a further block would be put to use at once: nobody else should wait for what only lies here."""
    if agent.closed or not agent.journal.healthy or agent.log_refuses(now) or len(agent.queue) >= LOOK_AHEAD:
        return False
    if agent.free_cores > EPSILON:
        return not (agent.queue and has_reserved(agent.queue[0], now))
    return not agent.queue and any(is_short(agent, slot.sent[0]) for slot in agent.slots.values() if slot.sent)


def has_reserved(task: "Task", now: float) -> bool:
    """Whether the node drains for this task, which is first in line."""
    return bool(task.blocked_at) and is_reserved(task.passed, now - task.blocked_at)


def start_tasks(agent: "Agent", now: float) -> "List[SlotHandle]":
    """Start queued tasks for as long as one fits; returns their slots."""
    late, started = [], []
    while agent.queue and agent.free_cores > EPSILON:
        head = agent.queue[0]
        if not fits_in_time(head.walltime, now, agent.drain_at):  # the node must not drain for it in vain
            late.append(agent.queue.popleft())
            continue
        wants = ((task.cores, task.memory) for task in agent.queue)
        index = choose(wants, agent.free_cores, agent.free_memory, has_reserved(head, now))
        if index != 0 and not head.blocked_at:
            head.blocked_at = now
        if index is None:
            break
        task = agent.queue[index]
        del agent.queue[index]
        if index:
            if not fits_in_time(task.walltime, now, agent.drain_at):
                late.append(task)
                continue
            head.passed += 1
        agent.free_cores -= task.cores
        agent.free_memory -= task.memory
        slot = slot_for(agent, task)
        send(agent, slot, task, now)
        agent.flush(slot)
        started.append(slot)
    give_back(agent, late, "walltime")
    return started


def send(agent: "Agent", slot: SlotHandle, task: "Task", now: float) -> None:
    """Hand a task to a slot."""
    agent.seq += 1
    task.seq = agent.seq
    task.recalled = False
    task.started = now
    agent.spool.template(task.template)
    slot.send(task, agent.spool.template_lines[task.template])


def slot_for(agent: "Agent", task: "Task") -> SlotHandle:
    """An idle slot: one that has the task's session already, one without any, a new one, or the one idle longest."""
    best = None
    for slot in agent.idle:
        if slot.session == task.session:
            best = slot
            break
        if slot.session is None and best is None:
            best = slot
    if best is None and (not agent.idle or len(agent.slots) < agent.cores):
        best = new_slot(agent)
    else:
        best = best or agent.idle[0]
        agent.idle.remove(best)
    held = [slot for slot in agent.idle if slot.session_memory]
    while held and agent.free_memory < sum(slot.session_memory for slot in held):
        held.pop(0).close_session()  # its memory is somebody else's now
    return best


def new_slot(agent: "Agent") -> SlotHandle:
    """Start a slot process."""
    agent.slots_made += 1
    number = agent.slots_made
    captures = [
        [os.path.join(agent.scratch, "%d.%d.%s" % (number, pair, stream)) for stream in ("out", "err")]
        for pair in range(PAIRS)
    ]
    config = {
        "name": "packhorse-%s-%d" % (agent.name, number),
        "work": agent.spool.path("work", "%s.%d" % (agent.name, number)),
        "mounts": os.path.join(agent.scratch, "%d.mnt" % number),
        "locks": os.path.join(os.path.dirname(agent.scratch), "packhorse-images-%d" % os.getuid()),
        "captures": captures,
        "env": agent.allocation["env"],
        "environment": agent.allocation["environment"],
        "max_result_bytes": agent.allocation["max_result_bytes"],
        "leaf": agent.cgroups.make(str(number)),
    }
    slot = SlotHandle(number, config)
    agent.slots[slot.report_fd] = slot
    agent.poll.register(slot.report_fd, select.POLLIN)
    return slot


def is_short(agent: "Agent", task: "Task") -> bool:
    """Whether tasks of its template are known to be short."""
    return agent.means.get(task.template, SHORT_S) < SHORT_S


def prefetch(agent: "Agent", slot: SlotHandle, now: float) -> None:
    """Give a busy slot the next tasks too, if they are short and like its own, so that it does not wait for us between
    them.
    """
    head = slot.sent[0]
    mean = max(1e-4, agent.means.get(head.template, SHORT_S))
    if (
        agent.draining
        or slot.unfinished
        or mean >= SHORT_S
        or now - head.started > SHORT_S
        or len(slot.sent) > REFILL_BELOW
    ):
        return
    depth = min(PREFETCH, int(SHORT_S / mean))
    while len(slot.sent) <= depth:
        if not agent.queue:
            agent.refill = True
            break
        task = agent.queue[0]
        if (
            task.shape != head.shape
            or not is_short(agent, task)
            or len(task.line) > PREFETCH_MAX_LINE
            or not fits_in_time(task.walltime, now, agent.drain_at)
        ):
            break
        agent.queue.popleft()
        send(agent, slot, task, now)
    agent.flush(slot)
