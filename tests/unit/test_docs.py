"""The documentation as a whole: every link leads somewhere, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from tools.reference.markdown import anchor

from packhorse.domain.app import AppManifest, Gather, OutputDeclaration, Parameter, Resources
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

#: Pictures for which the field has a word: terminate, drain, idle, blocked, cause, unreachable, background job.
_PICTURES = r"(condemn|bury|buried|excuse|hungry|crumb|doomed|culprit|hostage|pulse|waiting[ _]?room|errand)"
PICTURES = re.compile(rf"\b{_PICTURES}", re.IGNORECASE)
PICTURES_IN_NAMES = re.compile(_PICTURES, re.IGNORECASE)


def words_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> set[str]:
    """What may stand behind the # of a link to this page."""
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", words_of(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", words_of(page)):
        if "://" in link:
            continue
        name, _, part = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (part and part not in anchors_of(target)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_page_has_the_words_of_the_field(page: Path) -> None:
    assert not PICTURES.findall(re.sub(r"`[^`]*`", "", words_of(page)))


def test_the_code_has_the_words_of_the_field() -> None:
    found = []
    for path in [*(REPOSITORY / "src").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]:
        text = re.sub(r'"[^"\n]*"|`[^`\n]*`', "", path.read_text(encoding="utf-8"))  # names on disk stay
        if path != Path(__file__):
            found += [f"{path.name}: {word}" for word in PICTURES_IN_NAMES.findall(text)]
    assert not found


@pytest.mark.parametrize("index", INDEXES)
def test_an_index_names_each_page_of_its_folder_once(index: str) -> None:
    named = pages_of(REPOSITORY / "docs" / f"{index}.md")
    assert sorted(named) == sorted((REPOSITORY / "docs" / index).glob("*.md"))


def test_files_and_tests_that_pages_name_are_there() -> None:
    tests = "\n".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "tests").rglob("*.py"))
    roots = (REPOSITORY, REPOSITORY / "src" / "packhorse", REPOSITORY / "tests")
    gone = []
    for page in PAGES:
        for name in re.findall(r"`([^`\s]+)`", page.read_text(encoding="utf-8")):
            if re.fullmatch(r"test_\w+", name) and f"def {name}(" not in tests and not name.startswith("test_outputs"):
                gone.append(f"{page.name}: {name}")
            if re.fullmatch(r"\w+/[\w./-]+\.py", name) and not any((root / name).is_file() for root in roots):
                gone.append(f"{page.name}: {name}")
    assert not gone


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("manifest", AppManifest),
        ("parameters", Parameter),
        ("outputs", OutputDeclaration),
        ("gathering", Gather),
        ("resources", Resources),
    ],
)
def test_the_first_table_of_a_page_has_every_field(page: str, model: type[BaseModel]) -> None:
    text = (REPOSITORY / "docs" / "apps" / f"{page}.md").read_text(encoding="utf-8")
    (lines, *_) = re.findall(r"^\| field .*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    named = [name for line in lines.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(named) == sorted(info.alias or name for name, info in model.model_fields.items())
