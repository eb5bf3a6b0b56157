"""The checksum of what a task left: of a file its SHA-256, of a folder that of its names, links and files. And its
stamp, which tells without reading it that nobody has written to it since.
"""

import hashlib
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Tuple

PIECE = 1 << 20


def sum_of(path: bytes) -> str:
    """Hexadecimal; links below a folder are not followed, `path` itself is. OSError: something cannot be read."""
    if stat.S_ISDIR(os.stat(path).st_mode):
        return sum_of_folder(path)
    return sum_of_file(path)


def sum_of_file(path: bytes) -> str:
    """The SHA-256 of what a file holds."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)


def sum_of_folder(path: bytes) -> str:
    """The SHA-256 over what is below a folder, in order of name."""
    digest = hashlib.sha256(b"folder\n")
    for entry, name in below(path):
        if entry.is_symlink():
            kind, what = b"link", os.readlink(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            kind, what = b"folder", b""
        elif entry.is_file(follow_symlinks=False):
            kind, what = b"file", sum_of_file(entry.path).encode("ascii")
        else:
            kind, what = b"other", b""
        digest.update(b"%s %d %s %d %s\n" % (kind, len(name), name, len(what), what))
    return digest.hexdigest()


def stamp_of(path: bytes) -> str:
    """16 hexadecimal digits over the sizes, inodes and times of change of a file, or of all files below a folder.

    Who writes to a file cannot keep its `ctime`; a new name for it changes that, too. OSError: something cannot be
    looked at.
    """
    status = os.stat(path)
    digest = hashlib.sha256()
    if stat.S_ISDIR(status.st_mode):
        for entry, name in below(path):
            digest.update(b"%d %s\n" % (len(name), name))
            if entry.is_symlink():
                digest.update(os.readlink(entry.path) + b"\n")
            elif not entry.is_dir(follow_symlinks=False):
                digest.update(seen(entry.stat(follow_symlinks=False)))
    else:
        digest.update(seen(status))
    return digest.hexdigest()[:16]


def seen(status: os.stat_result) -> bytes:
    """What is looked at of one file."""
    return b"%d %d %d %d\n" % (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def below(path: bytes) -> "Iterator[Tuple[os.DirEntry[bytes], bytes]]":
    """What is below a folder, with its name from there, in order."""
    pending = [(path, b"")]
    while pending:
        folder, above = pending.pop()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name = above + entry.name
            yield entry, name
            if entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, name + b"/"))
