"""The work folder: inputs are placed in it, declared outputs leave it, nothing else gets in or out."""

import errno
import os

from .outcome import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple


def inside(folder: str, path: str, why: str, root: "Optional[str]" = None) -> str:
    """The absolute path of `path` in `folder`, as written (not resolved); Verdict if it would leave the folder.

    What its parents resolve to counts: a symbolic link may not carry it outside either. With `root`, an absolute path is looked for
    in that folder of `folder`.
    """
    if root is not None and os.path.isabs(path):
        return inside(folder, root.rstrip("/") + "/" + path.strip("/"), why)
    if not path or os.path.isabs(path) or ".." in path.split("/") or "\0" in path:
        raise Verdict(why, "%r is not a relative path inside the work folder" % path)
    target = os.path.join(folder, os.path.normpath(path))
    parent = os.path.realpath(os.path.dirname(target))
    if not contains(folder, parent):
        raise Verdict(why, "%s leads out of the work folder, to %s" % (path, parent))
    return target


def contains(folder: str, path: str) -> bool:
    """Whether a resolved path is the folder or lies below it."""
    root = os.path.realpath(folder)
    return path == root or path.startswith(root.rstrip("/") + "/")


def make_folders(work: str, folders: "Sequence[str]") -> None:
    """Make folders in the work folder, for what is bound there or expected by the program."""
    for path in folders:
        try:
            os.makedirs(inside(work, str(path), "inputs"), exist_ok=True)
        except OSError as error:
            raise Verdict("inputs", "folder %s: %s" % (path, error)) from None


def place_inputs(work: str, inputs: "Sequence[Dict[str, Any]]", root: "Optional[str]" = None) -> "Set[str]":
    """Link or write a task's inputs into its work folder; returns the paths of the links made."""
    links = set()
    for entry in inputs:
        path = str(entry.get("path", ""))
        target = inside(work, path, "inputs", root)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if entry.get("content") is not None:
                with open(target, "w", encoding="utf-8", newline="") as file:
                    file.write(entry["content"])
            else:
                source = str(entry["source"])
                os.stat(source)  # a dangling link would fail later, in the program, with a worse message
                if not (os.path.islink(target) and os.readlink(target) == source):  # as an earlier attempt left it
                    os.symlink(source, target)
                links.add(target)
        except KeyError:
            raise Verdict("inputs", "input %s has neither source nor content" % path) from None
        except (OSError, ValueError) as error:
            raise Verdict("inputs", "input %s: %s" % (path, error)) from None
    return links


def take_outputs(
    work: str, outputs: "Sequence[Dict[str, Any]]", out: "Any", links: "Set[str]", root: "Optional[str]" = None
) -> "List[Dict[str, Any]]":
    """Move declared outputs to the folder `out`; returns {path, size} of each. Nothing is moved unless all are good."""
    moves = []
    for path, pattern, entry in matched(work, outputs, root):
        source = inside(work, path, "outputs", root)
        if not os.path.lexists(source):
            if entry.get("optional"):
                continue
            raise Verdict("outputs", "the task left no %s" % path)
        real = os.path.realpath(source)
        if real == os.path.realpath(work) or not contains(work, real):
            raise Verdict("outputs", "%s leads out of the work folder, to %s" % (path, real))
        if not os.path.exists(real):
            raise Verdict("outputs", "%s is a link to nothing" % path)
        moves.append((path, real, size_of(work, real, links), pattern))
    if moves and not out:
        raise Verdict("outputs", "the task has outputs but no folder for them (out)")
    files = []
    for path, real, size, pattern in moves:
        try:
            move(real, os.path.join(str(out), os.path.normpath(path).lstrip("/")))
        except OSError as error:
            raise Verdict("outputs", "%s could not be moved to %s: %s" % (path, out, error)) from None
        files.append({"path": path, "size": size, "glob": pattern} if pattern else {"path": path, "size": size})
    return files


def matched(work: str, outputs: "Sequence[Dict[str, Any]]", root: "Optional[str]") -> "Iterator[Tuple[str, Optional[str], Dict[str, Any]]]":
    """Each declared output as (path, the pattern that it matches, declaration)."""
    from .wildcards import expand

    def names(path: str) -> "Optional[List[str]]":
        try:
            return os.listdir(inside(work, path or ".", "outputs", root))
        except OSError:
            return None

    for entry in outputs:
        path = str(entry.get("path", ""))
        if not entry.get("glob"):
            yield path, None, entry
            continue
        found = expand(path, names, lambda path: os.path.lexists(inside(work, path, "outputs", root)))
        if not found and not entry.get("optional"):
            raise Verdict("outputs", "the task left nothing that matches %s" % path)
        for match in found:
            yield match, path, entry


def size_of(work: str, path: str, links: "Set[str]") -> int:
    """Bytes in a file or a folder. In a folder our own input links are removed, and any other link that leads out is refused."""
    if not os.path.isdir(path):
        return os.stat(path).st_size
    total = 0
    real_links = {os.path.join(os.path.realpath(os.path.dirname(link)), os.path.basename(link)) for link in links}
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            entry = os.path.join(folder, name)
            if not os.path.islink(entry):
                total += os.lstat(entry).st_size if name in names else 0
            elif entry in real_links:
                os.unlink(entry)
            elif not contains(work, os.path.realpath(entry)):
                raise Verdict("outputs", "%s leads out of the work folder, to %s" % (os.path.relpath(entry, work), os.path.realpath(entry)))
    return total


def move(source: str, target: str) -> None:
    """Rename, or copy under a temporary name and rename where the device differs; replaces what an earlier attempt left."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(target) and not os.path.islink(target):
        remove(target)
    try:
        os.replace(source, target)
        return
    except OSError as error:
        if error.errno == errno.ENOTDIR or error.errno == errno.EISDIR:
            remove(target)
            os.replace(source, target)
            return
        if error.errno != errno.EXDEV:
            raise
    import shutil

    partial = target + ".part"
    remove(partial)
    if os.path.isdir(source):
        shutil.copytree(source, partial, symlinks=True)
    else:
        shutil.copy2(source, partial)
    os.rename(partial, target)
    remove(source)


def remove(path: str) -> bool:
    """Remove a file, link or folder, forcing folders that were made unwritable; False if something stays."""
    try:
        os.unlink(path)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        pass
    import shutil

    def force(function: "Any", name: str, _: "Any") -> None:
        try:
            os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            function(name)
        except OSError:
            pass

    shutil.rmtree(path, onerror=force)
    return not os.path.lexists(path)


def empty(work: str) -> bool:
    """Make the work folder exist and be empty; False if something in it cannot be removed."""
    try:
        names = os.listdir(work)
    except FileNotFoundError:
        os.makedirs(work, exist_ok=True)
        return True
    except NotADirectoryError:
        os.unlink(work)
        os.makedirs(work, exist_ok=True)
        return True
    except PermissionError:
        os.chmod(work, 0o700)
        names = os.listdir(work)
    stuck = [name for name in names if not remove(os.path.join(work, name))]
    return not stuck
