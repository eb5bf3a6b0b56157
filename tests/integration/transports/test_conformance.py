"""What every transport keeps to: one suite, on the machine itself and on the same machine through SSH, as a plain
login and as one whose C shell prints before and after everything."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from packhorse.sites.base import SiteUnreachable, Transport
from packhorse.sites.transports.registry import TRANSPORTS

from .conftest import CASES, Case

ODD_NAMES = [
    "plain",
    "with space",
    "it's",
    'a "quoted" one',
    "two\nlines",
    "tab\there",
    "größe-長い-🐴",
    "100%s%d%",
    "-rf",
    "--",
    "$HOME",
    "`id`",
    "a;b&c|d",
    "star*?[x]",
    "back\\slash",
    "~",
    "!bang",
    "#hash",
    "(paren)",
    "=x",
    " lead",
    "trail ",
    "é",
    "\udcff\udcfe",
]


def test_every_transport_is_tested() -> None:
    assert {case.transport for case in CASES.values()} == set(TRANSPORTS)


# --- files ------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_names_whatever_is_in_them(transport: Transport, tmp_path: Path, name: str) -> None:
    folder = f"{tmp_path}/{name}"
    transport.make_folder(folder)
    transport.write(f"{folder}/{name}", b"x")
    transport.append(f"{folder}/{name}", b"y")
    assert transport.names(str(tmp_path)) == [name]
    assert transport.names(folder) == [name]
    assert transport.read(f"{folder}/{name}") == b"xy"
    assert Path(f"{folder}/{name}").read_bytes() == b"xy"
    assert transport.rename(f"{folder}/{name}", f"{folder}/{name}2")
    assert (transport.exists(f"{folder}/{name}"), transport.exists(f"{folder}/{name}2")) == (False, True)
    assert transport.run(["cat", "--", f"{folder}/{name}2"]).stdout == "xy"
    transport.remove(folder)
    assert os.listdir(tmp_path) == []


def test_a_folder_and_its_parents_are_made_as_often_as_asked(transport: Transport, tmp_path: Path) -> None:
    for _ in range(2):
        transport.make_folder(f"{tmp_path}/a/b/c")
    assert (tmp_path / "a/b/c").is_dir()


def test_a_folder_is_not_made_where_a_file_is(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        transport.make_folder(f"{tmp_path}/file")


def test_a_write_replaces_and_leaves_nothing_else(transport: Transport, tmp_path: Path) -> None:
    for data in (b"first, and longer", b"", b"\x00\xff last"):
        transport.write(f"{tmp_path}/file", data)
        assert (tmp_path / "file").read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_sees_half_of_a_write(transport: Transport, tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * (3 << 20) for letter in b"ab"]
    transport.write(str(path), contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for turn in range(10):
        transport.write(str(path), contents[turn % 2])
    done.set()
    watcher.join()
    assert seen <= set(contents)


@pytest.mark.parametrize("size", [0, 1, (256 << 10) - 1, 256 << 10, (4 << 20) - 1, 4 << 20, (9 << 20) + 17])
def test_every_size_arrives_as_it_was(transport: Transport, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    source.chmod(0o750)
    os.utime(source, (1_000_000_000, 1_100_000_000))
    transport.put(source, f"{tmp_path}/target")
    target = tmp_path / "target"
    assert target.read_bytes() == source.read_bytes()
    assert (target.stat().st_mode & 0o777, target.stat().st_mtime) == (0o750, 1_100_000_000)
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]
    transport.write(f"{tmp_path}/written", source.read_bytes())
    transport.append(f"{tmp_path}/appended", source.read_bytes())
    for name in ("written", "appended"):
        assert transport.read(f"{tmp_path}/{name}", 0, size + 10) == source.read_bytes()


def test_a_large_file_is_not_held_in_memory(transport: Transport, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with open(source, "wb") as file:
        for letter in range(80):
            file.write(bytes([letter]) * (1 << 20))
    tracemalloc.start()
    try:
        transport.put(source, f"{tmp_path}/target")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20
    assert transport.read(f"{tmp_path}/target", 79 << 20, 2 << 20) == bytes([79]) * (1 << 20)
    assert subprocess.run(["cmp", source, tmp_path / "target"]).returncode == 0


def test_a_file_is_read_from_anywhere(transport: Transport, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    for offset, limit in [
        (0, 10),
        (5, 0),
        (17, 1 << 20),
        (1 << 20, 1 << 20),
        ((3 << 20) - 3, 10),
        (3 << 20, 10),
        (9 << 20, 10),
    ]:
        assert transport.read(f"{tmp_path}/file", offset, limit) == data[offset : offset + limit]
    assert transport.read(f"{tmp_path}/file") == data[: 1 << 20]


def test_what_is_being_written_is_read_without_holes(transport: Transport, tmp_path: Path) -> None:
    """As a journal is: what was read so far is always the file's beginning."""
    path = tmp_path / "journal"
    line = b"".join(b"%09d\n" % number for number in range(7000))
    path.touch()
    done = threading.Event()

    def write() -> None:
        with open(path, "ab", buffering=0) as file:
            for _ in range(200):
                file.write(line)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    found = bytearray()
    while not (done.is_set() and len(found) == path.stat().st_size):
        found += transport.read(str(path), len(found))
    writer.join()
    assert bytes(found) == line * 200


def test_names_are_sorted_and_all_there(transport: Transport, tmp_path: Path) -> None:
    names = sorted(f"{number}.jsonl" for number in range(1234))
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").touch()
    assert transport.names(str(tmp_path)) == [".hidden", *names, "folder"]
    assert transport.names(f"{tmp_path}/folder") == []


def test_a_missing_file_is_missing_or_nothing(transport: Transport, tmp_path: Path) -> None:
    missing = f"{tmp_path}/missing"
    assert transport.names(missing) == []
    assert transport.exists(missing) is False
    assert transport.rename(missing, f"{tmp_path}/x") is False
    transport.remove(missing)
    for attempt in (
        lambda: transport.read(missing),
        lambda: transport.write(f"{missing}/file", b""),
        lambda: transport.append(f"{missing}/file", b""),
        lambda: transport.put(tmp_path / "missing", f"{tmp_path}/x"),
        lambda: transport.put(Path(__file__), f"{missing}/x"),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()
    assert os.listdir(tmp_path) == []


def test_a_file_is_no_folder_and_a_folder_no_file(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotADirectoryError):
        transport.names(f"{tmp_path}/file")
    for attempt in (
        lambda: transport.read(f"{tmp_path}/folder"),
        lambda: transport.write(f"{tmp_path}/folder", b""),
        lambda: transport.append(f"{tmp_path}/folder", b""),
    ):
        with pytest.raises(OSError):
            attempt()


def test_a_rename_replaces(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    assert transport.rename(f"{tmp_path}/a", f"{tmp_path}/b")
    assert (os.listdir(tmp_path), (tmp_path / "b").read_text()) == (["b"], "new")


def test_one_of_many_renames_wins(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "block").touch()
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda i=i: won.append(transport.rename(f"{tmp_path}/block", f"{tmp_path}/block.{i}")))
        for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 11 + [True]


def test_links_are_what_is_removed_and_found(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert transport.exists(f"{tmp_path}/dangling")
    for name in ("link", "dangling"):
        transport.remove(f"{tmp_path}/{name}")
    assert (os.listdir(tmp_path), os.listdir(tmp_path / "kept")) == (["kept"], ["file"])


def test_a_whole_folder_is_removed(transport: Transport, tmp_path: Path) -> None:
    deep = tmp_path / "-x/b c/d"
    deep.mkdir(parents=True)
    for number in range(50):
        (deep / f"{number}\n").touch()
    transport.remove(f"{tmp_path}/-x")
    assert os.listdir(tmp_path) == []


def test_what_is_not_allowed_is_a_permission_error(transport: Transport) -> None:
    """sysfs refuses new files even to root."""
    for attempt in (lambda: transport.write("/sys/packhorse", b""), lambda: transport.make_folder("/sys/packhorse")):
        with pytest.raises(PermissionError):
            attempt()


def test_a_folder_that_nobody_can_make_is_an_error(transport: Transport) -> None:
    """procfs says of a new folder that it is not there, as if its parent were missing."""
    with pytest.raises(OSError):
        transport.make_folder("/proc/packhorse/a")


def test_a_path_with_a_null_byte_is_no_path(transport: Transport, tmp_path: Path) -> None:
    for attempt in (lambda: transport.write(f"{tmp_path}/a\0b", b""), lambda: transport.read(f"{tmp_path}\0")):
        with pytest.raises(ValueError, match="null byte"):
            attempt()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")
def test_a_full_disk_says_so_and_keeps_what_was_there(transport: Transport, tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", tmp_path]).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        transport.write(f"{tmp_path}/file", b"old")
        with pytest.raises(OSError, match=f"No space left.*{tmp_path}/file'"):
            transport.write(f"{tmp_path}/file", bytes(1 << 20))
        assert os.listdir(tmp_path) == ["file"], "what could not be written whole takes no room"
        assert transport.read(f"{tmp_path}/file") == b"old"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# --- commands ------------------------------------------------------------


def test_arguments_arrive_as_they_are(transport: Transport) -> None:
    arguments = [*ODD_NAMES, "", "a\\nb", "\t", "'\"'\"'", "a" * 50_000]
    program = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    result = transport.run([sys.executable, "-c", program, *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "\0".join(arguments)


@pytest.mark.parametrize("word", ["echo", "printf", "test"])
def test_a_program_is_never_the_shells_own(transport: Transport, word: str) -> None:
    """dash has an echo that knows \\n; the program has not."""
    expected = subprocess.run([f"/bin/{word}", "a\\nb"], capture_output=True, text=True)
    assert transport.run([word, "a\\nb"]).stdout == expected.stdout


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_commands(transport: Transport, code: int) -> None:
    result = transport.run(["sh", "-c", f"echo out; echo err >&2; exit {code}"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "out\n", "err\n")


def test_a_signal_is_a_negative_number(transport: Transport) -> None:
    assert transport.run(["sh", "-c", "kill -TERM $$"]).exit_code == -15


def test_output_of_any_bytes_and_size(transport: Transport) -> None:
    program = (
        "import sys; sys.stdout.buffer.write(bytes(range(256)) * 20000); sys.stderr.buffer.write(b'\\xff' * 300000)"
    )
    result = transport.run([sys.executable, "-c", program])
    assert os.fsencode(result.stdout) == bytes(range(256)) * 20000
    assert result.stderr == "\ufffd" * 300000


def test_a_command_reads_nothing(transport: Transport) -> None:
    assert transport.run(["cat"], timeout_s=20).stdout == ""


def test_a_command_reads_what_it_is_given(transport: Transport) -> None:
    """Any bytes, and more than an argument can hold or a pipe keeps."""
    given = bytes(range(256)) * 8000
    done = transport.run(["sh", "-c", "cat; echo end >&2"], stdin=given, timeout_s=60)
    assert done.stdout.encode("utf-8", "surrogateescape") == given
    assert (done.exit_code, done.stderr) == (0, "end\n")


def test_a_command_need_not_read_what_it_is_given(transport: Transport) -> None:
    assert transport.run(["echo", "done"], stdin=b"x" * (8 << 20), timeout_s=60).stdout == "done\n"


def test_our_settings_are_not_for_commands(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_SECRET", "no")
    assert "PACKHORSE_" not in transport.run(["env"]).stdout


def test_a_command_that_does_not_end_is_a_site_that_does_not_answer(
    transport: Transport, case: Case, tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(SiteUnreachable, match=r"'sh' did not end within 0\.5 s"):
        transport.run(["sh", "-c", f"sleep 3; touch {tmp_path}/went-on"], timeout_s=0.5)
    assert time.monotonic() - began < 3
    assert transport.run(["echo", "still there"]).stdout == "still there\n"
    if not case.ends_commands:
        return
    time.sleep(3.2)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("argv", [[], ["echo", "a\0b"]])
def test_what_is_no_command_is_refused(transport: Transport, argv: list[str]) -> None:
    with pytest.raises((ValueError, IndexError)):
        transport.run(argv)


def test_many_threads_at_once(transport: Transport, tmp_path: Path) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                path = f"{tmp_path}/{number}"
                transport.write(path, b"%d" % turn)
                assert transport.read(path) == b"%d" % turn
                assert transport.run(["cat", path]).stdout == f"{turn}"
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(transport.names(str(tmp_path))) == 16
