"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from packhorse.cli.files import replacing
from packhorse.cli.streams import OutputFailed
from tests.fixtures.commandline import packhorse_here
from tests.integration.cli.conftest import Ended


def test_a_file_is_replaced_when_all_of_it_is_there(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"after")
        assert target.read_text() == "before"
    assert (target.read_text(), link.is_symlink(), stat.S_IMODE(target.stat().st_mode)) == ("after", True, 0o640)
    with pytest.raises(ZeroDivisionError), replacing(link) as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert target.read_text() == "after"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "target"]


def test_a_new_file_has_the_mode_of_any_new_file_unless_it_is_said(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a"), replacing(tmp_path / "b", mode=0o600):
            pass
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o640, 0o600]


def test_a_device_and_a_pipe_are_written_as_they_are(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputFailed, match=r"^/dev/full cannot be written: No space left on device\.$"),
        replacing(Path("/dev/full")) as file,
    ):
        file.write(b"x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    thread.start()
    with replacing(tmp_path / "pipe") as file:
        file.write(b"x")
    thread.join(10)
    assert read == [b"x"]


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(PermissionError) as caught, replacing(tmp_path / "new"):
        pass
    assert caught.value.filename == str(tmp_path / "new")
    (tmp_path / "old").write_text("before, and longer")
    with replacing(tmp_path / "old") as file:
        file.write(b"after")
    assert (tmp_path / "old").read_text() == "after"


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("no/such/folder.csv", 2, "no/such/folder.csv: No such file or directory."),
        ("app", 2, "app: Is a directory."),
        ("/dev/full", 74, "/dev/full cannot be written: No space left on device."),
        (os.fsdecode(b"rows.jsonl/caf\xe9.csv"), 2, "rows.jsonl/caf\ufffd.csv: Not a directory."),
    ],
)
def test_results_that_cannot_be_written(ended: Ended, target: str, code: int, words: str) -> None:
    before = sorted(ended.folder.iterdir())
    done = packhorse_here("results", ended.run, "-o", target, environment=ended.environment, folder=ended.folder)
    assert (done.returncode, done.stderr.splitlines()) == (code, [words])
    assert sorted(ended.folder.iterdir()) == before


def test_results_on_a_full_disk_leave_what_was_there(ended: Ended) -> None:
    """A limit on the size of files stands for the disk."""
    target = ended.folder / "kept.csv"
    target.write_text("before")
    code = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += (
        "from packhorse.cli import main, showing\nimport packhorse.engine.embedded\nfrom packhorse.cli.files import"
        " replacing\n"
    )
    code += "write = showing._write_rows\n"
    code += (
        "def limited(*given, **named):\n    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); return write(*given,"
        " **named)\n"
    )
    code += (
        f"showing._write_rows = limited\nsys.argv = ['packhorse', 'results', {ended.run!r}, '-o', 'kept.csv'];"
        " main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ended.folder, env=ended.environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (74, "kept.csv cannot be written: File too large.\n")
    assert target.read_text() == "before"
    assert [one.name for one in ended.folder.iterdir() if one.name.startswith(".packhorse")] == []


def test_results_in_a_file_whose_name_is_not_utf_8(ended: Ended) -> None:
    done = packhorse_here(
        "results", ended.run, "-o", os.fsdecode(b"caf\xe9.csv"), environment=ended.environment, folder=ended.folder
    )
    assert (done.returncode, done.stdout) == (0, "2 results in caf\\xe9.csv\n")
    assert (
        (ended.folder / os.fsdecode(b"caf\xe9.csv"))
        .read_bytes()
        .startswith(b"index,state,i,s\r\n0,COMPLETE,0,a\xe2\x80\xaeb\r\n")
    )
