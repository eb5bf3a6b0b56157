"""Unpacks an archive of reference data into a folder of its own:

`agent.pyz --unpack ARCHIVE FOLDER`. No member leaves the folder.
"""

import json
import os
import sys
import tarfile

from ..removal import remove
from ..staging import contains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


class Refused(Exception):
    """The archive has a member that it must not have."""


def main(archive: str, folder: str) -> int:
    """Unpack, and print `{"bytes": …}`; returns the exit code. A folder that is there already is complete."""
    if not os.path.isdir(folder):
        partial = folder + ".partial"
        remove(partial)
        try:
            unpack(archive, partial)
        except (Refused, tarfile.TarError, EOFError, OSError) as error:
            remove(partial)
            sys.stderr.write("%s\n" % error)
            return 1
        os.rename(partial, folder)
    sys.stdout.write(json.dumps({"bytes": size_of(folder)}) + "\n")
    return 0


def unpack(archive: str, folder: str) -> None:
    """Unpack files, folders and links that stay inside, readable by all and writable by nobody; Refused for anything
    else.
    """
    os.makedirs(folder)
    links: "List[str]" = []
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            target = place(folder, member.name)
            if member.isdir():
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.lexists(target):
                os.unlink(target)
            if member.issym():
                os.symlink(member.linkname, target)
                links.append(target)
                check_link(folder, target)
            elif member.islnk():
                source = place(folder, member.linkname)
                if os.path.islink(source) or not os.path.isfile(source):
                    raise Refused("the archive's member %r is a link to what is no file of it" % member.name)
                os.link(source, target)
            elif member.isreg():
                copy(tar, member, target)
            else:
                raise Refused("the archive's member %r is neither a file, a folder nor a link" % member.name)
    for path in links:  # what a link leads to may have become a link itself
        check_link(folder, path)
    for path, _, _ in os.walk(folder, topdown=False):
        os.chmod(path, 0o555)


def place(folder: str, name: str) -> str:
    """Where a member goes; Refused where that is not below the folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Refused("the archive's member %r leaves the folder" % name)
    target = os.path.join(folder, *parts)
    if not contains(folder, os.path.realpath(os.path.dirname(target))) and target != folder:
        raise Refused("the archive's member %r leaves the folder through a link" % name)
    return target


def check_link(folder: str, path: str) -> None:
    """Refused where a symbolic link leads out."""
    if os.readlink(path).startswith("/") or not contains(folder, os.path.realpath(path)):
        raise Refused("the archive's member %r is a link that leads out" % os.path.relpath(path, folder))


def copy(tar: "tarfile.TarFile", member: "tarfile.TarInfo", target: str) -> None:
    """A file's bytes, and whether it can be executed."""
    source = tar.extractfile(member)
    if source is None:
        raise Refused("the archive's member %r has no content" % member.name)
    with source, open(target, "wb") as file:
        while True:
            piece = source.read(1 << 20)
            if not piece:
                break
            file.write(piece)
    os.chmod(target, 0o555 if member.mode & 0o111 else 0o444)


def size_of(folder: str) -> int:
    """Bytes of all files below."""
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
