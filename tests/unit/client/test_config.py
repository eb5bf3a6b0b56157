"""packhorse.toml: what it may say, and which place wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.domain.config import Config, load_config
from packhorse.domain.errors import InvalidRequest


def test_without_a_file_everything_has_a_default(tmp_path: Path) -> None:
    config = load_config(environment={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (config.server.host, config.server.port, config.sites) == ("127.0.0.1", 8765, {})


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_text(
        'home = "/data/ph"\napps = ["/apps"]\n[server]\nport = 9000\ndata_roots ='
        ' ["/data"]\n[sites.perlmutter]\ntransport = "ssh"\nscheduler = "slurm"\nroot = "/scratch/ph"\ncores ='
        ' 128\nqueue = "regular"\n'
    )
    config = load_config(environment={"PACKHORSE_CONFIG": str(file)})
    assert config.home_folder({}) == Path("/data/ph")
    assert config.app_folders()[0] == Path("/apps")
    assert (config.server.port, config.server.data_roots) == (9000, [Path("/data")])
    assert (config.sites["perlmutter"].scheduler, config.sites["perlmutter"].cores) == ("slurm", 128)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "key 'colour': is not a key that is known here."),
        ("[server]\nports = 1", "key 'server.ports': is not a key that is known here."),
        ("[server]\nport = 99999", "key 'server.port': expected a number at most 65535 (found: 99999)."),
        ("[sites.x]\nfetch = 'nobody'", "key 'sites.x.fetch': expected 'engine' or 'site'"),
        ("[sites.x]\ncores = 0", "key 'sites.x.cores'"),
        ("home = ", "is not valid TOML"),
        ("[server]\nport = 1\nport = 2\n", "(at line 3, column 9); it is in line 2 already."),
        ("[sites.x]\n[images]\n[sites.x] # again\n", "(at line 3, column 9); it is in line 1 already."),
        (
            "[sites.x]\ncores = '1_0'\n",
            "key 'sites.x.cores': expected a whole number written in the digits 0 to 9, found '1_0'.",
        ),
        ("[sites.x]\nmemory_gb = inf\n", "key 'sites.x.memory_gb': expected a number"),
        ("[sites.x]\ncores = true\n", "key 'sites.x.cores': expected a whole number, found true."),
        ("a = " + "[" * 100_000, "is not valid TOML: a value is too long, or nested too deeply."),
        ("a = " + "1" * 5000, "is not valid TOML: a value is too long, or nested too deeply."),
        ("#" * 1_000_001, "is larger than 1,000,000 bytes"),
        ("home = '\udcff'", "line 1, byte 9: 0xff is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidRequest) as refusal:
        load_config(file, {})
    assert words in str(refusal.value)
    assert str(file) in str(refusal.value)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "packhorse.toml"
    file.write_text("a = 1\nb = 2\n")
    with pytest.raises(InvalidRequest) as refusal:
        load_config(file, {})
    assert len(refusal.value.problems) == 2


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(InvalidRequest, match="is not there"):
        load_config(environment={"PACKHORSE_CONFIG": "/nowhere/packhorse.toml"})


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({"PACKHORSE_HOME": "/a", "XDG_DATA_HOME": "/b"}, "/a"),
        ({"XDG_DATA_HOME": "/b"}, "/b/packhorse"),
        ({}, str(Path.home() / ".local/share/packhorse")),
    ],
)
def test_where_home_is(environment: dict[str, str], home: str) -> None:
    assert Config().home_folder(environment) == Path(home)
