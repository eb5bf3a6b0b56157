"""Pages of listings: their size, and where the next one begins."""

from __future__ import annotations

from packhorse.domain.errors import InvalidRequest

MAX_PAGE = 1000


def page_size(limit: int) -> int:
    """How many items a page has. Raises InvalidRequest."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"A page has 1 to {MAX_PAGE} items, not {limit}.")
    return limit


def cursor_of(text: str | None) -> int | None:
    """What a cursor says. Raises InvalidRequest."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(f"'{text[:60]}' is not a cursor.", hint="Use 'next_cursor' of the page before.")
    return int(text)
