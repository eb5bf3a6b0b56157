"""The import rules of docs/design.md: which room may know of which."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import packhorse

ROOT = Path(packhorse.__file__).parent

#: What each room may import of ours, besides itself.
ALLOWED = {
    "domain": set(),
    "agent": set(),
    "store": {"domain"},
    "estimate": {"domain"},
    "http": {"domain", "agent"},
    "report": {"domain"},
    "identity": {"domain", "store", "http"},
    "staging": {"domain", "http"},
    "sites": {"domain", "http"},
    "engine": {"domain", "http", "store", "estimate", "staging", "sites", "report", "identity"},
    "api": {"domain", "store", "engine", "identity"},
    "client": {"domain", "http", "engine"},
    "cli": {"domain", "store", "engine", "client", "api", "identity"},
}


#: What each part of the engine may import of its other parts; the modules beside them (leases, retries, clocks) are for
#: all.
ENGINE = {
    "steps": set(),
    "sizing": {"steps"},
    "requests": {"steps", "sizing"},
    "data": {"steps"},
    "images": {"steps"},
    "webhooks": set(),
    "reuse": {"steps"},
    "collecting": {"steps", "data", "sizing"},
    "placing": {"steps", "collecting", "images", "sizing"},
}


def imports_of(path: Path, parent: str = "packhorse") -> set[str]:
    """Rooms of ``parent`` that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.removeprefix(f"{parent}.").split(".")[0] for name in names if name.startswith(f"{parent}.")}
    return found


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may_know(room: str) -> None:
    modules = list((ROOT / room).rglob("*.py"))
    assert modules, f"the room {room} is empty"
    wrong = {
        str(path.relative_to(ROOT)): (imports_of(path) & set(ALLOWED)) - ALLOWED[room] - {room} for path in modules
    }
    assert {path: rooms for path, rooms in wrong.items() if rooms} == {}


@pytest.mark.parametrize("part", sorted(ENGINE))
def test_a_part_of_the_engine_imports_only_what_it_may_know(part: str) -> None:
    modules = list((ROOT / "engine" / part).rglob("*.py"))
    wrong = {
        path.name: (imports_of(path, "packhorse.engine") & set(ENGINE)) - ENGINE[part] - {part} for path in modules
    }
    assert {path: parts for path, parts in wrong.items() if parts} == {}


def test_the_parts_of_the_agent_know_what_is_for_all_of_them_and_not_each_other() -> None:
    """Its folders are parts: slots, supervisor, work in the background. The modules beside them are for all, and know
    no part; but the entry, which starts one of them.
    """
    modules = {_module_of(path): path for path in ROOT.rglob("*.py")}
    agent = {name: path for name, path in modules.items() if name.startswith("packhorse.agent.")}
    part_of = {name: "/".join(path.relative_to(ROOT / "agent").parts[:-1][:1]) for name, path in agent.items()}
    wrong = {
        name: others
        for name, path in agent.items()
        if name != "packhorse.agent.__main__"
        and (others := {part_of.get(each, "") for each in _files_imported(name, path, modules)} - {"", part_of[name]})
    }
    assert wrong == {}


def test_every_room_has_a_rule() -> None:
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(ALLOWED)
    assert {path.parent.name for path in (ROOT / "engine").glob("*/__init__.py")} == set(ENGINE)


def test_of_the_agent_only_the_rules_of_the_network_are_imported() -> None:
    """They are its own since it has nothing but itself at a site; ``http`` goes by the same."""
    found = {
        node.module
        for path in (ROOT / "http").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("packhorse.agent")
    }
    assert found == {"packhorse.agent.background.network"}


def test_no_two_files_import_each_other_around_a_circle() -> None:
    """Imports inside functions and those for types count as well.

    What is imported late is still needed: a circle through it only hides that two files are one, and breaks when
    somebody moves the import up. A type that is needed to read a file is needed to understand it.
    """
    modules = {_module_of(path): path for path in ROOT.rglob("*.py")}
    sorter = TopologicalSorter({name: _files_imported(name, path, modules) for name, path in modules.items()})
    try:
        sorter.prepare()
    except CycleError as circle:
        pytest.fail(" → ".join(reversed(circle.args[1])))


def test_a_circle_is_seen_through_late_imports_and_those_for_types(tmp_path: Path) -> None:
    texts = {
        "p": "",
        "p.a": "from .b import f",
        "p.b": "def f():\n    from p import c",
        "p.c": "if TYPE_CHECKING:\n    import p.a",
    }
    modules = {}
    for name, text in texts.items():
        modules[name] = tmp_path / ("__init__.py" if name == "p" else f"{name}.py")
        modules[name].write_text(text)
    found = {name: _files_imported(name, path, modules) for name, path in modules.items()}
    assert found == {"p": set(), "p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}}


def _module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files_imported(name: str, path: Path, modules: Mapping[str, Path]) -> set[str]:
    """The modules that a module imports, wherever in it; a package only where a name of its own is taken from it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{source}.{alias.name}" for alias in node.names}
            found |= {each if each in modules else source for each in inner}
    return (found & set(modules)) - {name}


def test_there_is_one_http_client() -> None:
    """httpx2's own clients know neither our limits nor our rules for proxies and credentials."""
    wrong = []
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        makes_one = re.search(r"httpx2\.(Async)?(Client|HTTPTransport)\(|httpx2\.(get|post|put|request|stream)\(", text)
        if re.search(r"\bhttpx\b(?!2)|import requests|urllib3", text) or (
            makes_one and path != ROOT / "http" / "client.py"
        ):
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_only_the_store_speaks_sql() -> None:
    """Other rooms may name SQLAlchemy's connection type, but tables and statements are the store's."""
    speakers = [
        path for room in ALLOWED if room != "store" for path in (ROOT / room).rglob("*.py") if _builds_statements(path)
    ]
    assert [str(path.relative_to(ROOT)) for path in speakers] == []


def _builds_statements(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    verbs = {"select", "insert", "update", "delete", "text"}
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sa"
        and node.attr in verbs
        for node in ast.walk(tree)
    )
