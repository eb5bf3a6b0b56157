"""Who acts as the engine, and who may ask."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.store.columns import SaidShortly
from packhorse.store.schema.base import metadata

#: Who may act as the engine. ``beat`` counts up while the holder lives; nobody's clock is trusted.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", SaidShortly(200)),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),  # SHA-256; the token itself is never stored
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

#: The checksums of input files of the engine's machine, each computed once while the file is as it was.
file_sums = sa.Table(
    "file_sums",
    metadata,
    sa.Column("path_hash", sa.String(64), primary_key=True),  # SHA-256: a path may be longer than an index takes
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sqlite_with_rowid=False,
)
