"""Archives of reference data: what is unpacked, and that nothing leaves the folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from packhorse.agent.background.unpack import Refused, main, unpack


def archive(path: Path, *members: tuple[str, object]) -> str:
    """Members are (name, bytes), (name, '-> target'), (name, '= hard link'), (name, type)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, what in members:
            member = tarfile.TarInfo(name)
            data = b""
            if isinstance(what, bytes):
                data, member.size, member.mode = what, len(what), 0o4755
            elif isinstance(what, str):
                member.type = tarfile.SYMTYPE if what.startswith("->") else tarfile.LNKTYPE
                member.linkname = what.partition(" ")[2]
            else:
                assert isinstance(what, int)
                member.type = bytes([what])
            tar.addfile(member, io.BytesIO(data))
    return str(path)


def test_files_folders_and_links_that_stay_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [("./db/a", b"12345"), ("db/sub/b", "-> ../a"), ("db/c", "= db/a"), ("empty", tarfile.DIRTYPE[0])]
    name = archive(tmp_path / "x.tar.gz", *members)
    assert main(name, str(tmp_path / "out")) == 0
    out = tmp_path / "out"
    assert [(out / path).read_bytes() for path in ("db/a", "db/sub/b", "db/c")] == [b"12345"] * 3
    assert (out / "empty").is_dir() and (out / "db/a").stat().st_mode & 0o7777 == 0o555
    assert all(path.lstat().st_mode & 0o222 == 0 for path in out.rglob("*") if not path.is_symlink())
    assert '{"bytes": ' in capsys.readouterr().out
    assert main(name, str(tmp_path / "out")) == 0, "one that is there is complete"


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("/evil", b"x")],
        [("a/../../evil", b"x")],
        [("link", "-> /etc/passwd")],
        [("link", "-> ../.."), ("link/evil", b"x")],
        [("sub/link", "-> ../../outside")],
        [("hard", "= ../../etc/passwd")],
        [("hard", "= not-there")],
        [("deep", "-> ."), ("deep/../../evil", b"x")],
        [("a", "-> b/.."), ("b", "-> .")],
        [("device", tarfile.CHRTYPE[0])],
        [("pipe", tarfile.FIFOTYPE[0])],
    ],
    ids=str,
)
def test_what_leaves_the_folder_is_refused(tmp_path: Path, members: list[tuple[str, object]]) -> None:
    name = archive(tmp_path / "x.tar.gz", *members)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(Refused, match="the archive's member"):
        unpack(name, str(tmp_path / "in" / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "in"])
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["out"]


def test_an_archive_that_is_cut_off_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path(archive(tmp_path / "x.tar.gz", ("a", bytes(range(256)) * 500)))
    whole.write_bytes(whole.read_bytes()[:-200])
    assert main(str(whole), str(tmp_path / "out")) == 1
    assert capsys.readouterr().err and not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
