"""A work folder as its task saw it: where paths and links lead, with folders opened that the task closed.

Paths are bytes here. Nothing is followed by the kernel: what a link leads to is found out link by link, since a link
that was made in a container means a path of the container, and since each step has to stay where a task may read.
"""

import errno
import os
import stat

from ...outcome import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

    T = TypeVar("T")

LONGEST = 500  # characters of a path that are shown
MAX_LINKS = 40  # as the kernel has it
NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class NotThere(Exception):
    """A path leads to nothing: `where` is the first part of it that is missing; `loops` where its links lead back to
    themselves.
    """

    def __init__(self, where: bytes, loops: bool = False) -> None:
        super().__init__(where)
        self.where = where
        self.loops = loops


def to_bytes(path: str, why: str) -> bytes:
    """A path of a line as the bytes that it stands for; Verdict if it stands for none."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Verdict(why, "%s is no name that a file can have" % ascii(path)) from None


def shown(path: bytes) -> str:
    """A path for a person: on one line, whatever it is made of."""
    return shown_text(path.decode("utf-8", "surrogateescape"))


def shown_text(path: str) -> str:
    """A path that is text for a person: control characters as escapes, what is no text as replacement characters.

    A very long one without its middle.
    """
    if len(path) > LONGEST:
        path = path[: LONGEST // 2] + "..." + path[-LONGEST // 2 :]
    return "".join(char if char.isprintable() else shown_odd(char) for char in path)


def shown_odd(char: str) -> str:
    """A character that cannot be printed."""
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char.encode("unicode_escape").decode("ascii")


def is_in(path: bytes, folder: bytes) -> bool:
    """Whether a resolved path is the folder or lies below it."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


class WorkFolder:
    """`sources` are where the task's inputs are; `root` is the folder that absolute paths of the task begin in
    (docs/spool.md).
    """

    def __init__(self, work: str, root: "Optional[str]" = None, sources: "Sequence[str]" = ()) -> None:
        given = to_bytes(work, "outputs")
        if not os.path.lexists(given):
            raise Verdict("outputs", "the task has removed its work folder, and its outputs with it")
        if not stat.S_ISDIR(os.lstat(given).st_mode):
            raise Verdict("outputs", "the task has put something else in the place of its work folder")
        self.given = given
        self.path = os.path.realpath(given)
        self.root: "Optional[bytes]" = None
        if root is not None:
            self.root = os.path.normpath(self.path + b"/" + to_bytes(root, "outputs"))
            if not is_in(self.root, self.path):
                raise Verdict(
                    "outputs", "the folder for absolute paths, %s, is none of the work folder" % shown_text(root)
                )
        self._sources = [to_bytes(source, "outputs") for source in sources]
        self._inputs: "Optional[List[bytes]]" = None
        self.opened: "Dict[bytes, os.stat_result]" = {}  # in the order in which they were: a parent before its children

    # -- what is where

    @property
    def inputs(self) -> "List[bytes]":
        """Where the inputs really are. One that has the work folder in it cannot be copied into what is kept."""
        if self._inputs is None:
            real = [os.path.realpath(source) for source in self._sources]
            self._inputs = [source for source in real if not is_in(self.path, source)]
        return self._inputs

    def has(self, path: bytes) -> bool:
        """Whether a resolved path lies in the work folder, or is it."""
        return is_in(path, self.path)

    def is_input(self, path: bytes) -> bool:
        """Whether a resolved path is an input of the task or lies in one."""
        return any(is_in(path, source) for source in self.inputs)

    def name_of(self, path: bytes) -> str:
        """A path for a person: from the work folder on where it lies in there."""
        return shown(os.path.relpath(path, self.path) if self.has(path) else path)

    def on_node(self, path: bytes) -> bytes:
        """Where an absolute path of the task lies on this node."""
        for work in (self.path, self.given):
            if is_in(path, work):
                return self.path + path[len(work) :]
        if self.root is None:
            return path
        mapped, plain = self.root + path, os.path.normpath(path)
        if not os.path.lexists(mapped) and any(is_in(plain, source) for source in self._sources):
            return path
        top = self.root + b"/" + plain.split(b"/")[1]
        return mapped if os.path.lexists(top) else path

    def follow(self, path: bytes, folder: bytes = b"/", passed: "Optional[List[bytes]]" = None) -> bytes:
        """What a path of this node leads to, free of links. NotThere if to nothing. `passed` gets every place on the
        way.

        `folder` is where a relative path begins, itself free of links.
        """
        links, is_folder = 0, True
        here, parts = self.begin(path, folder)
        while parts:
            part = parts.pop()
            if part in (b"", b".", b".."):
                if not is_folder:
                    raise NotThere(here)
                if part == b".." and here != self.root:
                    here = os.path.dirname(here)
            else:
                at = here.rstrip(b"/") + b"/" + part
                try:
                    status = self.look(at)
                except OSError as error:
                    raise NotThere(at) if error.errno in NOTHING else error from None
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    if links > MAX_LINKS:
                        raise NotThere(at, loops=True)
                    here, more = self.begin(self.target(at), here)
                    parts += more
                else:
                    here, is_folder = at, stat.S_ISDIR(status.st_mode)
            if passed is not None:
                passed.append(here)
        return here

    def target(self, link: bytes) -> bytes:
        """What a link says, as a path of this node."""
        text = os.readlink(link)
        return self.on_node(text) if text.startswith(b"/") else text

    def begin(self, path: bytes, folder: bytes) -> "Tuple[bytes, List[bytes]]":
        """Where a path begins, seen from `folder`, and its parts from the last to the first."""
        if path.startswith(self.path + b"/"):
            folder, path = self.path, path[len(self.path) + 1 :]
        elif path.startswith(b"/"):
            folder, path = b"/", path[1:]
        return folder, path.split(b"/")[::-1]

    # -- looking at it, whatever its modes

    def look(self, path: bytes) -> os.stat_result:
        """lstat(2)."""
        return self.with_rights(os.lstat, path)

    def exists(self, path: bytes) -> bool:
        """Whether a path names something, be it a link to nothing."""
        try:
            self.look(os.path.join(self.follow(os.path.dirname(path)), os.path.basename(path)))
        except (OSError, NotThere):
            return False
        return True

    def entries(self, folder: bytes) -> "List[os.DirEntry[bytes]]":
        """What is in a folder."""

        def listed(path: bytes) -> "List[os.DirEntry[bytes]]":
            with os.scandir(path) as found:
                return list(found)

        return self.with_rights(listed, folder)

    def with_rights(self, function: "Callable[..., T]", path: bytes, *more: "Any") -> "T":
        """Call a function on a path; once more with the folders on the way opened, where rights are missing that the
        owner can give.
        """
        try:
            return function(path, *more)
        except PermissionError:
            if not self.open_way(path):
                raise
            return function(path, *more)

    def open_way(self, path: bytes) -> bool:
        """Give the owner all rights on the folders from the work folder to `path`; whether any has been changed."""
        if not self.has(path):
            return False
        changed, at = self.open_up(self.path), self.path
        for part in path[len(self.path) :].split(b"/"):
            if part:
                at += b"/" + part
                changed = self.open_up(at) or changed
        return changed

    def open_up(self, path: bytes) -> bool:
        """Give the owner all rights on one file or folder, and read them on a file; whether that has changed it."""
        try:
            status = os.lstat(path)
            rights = 0o700 if stat.S_ISDIR(status.st_mode) else 0o400
            if stat.S_ISLNK(status.st_mode) or status.st_mode & rights == rights or status.st_uid != os.geteuid():
                return False
            os.chmod(path, stat.S_IMODE(status.st_mode) | rights)
        except OSError:
            return False
        self.opened.setdefault(path, status)
        return True

    def mode_of(self, path: bytes, status: os.stat_result) -> int:
        """The mode that the task gave a path whose status is `status` now."""
        return stat.S_IMODE(self.opened.get(path, status).st_mode)

    def close_again(self, where: "Callable[[bytes], bytes]" = lambda path: path) -> None:
        """Give back the modes that the task had set. `where` says where a path of the work folder is by now."""
        for path, status in reversed(list(self.opened.items())):
            try:
                os.chmod(where(path), stat.S_IMODE(status.st_mode))
            except OSError:
                pass  # it has gone
