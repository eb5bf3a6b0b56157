"""The folder of an app as one value: what is packed comes out again, and nothing else ever does."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.apparchive import AppFile, digest_of, pack_app, unpack_app

PARTS = st.binary(min_size=1, max_size=120).map(lambda part: part.replace(b"/", b"-").replace(b"\0", b"-"))
NAMES = st.lists(PARTS.filter(lambda part: part not in (b".", b"..")), min_size=1, max_size=4).map(b"/".join)
FILES = st.builds(AppFile, NAMES.map(os.fsdecode), st.binary(max_size=3000), st.booleans())
FOLDERS = st.lists(FILES, max_size=6, unique_by=lambda file: file.path)

SOME = [
    AppFile("app.yaml", b"name: t\n" * 50, False),
    AppFile("bin/tool", bytes(range(256)) * 20, True),
    AppFile("empty", b"", False),
]


@given(FOLDERS)
def test_what_is_packed_comes_out_again(files: list[AppFile]) -> None:
    assert unpack_app(pack_app(files), digest_of(files)) == files


@pytest.mark.parametrize(
    "path", ["a" * 250, "/".join(["part"] * 200), " lib ", "line\nbreak", "é", "\udcff.bin", "a\\b"]
)
def test_odd_names_come_out_as_they_were(path: str) -> None:
    files = [AppFile(path, b"x", True)]
    assert unpack_app(pack_app(files), digest_of(files)) == files


@pytest.mark.parametrize("changes", [{"path": "app.yml"}, {"content": b"name: u\n"}, {"executable": True}])
def test_the_digest_tells_names_contents_and_what_may_be_executed(changes: dict[str, object]) -> None:
    changed = [replace(SOME[0], **changes), *SOME[1:]]  # type: ignore[arg-type]
    assert digest_of(changed) != digest_of(SOME)
    with pytest.raises(ValueError, match=f"has the digest {digest_of(changed)[:16]}, not {digest_of(SOME)[:16]}"):
        unpack_app(pack_app(changed), digest_of(SOME))


@given(FOLDERS, FOLDERS)
def test_folders_with_the_same_digest_are_the_same(one: list[AppFile], other: list[AppFile]) -> None:
    assert (digest_of(one) == digest_of(other)) is (one == other)


def test_the_digest_knows_where_a_file_ends() -> None:
    split = [AppFile("a", b"", False), AppFile("b", b"x", False)]
    assert digest_of(split) != digest_of([AppFile("a", b"b\x001\x000\x00x", False)])
    assert digest_of([]) != digest_of([AppFile("a", b"", False)])


def refused_or_whole(archive: bytes, files: Sequence[AppFile] = SOME) -> None:
    """A damage that changes nothing of what comes out does no harm."""
    try:
        assert unpack_app(archive, digest_of(files)) == files
    except ValueError as error:
        assert "cannot be read" in str(error) or "has the digest" in str(error)


def test_an_archive_with_a_damaged_byte_is_refused() -> None:
    archive = pack_app(SOME)
    for place, mask in product(range(len(archive)), (0xFF, 0x01, 0x80)):
        refused_or_whole(archive[:place] + bytes([archive[place] ^ mask]) + archive[place + 1 :])


def test_a_damage_in_the_middle_of_a_large_file_is_refused() -> None:
    """Its content is read long after its name, and what the decompressor says then is an error of its own."""
    text = "".join(f"{number * number % 99991:x}" for number in range(60_000))
    files = [AppFile("a", text.encode(), False)]
    whole = pack_app(files)
    for number in range(200):
        archive = bytearray(whole)
        archive[100 + number * (len(whole) - 200) // 200] ^= 1 << number % 8
        refused_or_whole(bytes(archive), files)


@given(FOLDERS, st.data())
def test_a_damaged_archive_is_refused(files: list[AppFile], data: st.DataObject) -> None:
    archive = pack_app(files)
    begin = data.draw(st.integers(0, len(archive)))
    end = data.draw(st.integers(begin, len(archive)))
    refused_or_whole(archive[:begin] + data.draw(st.binary(max_size=60)) + archive[end:], files)


@pytest.mark.parametrize("archive", [b"", b"x", b"\x1f\x8b", pack_app(SOME)[:200], b"PK\x03\x04" + bytes(600)])
def test_what_is_no_archive_or_only_its_beginning_is_refused(archive: bytes) -> None:
    with pytest.raises(ValueError, match=r"the archive cannot be read: .|has the digest"):
        unpack_app(archive, digest_of(SOME))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_is_never_taken_out(kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("app.yaml")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(ValueError, match="has the digest"):
        unpack_app(buffer.getvalue(), digest_of(SOME))
    assert unpack_app(buffer.getvalue(), digest_of([])) == []
