"""Commands on real terminals: narrow ones, simple ones, ones that are resized or go away."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from tests.fixtures.commandline import packhorse_here
from tests.fixtures.terminal import Terminal, in_a_terminal
from tests.integration.cli.conftest import OUT, SAYS, Ended

COLOURS = re.compile(r"\x1b\[(1|2|31|0)m")
SLOW = "packhorse: 1\nname: slow\nversion: '1'\ncommand: [sleep, '{seconds}']\n"


def on_terminal(ended: Ended, *arguments: str, columns: int, **environment: str) -> tuple[int, str]:
    with in_a_terminal(
        *arguments, environment={**ended.environment, **environment}, folder=ended.folder, columns=columns
    ) as terminal:
        return terminal.end()


def test_a_failed_task_on_a_terminal_in_colours(ended: Ended) -> None:
    code, said = on_terminal(ended, "show", f"{ended.run}.1", columns=80, TERM="xterm-256color")
    assert code == 0 and COLOURS.search(said)
    said = COLOURS.sub("", said)
    assert "\x1b" not in said and "\x07" not in said
    assert "\n  \\x1b[31m:cross_mark: [bold]x[/bold]\\x1b]0;title\\x07\n  attempt 9  succeeded\n" in said
    assert 'parameters  {"i": 1, "s": "\\u001b[2J[b]数[/b]"}' in said


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(20, {"TERM": "dumb"}), (1, {"TERM": "xterm", "NO_COLOR": "1"}), (0, {"COLUMNS": "many"})],
)
def test_a_terminal_that_can_little(ended: Ended, columns: int, environment: dict[str, str]) -> None:
    code, said = on_terminal(ended, "ps", ended.run, columns=columns, **environment)
    assert code == 0
    assert "\x1b" not in said and "\r" not in said
    for words in (f"{ended.run}.0", f"{ended.run}.1", "EXECUTOR_ERROR", "a\\u202eb"):
        assert words in said


def test_a_log_is_byte_for_byte_and_says_so_on_a_terminal(ended: Ended) -> None:
    task = f"{ended.run}.1"
    code, said = on_terminal(ended, "logs", task, "--stderr", columns=80, TERM="dumb")
    notice, _, log = said.partition("\n")
    assert code == 0 and notice.startswith("The log is printed as it is")
    assert log == SAYS.decode(errors="replace")
    with in_a_terminal(
        "logs", task, environment=ended.environment, folder=ended.folder, columns=80, streams=["stdout"]
    ) as terminal:
        assert terminal.end() == (0, OUT.decode()), "the notice is not in it"


def test_results_on_a_terminal_are_for_eyes(ended: Ended) -> None:
    _, said = on_terminal(ended, "results", ended.run, "--csv", columns=80)
    assert "a\\u202eb" in said and "\\x1b[2J[b]数[/b]" in said
    there = packhorse_here("results", ended.run, "--csv", environment=ended.environment, folder=ended.folder)
    assert "a\u202eb" in there.stdout and "\x1b[2J" in there.stdout


def test_progress_is_one_line_that_is_written_over_also_when_the_window_changes(ended: Ended) -> None:
    run = ("run", slow(ended, 2), "--name", "[red]x[/red] :x:")
    environment = {**ended.environment, "TERM": "xterm", "NO_COLOR": "1"}
    with in_a_terminal(*run, environment=environment, folder=ended.folder, columns=80) as terminal:
        wait_for(terminal, "0/1")
        terminal.resize(20)
        code, said = terminal.end()
    assert code == 0, said
    lines = said.split("\n")
    assert "\x1b" not in said
    assert [line for line in lines if "/1" in line] == [lines[1]], "all of it was written over one line"
    steps = [step.rstrip(" \b") for step in lines[1].split("\r") if step]
    assert steps[0].startswith("[red]x[/red] :x:  [....................]  0/1")
    assert "1/1" in steps[-1] and len(steps[-1]) < 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_and_says_how_to_go_on(ended: Ended, number: signal.Signals) -> None:
    with in_a_terminal(
        "run", slow(ended, 60), environment={**ended.environment, "TERM": "xterm"}, folder=ended.folder, columns=80
    ) as terminal:
        wait_for(terminal, "0/1")
        os.kill(terminal.process.pid, number)
        code, said = terminal.end()
    found = re.search(r"packhorse wait (r-\w+)", said)
    assert code == 128 + number and found and "Traceback" not in said
    assert packhorse_here("cancel", found[1], environment=ended.environment, folder=ended.folder).returncode == 0


def test_a_terminal_that_goes_away(ended: Ended) -> None:
    """Its session leader is told by SIGHUP, and what it prints then goes nowhere."""
    with in_a_terminal(
        "run", slow(ended, 60), environment=ended.environment, folder=ended.folder, columns=80
    ) as terminal:
        wait_for(terminal, "0/1")
        terminal.hang_up()
        assert terminal.process.wait(60) == 128 + signal.SIGHUP
        run = terminal.said.split()[1].rstrip(":")
    assert packhorse_here("cancel", run, environment=ended.environment, folder=ended.folder).returncode == 0


def slow(ended: Ended, seconds: int) -> str:
    folder = ended.folder / f"slow{seconds}"
    folder.mkdir(exist_ok=True)
    (folder / "app.yaml").write_text(SLOW.format(seconds=seconds))
    return str(folder)


def wait_for(terminal: Terminal, words: str) -> None:
    give_up = time.monotonic() + 60
    while words not in terminal.said:
        assert terminal.process.poll() is None and time.monotonic() < give_up, terminal.said
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (0, "COMPLETE: It ended well.\n"),
        (1, "EXECUTOR_ERROR: It ended with exit code 1; the last line of its stderr: "),
    ],
)
def test_why_is_one_sentence(ended: Ended, index: int, words: str) -> None:
    task = f"{ended.run}.{index}"
    said = packhorse_here("why", task, environment=ended.environment, folder=ended.folder)
    assert (said.returncode, said.stderr) == (0, "") and said.stdout.startswith(words)
    told = packhorse_here("why", task, "--json", environment=ended.environment, folder=ended.folder)
    assert json.loads(told.stdout)["state"] == words.partition(":")[0]
