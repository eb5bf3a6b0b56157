"""Removes what tasks left, whatever its modes and however deep it is. Links are removed, and never followed."""

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, TypeVar

    T = TypeVar("T")

LONGEST = 3000  # of a path, which the kernel takes up to 4096 bytes of


def remove(path: "Any") -> bool:
    """Remove a file, link or folder (a path as text or as bytes); False if something stays, such as what another user
    owns.
    """
    raw = os.fsencode(path)
    try:
        os.unlink(raw)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    try:
        if not stat.S_ISDIR(os.lstat(raw).st_mode):
            return False  # its folder is not ours to force
    except OSError:
        return not os.path.lexists(raw)
    remove_folder(raw)
    return not os.path.lexists(raw)


def remove_folder(top: bytes) -> None:
    """Remove a folder and what can be removed of its content.

    It takes neither recursion nor a descriptor for each level.
    """
    found = [top]
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        for path in empty_of_files(folder, top):
            if len(path) > LONGEST:
                path = bring_up(path, top, len(found))
            found.append(path)
            waiting.append(path)
    for folder in reversed(found):
        try:
            if folder == top:
                os.rmdir(top)
            else:
                forced(os.path.dirname(folder), os.rmdir, folder)
        except OSError:
            pass  # what stays in it has stopped it


def empty_of_files(folder: bytes, top: bytes) -> "List[bytes]":
    """Remove what is no folder; returns the paths of the folders in it."""
    folders = []
    try:
        try:
            entries = listed(folder)
        except PermissionError:
            if folder != top:
                os.chmod(os.path.dirname(folder), 0o700)  # which could be listed, and not be entered
            entries = forced(folder, listed, folder)
    except OSError:
        return []  # another user's, or gone
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.path)
            continue
        try:
            forced(folder, os.unlink, entry.path)
        except OSError:
            pass
    return folders


def bring_up(path: bytes, top: bytes, number: int) -> bytes:
    """Move a folder whose path becomes too long to the top of what is being removed; returns where it is then."""
    while True:
        target = os.path.join(top, b".packhorse-%d" % number)
        try:
            os.chmod(path, 0o700)
            forced(os.path.dirname(path), os.rename, path, target)
            return target
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return path
        number += 1


def forced(folder: bytes, function: "Callable[..., T]", *arguments: bytes) -> "T":
    """Call a function; once more with all rights on `folder` given to its owner if they were missing."""
    try:
        return function(*arguments)
    except PermissionError:
        if not folder or os.path.islink(folder):
            raise
        os.chmod(folder, 0o700)
        return function(*arguments)


def empty(work: str) -> bool:
    """Make the work folder exist and be empty; False if it cannot be, such as for something of another user's in it.

    What is there instead of a folder, such as a link that a task put in its place, is removed and not followed.
    """
    raw = os.fsencode(work)
    try:
        if stat.S_ISDIR(os.lstat(raw).st_mode):
            return empty_folder(raw)
        os.unlink(raw)
    except FileNotFoundError:
        pass
    os.makedirs(raw, exist_ok=True)
    return True


def empty_folder(folder: bytes) -> bool:
    """Empty a folder and give it the mode of a new one; False if that cannot be done."""
    try:
        entries = forced(folder, listed, folder)
        os.chmod(folder, 0o700 | 0o777 & ~umask())
    except OSError:
        return False
    stuck = [entry for entry in entries if not remove(entry.path)]
    return not stuck


def listed(folder: bytes) -> "List[os.DirEntry[bytes]]":
    """What is in a folder; all of it at once, since a listing may skip something while other things are removed."""
    with os.scandir(folder) as found:
        return list(found)


def umask() -> int:
    """The umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
