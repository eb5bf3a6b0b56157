"""Copies files and folders as cp -a does: modes, times, holes, links as they are, and, for root, owners."""

import errno
import fcntl
import os
import stat

from .folder import WorkFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection, Dict, Iterator, List, Tuple

FICLONE = 0x40049409  # of <linux/fs.h>: the copy shares its blocks, where the filesystem can do that
PIECE = 1 << 26


def copy_tree(
    folder: WorkFolder, source: bytes, target: bytes, left_out: "Collection[bytes]" = ()
) -> "List[Tuple[bytes, int]]":
    """Copy a file or a folder to a name that is free. `left_out` are paths in it that are not copied. OSError: it is
    not complete.

    Returns the folders that have yet to be closed to their owner, with their modes: what they hold may still have to
    be changed.
    """
    linked: "Dict[Tuple[int, int], bytes]" = {}
    done: "List[Tuple[bytes, bytes, os.stat_result]]" = []
    waiting = [(source, target)]
    while waiting:
        at, to = waiting.pop()
        status = folder.look(at)
        if not stat.S_ISDIR(status.st_mode):
            copy_one(folder, at, to, status, linked)
            continue
        os.mkdir(to, 0o700)
        done.append((at, to, status))
        waiting += [
            (entry.path, os.path.join(to, entry.name)) for entry in folder.entries(at) if entry.path not in left_out
        ]
    late = []
    for at, to, status in done:
        mode = folder.mode_of(at, status)
        if mode & 0o700 != 0o700:
            late.append((to, mode))
        finish(at, to, status, mode | 0o700)
    return late


def copy_one(
    folder: WorkFolder, source: bytes, target: bytes, status: os.stat_result, linked: "Dict[Tuple[int, int], bytes]"
) -> None:
    """Copy what is no folder. Names of one file stay names of one file."""
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
        return
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it has become something that cannot be kept")
    key = (status.st_dev, status.st_ino)
    if key in linked:
        os.link(linked[key], target)
        return
    if status.st_nlink > 1:
        linked[key] = target
    copy_file(folder, source, target)
    finish(source, target, status, folder.mode_of(source, status))


def copy_file(folder: WorkFolder, source: bytes, target: bytes) -> None:
    """Copy the content of a file, and leave holes where it has some."""
    original = folder.with_rights(os.open, source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.ioctl(copy, FICLONE, original)
            except OSError:
                size = os.fstat(original).st_size
                for start, end in extents(original, size):
                    copy_piece(original, copy, start, end)
                os.ftruncate(copy, size)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def extents(file: int, size: int) -> "Iterator[Tuple[int, int]]":
    """Where a file has data: (start, end) of each stretch."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # the rest is a hole
            start, end = end, size
        yield start, end


def copy_piece(original: int, copy: int, start: int, end: int) -> None:
    """Copy bytes from `start` to `end` to the same place."""
    os.lseek(copy, start, os.SEEK_SET)
    while start < end:
        sent = os.sendfile(copy, original, start, min(PIECE, end - start))
        if not sent:
            return  # somebody has cut it short
        start += sent


def finish(source: bytes, target: bytes, status: os.stat_result, mode: int) -> None:
    """Give a copy the owner, attributes and times of what it was made of, and a mode."""
    import shutil

    if os.geteuid() == 0:
        os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)
    os.chmod(target, mode)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
