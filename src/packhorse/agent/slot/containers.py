"""Tasks in containers.

The engine has composed the commands; here they get what only the node knows, and their ends are kept.

What would outlive this slot's process (a container of Podman's, a mount) has commands that end it: the `cleanup`. The
supervisor is told of every change, and runs them if this slot is killed.
"""

import collections
import json
import os

from ..mounts import Mount, unmount_command
from ..outcome import Outcome, Verdict
from ..spawn import run_quietly
from .attach import attach, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

    from .context import Context

MAX_MOUNTS = 8
END_S = 30.0
#: Podman's and Docker's exit code where they themselves failed:
#: https://docs.podman.io/en/latest/markdown/podman-run.1.html
NOT_STARTED = 125
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


class Containers:
    """What one slot knows of containers."""

    def __init__(self, context: "Context", config: "Mapping[str, Any]") -> None:
        self.context = context
        self.name = str(config["name"])
        self.mount_folder = str(config["mounts"])
        self.locks = str(config["locks"])
        context.leaf.hear_of_containers()
        self.started = 0
        self.binds: "List[str]" = []  # options for what the task at hand is given besides
        self.mounted = 0
        self.ready: "Set[str]" = set()
        self.mounts: "collections.OrderedDict[str, Mount]" = (
            collections.OrderedDict()
        )  # by image, least recently used first
        self.end: "List[List[str]]" = []  # of the container that runs
        self.cleanup: "List[List[str]]" = []

    # -- before a task

    def prepare(self, wanted: "Sequence[Mapping[str, Any]]", binds: "Sequence[str]") -> None:
        """Make the images of a task ready on this node; `binds` are options for what the task is given besides.

        That is not limited by what the task may use; Verdict `image` if it fails.
        """
        self.binds = [str(option) for option in binds]
        if self.wants_time(wanted):
            self.context.leaf.begin(0)
            self.context.reporter.send(b"A\n")
            try:
                self.make_ready(wanted)
            finally:
                self.context.reporter.send(b"B\n")

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
                attach(self.context, image, fill(plan.get("ready") or [], tokens, values), run, self.locks)
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
                self.context.programs.kept.discard(gone.pid)
                gone.close(self.context.env)
        self.mounted += 1
        folder = os.path.join(self.mount_folder, str(self.mounted))
        self.set_cleanup([unmount_command(folder)])  # before it is there
        mount = Mount(
            fill(argv, tokens, dict(self.values(None), mounted=folder)), folder, self.context.env, self.context.null
        )
        self.mounts[image] = mount
        self.context.programs.kept.add(mount.pid)
        self.set_cleanup([])

    # -- a container

    def values(self, image: "Optional[str]") -> "Dict[str, Optional[str]]":
        """What the tokens stand for, for the container that starts next."""
        context = self.context
        mount = self.mounts.get(image) if image else None
        return {
            "work": context.work,
            "name": "%s-%d" % (self.name, self.started),
            "cgroup": context.leaf.path,
            "uid": str(os.getuid()),
            "gid": str(os.getgid()),
            "capture": os.path.dirname(context.capture_paths[0][0]),
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
        self.set_cleanup(self.end)
        return head

    def over(self, by_itself: bool) -> None:
        """A container's command has ended; unless it did so by itself, the runtime may still hold the container."""
        if not self.end:
            return
        if not by_itself:
            self.context.programs.shielded = True
            self.run_commands(self.end)
            self.context.programs.shielded = False
        self.end = []
        self.set_cleanup([])

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
            self.context.programs.run(head + argv, self.host_env(env), files[0], files[1], files[2], outcome)
            if outcome.exit is not None:
                outcome.exited(outcome.exit)
            if self.end and self.context.leaf.resets_peak:
                outcome.peak = peak  # what was added is the runtime's own, and the leaf knows better
        finally:
            self.over(not self.context.programs.signaled and outcome.exit is not None and outcome.sig is None)
        if outcome.exit == NOT_STARTED:
            self.must_be_ready(container)

    def must_be_ready(self, container: "Mapping[str, Any]") -> None:
        """Verdict `image` if the node has lost an image since it was made ready; the next attempt makes it so again."""
        image, plan = str(container["image"]), container.get("attach") or {}
        ready = fill(plan.get("ready") or [], container.get("tokens") or {}, self.values(None))
        if ready and plan.get("run") and not self.context.programs.signaled and execute(self.context, ready)[0] != 0:
            self.ready.discard(image)
            raise Verdict(
                "image",
                "%s was made ready on this node, and somebody has removed it since (%s)" % (image, " ".join(ready)),
            )

    def host_env(self, env: "Mapping[str, str]") -> "Dict[str, str]":
        """The environment of the runtime's program: what every task has before its own, and of its own what every task
        is told.
        """
        own = dict(self.context.base)
        own.update((name, env[name]) for name in PASSED if name in env)
        own.update(self.context.secret_env)
        return own

    # -- cleanup

    def set_cleanup(self, more: "List[List[str]]") -> None:
        """Have the supervisor know what is to be done if this slot is killed: for all mounts, and what comes on top."""
        cleanup = more + [unmount_command(mount.folder) for mount in self.mounts.values()]
        if cleanup != self.cleanup:
            self.cleanup = cleanup
            self.context.reporter.send(b"X %s\n" % json.dumps(cleanup).encode("ascii"))

    def run_commands(self, commands: "List[List[str]]") -> None:
        """Run commands that end things; once more where one fails, since the runtime may have been at it itself."""
        for argv in commands:
            run_quietly(argv, self.context.env, END_S) or run_quietly(argv, self.context.env, END_S)

    def die(self) -> None:
        """The supervisor is dead, and all processes below are too."""
        self.run_commands(self.cleanup)

    def close(self) -> None:
        """The slot ends by itself."""
        for mount in self.mounts.values():
            mount.close(self.context.env)
        self.mounts.clear()
        self.set_cleanup([])
