"""The command line: refusals, exit codes, and what --help may cost."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from packhorse.cli.output import duration, size
from packhorse.cli.requests import parse_duration
from packhorse.cli.serving import _listen
from packhorse.cli.showing import _write_rows
from packhorse.domain.errors import InvalidRequest
from tests.fixtures.commandline import packhorse_here
from tests.fixtures.pipelines import write_expression

APP = "packhorse: 1\nname: t\nversion: '1'\ncommand: [/bin/true]\nparameters:\n  i: {type: integer}\n"


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACKHORSE_")}
    return {**kept, "PACKHORSE_HOME": str(folder / "home")}


def packhorse(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return packhorse_here(*arguments, environment={**environment(folder), **more}, folder=folder)


def packhorse_process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "packhorse.cli.main", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env=environment(folder), check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.yaml").write_text(APP)
    (tmp_path / "wrong.csv").write_text("i\nx\n")
    (tmp_path / "bad.yaml").write_text("name: T\n")
    (tmp_path / "latin1.yaml").write_bytes(b"name: ca\xe9\n")
    (tmp_path / "twice.json").write_text('{"tasks": [{"name": "a",\n"name": "b"}]}')
    (tmp_path / "twice.yaml").write_text("- name: a\n  name: b\n")
    (tmp_path / "tasks.yaml").write_text("- {name: a, task: {executors: [{command: [echo, 1]}]}}\n")
    steps = "{steps: [{name: a, app: ./app.yaml, params: {i: 1}}, {name: b, app: ./app.yaml, gather: [c]}]}"
    (tmp_path / "steps.yaml").write_text(steps)
    (tmp_path / "rows.yaml").write_text("- {name: a, app: ./app.yaml, over: wrong.csv}")
    write_expression(tmp_path / "expression")
    wrong = (tmp_path / "expression" / "app.yaml").read_text().replace("gather: count", "gather: cuont")
    (tmp_path / "expression" / "wrong.yaml").write_text(wrong.replace("each: align", "resources: {cpu_cores: 5000}"))
    (tmp_path / "table.yaml").write_text("- {name: a, app: ./app.yaml, over: no.csv}")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "nope"], 3, "There is no app 'nope'."),
        (["run", "./app.yaml", "--over", "no.csv"], 3, "There is no table at no.csv."),
        (["run", "./app.yaml", "--over", "wrong.csv"], 2, "row 1, parameter 'i': expected a whole number, found 'x'."),
        (["run", "./app.yaml", "--set", "i"], 2, "--set i: expected NAME=VALUE."),
        (["run", "./app.yaml", "--set", "i=1", "--walltime", "soon"], 2, "'soon' is not a duration."),
        (
            ["run", "./app.yaml", "--set", "i=1", "--session", "tea"],
            2,
            "--session tea: expected one of none, worker, shell.",
        ),
        (["run", "./app.yaml", "--set", "i=1", "--cores", "9999"], 2, "no site can run it"),
        (["run", "./app.yaml", "--set", "i=1", "--site", "nosuch"], 2, "there is no site 'nosuch'. There are: local."),
        (["run", "./app.yaml", "--set", "i="], 2, "parameter 'i' is empty; it is required, and of type integer."),
        (["run", "./app.yaml", "--set", "i=1", "--set", "i=2"], 2, "--set i is there twice: '1' and '2'."),
        (
            ["run", "./app.yaml", "--set", "i=1_0"],
            2,
            "expected a whole number written in the digits 0 to 9, found '1_0'.",
        ),
        (
            ["run", "./app.yaml", "--set", "i=1", "--cores", "1_0"],
            2,
            "expected a number written in the digits 0 to 9, found '1_0'.",
        ),
        (["run", "./app.yaml", "--set", "i=1", "--cores", "nan"], 2, "found 'nan'"),
        (
            ["run", "./app.yaml", "--set", "i=1", "--nodes", "１"],
            2,
            "expected a whole number written in the digits 0 to 9, found '１'.",
        ),
        (["run", "./app.yaml", "--set", "i=1", "--walltime", "1_0m"], 2, "'1_0m' is not a duration."),
        (["serve", "--port", "70000"], 2, "expected a port, 0 to 65535, found 70000."),
        (["serve", "--port", "-1"], 2, "expected a port, 0 to 65535, found -1."),
        (["ps", "--limit", "0"], 2, "expected at least 1, found 0."),
        (["ps", "--limit", "1.5"], 2, "expected a whole number, found '1.5'."),
        (["run", "./app.yaml", "--over", "wrong.xlsx"], 3, "There is no table at wrong.xlsx."),
        (["run", "--tasks", "twice.json"], 2, "line 2, field 'tasks.0.name': is there twice: it is in line 1 already."),
        (
            ["run", "--tasks", "twice.yaml"],
            2,
            "twice.yaml, line 2, field '0.name': is there twice: it is in line 1 already.",
        ),
        (["run", "--tasks", "tasks.yaml"], 2, "task.executors[0].command[1]': expected text in quotes (found: 1)."),
        (["run", "--tasks", "tasks.yaml", "--set", "i=1"], 2, "--over and --set are for an app"),
        (["run", "./latin1.yaml"], 2, "latin1.yaml, line 1, byte 9: 0xe9 is not UTF-8 text. Save it as UTF-8."),
        (["apps", "check", "latin1.yaml"], 2, "latin1.yaml, line 1, byte 9: 0xe9 is not UTF-8 text. Save it as UTF-8."),
        (["run"], 2, "Say what to run"),
        (["run", "--tasks", "no.yaml"], 3, "There is no file no.yaml."),
        (["run", "--steps", "no.yaml"], 3, "There is no file no.yaml."),
        (["run", "--steps", "bad.yaml"], 2, "bad.yaml is no run of steps."),
        (["run", "--steps", "twice.yaml"], 2, "twice.yaml, line 2, field '0.name': is there twice"),
        (["run", "--steps", "steps.yaml", "--tasks", "tasks.yaml"], 2, "Say what to run"),
        (["run", "--steps", "steps.yaml", "--over", "wrong.csv"], 2, "--tasks and --steps have none"),
        (["run", "--steps", "steps.yaml"], 2, "step 'b': waits for 'c', which is not a step of this run."),
        (["run", "--steps", "rows.yaml"], 2, "row 1, parameter 'i': expected a whole number, found 'x'."),
        (["run", "--steps", "table.yaml"], 3, "There is no table at no.csv."),
        (["run", "--steps", "app.yaml"], 2, "is no run of steps"),
        (["run", "./bad.yaml"], 2, "bad.yaml, line 1, field 'name'"),
        (["apps", "check", "bad.yaml"], 2, "field 'command': is required and missing."),
        (
            ["apps", "check", "expression/wrong.yaml"],
            2,
            "field 'steps.matrix.gather': there is no step 'cuont'. Did you",
        ),
        (
            ["apps", "check", "expression/wrong.yaml"],
            2,
            "field 'steps.count.resources': no site can run it: it asks for",
        ),
        (["apps", "show", "--graph", "expression/wrong.yaml"], 2, "The steps of 'expression' cannot be drawn."),
        (["apps", "show", "--graph", "./app.yaml"], 2, "'t' is no pipeline: it has one step, and nothing to draw."),
        (["run", "./expression", "--set", "sample=a"], 2, "row 1: parameter 'reads' is missing; it is required"),
        (["apps", "show", "nope"], 3, "There is no app 'nope'."),
        (["show", "r-0123456789abcdef"], 3, "There is no run"),
        (["show", "r-x.1"], 2, "is not a task id"),
        (["why", "r-0123456789abcdef.0"], 3, "There is no run"),
        (["why", "r-0123456789abcdef"], 2, "is not a task id"),
        (["run", "t", "--priority", "101"], 2, "priority"),
        (["logs", "r-0123456789abcdef.0"], 3, "There is no run"),
        (["usage", "r-0123456789abcdef"], 3, "There is no run"),
        (["report", "r-0123456789abcdef"], 3, "There is no run"),
        (["usage", "r-0123456789abcdef", "--by", "app"], 2, "for the usage of all runs"),
        (["usage", "--by", "colour"], 2, "expected one of site, user, app"),
        (["usage", "--since", "ages"], 2, "'ages' is not a duration."),
        (["cancel", "r-0123456789abcdef"], 3, "There is no run"),
        (["ps", "r-0123456789abcdef", "--state", "sleeping"], 2, "is not a state"),
        (["serve", "--host", "0.0.0.0"], 2, "tls_certificate"),
        (["token", "revoke", "nobody"], 3, "There is no token of 'nobody'."),
    ],
)
def test_refusals_are_sentences_with_an_exit_code(folder: Path, arguments: list[str], code: int, words: str) -> None:
    done = packhorse(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not {"AppRun", "TaskRun", "Input should", "value_error"} & set(done.stderr.replace(".", " ").split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["apps", "check", "expression"], "expression/app.yaml: expression 2.1 is fine."),
        (["apps", "show", "--graph", "./expression"], "matrix  one over all of count  ./matrix"),
        (["apps", "show", "./expression"], "genome     once          file"),
    ],
)
def test_a_pipeline_is_checked_shown_and_drawn(folder: Path, arguments: list[str], words: str) -> None:
    done = packhorse(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout


def test_a_table_may_come_on_stdin(folder: Path) -> None:
    command = [sys.executable, "-m", "packhorse.cli.main", "run", "./app.yaml", "--over", "-", "--detach"]
    table = gzip.compress(b"i\n1\n \n2\n")
    done = subprocess.run(
        command, cwd=folder, capture_output=True, input=table, timeout=60, env=environment(folder), check=False
    )
    assert (done.returncode, done.stderr) == (0, b"1 blank row left out.\n")
    assert json.loads(packhorse(folder, "ps", "--json").stdout)[0]["counts"] == {"QUEUED": 2}


LATIN_1 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", LATIN_1], 2),
        (["run", "./app.yaml", "--over", f"{LATIN_1}.csv"], 3),
        (["run", "./app.yaml", "--set", "i=1", "--name", LATIN_1], 2),
        (["run", "./app.yaml", "--set", f"i={LATIN_1}"], 2),
        (["run", "./app.yaml", "--set", "i=1", "--tag", f"a={LATIN_1}"], 2),
        (["run", "./app.yaml", "--set", "i=1", "--key", LATIN_1], 2),
        (["run", "./app.yaml", "--set", "i=1", "--site", LATIN_1], 2),
        (["run", "./app.yaml", "--set", "i=1", "--image", LATIN_1], 2),
        (["run", "--tasks", LATIN_1], 3),
        (["ps", LATIN_1], 3),
        (["ps", "--limit", LATIN_1], 2),
        (["show", LATIN_1], 3),
        (["logs", f"{LATIN_1}.0"], 2),
        (["results", LATIN_1], 3),
        (["cancel", LATIN_1], 3),
        (["apps", "show", LATIN_1], 3),
        (["apps", "check", LATIN_1], 3),
        (["doctor", LATIN_1], 3),
        (["images", "check", LATIN_1], 2),
        (["token", "add", LATIN_1], 2),
        (["token", "revoke", LATIN_1], 3),
        (["sites", "add", LATIN_1, "--yes"], 2),
        (["serve", "--database", LATIN_1], 2),
        ([LATIN_1], 2),
        ([f"--{LATIN_1}"], 2),
    ],
)
def test_a_word_that_is_not_utf_8_is_a_refusal(folder: Path, arguments: list[str], code: int) -> None:
    """As a shell of a Latin-1 terminal gives it."""
    done = packhorse(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr and "Traceback" not in done.stderr
    done.stderr.encode()


def test_what_typer_refuses_is_printed_as_it_is(folder: Path) -> None:
    done = packhorse(folder, "ps", "--limit", "\x1b[31m\nError: forged")
    assert done.returncode == 2 and "\x1b" not in done.stderr
    assert done.stderr.startswith("Usage: packhorse ps")
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == [done.stderr.splitlines()[-1]]
    nothing = packhorse(folder)
    assert (nothing.returncode, nothing.stderr.splitlines()[0]) == (2, "Usage: packhorse [OPTIONS] COMMAND [ARGS]...")
    assert "Error" not in nothing.stderr and "Exit codes" in nothing.stderr


def test_a_refusal_of_the_program_itself(folder: Path) -> None:
    done = packhorse_process(folder, "run", "./app.yaml", "--over", "wrong.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "row 1, parameter 'i': expected a whole number, found 'x'." in done.stderr and "Traceback" not in done.stderr


def test_refusals_are_json_for_programs(folder: Path) -> None:
    done = packhorse(folder, "run", "./app.yaml", "--over", "wrong.csv", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["problems"][0]["where"]) == (
        2,
        "invalid_request",
        "row 1, parameter 'i'",
    )


def test_a_server_that_is_not_there_is_a_sentence(folder: Path) -> None:
    done = packhorse(folder, "ps", PACKHORSE_URL="http://127.0.0.1:9")
    assert done.returncode == 6
    assert "The server at http://127.0.0.1:9 does not answer" in done.stderr


def test_help_imports_nothing_that_is_slow(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['packhorse', '--help']\nimport packhorse.cli.main as m\ntry: m.main()\nexcept"
        " SystemExit: pass\n"
    )
    code += (
        "print('SLOW', [n for n in ('sqlalchemy', 'pydantic', 'fastapi', 'httpx2', 'alembic', 'yaml') if n in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SLOW []" in done.stdout


def test_every_command_has_help(folder: Path) -> None:
    done = packhorse(folder, "--help")
    for command in (
        "run",
        "wait",
        "ps",
        "show",
        "why",
        "logs",
        "results",
        "cancel",
        "retry",
        "usage",
        "report",
        "apps",
        "doctor",
        "serve",
        "token",
        "version",
    ):
        assert command in done.stdout
    assert "Exit codes" in done.stdout


def test_the_version_is_told_as_other_programs_tell_theirs(tmp_path: Path) -> None:
    told = packhorse(tmp_path, "--version")
    assert (told.returncode, told.stdout, told.stderr) == (0, packhorse(tmp_path, "version").stdout, "")


@pytest.mark.parametrize("command", ["doctor", "ps", "usage", "share", "secret set", "token add", "sites add"])
def test_help_names_arguments_in_capitals_and_optional_ones_in_one_pair_of_brackets(
    tmp_path: Path, command: str
) -> None:
    usage = packhorse(tmp_path, *command.split(), "--help").stdout.splitlines()[0]
    arguments = usage.removeprefix(f"Usage: packhorse {command} [OPTIONS]")
    assert arguments == arguments.upper() and "[[" not in arguments


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("45", 45), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1s", "0", "inf", "1w", "x"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_duration(text)


def test_numbers_as_people_read_them() -> None:
    assert [size(number) for number in (0, 999, 1500, 2.5e9, 3e15)] == ["0 B", "999 B", "1.5 kB", "2.5 GB", "3000.0 TB"]
    assert [duration(seconds) for seconds in (0.0123, 5, 125, 7325)] == ["12.3 ms", "5.0 s", "2 min 05 s", "2 h 02 min"]


def test_a_port_that_is_taken_is_a_conflict(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = packhorse_process(folder, "serve", "--port", port)
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
    assert f"Something else listens on port {port}" in done.stderr


def test_the_server_sends_its_answers_at_once() -> None:
    """asyncio turns off Nagle's delay, 40 ms an answer, only where a socket says that it is TCP."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_column_that_comes_up_last_is_in_the_csv(tmp_path: Path) -> None:
    rows = [
        {
            "index": index,
            "state": "COMPLETE",
            "name": None,
            "params": {"i": index},
            "result": {"late": 1} if index == 2000 else None,
        }
        for index in range(2001)
    ]
    file = io.StringIO()
    assert _write_rows(file, lambda: iter(rows), as_csv=True) == 2001
    assert (file.getvalue().splitlines()[0], file.getvalue().splitlines()[-1]) == (
        "index,state,i,late",
        "2000,COMPLETE,2000,1",
    )


def test_no_option_takes_a_token(folder: Path) -> None:
    """A command line is for everybody on the machine to read."""
    for command in ("run", "ps", "serve", "token add", "doctor"):
        assert "--token" not in packhorse(folder, *command.split(), "--help").stdout
