"""Tasks in containers.

The engine has composed the commands; here they get what only the node knows, and their ends are kept.

What would outlive this slot's process (a container of Podman's, a mount) is `owed`: the commands that end it. The
supervisor is told of every change, and runs them if this slot is killed.
"""

import collections
import json
import os

from ..mounts import Mount, unmount_command
from ..outcome import Outcome, Verdict
from ..spawn import run_quietly
from .attach import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

    from .main import Slot

MAX_MOUNTS = 8
END_S = 30.0
MANAGER = "--cgroup-manager=cgroupfs"  # of no use without a parent: see sites/runtimes/podman.py
PASSED = ("PACKHORSE_TASK", "PACKHORSE_ATTEMPT", "PACKHORSE_CORES", "PACKHORSE_MEMORY_MB")


def fill(
    arguments: "Sequence[str]",
    tokens: "Mapping[str, str]",
    values: "Mapping[str, Optional[str]]",
    binds: "Sequence[str]" = (),
) -> "List[str]":
    """Arguments with the tokens replaced by their values, and the one that stands for `binds` by these.

    One whose token has no value is left out, with what only makes sense before it.
    """
    filled: "List[str]" = []
    for argument in arguments:
        if argument == tokens.get("binds"):
            filled.extend(binds)
            continue
        missing = False
        for name, token in tokens.items():
            if token in argument:
                value = values[name]
                missing = missing or value is None
                argument = argument.replace(token, value or "")
        if not missing:
            filled.append(argument)
        elif filled and filled[-1] == MANAGER:
            filled.pop()
    return filled


def containers_of(task: "Mapping[str, Any]") -> "List[Dict[str, Any]]":
    """The containers that a task will want, of its steps if it has any."""
    own = task.get("container")
    wanted = [step.get("container", own) for step in task["steps"]] if task.get("steps") else [own]
    return [container for container in wanted if container]


def make_ready(slot: "Slot", task: "Mapping[str, Any]") -> None:
    """Make the images of a task ready on this node.

    That is not limited by what the task may use; Verdict `image` if it fails.
    """
    wanted = containers_of(task)
    if not wanted:
        return
    if slot.containers is None:
        slot.containers = Containers(slot, slot.config)
        slot.leaf.hear_of_containers()
    slot.containers.binds = [str(option) for option in task.get("binds") or ()]
    if slot.containers.wants_time(wanted):
        slot.leaf.begin(0)
        slot.send(b"A\n")
        try:
            slot.containers.make_ready(wanted)
        finally:
            slot.send(b"B\n")


class Containers:
    """What one slot knows of containers."""

    def __init__(self, slot: "Slot", config: "Mapping[str, Any]") -> None:
        self.slot = slot
        self.name = str(config["name"])
        self.mount_folder = str(config["mounts"])
        self.locks = str(config["locks"])
        self.started = 0
        self.binds: "List[str]" = []  # options for what the task at hand is given besides
        self.mounted = 0
        self.ready: "Set[str]" = set()
        self.mounts: "collections.OrderedDict[str, Mount]" = (
            collections.OrderedDict()
        )  # by image, least recently used first
        self.end: "List[List[str]]" = []  # of the container that runs
        self.owed: "List[List[str]]" = []

    # -- before a task

    def wants_time(self, wanted: "Sequence[Mapping[str, Any]]") -> bool:
        """Whether something has to be made ready first."""
        for container in wanted:
            mount = self.mounts.get(container["image"])
            if (
                container["image"] not in self.ready
                or (container.get("attach") or {}).get("mount")
                and not (mount and mount.alive())
            ):
                return True
        return False

    def make_ready(self, wanted: "Sequence[Mapping[str, Any]]") -> None:
        """Attach what this slot has not seen yet, and mount what is not mounted; Verdict `image` if that fails."""
        for container in wanted:
            image, plan = str(container["image"]), container.get("attach") or {}
            tokens, values = (
                container.get("tokens") or {},
                dict(self.values(None), mounted=os.path.join(self.mount_folder, "load")),
            )
            if image not in self.ready and plan.get("run"):
                run = [fill(argv, tokens, values) for argv in plan["run"]]
                attach(self.slot, image, fill(plan.get("ready") or [], tokens, values), run, self.locks)
            if plan.get("mount"):
                self.mount(image, plan["mount"], tokens, {str(other["image"]) for other in wanted})
            self.ready.add(image)

    def mount(self, image: str, argv: "List[str]", tokens: "Mapping[str, str]", in_use: "Set[str]") -> None:
        """Have an image mounted; the one that has not been used for longest makes room."""
        mount = self.mounts.get(image)
        if mount and mount.alive():
            self.mounts.move_to_end(image)
            return
        for old in [image] + [other for other in self.mounts if other not in in_use]:
            if old in self.mounts and (old == image or len(self.mounts) >= MAX_MOUNTS):
                gone = self.mounts.pop(old)
                self.slot.kept.discard(gone.pid)
                gone.close(self.slot.env)
        self.mounted += 1
        folder = os.path.join(self.mount_folder, str(self.mounted))
        self.owe([unmount_command(folder)])  # before it is there
        mount = Mount(
            fill(argv, tokens, dict(self.values(None), mounted=folder)), folder, self.slot.env, self.slot.null
        )
        self.mounts[image] = mount
        self.slot.kept.add(mount.pid)
        self.owe([])

    # -- a container

    def values(self, image: "Optional[str]") -> "Dict[str, Optional[str]]":
        """What the tokens stand for, for the container that starts next."""
        slot = self.slot
        mount = self.mounts.get(image) if image else None
        return {
            "work": slot.work,
            "name": "%s-%d" % (self.name, self.started),
            "cgroup": slot.leaf.path,
            "uid": str(os.getuid()),
            "gid": str(os.getgid()),
            "capture": os.path.dirname(slot.capture_paths[0][0]),
            "mounted": mount.folder if mount else "",
        }

    def begin(self, container: "Mapping[str, Any]") -> "List[str]":
        """A container is about to start: the command before the task's own. `over` must follow."""
        self.started += 1
        if container["image"] in self.mounts:
            self.mounts.move_to_end(container["image"])
        tokens, values = container.get("tokens") or {}, self.values(str(container["image"]))
        try:
            head = fill(container["head"], tokens, values, self.binds)
            self.end = [fill(argv, tokens, values) for argv in container.get("end") or ()]
        except KeyError as error:
            raise Verdict("inputs", "its container has a token that this agent does not know: %s" % error) from None
        self.owe(self.end)
        return head

    def over(self, by_itself: bool) -> None:
        """A container's command has ended; unless it did so by itself, the runtime may still hold the container."""
        if not self.end:
            return
        if not by_itself:
            self.slot.ending = True
            self.pay(self.end)
            self.slot.ending = False
        self.end = []
        self.owe([])

    def execute(
        self,
        container: "Mapping[str, Any]",
        argv: "List[str]",
        env: "Mapping[str, str]",
        files: "Tuple[int, int, int]",
        outcome: Outcome,
    ) -> None:
        """Run one program in a container to its end."""
        outcome.exit, outcome.sig = None, None
        peak = outcome.peak
        head = self.begin(container)
        try:
            self.slot.execute(head + argv, self.host_env(env), files[0], files[1], files[2], outcome)
            if outcome.exit is not None:
                outcome.exited(outcome.exit)
            if self.end and self.slot.leaf.resets_peak:
                outcome.peak = peak  # what was added is the runtime's own, and the leaf knows better
        finally:
            self.over(not self.slot.killed and outcome.exit is not None and outcome.sig is None)

    def host_env(self, env: "Mapping[str, str]") -> "Dict[str, str]":
        """The environment of the runtime's program: what every task has before its own, and of its own what every task
        is told.
        """
        own = dict(self.slot.base)
        own.update((name, env[name]) for name in PASSED if name in env)
        return own

    # -- debts

    def owe(self, more: "List[List[str]]") -> None:
        """Have the supervisor know what is to be done if this slot is killed: for all mounts, and what comes on top."""
        owed = more + [unmount_command(mount.folder) for mount in self.mounts.values()]
        if owed != self.owed:
            self.owed = owed
            self.slot.send(b"X %s\n" % json.dumps(owed).encode("ascii"))

    def pay(self, owed: "List[List[str]]") -> None:
        """Run commands that end things; once more where one fails, since the runtime may have been at it itself."""
        for argv in owed:
            run_quietly(argv, self.slot.env, END_S) or run_quietly(argv, self.slot.env, END_S)

    def die(self) -> None:
        """The supervisor is dead, and all processes below are too."""
        self.pay(self.owed)

    def close(self) -> None:
        """The slot ends in peace."""
        for mount in self.mounts.values():
            mount.close(self.slot.env)
        self.mounts.clear()
        self.owe([])
