"""What the engine and the batch system say: control lines, and signals that mean to drain."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Set

    from .node import Node
    from .task import Key


def read_control(node: "Node", now: float) -> None:
    """Obey new control lines."""
    gone: "Set[Key]" = set()
    for line in node.spool.control():
        node.drain.closed = node.drain.closed or bool(line.get("close"))
        for pair in line.get("cancel") or ():
            if isinstance(pair, list) and len(pair) == 2:
                cancel(node, (pair[0], pair[1]), gone, now)
    if gone:
        node.queue.drop(gone)


def cancel(node: "Node", key: "Key", gone: "Set[Key]", now: float) -> None:
    """Cancel a task wherever it is: running, waiting in a slot, queued (then it is added to `gone`), or not here
    yet.
    """
    task = node.ledger.live.get(key)
    if task is None:
        node.ledger.canceled.add(key)
    elif task.seq == 0:
        gone.add(key)
        node.ledger.end_without_slot(task, "canceled", None, now)
    elif task.verdict is None:
        for slot in node.slots.all():
            if slot.sent and slot.sent[0] is task:
                slot.terminate(task, "canceled", "canceled while it ran", now, node.drain.kill_grace_s)
            elif task in slot.sent:
                task.verdict, task.recalled = "canceled", True
                slot.signal(task, "D")


def begin_drain(node: "Node", why: str, now: float) -> None:
    """Stop claiming, give back what has not started, and let running tasks finish as far as there is time."""
    node.drain.begin(why, now)
    node.ledger.give_back(node.queue.clear(), "drain")
    for slot in node.slots.all():
        for task in list(slot.sent)[1:]:
            task.recalled = True
            slot.signal(task, "D")


def end_drain(node: "Node", now: float) -> None:
    """The time of a drain is over: what still runs must end."""
    for slot in node.slots.busy():
        if not slot.sent[0].kill_at:
            msg = "the agent had to stop (%s)" % node.drain.why
            slot.terminate(slot.sent[0], "drained", msg, now, node.drain.kill_grace_s)
