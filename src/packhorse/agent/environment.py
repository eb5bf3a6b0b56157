"""What a task sees of the agent's environment, which is that of a job: the engine says what is kept from it
(docs/spool.md).

Tasks that start ranks need to know the job that they are in; the others must not, since a program that is built with
MPI would take itself for one of its ranks.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Mapping, Sequence


def compose(
    ours: "Mapping[str, str]", rules: "Mapping[str, Any]", given: "Mapping[str, str]", launches: bool
) -> "Dict[str, str]":
    """The environment of tasks, over which each is given its own. `launches`: of those that start ranks."""
    hidden = Names(rules.get("of_step" if launches else "hidden") or ())
    shown = Names(rules.get("shown") or ())
    seen = {
        name: value
        for name, value in ours.items()
        if name and (not hidden.match(name, value) or shown.match(name, value))
    }
    seen.update(given)
    return seen


class Names:
    """Variables by name, by the beginning of their names (`LC_*`), or by name and value (`ENVIRONMENT=BATCH`)."""

    def __init__(self, patterns: "Sequence[str]") -> None:
        self.whole = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self.beginnings = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))

    def match(self, name: str, value: str) -> bool:
        """Whether a variable is one of them."""
        return name in self.whole or name.startswith(self.beginnings) or name + "=" + value in self.whole
