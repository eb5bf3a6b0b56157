"""A report in a browser: nothing on its console, in the light and in the dark, and on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from packhorse.report.page import render_page
from tests.fixtures.reports import made_up

HOSTILE = "<script>console.error('run')</script>\"><img src=http://127.0.0.1:1/x onerror=console.error(1)>"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(render_page(made_up(["make", "twice", HOSTILE], 40, said=HOSTILE)), encoding="utf-8")
    return file


def browse(page: Path, *options: str) -> list[str]:
    """Opens a page in a headless Chromium; returns what it wrote to its console."""
    browser = shutil.which("chromium")
    assert browser, "'make setup-test' installs Chromium"
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return re.findall(r"CONSOLE.*", done.stderr)


def corner(picture: Path) -> float:
    """How light the corner of a PNG is, 0 to 1."""
    from matplotlib.image import imread

    return float(imread(picture)[2, 2, :3].mean())


@pytest.mark.parametrize(("scheme", "least", "most"), [(0, 0.0, 0.2), (1, 0.95, 1.0)], ids=["dark", "light"])
def test_a_report_opens_in_a_browser(page: Path, scheme: int, least: float, most: float) -> None:
    picture = page.with_suffix(".png")
    said = browse(page, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
    assert said == []
    assert least <= corner(picture) <= most


def test_a_report_can_be_printed(page: Path) -> None:
    paper = page.with_suffix(".pdf")
    assert browse(page, "--blink-settings=preferredColorScheme=0", f"--print-to-pdf={paper}") == []
    assert paper.read_bytes().startswith(b"%PDF")


def test_a_page_that_is_not_right_would_be_noticed(page: Path) -> None:
    page.write_text(page.read_text().replace("</body>", "<script>console.error('seen')</script></body>"))
    assert "violates" in " ".join(browse(page, f"--screenshot={page.with_suffix('.png')}"))
