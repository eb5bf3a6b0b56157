"""What a node does before its first task with an image, once, however many slots and agents want it."""

import fcntl
import os
import stat
import time

from ..outcome import Verdict, tail_text
from ..spawn import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

    from ..processes import Programs
    from .context import Context

LOCK_LOOK_S = 0.05


def attach(context: "Context", image: str, ready: "List[str]", run: "List[List[str]]", locks: str) -> None:
    """Run the commands unless `ready` says that it has been done; Verdict `image` if one fails.

    `locks` is a folder on the node.
    """
    fd = wait_for_lock(context.programs, locks, image)
    try:
        if ready and execute(context, ready)[0] == 0:
            return
        for argv in run:
            code, said = execute(context, argv)
            if context.programs.signaled:
                raise Verdict("image", "it was ended while its image was made ready on this node")
            if code != 0:
                raise Verdict(
                    "image",
                    "making %s ready on this node failed: %s exited with %d. %s" % (image, " ".join(argv), code, said),
                )
    finally:
        os.close(fd)


def wait_for_lock(programs: "Programs", folder: str, image: str) -> int:
    """The lock on an image, which ends with its descriptor; Verdict `image` if the folder is not this user's own."""
    try:
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Verdict("image", "%s must be a folder of this user's own (mode 700): remove it" % folder)
        name = "".join(c if c.isalnum() else "-" for c in image)[:100] + ".lock"
        fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Verdict("image", "its image cannot be locked on this node: %s" % error) from None
    while not programs.signaled:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            time.sleep(LOCK_LOOK_S)
    os.close(fd)
    raise Verdict("image", "it was ended while another task made its image ready on this node")


def execute(context: "Context", argv: "List[str]") -> "Tuple[int, str]":
    """Run one command in the slot's own environment: (exit code as shells say it, the end of its stderr)."""
    path = context.capture_paths[0][1] + ".attach"
    err = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.unlink(path)
    try:
        context.programs.start(argv, context.env, context.null, context.null, err)
        status, _, _ = context.programs.wait()
        context.programs.sweep()
        code = 128 + (status & 0x7F) if status & 0x7F else status >> 8
        return code, tail_text(os.pread(err, 1024, max(0, os.fstat(err).st_size - 1024))) or ""
    except OSError as error:
        raise Verdict("image", "its image cannot be made ready on this node: %s" % explain(error, argv)) from None
    finally:
        os.close(err)
