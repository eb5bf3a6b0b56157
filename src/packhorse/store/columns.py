"""Columns for text that is not ours to refuse: whatever is bound, both databases take it."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.domain.text import holdable, name_as_text, name_from_text

_LARGEST = (1 << 63) - 1


class Said(sa.TypeDecorator[str]):
    """What the world says, such as reasons and errors: made holdable."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else holdable(value)


class SaidShortly(sa.TypeDecorator[str]):
    """``Said``, cut to a length."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else holdable(value)[: self._length]


class FileName(sa.TypeDecorator[str]):
    """The path of a file, whose names are bytes: as ``domain.text.name_as_text`` writes it, and back."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else name_as_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else name_from_text(value)


class Size(sa.TypeDecorator[int]):
    """Bytes, as a server or a registry says them: no more than the column holds."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else max(0, min(value, _LARGEST))


def Searched(length: int) -> sa.types.TypeEngine[str]:  # noqa: N802  it is written where types are
    """Text that is searched by how it begins: in the order of its bytes, which is SQLite's own, whatever the
    language of the database.
    """
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
