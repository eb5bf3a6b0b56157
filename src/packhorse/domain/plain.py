"""Text that others wrote, as it may be shown to a person: nothing in it is acted upon, and nothing in it is hidden."""

from __future__ import annotations

import re

# Unicode's categories Cc, Cf, Cs, Zl and Zp, and what else has no looks of its own (Default_Ignorable_Code_Point):
# control characters, directions, what joins or separates words unseen, variants, halves of a surrogate pair. As ranges,
# for to look them up takes a second.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TAB = 8


def plain(text: object) -> str:
    """``text`` in one line: what a terminal would obey or not show is an escape as in Python, such as ``\\x1b``,
    ``\\n``, ``\\u202e``.

    Half a surrogate pair that stands for a byte that is not UTF-8 is that byte: ``caf\\xe9``. A backslash stays one, so
    this is for eyes
    and not to be read back.
    """
    said = str(text)
    return said if said.isascii() and said.isprintable() else _UNSHOWN.sub(_escape, said)


def plain_lines(text: object) -> list[str]:
    """The lines of ``text``, each as ``plain`` has it; tabs are spaces, and the empty line at the end is none."""
    lines = str(text).replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    return [plain(line.expandtabs(_TAB)) for line in lines]


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= number <= 0xDCFF:  # os.fsdecode's word for a byte
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
