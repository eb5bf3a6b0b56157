"""What a background job's journal tells, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from packhorse.sites.background import BackgroundStatus, folder_of, look, read_journal
from packhorse.sites.site import local_site


def journal(*records: dict[str, object], rest: bytes = b"") -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records) + rest


STARTED = {"k": "errand", "pid": 1, "host": "login1", "t": 1.0}
COPYING = {"k": "step", "i": 0, "what": "copying", "t": 1.0}


def test_it_tells_the_step_and_how_far_it_is() -> None:
    data = journal(STARTED, COPYING, {"k": "beat", "t": 2.0, "bytes": 10})
    assert read_journal(data) == BackgroundStatus(len(data), "copying", 10)


def test_the_bytes_are_those_of_the_step() -> None:
    assert (
        read_journal(
            journal(STARTED, COPYING, {"k": "beat", "bytes": 10}, {"k": "step", "what": "converting"})
        ).done_bytes
        == 0
    )


def test_how_it_ended() -> None:
    failed = read_journal(
        journal(STARTED, COPYING, {"k": "end", "i": 0, "exit": 1, "why": None, "tail": "manifest unknown"})
    )
    assert (failed.ended, failed.succeeded, failed.exit_code, failed.tail) == (True, False, 1, "manifest unknown")
    assert read_journal(journal(STARTED, {"k": "end", "exit": 0})).succeeded
    assert not read_journal(journal(STARTED, {"k": "end", "exit": 0, "why": "stopped"})).succeeded


def test_one_that_died_and_was_started_again_begins_anew() -> None:
    assert read_journal(journal(STARTED, COPYING, {"k": "beat", "bytes": 10}, STARTED)) == BackgroundStatus(
        len(journal(STARTED, COPYING, {"k": "beat", "bytes": 10}, STARTED))
    )


@given(st.binary(max_size=200))
def test_damaged_lines_count_as_never_written(damage: bytes) -> None:
    data = (
        journal(STARTED, COPYING)
        + damage.replace(b"\n", b" ")
        + b"\n"
        + journal({"k": "beat", "bytes": 5}, rest=b'{"k":"end"')
    )
    status = read_journal(data)
    assert (status.what, status.done_bytes, status.ended) == ("copying", 5, False)


@given(cuts=st.lists(st.integers(0, 400), max_size=6))
def test_a_journal_read_in_pieces_says_the_same(cuts: list[int]) -> None:
    end = {"k": "end", "i": 1, "exit": 3, "why": None, "tail": "no"}
    data = journal(
        STARTED,
        COPYING,
        {"k": "beat", "bytes": 10},
        {"k": "fetched", "size": 10},
        {"k": "step", "what": "converting"},
        end,
    )
    status = BackgroundStatus(0)
    for cut in [*sorted(cuts), len(data)]:
        status = read_journal(data[status.heard : cut], status)
    assert status == read_journal(data) and status.ended


def test_the_end_of_a_background_job_that_went_on_for_a_day_is_seen(tmp_path: Path) -> None:
    site = local_site(str(tmp_path))
    beats = [{"k": "beat", "bytes": number * 10**7, "t": 1795636145.0 + number} for number in range(24 * 3600)]
    file = Path(folder_of(site, "e")) / "journal.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(journal(STARTED, COPYING, *beats))
    status = look(site, "e")
    assert (status.ended, status.done_bytes) == (False, beats[-1]["bytes"])
    with file.open("ab") as more:
        more.write(journal({"k": "fetched", "size": 5}, {"k": "end", "i": 0, "exit": 0}))
    for seen in (None, status):
        after = look(site, "e", seen)
        assert after.succeeded and after.fetched["size"] == 5 and after.heard == file.stat().st_size


def test_a_journal_with_odd_values_is_read_all_the_same() -> None:
    lines = [
        b'{"k": "beat", "bytes": 1e999}',
        b'{"k": "beat", "bytes": Infinity}',
        b"[" * 100_000,
        b'\xff{"k": "end"}',
        b"[1]",
        b'{"k": []}',
    ]
    lines += [b'{"k": "beat", "bytes": 7}', b'{"k": "end", "exit": 1, "tail": "a\\u0000\\ud800"}']
    status = read_journal(b"\n".join(lines) + b"\n")
    assert (status.done_bytes, status.ended, status.exit_code, status.tail) == (7, True, 1, "a\ufffd\ufffd")
