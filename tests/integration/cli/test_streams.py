"""Output that goes where nothing can be written, or nobody reads."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from packhorse.cli.streams import OutputFailed, Sink
from tests.fixtures.commandline import packhorse_here, packhorse_processes
from tests.integration.cli.conftest import Ended

FULL = "/dev/full"
NO_SPACE = "The output cannot be written: No space left on device.\n"


def commands(run: str) -> list[list[str]]:
    return [
        ["ps"],
        ["show", f"{run}.1", "--json"],
        ["results", run],
        ["results", run, "--csv"],
        ["logs", f"{run}.1", "--follow"],
        ["version"],
        ["--help"],
    ]


def test_a_full_device_is_said_once(ended: Ended) -> None:
    cases = [(arguments, FULL) for arguments in commands(ended.run)]
    for case, done in zip(
        cases, packhorse_processes(cases, environment=ended.environment, folder=ended.folder), strict=True
    ):
        assert done == (74, NO_SPACE), case


def test_a_reader_that_has_gone_is_a_quiet_end(ended: Ended) -> None:
    cases = [(arguments, "gone") for arguments in commands(ended.run)]
    for case, done in zip(
        cases, packhorse_processes(cases, environment=ended.environment, folder=ended.folder), strict=True
    ):
        assert done == (141, ""), case


def test_a_run_whose_words_cannot_be_written_is_kept_and_refusals_stay_refusals(ended: Ended) -> None:
    cases = [
        (["run", "./app", "--set", "i=0", "--name", "kept"], FULL),
        (["show", "r-0123456789abcdef"], FULL),
        (["show", "r-0123456789abcdef", "--json"], FULL),
        (["show", "r-0123456789abcdef", "--json"], "gone"),
        (["nonsense"], FULL),
    ]
    full, missing, missing_json, unread, nonsense = packhorse_processes(
        cases, environment=ended.environment, folder=ended.folder
    )
    assert full[0] == 74 and full[1].endswith(NO_SPACE)
    assert missing[0] == 3 and "There is no run" in missing[1]
    assert missing_json == missing
    assert unread == (141, "")
    assert nonsense[0] == 2 and "No such command 'nonsense'" in nonsense[1]
    assert " kept " in packhorse_here("ps", environment=ended.environment, folder=ended.folder).stdout


def test_streams_that_are_closed(ended: Ended) -> None:
    script = """
        packhorse ps >&-; echo $?
        packhorse version 2>&-; echo $?
        packhorse show r-0123456789abcdef 2>&- ; echo $?
        packhorse show r-0123456789abcdef 2>/dev/full; echo $?
        packhorse sites add x <&- >&- 2>&-; echo $?
        packhorse results RUN | head -n 1; echo ${PIPESTATUS[0]}
    """
    program = f'packhorse() {{ {sys.executable} -m packhorse.cli.main "$@"; }}\n{script.replace("RUN", ended.run)}'
    done = subprocess.run(
        ["bash", "-c", program], cwd=ended.folder, env=ended.environment, capture_output=True, text=True, timeout=60
    )
    codes = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert codes[:4] == ["74", "0", "3", "3"]
    assert codes[4] in ("2", "6") and codes[5] in ("0", "141")
    assert done.stderr == "The output cannot be written: Bad file descriptor.\n"


def test_nothing_is_opened_where_stdout_was_closed(ended: Ended, tmp_path: Path) -> None:
    """SQLite's file would be the next descriptor: what is printed would go into the database."""
    code = "import os, sys; os.close(1); sys.stdout = sys.__stdout__ = None; sys.argv = ['packhorse', 'ps']\n"
    code += "from packhorse.cli.main import main; main()"
    shutil.copytree(ended.folder / "home", tmp_path / "home")
    environment = {**ended.environment, "PACKHORSE_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (74, "The output cannot be written: Bad file descriptor.\n")
    assert packhorse_here("ps", environment=environment, folder=ended.folder).returncode == 0


def test_an_encoding_without_the_character_gives_an_escape_and_files_are_utf_8(ended: Ended) -> None:
    cases = [(["ps", ended.run], "ascii.txt"), (["results", ended.run, "--csv"], "ascii.csv")]
    environment = {**ended.environment, "PYTHONIOENCODING": "ascii"}
    assert [code for code, _ in packhorse_processes(cases, environment=environment, folder=ended.folder)] == [0, 0]
    assert "s=\\x1b[2J[b]\\u6570[/b]" in (ended.folder / "ascii.txt").read_text("ascii")
    assert "\x1b[2J[b]数[/b]" in (ended.folder / "ascii.csv").read_text("utf-8"), "data is not for eyes"


def test_a_pipe_that_is_full_and_does_not_wait_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = os.urandom(1 << 20)
    read: list[bytes] = []

    def read_all() -> None:
        while piece := os.read(reading, 1 << 16):
            read.append(piece)

    thread = threading.Thread(target=read_all)
    thread.start()
    with io.BufferedWriter(Sink(writing, "It")) as file:
        file.write(data)
    os.close(writing)
    thread.join(10)
    os.close(reading)
    assert b"".join(read) == data


def test_a_sink_fails_once_and_only_where_it_matters() -> None:
    descriptor = os.open(FULL, os.O_WRONLY)
    sink = Sink(descriptor, "It")
    with pytest.raises(OutputFailed, match=r"^It cannot be written: No space left on device\.$"):
        sink.write(b"x")
    assert sink.write(b"x") == 1
    assert Sink(descriptor, "It", matters=False).write(b"xy") == 2
    os.close(descriptor)


def test_signals_that_are_ignored_stay_so(ended: Ended) -> None:
    """As with nohup."""
    code = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom packhorse.cli.streams import"
        " signals_end_it\n"
    )
    code += (
        "with signals_end_it(): print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN);"
        " signal.raise_signal(signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode, done.stderr) == ("True\n", 128 + signal.SIGTERM, "")


def test_a_log_that_is_followed_ends_with_its_reader(ended: Ended) -> None:
    """Also when the task says nothing more: only a byte would tell otherwise."""
    folder = ended.folder / "quiet"
    folder.mkdir()
    (folder / "app.yaml").write_text(
        "packhorse: 1\nname: quiet\nversion: '1'\ncommand: [sh, -c, 'echo first; exec sleep 60']\n"
    )
    here = {"environment": ended.environment, "folder": ended.folder}
    run = packhorse_here("run", "./quiet", "--detach", **here).stdout.strip()  # type: ignore[arg-type]
    command = [sys.executable, "-m", "packhorse.cli.main", "logs", f"{run}.0", "--follow"]
    with subprocess.Popen(
        command, cwd=ended.folder, env=ended.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (141, b"")
    assert packhorse_here("cancel", run, **here).returncode == 0  # type: ignore[arg-type]
