"""Outputs that somebody has removed from a site are no longer counted as kept for their user."""

from __future__ import annotations

import shutil

from packhorse.domain.run import AppRun
from packhorse.engine.data.gone import Gone
from packhorse.engine.embedded import Embedded
from packhorse.engine.lease import Lease
from packhorse.store.shares import stored_bytes
from tests.fixtures.room import make_app

KEEPS = "outputs:\n  file: {path: out.txt}\n"


def test_removed_outputs_are_counted_no_more(embedded: Embedded) -> None:
    app = make_app(embedded.home / "app", command="[sh, -c, 'echo 12345 > out.txt']", more=KEEPS)
    with embedded.run_engine():
        first, second = (embedded.mine.submit(AppRun(app=app, over=[{"i": 1}, {"i": 2}])) for _ in range(2))
        for run in (first, second):
            assert embedded.mine.wait(run.id, 2, 60).ended
    waiting = embedded.mine.submit(AppRun(app=app, over=[{"i": 1}]))
    database, name = embedded.database, embedded.user.name
    lease = Lease(database)
    assert lease.try_take()
    [site] = embedded.service.sites.values()
    gone = Gone(site, database, lease)

    def kept() -> int:
        with database.read() as connection:
            return stored_bytes(connection, name)

    gone.look()
    assert kept() == 4 * 6, "all are there"
    shutil.rmtree(f"{site.root}/runs/{first.id}")
    gone.tick(0.0)
    assert kept() == 4 * 6, "it looks a few times a day"
    gone.tick(1e5)
    assert kept() == 2 * 6
    shutil.rmtree(f"{site.root}/runs/{second.id}")
    gone.tick(1e5 + 1)
    assert kept() == 2 * 6
    gone.look()
    assert kept() == 0 and not embedded.mine.run(waiting.id).ended
    lease.release()
