"""Packs the agent into the one file that is copied to a site, named by its hash."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

import packhorse

_MAIN = "from agent.__main__ import main\n\nmain()\n"


@cache
def agent_file() -> tuple[str, bytes]:
    """(file name, bytes) of the agent's zipapp; the same sources give the same bytes."""
    folder = Path(packhorse.__file__).parent / "agent"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN)
        for path in sorted(folder.rglob("*.py")):
            _add(archive, f"agent/{path.relative_to(folder).as_posix()}", path.read_text(encoding="utf-8"))
    data = buffer.getvalue()
    return f"agent-{hashlib.sha256(data).hexdigest()[:16]}.pyz", data


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0)), text)
