"""A spool in a temporary folder, and real agents on it: what the engine would do, in a few lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Spool:
    """An allocation's spool, the blocks in it and the agents on it."""

    def __init__(self, root: Path, zipapp: Path, **allocation: Any) -> None:
        self.root = root
        self.zipapp = zipapp
        self.blocks = 0
        self.tasks = 0
        self.agents: list[subprocess.Popen[bytes]] = []
        for name in ("templates", "bundle", "claimed", "revoked", "journal", "log", "work", "scratch", "out"):
            (root / name).mkdir(parents=True)
        self.allocation: Record = {
            "version": 1,
            "allocation": "a-test",
            "cores": 2,
            "memory_mb": 2000,
            "walltime_s": 600.0,
            "grace_s": 10.0,
            "linger_s": 0.0,
            "kill_grace_s": 1.0,
            "max_log_bytes": 1 << 20,
            "max_result_bytes": 4096,
            "scratch": str(root / "scratch"),
            "env": {},
        } | allocation
        (root / "allocation.json").write_text(json.dumps(self.allocation))

    def template(self, key: str = "t", **fields: Any) -> str:
        template = {
            "key": key,
            "session": "none",
            "start": None,
            "env": {},
            "cores": 1.0,
            "memory_mb": 200,
            "walltime_s": 60.0,
            "outputs": [],
            "result": "none",
        } | fields
        (self.root / "templates" / f"{key}.json").write_text(json.dumps(template))
        return key

    def task(self, *argv: str, t: str = "t", **fields: Any) -> Record:
        self.tasks += 1
        line = {"id": self.tasks, "n": 1, "t": t, "inputs": [], "out": str(self.root / "out" / str(self.tasks))}
        return line | ({"argv": list(argv)} if argv else {}) | fields

    def sh(self, script: str, **fields: Any) -> Record:
        return self.task("/bin/sh", "-c", script, **fields)

    def block(self, *tasks: Record | str) -> None:
        lines = "".join((task if isinstance(task, str) else json.dumps(task)) + "\n" for task in tasks)
        path = self.root / "bundle" / f"{self.blocks:08d}.jsonl"
        path.with_suffix(".jsonl.tmp").write_text(lines)
        path.with_suffix(".jsonl.tmp").rename(path)
        self.blocks += 1

    def control(self, **line: Any) -> None:
        with (self.root / "control.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def start(self, python: str = sys.executable, **env: str) -> subprocess.Popen[bytes]:
        with (self.root / "job.out").open("ab") as out:
            agent = subprocess.Popen(
                [python, "-I", "-S", str(self.zipapp), str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | env,
            )
        self.agents.append(agent)
        return agent

    def run(self, *tasks: Record | str, timeout: float = 60, **env: str) -> dict[int, Record]:
        """Run tasks in one block to the agent's end; returns their `end` records by id."""
        self.block(*tasks)
        agent = self.start(**env)
        assert agent.wait(timeout) == 0, (self.root / "job.out").read_text()
        assert (self.root / "job.out").read_text() == ""
        return self.ends()

    def records(self, kind: str | None = None) -> list[Record]:
        found = []
        for path in sorted((self.root / "journal").iterdir()):
            data = path.read_bytes()
            found += [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
        return [record for record in found if kind in (None, record["k"])]

    def ends(self) -> dict[int, Record]:
        ends = self.records("end")
        assert len({(end["id"], end["n"]) for end in ends}) == len(ends), "a task was reported twice"
        return {end["id"]: end for end in ends}

    def output(self, task: int, stream: str = "out") -> bytes:
        """What a task wrote, from the ranges of its `log` and `end` records."""
        logs = list((self.root / "log").iterdir())
        log = logs[0].read_bytes() if logs else b""
        ranges = [(r["o"], r["l"]) for r in self.records("log") if r["id"] == task and r["s"] == stream]
        ranges += [(o, size) for name, o, size in self.ends().get(task, {}).get("log", []) if name == stream]
        return b"".join(log[o : o + size] for o, size in ranges)

    def close(self) -> None:
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
            agent.wait()


def wait_for(condition: Callable[[], Any], timeout: float = 20, what: str = "condition") -> Any:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true in {timeout} s")


def processes_with(mark: str) -> list[int]:
    """Living processes whose command line or environment holds the mark."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
                if mark.encode() in text and ") Z " not in (path / "stat").read_text():
                    found.append(int(path.name))
            except OSError:
                continue
    return found
