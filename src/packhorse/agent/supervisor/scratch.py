"""The node-local folder for files that capture output: made, and removed even if its owner was killed."""

import fcntl
import os

from ..journal import complain
from ..mounts import unmount_below
from ..removal import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

PREFIX = "packhorse-"
_held: "List[int]" = []  # the lock on our own folder lives as long as we do


def make_scratch(parent: "Optional[str]", agent: str) -> str:
    """A private folder for this agent.

    Folders of agents that died are recognised by their lock being free, and removed.
    """
    root = parent or temporary_folder()
    os.makedirs(root, exist_ok=True)
    remove_stale(root)
    folder = os.path.join(root, PREFIX + agent)
    os.mkdir(folder, 0o700)
    _held.append(lock(folder))
    return folder


def temporary_folder() -> str:
    """What `tempfile.gettempdir` says, whose import takes as long as the rest of an agent's start."""
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    for folder in (*named, "/tmp", "/var/tmp", "/usr/tmp"):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return os.path.abspath(folder)
    return os.getcwd()


def lock(folder: str) -> int:
    """Lock a folder until this process ends; -1 if somebody else has it or it cannot be locked."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError:
        os.close(fd)
        return -1


def remove_stale(root: str) -> None:
    """Remove what killed agents of this user left here."""
    try:
        names = os.listdir(root)
    except OSError:
        return
    for name in names:
        folder = os.path.join(root, name)
        if name.startswith(PREFIX):
            try:
                mine = os.lstat(folder).st_uid == os.getuid()
            except OSError:
                continue
            fd = lock(folder) if mine and is_ours(folder) else -1
            if fd >= 0:
                unmount_below(folder)
                remove(folder)
                os.close(fd)


def is_ours(folder: str) -> bool:
    """Whether it holds capture files and mounts and nothing else; an empty one may just have been made and is left
    alone.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return bool(names) and all(name.endswith((".out", ".err", ".mnt")) for name in names)


def remove_all(scratch: str, work: str, prefix: str) -> None:
    """Remove this agent's scratch folder and its work folders."""
    unmount_below(scratch)
    remove(scratch)
    for name in os.listdir(work):
        folder = os.path.join(work, name)
        if name.startswith(prefix) and not remove(folder):
            complain("%s could not be removed: something in it belongs to another user, or may not be changed" % folder)
