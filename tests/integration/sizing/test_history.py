"""What attempts used is remembered as they end: by itself, bounded, and without texts of users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packhorse.domain.config import EstimatesConfig
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded
from packhorse.store.database import Database
from packhorse.store.records import Kept, add_history, newest_history, prune_history
from packhorse.store.schema import history
from tests.fixtures.room import make_app, wait_for

PARAMETERS = """  reads: {type: file}
  sample: {type: string}
  mode: {type: choice, choices: [fast, good]}
  scale: {type: number, default: 2.5}
resources: {ram_gb: 0.5, walltime_s: 60}
outputs: {out: {path: out}}
"""
COMMAND = "[/bin/sh, -c, 'head -c 3000 /dev/zero > out; exit $0', '{i}', '{reads}', '{sample}', '{mode}', '{scale}']"


def rows_of(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(sa.select(history).order_by(history.c.seq)))


def run_to_its_end(room: Embedded, request: AppRun) -> str:
    run = room.mine.submit(request)
    wait_for(lambda: room.mine.run(run.id).ended, 60, "the run's end")
    return run.id


def test_each_attempt_leaves_a_row(embedded: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command=COMMAND, more=PARAMETERS, name="recorded")
    reads = tmp_path / "reads.fq.gz"
    reads.write_bytes(b"x" * 1234)
    table = [{"i": number, "reads": str(reads), "sample": "secret-patient", "mode": "good"} for number in (0, 7)]
    with embedded.run_engine():
        run_to_its_end(embedded, AppRun(app=app, over=table))
    found = {row.failure: row for row in rows_of(embedded.database)}
    assert set(found) == {None, "app"}
    row = found[None]
    assert (row.app, row.part, row.step, row.site, row.executor) == ("recorded", "", "recorded", "local", "host none")
    assert row.version.startswith("1+") and len(row.version) == 14
    features = json.loads(row.features)
    assert features["numbers"] == {"i": 0.0, "scale": 2.5}
    assert features["inputs"] == {"reads": 1234} and features["compressed"] == ["reads"]
    assert set(features["categories"]) == {"sample", "mode"}
    assert "secret" not in row.features and "good" not in row.features and str(tmp_path) not in row.features
    assert (row.asked_memory_mb, row.asked_walltime_s, row.memory_mb, row.walltime_s) == (500, 60, 500, 60)
    assert row.wall_s > 0 and row.peak_memory != 0 and row.disk_bytes == 3000 and row.node_type
    assert (row.memory_censored, row.time_censored, row.stands_for, row.owner != "") == (False, False, 1, True)


def test_a_kill_at_a_limit_is_told_as_at_least(embedded: Embedded, tmp_path: Path) -> None:
    app = make_app(
        tmp_path / "app", command="[/bin/sleep, '30']", more="resources: {walltime_s: 0.5}\nretry: {out_of_time: 0}\n"
    )
    with embedded.run_engine():
        run_to_its_end(embedded, AppRun(app=app, over=[{"i": 1}]))
    [row] = rows_of(embedded.database)
    assert (row.failure, row.time_censored, row.memory_censored) == ("out_of_time", True, True)
    assert row.wall_s >= 0.5


def test_of_many_short_tasks_some_stand_for_all(embedded: Embedded, tmp_path: Path) -> None:
    app = make_app(tmp_path / "app", command="[/bin/true]")
    with embedded.run_engine():
        run_to_its_end(embedded, AppRun(app=app, over=[{"i": number} for number in range(600)]))
    rows = rows_of(embedded.database)
    assert 100 <= len(rows) < 350
    assert 500 <= sum(row.stands_for for row in rows) <= 600


def test_nothing_is_remembered_where_estimates_are_off(tmp_path: Path) -> None:
    room = Embedded(tmp_path / "home", estimates=EstimatesConfig.model_validate({"apps": {"t": "off"}}), linger_s=0.5)
    app = make_app(tmp_path / "app", command="[/bin/true]")
    with room.run_engine():
        run_to_its_end(room, AppRun(app=app, over=[{"i": 1}]))
    assert rows_of(room.database) == []
    room.close()


def test_a_text_is_told_by_a_secret_of_its_store(tmp_path: Path) -> None:
    """Who has the digests of two stores cannot tell whether they stand for the same; of an app's choices they can."""
    app = make_app(tmp_path / "app", command=COMMAND, more=PARAMETERS, name="recorded")
    reads = tmp_path / "reads"
    reads.touch()
    found = []
    for name in ("one", "other"):
        room = Embedded(tmp_path / name, linger_s=0.5)
        with room.run_engine():
            table = [{"i": 0, "reads": str(reads), "sample": "s", "mode": "good"}]
            run_to_its_end(room, AppRun(app=app, over=table))
        [row] = rows_of(room.database)
        found.append((json.loads(row.features)["categories"], row.owner))
        room.close()
    (one, owner), (other, other_owner) = found
    assert one["sample"] != other["sample"] and owner != other_owner
    assert one["mode"] == other["mode"]


def stored_row(number: int, **changes: Any) -> dict[str, Any]:
    """As the collector writes it."""
    row: dict[str, Any] = dict.fromkeys(column.name for column in history.c if column.name != "seq")
    row |= {
        "ended_at": float(number), "owner": "0a", "attempt": 1, "app": "t", "version": "1", "part": "", "step": "t",
        "executor": "host none", "site": "local", "node_type": "", "features": "{}", "nodes": 1, "stands_for": 1,
        "memory_censored": False, "time_censored": False,
    }  # fmt: skip
    return row | changes


def test_history_is_bounded_by_user_app_number_and_age(database: Database) -> None:
    with database.write() as connection:
        add_history(connection, [stored_row(number) for number in range(300)])
        add_history(connection, [stored_row(number, owner="0b") for number in range(300, 320)])
        add_history(connection, [stored_row(number, app="u") for number in range(320, 340)])

    def prune(kept: Kept) -> list[tuple[str, str, float]]:
        more = 1
        while more:
            with database.write() as connection:
                more = prune_history(connection, kept, 340.0)
        return [(row.app, row.owner, row.ended_at) for row in rows_of(database)]

    left = prune(Kept(of_owner=100, rows=1000, seconds=1000))
    assert len(left) == 140 and left[0] == ("t", "0a", 200.0), "who has many loses their oldest, and nobody else any"
    assert len(prune(Kept(of_owner=100, rows=1000, seconds=100))) == 100
    left = prune(Kept(of_owner=100, rows=30, seconds=1000))
    assert [ended_at for _, _, ended_at in left] == [float(number) for number in range(310, 340)]


def test_an_app_of_which_much_is_known_hides_no_other(database: Database) -> None:
    with database.write() as connection:
        add_history(connection, [stored_row(number, app="small") for number in range(10)])
        add_history(connection, [stored_row(number, app="large") for number in range(10, 500)])
        found = newest_history(connection, 100, 1000)
    assert len([row for row in found if row.app == "small"]) == 10
    assert [row.ended_at for row in found if row.app == "large"] == [float(number) for number in range(400, 500)]


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_a_run_may_say_so_itself(embedded: Embedded, tmp_path: Path, mode: str) -> None:
    app = make_app(tmp_path / "app", command="[/bin/true]")
    with embedded.run_engine():
        run_to_its_end(embedded, AppRun(app=app, over=[{"i": 1}], resources={"estimates": mode}))
    assert len(rows_of(embedded.database)) == (mode == "observe")
