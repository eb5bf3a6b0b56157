"""How much is kept of the outputs of a run's tasks.

Revision ID: 0016

What was kept before is not counted.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("shares", sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False))
