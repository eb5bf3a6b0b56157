"""Temporary.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade():
    from packhorse.store.schema import metadata

    old = sa.MetaData()
    old.reflect(op.get_bind())
    for t in old.sorted_tables:
        if t.name != "alembic_version":
            t.drop(op.get_bind())
    metadata.create_all(op.get_bind())
