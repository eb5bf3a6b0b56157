"""What somebody has asked for that a site has to see to, besides tasks that wait: found by one statement."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from packhorse.domain.states import TaskState
from packhorse.store.schema import growths, tasks


class AskedOfSite(NamedTuple):
    """Whether tasks are being canceled, at any site; whether lists become tasks at this one."""

    cancels: bool
    grows: bool


_ASKED = sa.select(
    sa.exists().where(tasks.c.state == sa.literal(TaskState.CANCELING.value)),
    sa.exists().where(growths.c.site == sa.bindparam("site")),
)


def asked_of_site(connection: sa.Connection, site: str) -> AskedOfSite:
    """Looks at two indexes, however much there is."""
    return AskedOfSite(*map(bool, connection.execute(_ASKED, {"site": site}).one()))
