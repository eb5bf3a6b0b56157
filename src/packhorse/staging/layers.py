"""The files of an image, as its layers on top of each other make them: paths, modes and links, read as a stream,
without unpacking.
"""

from __future__ import annotations

import importlib
import posixpath
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

from packhorse.domain.images import ImageError, ImageReference
from packhorse.staging.registry import Layer

MAX_PATHS = 300_000
"""Some 100 MB of memory."""
MAX_CONTENT = 64 * 1024
MAX_CONTENTS = 100
_MAX_LINKS = 40
_MAX_HEADER = 1024 * 1024
_EXPANSION = 20
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Kind(Enum):
    """What a path is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class Entry(NamedTuple):
    """``size`` in bytes, 0 for a further name of a file; ``target`` is that of a symbolic link; ``layer`` counts from
    the lowest.
    """

    kind: Kind
    mode: int
    uid: int
    size: int = 0
    target: str = ""
    layer: int = 0


class LayerSource(Protocol):
    """Who has the layers: a RegistryClient."""

    def iter_layer(self, reference: ImageReference, layer: Layer) -> Iterator[bytes]:
        """The bytes of an archive."""
        ...


@dataclass
class Files:
    """Paths without a slash in front; '' is the root.

    ``unread`` says in sentences what was not read; then nothing is certain.
    """

    entries: dict[str, Entry] = field(default_factory=lambda: {"": Entry(Kind.FOLDER, 0o755, 0)})
    contents: dict[str, bytes] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    layered_bytes: int = 0
    """Of all files of all layers, those that later ones hide included."""

    @property
    def size_bytes(self) -> int:
        """Of the files that are there in the end."""
        return sum(entry.size for entry in self.entries.values())

    def find(self, path: str) -> tuple[str, Entry] | None:
        """Where a path leads, through links, which never leave the image; None where it leads nowhere."""
        rest, at, links = [part for part in path.split("/") if part not in ("", ".")][::-1], "", 0
        while rest:
            part = rest.pop()
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            step = f"{at}/{part}" if at else part
            entry = self.entries.get(step)
            if entry is None or (links := links + (entry.kind is Kind.LINK)) > _MAX_LINKS:
                return None
            if entry.kind is Kind.LINK:
                at = "" if entry.target.startswith("/") else at
                rest += [part for part in entry.target.split("/") if part not in ("", ".")][::-1]
            elif rest and entry.kind is not Kind.FOLDER:
                return None
            else:
                at = step
        return at, self.entries[at]

    def open_to_all(self, path: str, bits: int) -> bool:
        """Whether somebody who is neither owner nor in the group gets to a path that ``find`` gave, and there has the
        rights ``bits``.
        """
        above = [path[:index] for index, character in enumerate(path) if character == "/"]
        return all(self.entries[folder].mode & 1 for folder in ("", *above)) and self.entries[path].mode & bits == bits

    def content(self, path: str) -> bytes | None:
        """The first MAX_CONTENT bytes of a file that was asked for."""
        found = self.find(path)
        return self.contents.get(found[0]) if found else None


def read_layers(
    source: LayerSource, reference: ImageReference, layers: Collection[Layer], names: Collection[str], max_bytes: int
) -> Files:  # fmt: skip
    """The files that ``layers`` make, and the content of those called one of ``names``.

    Reads up to ``max_bytes`` of archives.
    """
    files, left = Files(), max_bytes
    for number, layer in enumerate(layers):
        if layer.size > left:
            files.unread.append(
                f"reading stopped before layer {number + 1} of {len(layers)}, after {max_bytes - left} bytes"
            )
            break
        left -= layer.size
        chunks = source.iter_layer(reference, layer)
        try:
            _read_layer(files, _Pipe(chunks), number, names, max_bytes * _EXPANSION)
        except _Unreadable as why:
            files.unread.append(f"layer {number + 1} of {len(layers)} was not read: {why}")
            break
        for _ in chunks:  # to the end, where the digest is compared
            pass
    return files


class _Unreadable(Exception):
    pass


class _Pipe:
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def peek(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        return self._rest[:size]

    def read(self, size: int = -1) -> bytes:
        parts, wanted = [self._rest], size if size >= 0 else 1 << 62
        got = len(self._rest)
        while got < wanted and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            got += len(chunk)
        content = b"".join(parts)
        self._rest = content[wanted:]
        return content[:wanted]


class _Member(tarfile.TarInfo):
    """tarfile takes extended headers into memory whole, however large an archive says that they are."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _EXTENDED and self.size > _MAX_HEADER:
            raise _Unreadable("a name in it is too long")
        return super()._proc_member(archive)  # type: ignore[misc]


def _open(pipe: _Pipe) -> tarfile.TarFile:
    start = pipe.peek(4)
    stream: Any = pipe
    if start == b"\x28\xb5\x2f\xfd":
        try:
            stream = importlib.import_module("zstandard").ZstdDecompressor(max_window_size=1 << 27).stream_reader(pipe)
        except ImportError:
            raise _Unreadable("it is compressed with zstd, which takes the Python package 'zstandard'") from None
    mode = "r|gz" if start[:2] == b"\x1f\x8b" else "r|"
    return tarfile.open(mode=mode, fileobj=stream, tarinfo=_Member)  # type: ignore[call-overload,no-any-return]


def _read_layer(files: Files, pipe: _Pipe, number: int, names: Collection[str], max_unpacked: int) -> None:
    gone: set[str] = set()  # what this layer takes away from those below
    emptied: set[str] = set()  # folders whose content it takes away
    try:
        with _open(pipe) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]
                files.layered_bytes += member.size
                if len(files.entries) >= MAX_PATHS or files.layered_bytes > max_unpacked:
                    raise _Unreadable(f"there are more than {MAX_PATHS} paths, or {max_unpacked} bytes")
                path = posixpath.normpath("/" + member.name).lstrip("/")
                folder, _, name = path.rpartition("/")
                if name == ".wh..wh..opq":
                    emptied.add(folder)
                elif name.startswith(".wh."):
                    gone.add(f"{folder}/{name[4:]}".lstrip("/"))
                else:
                    _add(files, path, member, number, emptied)
                    if name in names and member.isreg() and len(files.contents) < MAX_CONTENTS:
                        content = archive.extractfile(member)
                        files.contents[path] = content.read(MAX_CONTENT) if content else b""
    except (ImageError, _Unreadable):
        raise
    except Exception as error:  # tarfile, zlib and zstandard have errors of their own
        raise _Unreadable(f"it is not an archive that can be read ({str(error)[:100]})") from None
    if gone or emptied:
        _take_away(files, number, gone, emptied)


def _add(files: Files, path: str, member: tarfile.TarInfo, number: int, emptied: set[str]) -> None:
    kinds = ((member.isdir, Kind.FOLDER), (member.issym, Kind.LINK), (member.isreg, Kind.FILE))
    kind = next((kind for test, kind in kinds if test()), Kind.OTHER)
    entry = Entry(
        kind, member.mode & 0o7777, member.uid, member.size, member.linkname if kind is Kind.LINK else "", number
    )
    if member.islnk():
        other = files.entries.get(posixpath.normpath("/" + member.linkname).lstrip("/"))
        entry = other._replace(size=0, layer=number) if other else entry._replace(kind=Kind.OTHER)
    before = files.entries.get(path)
    if before and before.kind is Kind.FOLDER and entry.kind is not Kind.FOLDER:
        emptied.add(path)
    files.entries[path] = entry
    files.contents.pop(path, None)
    _add_parents(files, path, number)


def _add_parents(files: Files, path: str, number: int) -> None:
    """Archives need not name the folders that their files lie in."""
    parent = path.rpartition("/")[0]
    while parent not in files.entries:
        files.entries[parent] = Entry(Kind.FOLDER, 0o755, 0, layer=number)
        parent = parent.rpartition("/")[0]


def _take_away(files: Files, number: int, gone: set[str], emptied: set[str]) -> None:
    for path in [path for path, entry in files.entries.items() if path and entry.layer < number]:
        above = [path[:index] for index, character in enumerate(path) if character == "/"]
        if path in gone or "" in emptied or any(folder in gone or folder in emptied for folder in above):
            del files.entries[path]
            files.contents.pop(path, None)
    for path in [path for path, entry in files.entries.items() if entry.layer == number]:
        _add_parents(files, path, number)
