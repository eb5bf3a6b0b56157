"""Patterns in output paths, as glob(7) and fnmatch(3) have them: `*`, `?` and `[...]` match no `/`, and no dot that
begins a name.

Names are text with surrogate escapes, so that `?` is one character, or one byte that is none.
"""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Pattern, Tuple

CLASSES = {
    "alpha": r"[^\W\d_]",
    "digit": "[0-9]",
    "alnum": r"[^\W_]",
    "upper": "[A-Z]",
    "lower": "[a-z]",
    "space": r"\s",
    "blank": r"[ \t]",
    "punct": r"[!-/:-@\[-`{-~]",
    "xdigit": "[0-9A-Fa-f]",
    "cntrl": r"[\x00-\x1f\x7f]",
    "print": r"[^\x00-\x1f\x7f]",
    "graph": r"[^\x00-\x20\x7f]",
}


def expand(pattern: str, names: "Callable[[str], Optional[List[str]]]", exists: "Callable[[str], bool]") -> "List[str]":
    """The paths that `pattern` matches, sorted. `names` lists a folder (None: it is none), `exists` says whether a
    path names something.

    Paths begin as the pattern does: with a `/`, or from the folder that the caller means.
    """
    parts = pattern.split("/")
    found = [""]
    if not parts[0]:
        found = ["/"]
    for part in parts:
        if part in ("", "."):
            continue
        if has_wildcard(part):
            found = [join(folder, name) for folder in found for name in matches(part, names(folder))]
        else:
            literal = re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)
            found = [join(folder, literal) for folder in found if exists(join(folder, literal))]
    if not parts[-1]:
        found = [path for path in found if names(path) is not None]
    return [path for path in found if path not in ("", "/")]


def join(folder: str, name: str) -> str:
    """A path below a folder; "" is the one that all begins in."""
    return folder + name if folder in ("", "/") else folder + "/" + name


def matches(part: str, names: "Optional[List[str]]") -> "List[str]":
    """Those of `names` that one component of a pattern matches, sorted."""
    expression = compiled(part)
    return sorted(name for name in names or () if expression.match(name))


def has_wildcard(part: str) -> bool:
    """Whether a component matches anything but itself; one with an escape alone does not."""
    return re.search(r"[*?\[]", re.sub(r"\\.", "", part, flags=re.DOTALL)) is not None


def compiled(part: str) -> "Pattern[str]":
    """One component of a pattern as a regular expression."""
    text, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            text += ".*"
        elif char == "?":
            text += "."
        elif char == "[":
            found = bracket(part, at)
            text += found[0] if found else r"\["
            at = found[1] if found else at
        else:
            if char == "\\" and at < len(part):
                char = part[at]
                at += 1
            text += re.escape(char)
    dot = "" if part.startswith((".", "\\.")) else r"(?!\.)"
    return re.compile(dot + text + r"\Z", re.DOTALL)


def bracket(part: str, at: int) -> "Optional[Tuple[str, int]]":
    """The expression for what follows a `[`, and where it ends; None if nothing closes it: then it stands for
    itself.
    """
    negated = part[at : at + 1] in ("!", "^")
    at += negated
    first = at
    choices: "List[str]" = []
    while at < len(part):
        if part[at] == "]" and at > first:
            inner = "|".join(choices)
            return ("(?:(?!%s).)" if negated else "(?:%s)") % inner, at + 1
        named = re.compile(r"\[:([a-z]+):\]").match(part, at)
        if named:
            choices.append(CLASSES.get(named.group(1), "(?!)"))
            at = named.end()
            continue
        low, at = member(part, at)
        high = low
        if part[at : at + 1] == "-" and part[at + 1 : at + 2] not in ("", "]"):
            high, at = member(part, at + 1)
        choices.append("[%s-%s]" % (re.escape(low), re.escape(high)) if low <= high else "(?!)")
    return None


def member(part: str, at: int) -> "Tuple[str, int]":
    """One character of a bracket, which may stand behind a backslash, and where the next begins."""
    if part[at] == "\\" and at + 1 < len(part):
        at += 1
    return part[at], at + 1
