"""Without an entry in passwd, without a home or with one that cannot be written, with a read-only app, under any umask:
real processes.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.api.auth import Tokens
from packhorse.domain.config import Config, config_file, load_config
from packhorse.domain.errors import InvalidRequest
from packhorse.domain.ourselves import expanded, user_name
from packhorse.engine.embedded import Embedded
from tests.fixtures.nobody import UID, as_nobody, needs_root, packhorse
from tests.fixtures.room import make_app, submit, wait_for
from tests.fixtures.sshd import SshServer, shared_sshd

__all__ = ["shared_sshd"]

SAID = "outputs: {said: {from: stdout, type: text}}\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the user without a name may write to, and can reach, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "place"
        folder.mkdir()
        os.chown(folder, UID, UID)
        yield folder


# --- a user whom passwd does not know ------------------------------------------------------------


@needs_root
def test_a_run_of_a_user_without_a_name(place: Path) -> None:
    app = make_app(place.parent / "app", command="[id, -u]", more=SAID)
    env = {"PACKHORSE_HOME": str(place / "home"), "TMPDIR": "/not/there"}
    done = packhorse("run", app, "--set", "i=1", "--json", env=env, cwd=place)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["user"] == str(UID) and run["counts"] == {"COMPLETE": 1}
    results = packhorse("results", run["id"], "--json", env=env, cwd=place)
    assert json.loads(results.stdout)["result"] == str(UID)
    checks = json.loads(packhorse("doctor", "--json", env=env, cwd=place).stdout)
    assert [check for check in checks if check.get("level", check.get("status")) in ("bad", "problem", "failed")] == []


@needs_root
def test_a_server_of_a_user_without_a_name(place: Path) -> None:
    command = [*as_nobody(), sys.executable, "-m", "packhorse.cli.main", "serve", "--port", "0"]
    env = {"PATH": os.environ["PATH"], "PACKHORSE_HOME": str(place / "home")}
    server = subprocess.Popen(command, env=env, cwd=place, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        said = server.stderr.readline()
        assert f"the token of {UID} is in {place}/home/token" in said
        wait_for(lambda: _answers(said.split()[1].rstrip(";")), 30, "the server")
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/health") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@needs_root
@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, ["HOME is not set", f"user {UID} has no entry in passwd", "PACKHORSE_HOME"]),
        ({"HOME": "", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "relative"}, ["HOME is not set", "PACKHORSE_HOME"]),
        ({"HOME": "here"}, ["HOME is not an absolute path", "PACKHORSE_HOME"]),
        ({"HOME": "/proc/1"}, ["/proc/1/.local", "cannot be made", "PACKHORSE_HOME"]),
        ({"HOME": "/nowhere"}, ["/nowhere/.local/share/packhorse", "Permission denied", "PACKHORSE_HOME"]),
        ({"PACKHORSE_HOME": "/etc"}, ["/etc", "cannot be written: Permission denied", "PACKHORSE_HOME"]),
        ({"PACKHORSE_HOME": "/etc/passwd"}, ["/etc/passwd", "Not a directory"]),
        ({"PACKHORSE_HOME": "~/mine"}, ["HOME is not set", "Give the whole path"]),
        ({"PACKHORSE_HOME": "~no-such-user/mine"}, ["no user 'no-such-user'"]),
    ],
)
def test_a_home_that_is_none_is_refused_at_once(place: Path, env: dict[str, str], words: list[str]) -> None:
    done = packhorse("ps", env=env, cwd=place)
    said = " ".join(done.stderr.split())
    assert all(word in said for word in words), said
    assert done.returncode in (2, 5) and "bug" not in said and "Traceback" not in said


@needs_root
def test_what_needs_no_home_works_without_one(place: Path) -> None:
    app = make_app(place.parent / "app", command="['true']")
    assert packhorse("apps", "check", app, env={}, cwd=place).returncode == 0
    assert packhorse("version", env={}, cwd=place).returncode == 0
    for token in ({}, {"PACKHORSE_TOKEN": "t"}):
        refused = packhorse("ps", env={"PACKHORSE_URL": "http://127.0.0.1:1", **token}, cwd=place)
        assert refused.returncode == 6, "it got as far as asking the server"
    asked = packhorse(
        "sites", "add", "x", "--profile", "slurm", "--yes", env={"PACKHORSE_HOME": str(place / "home")}, cwd=place
    )
    assert "PACKHORSE_CONFIG" in asked.stderr and "Traceback" not in asked.stderr


@needs_root
def test_anothers_home_and_a_home_of_ones_own_beside_it(place: Path) -> None:
    """As after setpriv or sudo: HOME is still root's, which one cannot even look into."""
    foreign = place.parent / "foreign"
    foreign.mkdir(mode=0o700)
    env = {"HOME": str(foreign), "PACKHORSE_HOME": str(place / "home")}
    done = packhorse("run", make_app(place.parent / "app", command="['true']"), "--set", "i=1", env=env, cwd=place)
    assert done.returncode == 0, done.stderr


@needs_root
def test_an_app_in_a_folder_that_cannot_be_written(place: Path) -> None:
    folder = place.parent / "app"
    app = make_app(folder, command=f"[{sys.executable}, '{{app}}/main.py']", more=SAID)
    (folder / "main.py").write_text("import helper\nprint(helper.WORD)\n")
    (folder / "helper.py").write_text("WORD = 'found'\n")
    before = sorted(folder.rglob("*"))
    for path in [*before, folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    env = {"PACKHORSE_HOME": str(place / "home")}
    done = packhorse("run", app, "--set", "i=1", env=env, cwd=place)
    assert done.returncode == 0, done.stderr
    assert sorted(folder.rglob("*")) == before, "nothing was written beside it"


@needs_root
def test_a_site_over_ssh_for_a_user_without_a_name(place: Path, shared_sshd: SshServer) -> None:
    for name in ("key", "known_hosts"):
        shutil.copyfile(getattr(shared_sshd, name), place / name)
        os.chown(place / name, UID, UID)
    (place / "key").chmod(0o600)
    script = (
        "import sys\nfrom pathlib import Path\nfrom packhorse.sites.transports.ssh import SshTransport\n"
        "from packhorse.sites.transports.ssh_options import SshOptions\nport, key, known, user = sys.argv[1:]\n"
        "way = SshOptions('127.0.0.1', int(port), user, Path(key), known_hosts=Path(known))\n"
        "print(SshTransport(way).run(['id', '-un']).stdout)"
    )
    words = [str(shared_sshd.port), str(place / "key"), str(place / "known_hosts"), pwd.getpwuid(os.getuid()).pw_name]
    command = [*as_nobody(), sys.executable, "-c", script, *words]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"]}, cwd=place, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == words[-1], done.stderr


# --- without HOME ------------------------------------------------------------


def test_without_home_it_is_what_passwd_says() -> None:
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)
    for environment in ({}, {"HOME": ""}, {"HOME": "relative", "XDG_DATA_HOME": "relative", "XDG_CONFIG_HOME": ""}):
        assert Config().home_folder(environment) == own / ".local/share/packhorse"
        assert config_file(environment) == own / ".config/packhorse/packhorse.toml"
        assert expanded(Path("~/x"), environment) == own / "x"
    assert Config().home_folder({"HOME": "/h", "XDG_DATA_HOME": "/d"}) == Path("/d/packhorse")
    assert expanded(Path("~root/x"), {}) == Path(pwd.getpwnam("root").pw_dir) / "x"
    assert user_name() == pwd.getpwuid(os.getuid()).pw_name


def test_without_home_and_a_name_there_is_no_configuration_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: UID)
    assert load_config(environment={}) == Config()
    with pytest.raises(InvalidRequest, match="PACKHORSE_CONFIG"):
        config_file({})
    assert user_name() == str(UID)


# --- under any umask ------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_is_kept_is_its_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)  # by somebody who did not think of it
    (home / "packhorse.db").touch(mode=0o644)  # by an earlier version
    before = os.umask(umask)
    try:
        room = Embedded(home, linger_s=0.5, app_folders=[])
        Tokens(room.database).ensure_file(home / "token", room.user.name)
        run = submit(room, make_app(tmp_path / "app", command="[sh, -c, 'echo told; touch made; umask']"), 2)
        with room.run_engine():
            wait_for(lambda: room.mine.run(run.id).ended_at, what="the end")
            modes = {path: path.stat().st_mode & 0o777 for path in home.rglob("*") if not path.is_symlink()}
            database = {name: modes[home / f"packhorse.db{name}"] for name in ("", "-wal", "-shm")}
        assert b"told\n%04o\n" % umask in room.mine.log(f"{run.id}.0", "stdout", 0).data, "tasks keep one's own umask"
    finally:
        os.umask(before)
        room.close()
    assert database == {"": 0o600, "-wal": 0o600, "-shm": 0o600} and modes[home / "token"] == 0o600
    [spool] = [path for path in modes if path.parent == home / "site" / "spool"]
    assert modes[spool] == 0o700, "journals, logs, and what tasks are given"
    logs = [
        mode
        for path, mode in modes.items()
        if path.parent in (spool / "log", spool / "journal") and path.suffix != ".beat"
    ]
    assert logs == [0o600, 0o600]
    open_to_all = [path for path, mode in modes.items() if mode & 0o022 and not path.is_relative_to(spool)]
    assert open_to_all == []
    [kept] = (home / "site" / "apps").iterdir()
    assert modes[kept] == 0o755, "a container may run as another user"


def test_folders_are_made_by_two_at_once(tmp_path: Path) -> None:
    from packhorse.domain.ourselves import make_private_folder

    threads = [threading.Thread(target=make_private_folder, args=(tmp_path / "a" / "b" / "c",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a" / "b" / "c").is_dir() and (tmp_path / "a").stat().st_mode & 0o777 == 0o700
