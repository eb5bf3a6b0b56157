"""Packs the agent into the one file that is copied to a site, named by what is in it."""

from __future__ import annotations

import hashlib
import io
import marshal
import os
import sys
import zipfile
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

import packhorse

_MAIN = "from agent.__main__ import main\n\nmain()\n"
_UNCHECKED = (1).to_bytes(4, "little")  # flags of PEP 552: it belongs to its source, which need not be looked at


@cache
def agent_name() -> str:
    """The name of the agent's file: by its sources, and the Python that its bytecode is of."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag}\0{_MAIN}".encode())
    for name, path in _sources():
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return f"agent-{digest.hexdigest()[:16]}.pyz"


@cache
def agent_file() -> tuple[str, bytes]:
    """(file name, bytes) of the agent's zipapp.

    Beside each source is its bytecode: to compile them takes an agent or a slot longer than all else of its start. A
    Python of another version passes over it.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for name, path in _sources():
            source = path.read_bytes()
            code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
            _add(archive, f"{name}c", MAGIC_NUMBER + _UNCHECKED + source_hash(source) + marshal.dumps(code))
            _add(archive, name, source)
    return agent_name(), buffer.getvalue()


def _sources() -> list[tuple[str, Path]]:
    """(name in the archive, path), in order."""
    folder = Path(packhorse.__file__).parent / "agent"
    found = [  # by os.walk, since a glob takes most of the time in which the name is found
        os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if name.endswith(".py")
    ]
    return [(f"agent/{os.path.relpath(path, folder)}", Path(path)) for path in sorted(found)]


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0)), data)
