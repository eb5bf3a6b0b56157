"""Carries out a plan: all outputs come to the out folder at once, or the work folder is as it was.

Beside <out> there are

<out>.part     what will be <out>, while it is filled
<out>.copies   copies of what links lead to, until all has moved
<out>.old      what an earlier attempt left, while it is replaced
<out>.moves    for a work folder that outlives attempts: what moved, so that it can be taken back after a kill
"""

import errno
import json
import os
import stat

from ...removal import remove
from .copying import copy_tree
from .folder import WorkFolder, to_bytes
from .plan import COPY, LINK, Fix, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Sequence, Tuple

    Moves = Sequence[Tuple[bytes, bytes]]

REPLACED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


def carry_out(plan: Plan, out: bytes, is_kept: bool) -> None:
    """Move, copy and link what the plan says; `out` is replaced. OSError: it could not be done, and nothing has
    changed.

    `is_kept`: the work folder outlives the attempt.
    """
    folder, part = plan.folder, out + b".part"
    links = [(fix.name, fix.text) for fix in plan.fixes if fix.text is not None]
    closed: "List[Tuple[bytes, int]]" = []
    try:
        begin(out)
        prepare(plan, out, closed)
        if is_kept:
            note(out, plan.moves, links)
        for source, name in plan.moves:
            closed += shift(folder, source, part + b"/" + name)
        for fix in plan.fixes:
            apply(fix, part, out + b".copies")
        for path, mode in reversed(closed):
            os.chmod(path, mode)
        replace(part, out)
    except BaseException:
        take_back(part, plan.moves, links)
        folder.close_again()
        remove(out + b".copies")
        raise
    folder.close_again(lambda path: place_of(plan, path, out))
    if plan.copies:
        remove(out + b".copies")


def prepare(plan: Plan, out: bytes, closed: "List[Tuple[bytes, int]]") -> None:
    """Make the copies, which is what may take long and need space, and open the folders in which links will change.

    `closed` gets the folders that are to be closed, and their modes, where they will be by then.
    """
    names = {fix.what: fix.name for fix in plan.fixes if fix.how == COPY}
    if plan.copies:
        remove(out + b".copies")
        os.mkdir(out + b".copies")
    for number, (source, left_out) in enumerate(plan.copies):
        copy = out + b".copies/%d" % number
        for path, mode in copy_tree(plan.folder, source, copy, left_out):
            closed.append((out + b".part/" + names[b"%d" % number] + path[len(copy) :], mode))
    for fix in plan.fixes:
        if fix.text is not None and fix.link is not None:
            plan.folder.open_up(os.path.dirname(fix.link))


def begin(out: bytes) -> None:
    """An empty folder to be filled; what a killed attempt left there goes."""
    part = out + b".part"
    try:
        os.mkdir(part)
    except FileExistsError:
        for left in (part, out + b".copies", out + b".old"):
            remove(left)
        os.mkdir(part)
    except FileNotFoundError:
        os.makedirs(part)


def shift(folder: WorkFolder, source: bytes, target: bytes) -> "List[Tuple[bytes, int]]":
    """Move one thing to where nothing is. Renamed if possible: a folder that may not be written to has to be opened
    for that.

    Returns what `copy_tree` does if it had to be copied: the other device, or the other user's folder.
    """
    if not os.path.isdir(os.path.dirname(target)):
        os.makedirs(os.path.dirname(target))
    try:
        try:
            os.rename(source, target)
        except PermissionError:
            folder.open_way(source)
            os.rename(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EACCES, errno.EPERM):
            raise
        return copy_tree(folder, source, target)
    return []


def apply(fix: Fix, part: bytes, copies: bytes) -> None:
    """Put one copy or link where it belongs; the folder around it keeps its times."""
    target = part + b"/" + fix.name
    parent = os.path.dirname(target)
    if fix.link is None:
        os.makedirs(parent, exist_ok=True)
    status = os.stat(parent)
    if fix.link is not None:
        os.unlink(target)
    if fix.how == COPY:
        os.rename(copies + b"/" + fix.what, target)
    elif fix.how == LINK:
        os.symlink(fix.what, target)
    else:
        same(part + b"/" + fix.what, target)
    os.utime(parent, ns=(status.st_atime_ns, status.st_mtime_ns))


def same(source: bytes, target: bytes) -> None:
    """Another name for a file; a copy where the filesystem has no second names, or lets nobody make one for another's
    file.
    """
    try:
        os.link(source, target)
    except OSError:
        import shutil

        shutil.copy2(source, target)


def place_of(plan: Plan, path: bytes, part: bytes) -> bytes:
    """Where a path of the work folder is once all has moved."""
    over = plan.kept_with(path)
    if over is None or over in plan.copied:
        return path
    return part + b"/" + plan.kept[over] + path[len(over) :]


def replace(part: bytes, out: bytes) -> None:
    """Rename a folder over another, or over whatever an earlier attempt left."""
    try:
        os.rename(part, out)
        return
    except OSError as error:
        if error.errno not in REPLACED:
            raise
    old = out + b".old"
    remove(old)
    os.rename(out, old)
    try:
        os.rename(part, out)
    except OSError:
        os.rename(old, out)
        raise
    remove(old)


# -- back


def take_back(base: bytes, moves: "Moves", links: "Moves") -> None:
    """Bring what moved back from `base` to the work folder, with its links as they were.

    What has not moved is left alone.
    """
    for name, text in reversed(links):
        place = base + b"/" + name
        if os.path.lexists(os.path.dirname(place)) and not (os.path.islink(place) and os.readlink(place) == text):
            try:
                with_write(os.path.dirname(place), remove, place)
                with_write(os.path.dirname(place), os.symlink, text, place)
            except OSError:
                pass
    stays = False
    for source, name in reversed(moves):
        place = base + b"/" + name
        if os.path.lexists(place) and not os.path.lexists(source):
            try:
                with_write(os.path.dirname(source), rename_closed, place, source)
            except OSError:
                stays = True
    if not stays:
        remove(base)


def with_write(folder: bytes, function: "Callable[..., Any]", *arguments: bytes) -> None:
    """Call a function; where that fails, or is said to have (False), once more while the owner may write to
    `folder`.
    """
    try:
        if function(*arguments) is not False:
            return
    except PermissionError:
        pass
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    os.chmod(folder, mode | 0o700)
    try:
        function(*arguments)
    finally:
        os.chmod(folder, mode)


def rename_closed(source: bytes, target: bytes) -> None:
    """Rename a folder that its owner may not write to, which a change of its parent takes."""
    try:
        os.rename(source, target)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(source).st_mode)
        os.chmod(source, mode | 0o700)
        os.rename(source, target)
        os.chmod(target, mode)


def note(out: bytes, moves: "Moves", links: "Moves") -> None:
    """Write down what is going to move."""
    text = json.dumps(
        [[[part.decode("utf-8", "surrogateescape") for part in pair] for pair in pairs] for pairs in (moves, links)]
    )
    with open(out + b".moves.tmp", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(out + b".moves.tmp", out + b".moves")


def recover(out: str) -> None:
    """Give a work folder that outlives attempts back what an earlier one had taken from it when it was killed."""
    raw = to_bytes(out, "inputs")
    try:
        with open(raw + b".moves", encoding="ascii") as file:
            moves, links = (
                [(to_bytes(one, "inputs"), to_bytes(other, "inputs")) for one, other in pairs]
                for pairs in json.load(file)
            )
    except (OSError, ValueError):
        return
    take_back(raw + b".part" if os.path.lexists(raw + b".part") else raw, moves, links)
    remove(raw + b".copies")
    forget(out)


def forget(out: str) -> None:
    """The work folder is gone: nothing can be taken back any more."""
    remove(to_bytes(out, "inputs") + b".moves")
