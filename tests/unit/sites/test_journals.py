"""Reading all journals of a site at once: the same here and by the agent's file, whatever the files are like."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from packhorse.agent import journals as agents
from packhorse.sites.journals import Journals, Request, parse_answer, read_journals
from packhorse.sites.site import Site, local_site
from tests.fixtures.far import FarTransport, far_site

Read = Callable[[Request], Journals]


def framed(spools: Path, request: Request) -> Journals:
    """As the agent's file answers, without starting it."""
    answer = io.BytesIO()
    for head, data in agents.frames(os.fsencode(spools), json.loads(json.dumps(asdict(request)))):
        answer.write(json.dumps(head).encode() + b"\n" + data)
    return parse_answer(answer.getvalue(), request)


@pytest.fixture(params=["here", "by the agent"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Read:
    if request.param == "here":
        return lambda wanted: read_journals(local_site(str(tmp_path)), wanted)
    return lambda wanted: framed(tmp_path / "spool", wanted)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "spool" / "a-1" / "journal"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def far(tmp_path: Path) -> tuple[Site, FarTransport]:
    return far_site(str(tmp_path))


# --- one table for both ---------------------------------------------------------------------------


def test_whole_lines_come_from_the_offset_on(read: Read, folder: Path) -> None:
    (folder / "n1.jsonl").write_bytes(b"one\ntwo\nthr")
    (folder / "n2.jsonl").write_bytes(b"\xff\x00\r\n\n")
    (folder / "n3.jsonl").write_bytes(b"unfinished")
    (folder / "n4.jsonl").touch()
    (folder / "notes.txt").write_bytes(b"no journal\n")
    found = read(Request({"a-1": {"n1": 4}, "a-2": {}}))
    assert found == Journals({"a-1": {"n1": b"two\n", "n2": b"\xff\x00\r\n\n"}})


def test_beats_come_when_asked_for_and_take_no_room(read: Read, folder: Path) -> None:
    (folder / "n1.jsonl").write_bytes(b"12345678\n")
    for number in range(50):
        (folder / f"m{number}.beat").write_bytes(b"%d" % number)
    (folder / "n1.beat").touch()
    assert read(Request({"a-1": {}})).beats == {}
    found = read(Request({"a-1": {}}, beats=True, each=9, all=9))
    assert found.data == {"a-1": {"n1": b"12345678\n"}}
    assert found.beats["a-1", "n1"] == b"", "it is being written: its agent is not gone"
    assert (found.beats["a-1", "m7"], len(found.beats)) == (b"7", 51)


def test_a_file_that_is_gone_or_none_keeps_no_other_from_being_read(read: Read, folder: Path) -> None:
    (folder / "n1.jsonl").symlink_to("nowhere")
    (folder / "n2.jsonl").mkdir()
    os.mkfifo(folder / "n3.jsonl")
    (folder / "n4.jsonl").write_bytes(b"x\n")
    (folder / os.fsdecode(b"\xff.jsonl")).write_bytes(b"no agent's\n")
    (folder / f"{'n' * 195}.jsonl").write_bytes(b"no agent's\n")
    assert read(Request({"a-1": {"n0": 5}, "gone": {"n1": 7}})) == Journals({"a-1": {"n4": b"x\n"}})


def test_what_cannot_be_read_is_told_and_keeps_no_other_from_being_read(read: Read, folder: Path) -> None:
    (folder / "n1.jsonl").symlink_to("n1.jsonl")  # as any user is refused it, root included
    (folder / "n1.beat").symlink_to("n1.beat")
    (folder / "n2.jsonl").write_bytes(b"x\n")
    other = folder.parent.parent / "a-2"
    other.mkdir()
    (other / "journal").touch()
    found = read(Request({"a-1": {}, "a-2": {}}, beats=True))
    assert found.data == {"a-1": {"n2": b"x\n"}}
    assert found.unreadable == {
        ("a-1", "n1.jsonl"): "Too many levels of symbolic links",
        ("a-2", ""): "Not a directory",
    }
    assert found.beats == {("a-1", "n1"): b""}


def test_a_journal_that_was_cut_is_told_and_nothing_of_it_comes_twice(read: Read, folder: Path) -> None:
    (folder / "n1.jsonl").write_bytes(b"one\n")
    (folder / "n2.jsonl").write_bytes(b"one\ntwo\n")
    found = read(Request({"a-1": {"n1": 8, "n2": 4}}))
    assert found.data == {"a-1": {"n2": b"two\n"}}
    assert found.shortened == {("a-1", "n1.jsonl"): 4}


def test_a_line_that_is_longer_than_any_comes_as_it_is(read: Read, folder: Path) -> None:
    (folder / "n1.jsonl").write_bytes(b"x" * 100)
    assert read(Request({"a-1": {}}, each=50, all=50)).data == {"a-1": {"n1": b"x" * 50}}
    assert read(Request({"a-1": {}}, each=101, all=101)).data == {}


def test_no_journal_starves_another(read: Read, tmp_path: Path) -> None:
    """Five that always have more than there is room for, and two that say a line each time."""
    offsets: dict[str, dict[str, int]] = {"a-1": {}, "a-2": {}}
    files = [(allocation, f"n{number}") for allocation in offsets for number in (1, 2, 3)]
    for allocation, agent in files:
        folder = tmp_path / "spool" / allocation / "journal"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{agent}.jsonl").write_bytes(b"12345\n" * 1000)
    small = tmp_path / "spool/a-1/journal/small.jsonl"
    served: list[tuple[str, str]] = []
    start = None
    for tick in range(9):
        with small.open("ab") as file:
            file.write(b"%05d\n" % tick)
        found = read(Request(offsets, start=start, each=60, all=130))
        come = {(allocation, agent): data for allocation, by in found.data.items() for agent, data in by.items()}
        assert sum(len(data) for data in come.values()) <= 130
        served += [file for file in come if file[1] != "small"]
        for (allocation, agent), data in come.items():
            offsets[allocation][agent] = offsets[allocation].get(agent, 0) + len(data)
        start = found.next
        assert start is not None
    assert {file: served.count(file) for file in files} == dict.fromkeys(files, 3)
    assert offsets["a-1"]["small"] >= 6 * 6, "what little there is finds room"


def test_all_is_read_in_the_end_and_nothing_twice(read: Read, folder: Path) -> None:
    said = {f"n{number}": b"".join(b"%d-%d\n" % (number, line) for line in range(200)) for number in range(7)}
    for agent, data in said.items():
        (folder / f"{agent}.jsonl").write_bytes(data)
    heard = dict.fromkeys(said, b"")
    found = Journals(next=("", ""))
    while found.next or found.data:
        found = read(Request({"a-1": {a: len(d) for a, d in heard.items()}}, start=found.next, each=100, all=250))
        for agent, data in found.data.get("a-1", {}).items():
            heard[agent] += data
    assert heard == said


# --- over a transport -----------------------------------------------------------------------------


def many(tmp_path: Path, number: int) -> dict[str, dict[str, int]]:
    """Journals of ``number`` agents, a few in each allocation, and the offsets to read them from."""
    offsets: dict[str, dict[str, int]] = {}
    for index in range(number):
        folder = tmp_path / "spool" / f"a-{index // 4}" / "journal"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"n{index}.jsonl").write_bytes(b"old\nnew\n")
        (folder / f"n{index}.beat").write_bytes(b"1")
        offsets.setdefault(f"a-{index // 4}", {})[f"n{index}"] = 4
    return offsets


@pytest.mark.parametrize("number", [2, 40])
def test_all_journals_and_beats_of_a_site_are_one_command(
    far: tuple[Site, FarTransport], tmp_path: Path, number: int
) -> None:
    site, transport = far
    found = read_journals(site, Request(many(tmp_path, number), beats=True))
    assert (transport.commands, transport.others) == (1, 0)
    assert sum(len(by) for by in found.data.values()) == len(found.beats) == number
    assert {data for by in found.data.values() for data in by.values()} == {b"new\n"}


def test_offsets_may_be_more_than_an_argument_holds(far: tuple[Site, FarTransport], folder: Path) -> None:
    (folder / "n1.jsonl").write_bytes(b"one\n")
    gone = {f"node-{number:06d}-of-a-large-cluster": number for number in range(20_000)}
    assert read_journals(far[0], Request({"a-0": gone, "a-1": {}})).data == {"a-1": {"n1": b"one\n"}}


def test_an_agents_file_that_is_missing_is_told_and_brought_again(far: tuple[Site, FarTransport], folder: Path) -> None:
    site, transport = far
    (folder / "n1.jsonl").write_bytes(b"one\n")
    os.unlink(site.agent_path)
    with capture_logs() as told:
        assert read_journals(site, Request({"a-1": {}})).data == {"a-1": {"n1": b"one\n"}}
    assert [(event["event"], event["path"]) for event in told] == [("agent_file_missing", site.agent_path)]
    transport.commands = 0
    assert read_journals(site, Request({"a-1": {}})).data
    assert transport.commands == 1


def test_an_answer_that_is_cut_anywhere_counts_as_none(far: tuple[Site, FarTransport], tmp_path: Path) -> None:
    site, transport = far
    request = Request(many(tmp_path, 2))
    answer = transport.run(
        [site.python, "-I", "-S", site.agent_path, "--journals", f"{site.root}/spool"],
        stdin=json.dumps(asdict(request)).encode(),
    ).stdout.encode()
    assert parse_answer(answer, request).data
    for size in range(len(answer)):
        with pytest.raises(ValueError, match=r"damaged|in the middle"):
            parse_answer(answer[:size], request)
    transport.spoil = lambda text: text[:-1]
    with pytest.raises(
        OSError, match=r"The journals at 'local' cannot be read: their answer ends in the middle, after"
    ):
        read_journals(site, request)


@pytest.mark.parametrize(
    "line", [b"[]", b"7", b"null", b'{"a":"a-1"}', b'{"a":"a-1","f":"x.jsonl","n":-5}', b'{"end":1}', b"\xff"]
)
def test_an_answer_that_is_damaged_counts_as_none(line: bytes) -> None:
    good = b'{"a":"a-1","f":"n1.jsonl","n":2}\nx\n'
    end = b'{"end":true,"next":null}\n'
    request = Request({"a-1": {}})
    assert parse_answer(good + end, request).data == {"a-1": {"n1": b"x\n"}}
    with pytest.raises(ValueError, match=r"damaged|in the middle"):
        parse_answer(good + line + b"\n" + end, request)


def test_what_was_not_asked_for_is_not_taken() -> None:
    answer = b'{"a":"a-2","f":"n1.jsonl","n":2}\nx\n{"end":true,"next":null}\n'
    assert parse_answer(answer, Request({"a-1": {}})) == Journals()


def test_a_python_that_is_of_no_use_is_told_in_its_words(far: tuple[Site, FarTransport]) -> None:
    far[0].python = "/bin/false"
    with pytest.raises(OSError, match="The journals at 'local' cannot be read: exit code 1"):
        read_journals(far[0], Request({"a-1": {}}))


def test_a_request_that_somebody_else_has_read_is_told(far: tuple[Site, FarTransport]) -> None:
    command = [sys.executable, "-I", "-S", far[0].agent_path, "--journals", far[0].root]
    for stdin in (b"", b'{"offsets":'):
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"start file of the login shell" in done.stderr
