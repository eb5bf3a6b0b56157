"""The spool folder as an agent sees it: the allocation, templates, blocks to claim, control lines. docs/spool.md is the
contract.
"""

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

DEFAULTS: "Dict[str, Any]" = {
    "cores": None,
    "memory_mb": None,
    "walltime_s": None,
    "grace_s": 30.0,
    "linger_s": 2.0,
    "beat_s": 1.0,
    "kill_grace_s": 5.0,
    "max_log_bytes": 16 << 20,
    "max_result_bytes": 65536,
    "scratch": None,
    "env": {},
    "environment": {},
}


class Spool:
    """One allocation's spool, and what of it this agent has read so far."""

    def __init__(self, root: str, agent: str) -> None:
        self.root = os.path.abspath(root)
        self.agent = agent
        self.listed: "List[str]" = []  # blocks seen in the bundle, last first
        self.templates: "Dict[str, Dict[str, Any]]" = {}
        self.template_lines: "Dict[str, bytes]" = {}
        self.control_offset = 0
        self.beats = 0

    def path(self, *parts: str) -> str:
        """A path inside the spool."""
        return os.path.join(self.root, *parts)

    def allocation(self) -> "Dict[str, Any]":
        """allocation.json over the defaults."""
        with open(self.path("allocation.json"), encoding="utf-8") as file:
            found = json.load(file)
        return dict(DEFAULTS, **{key: value for key, value in found.items() if value is not None})

    def make_folders(self) -> None:
        """The folders that this agent writes to."""
        for name in ("bundle", "claimed", "journal", "log", "work"):
            os.makedirs(self.path(name), exist_ok=True)

    def beat(self) -> None:
        """Say that we live, where nothing else does while tasks are long: the number in this file counts up."""
        self.beats += 1
        try:
            with open(self.path("journal", self.agent + ".beat"), "wb") as file:
                file.write(b"%d" % self.beats)
        except OSError:
            pass  # a full disk: the journal will say so

    def claim(self) -> "Optional[Tuple[str, List[bytes]]]":
        """Claim the lowest block of the bundle: (seq, lines), or None if there is none."""
        if not self.listed:
            self.listed = self._list()
        while self.listed:
            name = self.listed.pop()
            mine = self.path("claimed", "%s.%s.jsonl" % (name[:-6], self.agent))
            try:
                os.rename(self.path("bundle", name), mine)
            except FileNotFoundError:
                if not os.path.exists(mine):  # else NFS repeated a request that had succeeded
                    continue
            with open(mine, "rb") as file:
                return name[:-6], [line for line in file.read().split(b"\n") if line.strip()]
        return None

    def _list(self) -> "List[str]":
        try:
            names = os.listdir(self.path("bundle"))
        except FileNotFoundError:
            return []
        return sorted((name for name in names if name.endswith(".jsonl") and not name.startswith(".")), reverse=True)

    def template(self, key: str) -> "Dict[str, Any]":
        """The template of that name; OSError or ValueError if it cannot be read."""
        if key not in self.templates:
            if "/" in key or key.startswith("."):
                raise ValueError("not a name")
            with open(self.path("templates", key + ".json"), "rb") as file:
                template = json.loads(file.read().decode("utf-8"))
            if not isinstance(template, dict):
                raise ValueError("not an object")
            template["key"] = key
            self.templates[key] = template
            self.template_lines[key] = b"T " + json.dumps(template).encode("ascii") + b"\n"
        return self.templates[key]

    def control(self) -> "Iterator[Dict[str, Any]]":
        """The control lines that are new. The file is opened each time: that is when NFS looks whether it has grown."""
        try:
            with open(self.path("control.jsonl"), "rb") as file:
                file.seek(self.control_offset)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self.control_offset += len(whole)
        for line in whole.splitlines():
            try:
                found = json.loads(line.decode("utf-8"))
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found
