"""What is to be done so that all outputs of a task are kept: what moves, what is copied, which links are written.
Nothing is changed here.

A link in what is kept stays one where it leads to something that is kept too. Where it leads to something else of the
work folder, or to an input, that is copied into its place; the copy counts as kept from then on, so that links which
lead round in circles come to an end.
"""

import collections
import os
import stat

from .folder import NotThere, WorkFolder, is_in, shown, shown_text
from .resolve import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

    Owners = Tuple[bytes, ...]
    Link = NamedTuple("Link", [("path", bytes), ("name", bytes), ("tree", bytes), ("owners", Owners)])
else:
    Link = collections.namedtuple("Link", "path name tree owners")

LINK, SAME, COPY = (
    "link",
    "same",
    "copy",
)  # a symbolic link with a text; the same file as another name; copy number such and such


class Fix:
    """What comes to be at a name below the out folder: `how` with `what`. `link` is the path of the link in the work
    folder that is to be replaced, if one is; `text` what it says if it moves, and is not only copied.
    """

    __slots__ = ("name", "how", "what", "link", "text")

    def __init__(
        self, name: bytes, how: str, what: bytes, link: "Optional[bytes]" = None, text: "Optional[bytes]" = None
    ) -> None:
        self.name = name
        self.how = how
        self.what = what
        self.link = link
        self.text = text


class Plan:
    """Names are relative to the out folder. `kept` says of paths that are free of links where they are going to be."""

    def __init__(self, folder: WorkFolder) -> None:
        self.folder = folder
        self.moves: "List[Tuple[bytes, bytes]]" = []  # from where in the work folder, to which name
        self.copies: "List[Tuple[bytes, Set[bytes]]]" = []  # of what, and what is left out because it is kept elsewhere
        self.fixes: "List[Fix]" = []
        self.kept: "Dict[bytes, bytes]" = {}
        self.copied: "Set[bytes]" = set()  # those of `kept` that do not move
        self.sizes: "Dict[bytes, int]" = {}  # bytes in what has one of the names in `wanted`
        self.wanted: "Set[bytes]" = set()  # names that are declared, or stand for a declared one
        self.links: "Deque[Link]" = collections.deque()
        self.problems: "List[str]" = []

    # -- the declared outputs

    def make(self, outputs: "Sequence[Output]") -> None:
        """Plan for a set of outputs that are there."""
        first = {output.name: output for output in reversed(outputs)}
        self.wanted = set(first)
        outer = []
        for output in outputs:
            name = self.outermost(output.name)
            if output.source != first[name].source + output.name[len(name) :]:
                self.problems.append(
                    "%s and %s would be kept in one place" % (shown_text(first[name].path), shown_text(output.path))
                )
            elif name == output.name and first[name] is output:
                outer.append(output)
        scans = self.place(sorted(outer, key=lambda output: (len(output.real), output.source != output.real)))
        self.wanted.update(name for name in map(self.goes_to, [output.real for output in outputs]) if name)
        for output, status, left_out in scans:  # when it is known where all of them go
            self.scan(output.real, output.name, status, (), left_out)
        while self.links:
            self.settle(self.links.popleft())
        for output in outputs:
            if output.name not in self.sizes and not self.problems:  # it is reached by a link
                size = self.sizes.get(self.goes_to(output.real) or b"")
                self.sizes[output.name] = self.measure(output.real) if size is None else size

    def outermost(self, name: bytes) -> bytes:
        """The shortest declared name that is `name` or a folder that it lies in."""
        at = name.find(b"/")
        while at >= 0:
            if name[:at] in self.wanted:
                return name[:at]
            at = name.find(b"/", at + 1)
        return name

    def place(self, outputs: "Sequence[Output]") -> "List[Tuple[Output, os.stat_result, Optional[Set[bytes]]]]":
        """Decide for each output whether it moves, is copied, or is another name of one that does. What others lie in
        comes first.

        Returns what has to be scanned.
        """
        scans = []
        for output in outputs:
            name = self.goes_to(output.real)
            status = self.folder.look(output.real)
            if name is not None:
                self.alias(output.name, name, status)
                continue
            if self.folder.has(output.real):
                self.kept[output.real] = output.name
                self.moves.append((output.real, output.name))
                left_out = None
            else:
                left_out = self.copy(output.real, Fix(output.name, COPY, b""))
            scans.append((output, status, left_out))
        return scans

    def goes_to(self, real: bytes) -> "Optional[bytes]":
        """The name that a path free of links gets; None if it is not kept."""
        over = self.kept_with(real)
        return None if over is None else self.kept[over] + real[len(over) :]

    def kept_with(self, real: bytes) -> "Optional[bytes]":
        """What is kept and is the given path, or a folder that it lies in."""
        while real and real not in self.kept:
            real = real.rpartition(b"/")[0]
        return real or None

    def alias(self, name: bytes, target: bytes, status: os.stat_result) -> None:
        """Have a second name for what is kept: the same file, or a link to the folder."""
        is_folder = stat.S_ISDIR(status.st_mode)
        self.fixes.append(Fix(name, LINK, way(target, name)) if is_folder else Fix(name, SAME, target))

    def copy(self, real: bytes, fix: Fix) -> "Set[bytes]":
        """Have something copied; returns the set of what shall be left out of it."""
        left_out: "Set[bytes]" = set()
        self.kept[real] = fix.name
        self.copied.add(real)
        fix.what = b"%d" % len(self.copies)
        self.fixes.append(fix)
        self.copies.append((real, left_out))
        return left_out

    # -- what is in them

    def scan(
        self, path: bytes, name: bytes, status: os.stat_result, owners: "Owners", left_out: "Optional[Set[bytes]]"
    ) -> None:
        """Look at all that is kept with one file or folder. `owners` are the declared names that it counts for."""
        if name in self.wanted:
            owners += (name,)
        self.count(owners, 0 if stat.S_ISDIR(status.st_mode) else status.st_size)
        if not stat.S_ISDIR(status.st_mode):
            if not stat.S_ISREG(status.st_mode):
                self.problems.append("%s is a %s" % (self.folder.name_of(path), kind_of(status)))
            return
        waiting = [(path, name, owners)]
        while waiting:
            at, below, owners = waiting.pop()
            try:
                entries = self.folder.entries(at)
            except OSError as error:
                self.problems.append(
                    "%s cannot be read: %s%s" % (self.folder.name_of(at), error.strerror, self.owner_of(at))
                )
                continue
            waiting += self.scan_folder(entries, below, path, owners, left_out)

    def owner_of(self, path: bytes) -> str:
        """Whose something is, in brackets, if it is another user's."""
        try:
            user = os.lstat(path).st_uid
        except OSError:
            return ""
        return "" if user == os.geteuid() else " (it belongs to user %d)" % user

    def scan_folder(
        self,
        entries: "Iterable[os.DirEntry[bytes]]",
        below: bytes,
        tree: bytes,
        owners: "Owners",
        left_out: "Optional[Set[bytes]]",
    ) -> "List[Tuple[bytes, bytes, Owners]]":
        """Look at what is in one folder, without a call of the system for more than the sizes; returns the folders in
        it.
        """
        folders, total = [], 0
        has_inner = len(self.wanted) > len(owners)
        for entry in entries:
            name = below + b"/" + entry.name
            also = owners + (name,) if has_inner and name in self.wanted else owners
            if left_out is not None and entry.path in self.kept:
                left_out.add(entry.path)
                self.alias(name, self.kept[entry.path], self.folder.look(entry.path))
            elif entry.is_file(follow_symlinks=False):
                size = self.size_of(entry)
                total += size
                if also is not owners:
                    self.sizes[name] = size
            elif entry.is_dir(follow_symlinks=False):
                self.count(also[len(owners) :], 0)
                folders.append((entry.path, name, also))
            elif entry.is_symlink():
                self.links.append(Link(entry.path, name, tree, owners))
            else:
                self.problems.append(
                    "%s is a %s" % (self.folder.name_of(entry.path), kind_of(self.folder.look(entry.path)))
                )
        self.count(owners, total)
        return folders

    def size_of(self, entry: "os.DirEntry[bytes]") -> int:
        """Bytes in a file."""
        try:
            return entry.stat(follow_symlinks=False).st_size
        except PermissionError:
            return self.folder.look(entry.path).st_size

    def count(self, owners: "Owners", size: int) -> None:
        """Add bytes to all declared names that they belong to."""
        for name in owners:
            self.sizes[name] = self.sizes.get(name, 0) + size

    def measure(self, path: bytes) -> int:
        """Bytes in a file or a folder."""
        status = self.folder.look(path)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        total, waiting = 0, [path]
        while waiting:
            for entry in self.folder.entries(waiting.pop()):
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    total += self.size_of(entry)
        return total

    # -- links in them

    def settle(self, link: "Link") -> None:
        """Decide what becomes of one link in what is kept."""
        passed: "List[bytes]" = []
        said = self.folder.name_of(link.path)
        text = os.readlink(link.path)
        try:
            real = self.folder.follow(self.folder.target(link.path), os.path.dirname(link.path), passed)
            status = self.folder.look(real)
        except NotThere as error:
            self.problems.append(self.broken(said, text, error))
            return
        except OSError as error:
            self.problems.append("%s cannot be followed: %s" % (said, error.strerror))
            return
        name = self.goes_to(real)
        own = None if link.tree in self.copied else text
        if name is not None:
            if text.startswith(b"/") or not all(is_in(place, link.tree) for place in passed):
                is_copy = self.kept_with(real) in self.copied and stat.S_ISREG(status.st_mode)
                self.fixes.append(
                    Fix(link.name, SAME if is_copy else LINK, name if is_copy else way(name, link.name), link.path, own)
                )
        elif real == self.folder.path:
            self.problems.append("%s is a link to the work folder itself" % said)
        elif not self.folder.has(real) and not self.folder.is_input(real):
            self.problems.append("%s leads out of the work folder, to %s" % (said, shown(real)))
        elif not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
            self.problems.append("%s is a link to a %s (%s)" % (said, kind_of(status), shown(text)))
        else:
            left_out = self.copy(real, Fix(link.name, COPY, b"", link.path, own))
            self.scan(real, link.name, status, link.owners, left_out)

    def broken(self, said: str, text: bytes, error: NotThere) -> str:
        """What is wrong with a link that leads to nothing."""
        if error.loops:
            return "%s is a link that leads back to itself (%s)" % (said, shown(text))
        if self.folder.has(error.where) or self.folder.is_input(error.where):
            return "%s is a link to nothing (%s)" % (said, shown(text))
        return "%s leads out of the work folder, to %s, which is not there" % (said, shown(text))


def way(target: bytes, name: bytes) -> bytes:
    """The relative path from a link called `name` to `target`."""
    return os.path.relpath(b"/" + target, b"/" + os.path.dirname(name))


def kind_of(status: os.stat_result) -> str:
    """What a thing is that is neither file nor folder nor link."""
    kinds = {stat.S_IFIFO: "named pipe (fifo)", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(status.st_mode), "thing that cannot be kept")
