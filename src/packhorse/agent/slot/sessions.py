"""Which session serves a task: the one that is open, or another in its place."""

import json

from ..outcome import Outcome, Verdict
from .session import Shell, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple

    from .containers import Containers
    from .context import Context
    from .session import Session


class Sessions:
    """The session that a slot keeps, one at a time."""

    def __init__(self, context: "Context") -> None:
        self.context = context
        self.current: "Optional[Session]" = None
        self.last_parts: "Tuple[Any, ...]" = ("", None, None)  # what the last key was made of
        self.last_key: "Tuple[Any, ...]" = ()

    def serve(
        self,
        task: "Dict[str, Any]",
        env: "Dict[str, str]",
        pair: int,
        outcome: Outcome,
        containers: "Optional[Containers]",
    ) -> None:
        """Execute a task in a session; one of another kind is closed, a dead one is started again."""
        key, session = self.key_of(task), self.current
        if session and (session.key != key or not session.alive()):
            self.close()
            session = None
        if session is None:
            kinds = {"worker": Worker, "shell": Shell}
            if task["session"] not in kinds:
                raise Verdict("inputs", "no such kind of session: %s" % task["session"])
            kind = kinds[task["session"]]
            session = kind(self.context, key, task.get("start") or [], env, task.get("container"), containers)
            self.current = session
        try:
            session.run(task, env, pair, outcome)
        except Verdict:
            self.close()
            raise
        if self.context.programs.signaled:
            self.close()

    def key_of(self, task: "Dict[str, Any]") -> "Tuple[Any, ...]":
        """What tasks that one session can serve have in common; Verdict `inputs` where none can."""
        container = task.get("container")
        if not container:
            parts = (task["session"], task.get("start"), task.get("env"))
            if parts != self.last_parts:
                self.last_key = task["session"], tuple(parts[1] or ()), tuple(sorted((parts[2] or {}).items()))
                self.last_parts = parts
            return self.last_key
        start = tuple(task.get("start") or ())
        if task["session"] == "shell" and not container.get("binds_capture"):
            raise Verdict(
                "inputs", "its container does not say where it sees the files that capture output (binds_capture)"
            )
        return task["session"], start, json.dumps(container, sort_keys=True), self.context.work

    def close(self) -> None:
        """End the session, if there is one."""
        if self.current:
            self.current.close()
            self.current = None
