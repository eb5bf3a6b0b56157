"""Background jobs: one at a time, in the background, to an end that is always told."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .agent_spool import Record, wait_for

TORN = b'{"k":"beat","by'  # what a killed background job may have left of a line


class Folder:
    """A background job's folder."""

    def __init__(self, path: Path, zipapp: Path) -> None:
        self.path = path
        self.command = [sys.executable, "-I", "-S", str(zipapp), "--background", str(path)]
        path.mkdir()

    def ask(self, *steps: Record | list[str], **fields: Any) -> None:
        found = [step if isinstance(step, dict) else {"argv": step, "what": step[0]} for step in steps]
        (self.path / "errand.json").write_text(json.dumps({"version": 1, "steps": found} | fields))

    def start(self) -> None:
        began = time.monotonic()
        done = subprocess.run(self.command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert time.monotonic() - began < 2, "it returns at once"

    def records(self, kind: str | None = None) -> list[Record]:
        path = self.path / "journal.jsonl"
        data = path.read_bytes() if path.exists() else b""
        lines = [line for line in data[: data.rfind(b"\n") + 1].splitlines() if line != TORN]
        return [record for record in map(json.loads, lines) if kind in (None, record["k"])]

    def end(self, timeout: float = 20) -> Record:
        return dict(wait_for(lambda: self.records("end"), timeout, "the background job's end")[0])

    def run(self, *steps: Record | list[str], **fields: Any) -> Record:
        self.ask(*steps, **fields)
        self.start()
        return self.end()

    def wait_for_pid(self, name: str) -> int:
        return int(wait_for(lambda: (self.path / name).exists() and (self.path / name).read_text().strip(), what=name))


@pytest.fixture
def folder(tmp_path: Path, zipapp: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "job", zipapp)
    yield made
    (made.path / "stop").touch()
    wait_for(lambda: not any(lives(record["pid"]) for record in made.records("errand")))


def lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_steps_in_order(folder: Folder, tmp_path: Path) -> None:
    (folder.path / "auth.json").write_text("{}")
    tmp, grown = tmp_path / "site tmp", tmp_path / "grown"
    steps = [
        {
            "argv": ["sh", "-c", 'echo "$X $TMPDIR"; pwd; touch "$TMPDIR/f" seen; test -e auth.json'],
            "what": "first",
            "env": {"X": "it's"},
        },
        ["sh", "-c", f"mkdir {grown}; head -c 300000 /dev/zero > {grown}/f; sleep 2.5; echo oops >&2"],
    ]
    end = folder.run(*steps, watch=str(grown), tmp=str(tmp), timeout_s=60)
    assert (end["i"], end["exit"], end.get("why"), end["tail"]) == (1, 0, None, "oops\n")
    assert (folder.path / "errand.out").read_text() == f"it's {tmp}\n{folder.path}\noops\n"
    assert [(step["i"], step["what"]) for step in folder.records("step")] == [(0, "first"), (1, "sh")]
    beats = folder.records("beat")
    assert len(beats) >= 3 and 300000 <= beats[-1]["bytes"] < 330000
    assert all(later["t"] - earlier["t"] < 2 for earlier, later in itertools.pairwise(beats))
    assert end["free"] > 0 and not tmp.exists() and not (folder.path / "auth.json").exists()


def test_the_first_failure_is_the_end(folder: Folder) -> None:
    end = folder.run(
        ["sh", "-c", "echo before"], ["sh", "-c", "seq 2000; echo 'manifest unknown' >&2; exit 3"], ["touch", "never"]
    )
    assert (end["i"], end["exit"], end.get("why")) == (1, 3, None)
    assert len(end["tail"]) <= 2048 and end["tail"].endswith("2000\nmanifest unknown\n") and "before" not in end["tail"]
    assert not (folder.path / "never").exists()


def test_a_step_that_is_killed_and_one_that_is_no_program(folder: Folder, tmp_path: Path, zipapp: Path) -> None:
    assert folder.run(["sh", "-c", "kill -SEGV $$"])["sig"] == signal.SIGSEGV
    end = Folder(tmp_path / "other", zipapp).run(["/no/such/program"])
    assert (end["why"], end["tail"]) == ("spawn", "/no/such/program: no such program (or its interpreter is missing)\n")


def test_a_second_start_changes_nothing(folder: Folder) -> None:
    folder.ask(["sh", "-c", "echo $$ >> pids; while [ ! -e go ]; do sleep 0.05; done"])
    starting = [subprocess.Popen(folder.command) for _ in range(5)]
    assert [process.wait(10) for process in starting] == [0] * 5
    folder.wait_for_pid("pids")
    folder.start()
    (folder.path / "go").touch()
    assert folder.end()["exit"] == 0
    folder.start()
    assert len(folder.records("errand")) == len(folder.records("end")) == 1
    assert len((folder.path / "pids").read_text().split()) == 1


def test_it_survives_who_started_it(folder: Folder) -> None:
    """Its session, its terminal and its pipes, as with ssh."""
    folder.ask(["sh", "-c", "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done"])
    starter = subprocess.Popen(
        ["sh", "-c", '"$@"; sleep 1000', "sh", *folder.command], stdout=subprocess.PIPE, start_new_session=True
    )
    pid = folder.wait_for_pid("pid")
    os.killpg(starter.pid, signal.SIGHUP)
    os.killpg(starter.pid, signal.SIGKILL)
    assert starter.communicate(timeout=5)[0] == b"", "it does not hold the pipe of who started it"
    assert lives(pid)
    (folder.path / "go").touch()
    assert folder.end()["exit"] == 0


def test_stop(folder: Folder, tmp_path: Path) -> None:
    (folder.path / "auth.json").write_text("{}")
    folder.ask(
        ["sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done' & wait"],
        ["touch", "never"],
    )
    folder.start()
    pid = folder.wait_for_pid("pid")
    (folder.path / "stop").touch()
    end = folder.end(timeout=2)
    assert (end["why"], end["i"]) == ("stopped", 0)
    assert not lives(pid) and not (folder.path / "auth.json").exists() and not (folder.path / "never").exists()


def test_sigterm_stops_it_too(folder: Folder) -> None:
    folder.ask(["sleep", "1000"])
    folder.start()
    os.kill(wait_for(lambda: folder.records("errand"))[0]["pid"], signal.SIGTERM)
    assert folder.end()["why"] == "stopped"


def test_timeout(folder: Folder) -> None:
    end = folder.run(["sh", "-c", "echo waiting; sleep 1000"], timeout_s=0.5)
    assert (end["why"], end["tail"]) == ("timeout", "waiting\n")


def test_a_killed_background_job_is_begun_anew_but_not_beside_what_is_left_of_it(folder: Folder) -> None:
    folder.ask(["sh", "-c", "echo $$ >> pids; test -e again && exit 0; echo $$ > pid; exec sleep 1000"])
    folder.start()
    left = folder.wait_for_pid("pid")
    os.kill(folder.records("errand")[0]["pid"], signal.SIGKILL)
    (folder.path / "again").touch()
    with (folder.path / "journal.jsonl").open("ab") as journal:
        journal.write(TORN)
    folder.start()
    assert lives(left) and len(folder.records("errand")) == 1
    os.kill(left, signal.SIGKILL)
    wait_for(lambda: not lives(left))
    folder.start()
    assert folder.end()["exit"] == 0 and len(folder.records("errand")) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 2 MiB."""
    disk = tmp_path / "small"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_full_disk_is_named(folder: Folder, small_disk: Path, quiet: bool) -> None:
    """By what is left there, or by what the program says, which may have tidied up."""
    script = f"head -c 3000000 /dev/zero > {small_disk}/image.partial{' 2>/dev/null' if quiet else ''} && exit 0; "
    end = folder.run(
        ["sh", "-c", script + ("exit 1" if quiet else f"rm {small_disk}/*; exit 1")],
        watch=f"{small_disk}/image.partial",
    )
    assert (end["why"], end["exit"]) == ("disk", 1)
    assert (end["free"] < 1 << 20) is quiet


def test_a_journal_on_a_full_disk_gets_its_end_later(small_disk: Path, zipapp: Path) -> None:
    folder = Folder(small_disk / "job", zipapp)
    folder.ask(["sh", "-c", f"head -c 3000000 /dev/zero > {small_disk}/filler"], watch=str(small_disk))
    folder.start()
    wait_for(lambda: (small_disk / "filler").exists() and os.statvfs(small_disk).f_bavail == 0)
    time.sleep(0.3)
    (small_disk / "filler").unlink()
    assert folder.end()["why"] == "disk"


@pytest.mark.parametrize("text", ["{", "{}", '{"version": 2, "steps": []}', None])
def test_what_is_no_background_job_is_refused(folder: Folder, text: str | None) -> None:
    if text is not None:
        (folder.path / "errand.json").write_text(text)
    done = subprocess.run(folder.command, capture_output=True, text=True)
    assert done.returncode == 2 and "errand.json is no background job" in done.stderr


def test_no_folder(tmp_path: Path, make_folder: Callable[[str], list[str]]) -> None:
    done = subprocess.run(make_folder(str(tmp_path / "none")), capture_output=True, text=True)
    assert done.returncode == 2 and "there is no background job" in done.stderr


@pytest.fixture
def make_folder(zipapp: Path) -> Callable[[str], list[str]]:
    return lambda path: [sys.executable, "-I", "-S", str(zipapp), "--background", path]
