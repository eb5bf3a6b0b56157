"""The documentation as a whole: every link leads somewhere, and an index names each of its pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.reference.markdown import anchor

from tests.acceptance.test_docs import REPOSITORY, pages_of

PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "apps").glob("*/*.md"),
        REPOSITORY / "bench" / "README.md",
    ]
)
INDEXES = ["apps", "images", "operators"]


def anchors_of(page: Path) -> set[str]:
    """What may stand behind the # of a link to this page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, part = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (part and part not in anchors_of(target)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("index", INDEXES)
def test_an_index_names_each_page_of_its_folder_once(index: str) -> None:
    named = pages_of(REPOSITORY / "docs" / f"{index}.md")
    assert sorted(named) == sorted((REPOSITORY / "docs" / index).glob("*.md"))
