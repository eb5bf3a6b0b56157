"""The folder of an app on its way from the store to a site."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.domain.apparchive import AppFile, digest_of, pack_app
from packhorse.sites.site import InputNotBrought, local_site

FILES = [AppFile("app.yaml", b"name: t\n", False), AppFile("bin/tool", b"#!/bin/sh\n", True)]
DIGEST = digest_of(FILES)


def test_an_app_is_brought_once_with_what_may_be_executed(tmp_path: Path) -> None:
    site, asked = local_site(str(tmp_path)), []

    def archive() -> bytes:
        asked.append(1)
        return pack_app(FILES)

    folder = Path(site.bring_app("t", DIGEST, archive))
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {"app.yaml", "bin", "bin/tool"}
    assert (folder / "bin" / "tool").stat().st_mode & 0o777 == 0o755
    assert (folder / "app.yaml").stat().st_mode & 0o777 == 0o644
    assert site.bring_app("t", DIGEST, archive) == str(folder)
    assert asked == [1]


@pytest.mark.parametrize("archive", [b"", pack_app(FILES)[:-30], pack_app(FILES[:1])])
def test_an_app_that_is_damaged_in_the_store_is_not_brought(tmp_path: Path, archive: bytes) -> None:
    site = local_site(str(tmp_path))
    with pytest.raises(
        InputNotBrought, match=r"The app 't' is damaged in the store: .* Change the app, .* submit it again\."
    ):
        site.bring_app("t", DIGEST, lambda: archive)
    assert not list(tmp_path.glob("apps/*"))
    assert Path(site.bring_app("t", DIGEST, lambda: pack_app(FILES))).is_dir()
