"""Who acts as the engine, and who may ask."""

from __future__ import annotations

import sqlalchemy as sa

from packhorse.store.columns import SaidShortly
from packhorse.store.schema.base import BigKey, metadata

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
    sa.Column("sees_all", sa.Boolean, nullable=False, server_default=sa.false()),  # of a read-only admin
    sa.Column("scopes", sa.String(40), nullable=False, server_default="read submit admin"),
    sa.Column("name", sa.String(100), nullable=False, server_default=""),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),  # None: never
    sa.Index("ix_tokens_user", "user", "created_at"),
)

#: Who changed what: tokens, shares, secrets, webhooks, and what was canceled. What was submitted says so itself.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("what", SaidShortly(400), nullable=False),
)

#: What users keep for their tasks alone. ``sealed``: encrypted, with the names of its user and of itself.
user_secrets = sa.Table(
    "user_secrets",
    metadata,
    sa.Column("user", sa.String(200), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("set_at", sa.Float, nullable=False),
)

#: With whom runs are shared: 'user:NAME' or 'group:NAME'.
sharing = sa.Table(
    "sharing",
    metadata,
    sa.Column("run_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("grantee", sa.String(210), primary_key=True),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("ix_sharing_grantee", "grantee", "run_seq"),
    sqlite_with_rowid=False,
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
