"""A site and who uses it ask a scheduler, a transport or a runtime for abilities, and do not know which one it is."""

from __future__ import annotations

import ast
from pathlib import Path

import packhorse

ROOT = Path(packhorse.__file__).parent

#: Of each kind, the modules that anybody may import: the registry, and what is the same for all of the kind.
FOR_ALL = {
    "runtimes": {"base", "layouts", "registry"},
    "schedulers": {"description", "limits", "options", "pace", "registry"},
    "transports": {"framing", "registry"},
}
#: This machine's environment is no site's, and an image gateway is no runtime.
FOR_SOME = {
    ("sites/site.py", "transports.local"),
    ("engine/images/gatewaypreparer.py", "runtimes.shifter_gateway"),
}


def imported(path: Path) -> set[str]:
    """Modules of ours below ``sites`` that a module imports, as ``schedulers.registry``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("packhorse.sites."):
            module = str(node.module).removeprefix("packhorse.sites.")
            found |= {f"{module}.{alias.name}" for alias in node.names} if module in FOR_ALL else {module}
    return found


def test_only_a_registry_knows_its_members() -> None:
    wrong = {
        (str(path.relative_to(ROOT)), module)
        for path in ROOT.rglob("*.py")
        for module in imported(path)
        for kind, _, name in [module.partition(".")]
        if kind in FOR_ALL and name not in FOR_ALL[kind] and path.parent != ROOT / "sites" / kind
    }
    assert wrong == FOR_SOME


def test_nobody_asks_for_a_class() -> None:
    names = {"Transport", "Scheduler", "Runtime"} | {
        node.name
        for kind in FOR_ALL
        for path in (ROOT / "sites" / kind).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Transport", "Scheduler"))
    }
    asked = {
        (str(path.relative_to(ROOT)), name.id)
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "type")
        for argument in node.args[1:]
        for name in ast.walk(argument)
        if isinstance(name, ast.Name) and name.id in names
    }
    assert asked == set()
