"""Paths that users give may not leave the folder they are for."""

from __future__ import annotations

from pathlib import PurePosixPath


def folder_problem(path: str) -> str | None:
    """Why ``path`` may not name something inside a task's work folder; None when it may.

    Links are checked where the files are.
    """
    if not path or "\0" in path:
        return "is empty" if not path else "contains a NUL byte"
    pure = PurePosixPath(path)
    if pure.is_absolute():
        return "is absolute; give it relative to the task's work folder"
    if ".." in pure.parts:
        return "contains '..', which leaves the task's work folder"
    if pure == PurePosixPath("."):
        return "names the work folder itself"
    return None
