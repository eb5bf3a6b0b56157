"""The checksum of what a task left: of a file its SHA-256, of a folder that of its names, links and files."""

import hashlib
import os
import stat

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
    pending = [(path, b"")]
    while pending:
        folder, below = pending.pop()
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name = below + entry.name
            if entry.is_symlink():
                kind, what = b"link", os.readlink(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                kind, what = b"folder", b""
                pending.append((entry.path, name + b"/"))
            elif entry.is_file(follow_symlinks=False):
                kind, what = b"file", sum_of_file(entry.path).encode("ascii")
            else:
                kind, what = b"other", b""
            digest.update(b"%s %d %s %d %s\n" % (kind, len(name), name, len(what), what))
    return digest.hexdigest()
