"""A user's secrets reach their tasks, and nothing and nobody else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from packhorse.domain.errors import InvalidRequest, NotFound, TooLarge
from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.users import User
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from packhorse.engine.requests.ownsecrets import MAX_BYTES, MAX_SECRETS
from packhorse.store.schema import user_secrets
from tests.fixtures.room import make_app, wait_for

NEEDLE = "tr0ub4dor-and-3-more"
VALUE = f"{NEEDLE}-'\"$ words"
USES = "secrets:\n  KEY: {variable: API_KEY}\n  CERT: {file: private/cert.pem}\n"


def app_with(folder: Path, script: str, more: str = USES) -> str:
    command = f"[/bin/sh, -c, {script!r}]"
    return make_app(folder, command=command, more=more)


def submit(room: Embedded, user: str, app: str) -> RunView:
    return room.service.as_user(User(user, admin=True)).submit(AppRun(app=app, over=[{"i": 1}]))


def keep(room: Embedded, user: str = "ana", **values: str) -> None:
    for name, value in values.items():
        room.service.as_user(User(user)).secrets.set(name, value)


def finish(room: Embedded, run: RunView) -> RunView:
    with room.run_engine():
        wait_for(lambda: room.mine.run(run.id).ended, 60, "the end of the run")
    return room.mine.run(run.id)


def where_it_is(folder: Path, value: str) -> list[str]:
    """The files below a folder that hold a value."""
    found = []
    for at, _, names in os.walk(folder):  # which passes over what is removed meanwhile
        for path in (Path(at) / name for name in names):
            try:
                if path.is_file() and value.encode() in path.read_bytes():
                    found.append(str(path.relative_to(folder)))
            except OSError:
                continue  # it is gone
    return found


def command_lines() -> Iterator[bytes]:
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield one.read_bytes()
        except OSError:
            continue


def test_a_task_is_given_variables_and_files_and_they_are_gone_afterwards(
    embedded: Embedded, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keep(embedded, KEY=VALUE, CERT="-----BEGIN-----")
    go, ready = tmp_path / "go", tmp_path / "ready"
    script = (
        f'stat -c %a private/cert.pem; printf %s "$API_KEY" | sha256sum; touch {ready}; '
        f"while [ ! -e {go} ]; do sleep 0.05; done; cat private/cert.pem | wc -c"
    )
    run = submit(embedded, "ana", app_with(tmp_path / "app", script))
    with embedded.run_engine():
        wait_for(ready.exists, 60, "the task")
        held = where_it_is(embedded.home, NEEDLE)
        assert len(held) == 1 and "/secrets/" in held[0], "at the site, in the private folder of its allocation"
        assert (embedded.home / held[0]).parent.stat().st_mode & 0o077 == 0
        assert not any(NEEDLE.encode() in line for line in command_lines())
        go.touch()
        wait_for(lambda: embedded.mine.run(run.id).ended, 60, "the end of the run")
        wait_for(lambda: not where_it_is(embedded.home, NEEDLE), 60, "that nothing is left")
    assert embedded.mine.run(run.id).counts == {TaskState.COMPLETE: 1}
    said = embedded.mine.log(f"{run.id}.0", "stdout").data.decode().split()
    assert said == ["600", hashlib.sha256(VALUE.encode()).hexdigest(), "-", str(len("-----BEGIN-----"))]
    assert where_it_is(tmp_path, "-----BEGIN-----") == []
    assert NEEDLE not in "".join(capfd.readouterr())
    assert NEEDLE not in str(embedded.mine.task(f"{run.id}.0"))


def test_what_takes_all_files_as_outputs_takes_no_secret(embedded: Embedded, tmp_path: Path) -> None:
    keep(embedded, CERT="-----BEGIN-----")
    more = "secrets:\n  CERT: {file: all/cert.pem}\noutputs:\n  all: {path: all}\n"
    app = app_with(tmp_path / "app", "mkdir -p all; echo kept > all/a.txt", more)
    run = finish(embedded, submit(embedded, "ana", app))
    assert run.counts == {TaskState.COMPLETE: 1}
    assert where_it_is(embedded.home / "site" / "runs", "-----BEGIN-----") == []
    assert where_it_is(embedded.home / "site" / "runs", "kept\n")


def test_a_task_that_fails_leaves_none_either(embedded: Embedded, tmp_path: Path) -> None:
    keep(embedded, KEY=VALUE, CERT="-----BEGIN-----")
    run = submit(embedded, "ana", app_with(tmp_path / "app", "exit 3"))
    with embedded.run_engine():
        wait_for(lambda: embedded.mine.run(run.id).counts == {TaskState.EXECUTOR_ERROR: 1}, 60, "the failure")
        wait_for(lambda: not where_it_is(embedded.home, "-----BEGIN-----"), 60, "that nothing is left")


def test_secrets_are_their_users_own(embedded: Embedded, tmp_path: Path) -> None:
    keep(embedded, KEY=VALUE, CERT="c")
    app = app_with(tmp_path / "app", "true")
    with pytest.raises(InvalidRequest, match="wants the secret 'CERT', which you have not set"):
        submit(embedded, "bob", app)
    bob = embedded.service.as_user(User("bob"))
    assert bob.secrets.views() == []
    with pytest.raises(NotFound):
        bob.secrets.remove("KEY")
    assert [view.name for view in embedded.service.as_user(User("ana")).secrets.views()] == ["CERT", "KEY"]


def test_one_that_was_removed_fails_its_task_by_name(embedded: Embedded, tmp_path: Path) -> None:
    keep(embedded, KEY=VALUE, CERT="c")
    run = submit(embedded, "ana", app_with(tmp_path / "app", "true"))
    embedded.service.as_user(User("ana")).secrets.remove("KEY")
    finish(embedded, run)
    task = embedded.mine.task(f"{run.id}.0")
    assert task.state in (TaskState.SYSTEM_ERROR, TaskState.EXECUTOR_ERROR)
    assert "no secret 'KEY'" in str(task.reason)


def test_a_row_that_was_moved_in_the_database_gives_nobody_anothers(embedded: Embedded, tmp_path: Path) -> None:
    keep(embedded, KEY=VALUE, CERT="c")
    keep(embedded, "bob", CERT="c", KEY="bobs")
    with embedded.database.write() as connection:
        stolen = connection.execute(
            sa.select(user_secrets.c.sealed).where(user_secrets.c.user == "ana", user_secrets.c.name == "KEY")
        ).scalar_one()
        mine = sa.and_(user_secrets.c.user == "bob", user_secrets.c.name == "KEY")
        connection.execute(sa.update(user_secrets).where(mine).values(sealed=stolen))
    run = submit(embedded, "bob", app_with(tmp_path / "app", 'echo "$API_KEY"'))
    finish(embedded, run)
    assert "no secret 'KEY'" in str(embedded.mine.task(f"{run.id}.0").reason)


def test_they_are_encrypted_at_rest(embedded: Embedded) -> None:
    keep(embedded, KEY=VALUE)
    with embedded.database.read() as connection:
        [sealed] = connection.execute(sa.select(user_secrets.c.sealed)).scalars().all()
    assert NEEDLE.encode() not in bytes(sealed)
    key = embedded.home / "seal.key"
    assert key.stat().st_mode & 0o077 == 0 and key.stat().st_uid == os.getuid()
    assert NEEDLE not in str(embedded.mine.watching.changes())


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A" * 65, "a b", "é", "A\0"])
def test_names_are_those_of_variables(embedded: Embedded, name: str) -> None:
    with pytest.raises(InvalidRequest):
        keep(embedded, **{name: "v"})


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", "x" * (MAX_BYTES + 1)])
def test_a_value_that_cannot_be_kept_is_refused_and_not_repeated(embedded: Embedded, value: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        keep(embedded, KEY=value)
    assert not value or value[:5] not in str(refusal.value)


def test_there_are_not_too_many(embedded: Embedded) -> None:
    keep(embedded, **{f"S{number}": "v" for number in range(MAX_SECRETS)})
    keep(embedded, S1="again")
    with pytest.raises(TooLarge):
        keep(embedded, ONE_MORE="v")
