"""What a work folder gets before its task starts: folders and inputs. Outputs are `slot/outputs`."""

import os

from .outcome import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Sequence


def inside(folder: str, path: str, why: str, root: "Optional[str]" = None) -> str:
    """The absolute path of `path` in `folder`, as written (not resolved); Verdict if it would leave the folder.

    What its parents resolve to counts: a symbolic link may not carry it outside either. With `root`, an absolute path
    is looked for in that folder of `folder`.
    """
    if root is not None and os.path.isabs(path):
        return inside(folder, root.rstrip("/") + "/" + path.strip("/"), why)
    if not path or os.path.isabs(path) or ".." in path.split("/") or not can_be_a_path(path):
        raise Verdict(why, "%r is not a relative path inside the work folder" % path)
    target = os.path.join(folder, os.path.normpath(path))
    parent = os.path.realpath(os.path.dirname(target))
    if not contains(folder, parent):
        raise Verdict(why, "%s leads out of the work folder, to %s" % (path, parent))
    return target


def can_be_a_path(text: str) -> bool:
    """Whether the system can be asked for it."""
    try:
        return "\0" not in text and bool(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False


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


def place_inputs(work: str, inputs: "Sequence[Dict[str, Any]]", root: "Optional[str]" = None) -> None:
    """Link or write a task's inputs into its work folder."""
    for entry in inputs:
        path = str(entry.get("path", ""))
        target = inside(work, path, "inputs", root)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if entry.get("content") is not None:
                if os.path.lexists(target):  # an earlier attempt left it, as a link to somewhere or unwritable
                    os.unlink(target)
                with open(target, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                    file.write(entry["content"])
            else:
                source = str(entry["source"])
                os.stat(source)  # a dangling link would fail later, in the program, with a worse message
                if os.path.lexists(target):  # as above
                    os.unlink(target)
                os.symlink(source, target)
        except KeyError:
            raise Verdict("inputs", "input %s has neither source nor content" % path) from None
        except (OSError, ValueError) as error:
            raise Verdict("inputs", "input %s: %s" % (path, error)) from None
