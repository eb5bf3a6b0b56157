"""What profiles suggest."""

from __future__ import annotations

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.siteconfig import SiteConfig
from packhorse.sites.profiles import PROFILES, expand, profile
from packhorse.sites.runtimes.registry import RUNTIMES


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_a_valid_site(name: str) -> None:
    kind = profile(name)
    config = SiteConfig.model_validate({**kind.settings, "root": "/x"})
    assert config.scheduler == "slurm"
    assert config.runtime is None or config.runtime in RUNTIMES
    assert kind.required | set(kind.choices) <= set(SiteConfig.model_fields)


def test_a_profile_that_is_not_there() -> None:
    with pytest.raises(InvalidRequest, match="There are: slurm, perlmutter"):
        profile("cori")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a/b", "/a/b"),
        ("~", "/home/u"),
        ("~/x", "/home/u/x"),
        ("$SCRATCH/x", "/scratch/u/x"),
        ("/a/$USER/x", "/a/u/x"),
        ("$SCRATCH/../x", "/scratch/x"),
        ("$NOWHERE/x", None),
        ("/a/$NOWHERE", None),
        ("a/b", None),
        ("~other/x", None),
        ("$EMPTY/x", "/x"),
        ("", None),
    ],
)
def test_paths_at_a_site(path: str, found: str | None) -> None:
    assert expand(path, {"HOME": "/home/u", "SCRATCH": "/scratch/u", "USER": "u", "EMPTY": ""}) == found
