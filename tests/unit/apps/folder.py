"""Modules of an app's folder, imported as the app itself would: by bare names, without getting into the way of another
app's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

APPS = Path(__file__).resolve().parents[3] / "apps"


@contextmanager
def app_modules(app: str) -> Iterator[dict[str, ModuleType]]:
    """The app's modules by name. Apps have modules of the same names, so none of them stays in ``sys.modules``."""
    names = [path.stem for path in (APPS / app).glob("*.py")]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(APPS / app))
    try:
        yield {name: import_module(name) for name in names}
    finally:
        sys.path.remove(str(APPS / app))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)
