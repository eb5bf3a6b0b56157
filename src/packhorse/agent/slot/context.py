"""What the parts of a slot share: its files, its environment, its cgroup leaf, its programs, its reporter."""

import os

from ..environment import compose
from ..leaf import open_leaf
from ..processes import Programs
from .files import Files
from .reporter import Reporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict


class Context(Files):
    """Made once for a slot. `env` is what its tasks have before their own; `base` the same for the task at hand."""

    def __init__(self, config: "Dict[str, Any]") -> None:
        Files.__init__(self, config)
        self.config = config
        self.env = self.environment(False)
        self.base = self.env  # it is another for a task that starts ranks
        self.secret_env: "Dict[str, str]" = {}  # of the task at hand: not in any command, nor in any file
        self.null = os.open(os.devnull, os.O_RDWR)
        self.leaf = open_leaf(config.get("leaf"))
        self.programs = Programs()
        self.reporter = Reporter()

    def environment(self, launches: bool) -> "Dict[str, str]":
        """That of tasks, and of what serves them; `launches`: of tasks that start ranks."""
        return compose(os.environ, self.config.get("environment") or {}, self.config["env"], launches)
