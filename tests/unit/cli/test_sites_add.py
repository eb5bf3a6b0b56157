"""``packhorse sites add`` against commands that print what a real Slurm printed, and what it does to the configuration
file.
"""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.cli.conffile import add_site, refuse_unwritable, site_table
from packhorse.domain.config import load_config
from packhorse.domain.errors import Conflict, InvalidRequest, NotAllowed
from packhorse.domain.siteconfig import SiteConfig
from packhorse.engine.requests.newsite import likely_queue
from packhorse.sites.schedulers.description import Queue
from tests.fixtures.commandline import packhorse_here
from tests.unit.sites.schedulers.recorded import FOLDER as RECORDED

SITE = {"root": "/x"}
TABLE = '[sites.new]\nroot = "/x"\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder on a machine with Slurm."""
    commands = {
        "sbatch": "exit 1",
        "sinfo": f"cat {RECORDED}/sinfo.txt",
        "scontrol": (
            f'case "$*" in *partition) cat {RECORDED}/scontrol-partition.txt ;; *) cat {RECORDED}/scontrol-config.txt'
            " ;; esac"
        ),
    }
    (tmp_path / "bin").mkdir()
    for name, line in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PACKHORSE_", "XDG_", "SCRATCH", "WORK"))
    }
    return {**kept, "HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}", **more}


def add(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return packhorse_here("sites", "add", *arguments, environment=environment(home, **more), folder=home)


def file_of(home: Path) -> Path:
    return home / ".config" / "packhorse" / "packhorse.toml"


def test_one_command_connects_a_slurm_cluster(home: Path) -> None:
    done = add(home, "hpc", "--yes")
    assert done.returncode == 0, done.stderr
    file = file_of(home)
    table = f'[sites.hpc]\ntransport = "local"\nscheduler = "slurm"\nroot = "{home}/packhorse"\nqueue = "debug"\n'
    assert file.read_text() == table
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert table in done.stdout
    for words in (
        "debug (default)",
        "hpc: scheduler",
        "5 min 00 s",
        "fast",
        "down",
        f"Written to {file}",
        "'packhorse doctor hpc'",
    ):
        assert words in done.stdout
    listed = packhorse_here("sites", "list", "--json", environment=environment(home), folder=home).stdout
    assert [site["name"] for site in json.loads(listed)] == ["local", "hpc"]


def test_everything_can_be_said_on_the_command_line(home: Path) -> None:
    options = [
        "--transport", "local", "--root", "$DATA/ph", "--queue", "short", "--account", "science", "--qos", "small",
        "--constraint", "fast", "--python", sys.executable, "--profile", "slurm", "--yes", "--json",
    ]  # fmt: skip
    done = add(home, "hpc", *options, DATA=str(home / "data"))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    wanted = {
        "transport": "local",
        "scheduler": "slurm",
        "root": f"{home}/data/ph",
        "python": sys.executable,
        "queue": "short",
        "account": "science",
        "qos": "small",
        "constraint": "fast",
    }
    assert tomllib.loads(file_of(home).read_text())["sites"]["hpc"] == said["site"] == wanted
    assert said["written"] is True
    assert [check["ok"] for check in said["checks"]] == [True] * 6


def test_without_a_terminal_and_without_yes_it_only_shows(home: Path) -> None:
    done = add(home, "hpc")
    assert done.returncode == 2
    assert "[sites.hpc]" in done.stdout
    assert "Say --yes" in done.stderr
    assert not file_of(home).exists()


def test_a_person_is_asked(home: Path) -> None:
    answers = ["", "hpc", "", "~/there", "short", "", "", "none", "yes"]
    command = [sys.executable, "-m", "packhorse.cli.main", "sites", "add"]
    terminal, keyboard = pty.openpty()
    try:
        with subprocess.Popen(
            command, env=environment(home), stdin=keyboard, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            os.write(terminal, ("\n".join(answers) + "\n").encode())
            stdout, stderr = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(keyboard)
    assert process.returncode == 0, stderr
    assert "How to get there (local, ssh) [local]: " in stderr
    assert "Queue [debug]: " in stderr
    assert load_config(file_of(home)).sites["hpc"] == SiteConfig(
        transport="local", scheduler="slurm", root=home / "there", queue="short"
    )
    assert "Written to" in stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--yes"], 2, "The new site has no name."),
        (["Hpc", "--yes"], 2, "'Hpc' is not a name for a site."),
        (["hpc\n", "--yes"], 2, "is not a name for a site."),
        (["local", "--yes"], 4, "The site 'local' is this machine."),
        (["old", "--yes"], 4, "has a site 'old' already."),
        (["hpc", "--yes", "--profile", "cori"], 2, "There are: slurm, perlmutter."),
        (["hpc", "--yes", "--transport", "pigeon"], 2, "There is no transport 'pigeon'. There are: local, ssh."),
        (["hpc", "--yes", "--transport", "ssh"], 2, "Say it with --host."),
        (["hpc", "--yes", "--queue", "long"], 2, "There are: debug, short, preemptible, closed."),
        (["hpc", "--yes", "--root", "here"], 2, "'here' is not an absolute path there."),
        (["hpc", "--yes", "--python", "/no/python"], 2, "hpc: python: /no/python: No such file or directory"),
        (["hpc", "--yes", "--root", "/dev/null/x"], 2, "hpc: folder"),
        (
            ["hpc", "--yes", "--host", "127.0.0.1", "--port", "9", "--known-hosts", "/dev/null"],
            6,
            "127.0.0.1:9 refuses connections.",
        ),
        (["hpc", "--yes", "--host", "127.0.0.1", "--port", "70000"], 2, "key 'port'"),
    ],
)
def test_a_refusal_is_a_sentence_and_changes_nothing(home: Path, arguments: list[str], code: int, words: str) -> None:
    file = file_of(home)
    file.parent.mkdir(parents=True)
    file.write_text('[sites.old]\nroot = "/x"\n')
    done = add(home, *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in done.stderr
    assert file.read_text() == '[sites.old]\nroot = "/x"\n'
    assert list(file.parent.iterdir()) == [file]


def test_a_batch_scheduler_that_is_away_and_a_file_that_is_wrong(home: Path) -> None:
    (home / "bin" / "scontrol").write_text(
        "#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2\nexit 1\n"
    )
    done = add(home, "hpc", "--yes")
    assert done.returncode == 6
    assert "Slurm does not answer" in done.stderr
    file_of(home).parent.mkdir(parents=True)
    file_of(home).write_text("colour = 1\n")
    done = add(home, "hpc", "--yes")
    assert done.returncode == 2
    assert "key 'colour'" in done.stderr


def test_perlmutter_needs_an_account_and_names_no_queue(home: Path) -> None:
    """Its profile, here with the cluster at hand; there is no other way to try it."""
    done = add(
        home, "nersc", "--profile", "perlmutter", "--transport", "local", "--yes", PSCRATCH=str(home / "pscratch")
    )
    assert done.returncode == 2
    assert "Say it with --account." in done.stderr
    options = ["--profile", "perlmutter", "--transport", "local", "--account", "m1234", "--qos", "debug", "--yes"]
    done = add(home, "nersc", *options, PSCRATCH=str(home / "pscratch"))
    assert done.returncode == 0, done.stderr
    assert "was not tried there" in done.stderr
    assert tomllib.loads(file_of(home).read_text())["sites"]["nersc"] == {
        "transport": "local",
        "scheduler": "slurm",
        "runtime": "podman_hpc",
        "root": f"{home}/pscratch/packhorse",
        "account": "m1234",
        "qos": "debug",
        "constraint": "cpu",
    }


# --- the file ------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"# mine\r\n[server]\r\nport = 1  # a port\r\n",
        b'[sites.old]\nroot = "/x"',
        b'sites.old.root = "/x"\n',
        b"\n\n# only a comment",
    ],
)
def test_what_is_there_is_kept_byte_for_byte(tmp_path: Path, before: bytes) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_bytes(before)
    file.chmod(0o640)
    add_site(file, "new", SITE)
    after = file.read_bytes()
    assert after.startswith(before)
    assert after.endswith(TABLE.encode())
    assert load_config(file).sites["new"].root == Path("/x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    with pytest.raises(Conflict, match="has a site 'new' already"):
        add_site(file, "new", SITE)
    assert file.read_bytes() == after


@pytest.mark.parametrize(
    "before",
    [
        '# mine\nsites = {old = {root = "/x"}}  # old\n[images] # images\n',
        '# mine\nsites = {"old" = {root = "/x"}}\n[server]\nport = 1  # a port',
    ],
)
def test_sites_in_a_line_get_another(tmp_path: Path, before: str) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_text(before)
    add_site(file, "new", SITE)
    sites = load_config(file).sites
    assert [(name, str(site.root)) for name, site in sites.items()] == [("old", "/x"), ("new", "/x")]
    assert [line for line in before.splitlines() if not line.startswith("sites")] == [
        line for line in file.read_text().splitlines() if not line.startswith("sites")
    ]


def test_a_file_to_which_nothing_can_be_added_stays(tmp_path: Path) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_text(f"# {'x' * 999_990}\n")  # with more, it would be larger than it may be
    before = file.read_bytes()
    with pytest.raises(Conflict, match="cannot take a site such that all else in it stays"):
        add_site(file, "new", SITE)
    assert file.read_bytes() == before


def test_a_table_looks_as_a_person_would_write_it() -> None:
    values = {"host": "a.b", "port": 22, "submit_options": ["--x", 'a "b"'], "env": {"A": "1"}, "queue": "q"}
    assert site_table("hpc", values) == (
        '[sites.hpc]\nhost = "a.b"\nport = 22\nsubmit_options = ["--x", "a \\"b\\""]\nqueue = "q"\n\n'
        '[sites.hpc.env]\nA = "1"\n'
    )


def test_what_utf8_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is not valid UTF-8"):
        add_site(tmp_path / "packhorse.toml", "x", {"root": "/\udcff"})
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles" / "real.toml", tmp_path / "packhorse.toml"
    link.symlink_to(real)
    add_site(link, "new", SITE)
    assert link.is_symlink()
    assert real.read_text() == TABLE


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "packhorse.toml"
    names = [f"s{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: add_site(file, name, SITE), names))
    assert sorted(load_config(file).sites) == sorted(names)


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(13, NotAllowed, 5), (30, NotAllowed, 5), (28, InvalidRequest, 2)]
)
def test_a_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[NotAllowed], code: int
) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_text("# mine\n")

    def refuse(_: Path, __: Path) -> None:
        raise OSError(number, os.strerror(number), "x")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(kind, match="cannot be written") as refusal:
        add_site(file, "new", SITE)
    assert refusal.value.exit_code == code
    assert file.read_text() == "# mine\n"
    assert list(tmp_path.iterdir()) == [file], "nothing is left behind"


def test_a_folder_that_may_not_be_written_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(NotAllowed, match="Permission denied"):
        refuse_unwritable(tmp_path / "a" / "b" / "packhorse.toml")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(TEXT, TEXT, st.dictionaries(TEXT.map(lambda name: name.replace("=", "-")), TEXT))
def test_any_site_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, host: str, root: str, env: dict[str, str]
) -> None:
    file = tmp_path_factory.mktemp("conf") / "packhorse.toml"
    values = {
        "transport": "ssh",
        "scheduler": "slurm",
        "host": host,
        "root": f"/{root}",
        "submit_options": [host, root],
        "env": env,
    }
    add_site(file, "new", values)
    assert load_config(file).sites["new"] == SiteConfig.model_validate(values)


def test_the_queue_that_is_suggested() -> None:
    def queue(name: str, *, is_default: bool = False, is_up: bool = True) -> Queue:
        return Queue(name, is_default, is_up, None, None, None, 0, False, False, 1, None)

    assert likely_queue(()) is None
    assert likely_queue((queue("a"), queue("b", is_default=True))) == "b"
    assert likely_queue((queue("a", is_up=False), queue("b"))) == "b"
    assert likely_queue((queue("a", is_up=False),)) is None
