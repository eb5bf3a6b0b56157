"""The folder of an app as one value: what goes in comes out, and what is damaged is refused."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.apparchive import AppFile, digest_of, pack_app, unpack_app

# a name as the file system has it: bytes without NUL and '/', decoded as Python does
names = st.binary(min_size=1, max_size=20).map(
    lambda name: name.translate(None, b"\0/").decode("utf-8", "surrogateescape")
)
paths = st.lists(names.filter(lambda name: name not in ("", ".", "..")), min_size=1, max_size=3).map("/".join)
files = st.lists(
    st.builds(AppFile, paths, st.binary(max_size=2000), st.booleans()), max_size=6, unique_by=lambda file: file.path
)


@given(files)
def test_what_is_packed_comes_out(some: list[AppFile]) -> None:
    assert unpack_app(pack_app(some), digest_of(some)) == some


@pytest.mark.parametrize("change", [{"path": "b"}, {"content": b"y"}, {"executable": True}])
def test_name_content_and_mode_make_the_digest(change: dict[str, object]) -> None:
    file = AppFile("a", b"x", False)
    assert digest_of([file]) != digest_of([replace(file, **change)])  # type: ignore[arg-type]


def test_names_and_contents_do_not_run_into_each_other() -> None:
    assert digest_of([AppFile("a", b"bc", False)]) != digest_of([AppFile("ab", b"c", False)])


def test_another_content_than_was_asked_for_is_refused() -> None:
    archive = pack_app([AppFile("a", b"x", False)])
    with pytest.raises(ValueError, match="its content has the digest"):
        unpack_app(archive, digest_of([AppFile("a", b"y", False)]))


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_archive_is_refused(place: int, flip: int) -> None:
    some = [AppFile("app.yaml", b"packhorse: 1\n" * 20, False), AppFile("tool", b"#!/bin/sh\n", True)]
    archive = bytearray(pack_app(some))
    archive[place % len(archive)] ^= flip
    try:
        assert unpack_app(bytes(archive), digest_of(some)) == some, "only what nobody reads was changed"
    except ValueError as error:
        assert "archive cannot be read" in str(error) or "has the digest" in str(error)


@pytest.mark.parametrize("archive", [b"", b"no archive", gzip.compress(b"not a tar file either")])
def test_what_is_no_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|has the digest"):
        unpack_app(archive, "0" * 64)
