"""Finds apps, and keeps a copy of each that was run, named by its content: editing an app never changes a run that was
accepted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError, TooLarge, Unavailable
from packhorse.domain.images import refuse_image_beside
from packhorse.domain.manifest import read_manifest
from packhorse.domain.ourselves import make_private_folder

MANIFEST = "app.yaml"
MAX_FILES = 2000
MAX_BYTES = 100_000_000
#: Whatever our umask, and the rights of the app's own folder. Files have no more than that: what tasks execute, nobody
#: else may write.
_FOLDER = 0o755
_LEFT_OUT = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache"}


@dataclass(frozen=True, slots=True)
class AppFolder:
    """An app on this machine: its manifest and the folder that the manifest lies in."""

    manifest: AppManifest
    folder: Path


class AppCatalog:
    """The apps in some folders, by name; and, for those who may, any app by the path of its manifest or folder."""

    def __init__(self, folders: Sequence[Path], kept: Path) -> None:
        self._folders = list(folders)
        self._kept = kept

    def all(self) -> list[AppFolder]:
        """Every readable app of the catalogue, by name. A broken manifest does not hide the others."""
        found: dict[str, AppFolder] = {}
        for path in sorted(path for folder in self._folders for path in folder.glob(f"*/{MANIFEST}")):
            try:
                app = load_app(path)
            except PackhorseError:
                continue
            found.setdefault(app.manifest.name, app)
        return [found[name] for name in sorted(found)]

    def get(self, name: str, *, paths_allowed: bool) -> AppFolder:
        """The app called ``name``, or, if ``paths_allowed``, at the path ``name``.

        Raises NotFound with what there is.
        """
        if paths_allowed and ("/" in name or name.endswith((".yaml", ".yml"))):
            return load_app(Path(name))
        for folder in self._folders:
            path = folder / name / MANIFEST
            if "/" not in name and name not in ("", ".", "..") and _is_file(path):
                return load_app(path)
        for app in self.all():
            if app.manifest.name == name:
                return app
        if paths_allowed and _is_file(Path(name) / MANIFEST):
            return load_app(Path(name))
        known = ", ".join(app.manifest.name for app in self.all()) or "none"
        hint = "Give the path of its app.yaml, or one of these." if paths_allowed else "See 'packhorse apps'."
        raise NotFound(f"There is no app '{name[:100]}'. Known apps: {known}.", hint=hint)

    def keep(self, app: AppFolder) -> Path:
        """The folder of the kept copy of an app, made if it is not there yet."""
        files = _files_of(app.folder)
        digest = hashlib.sha256()
        for relative, path in files:
            content = path.read_bytes()
            digest.update(os.fsencode(relative) + f"\0{len(content)}\0{int(os.access(path, os.X_OK))}\0".encode())
            digest.update(content)
        target = self._kept / f"{app.manifest.name}-{digest.hexdigest()[:16]}"
        if not target.exists():
            try:
                self._copy(files, target)
            except OSError as error:
                if not target.exists():  # nobody else kept the same one meanwhile
                    why = f"The app '{app.manifest.name}' cannot be kept in {self._kept}: {error.strerror or error}."
                    raise Unavailable(why, hint="Make room there, and see that it may be written.") from None
        return target

    def _copy(self, files: Sequence[tuple[str, Path]], target: Path) -> None:
        """``target`` with these files, whole or not at all."""
        make_private_folder(self._kept.parent)
        self._kept.mkdir(mode=_FOLDER, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".keeping-", dir=self._kept))
        try:
            for relative, path in files:
                copy = temporary / relative
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
                copy.chmod(copy.stat().st_mode & _FOLDER)
            for folder, _, _ in os.walk(temporary):
                Path(folder).chmod(_FOLDER)
            temporary.rename(target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def load_app(path: Path) -> AppFolder:
    """The app whose manifest, or whose folder, is at ``path``."""
    manifest_path = path
    try:
        manifest_path = path / MANIFEST if path.is_dir() else path
        app = AppFolder(read_manifest(manifest_path), manifest_path.parent.resolve())
    except FileNotFoundError:
        raise NotFound(
            f"There is no app manifest at {manifest_path}.",
            hint="Give the path of an app.yaml, or of a folder with one.",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InvalidRequest(f"{manifest_path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if app.manifest.image is not None:
        refuse_image_beside(app.manifest.image, str(app.folder), lambda name: (app.folder / name).exists())
    return app


def _is_file(path: Path) -> bool:
    """Whether there is such a file; of a name that no file can have, it is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _files_of(folder: Path) -> list[tuple[str, Path]]:
    """(relative path, path) of the app's regular files, sorted. Image recipes and caches stay behind."""
    found: list[tuple[str, Path]] = []
    size = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(parent) / name
            if path.is_symlink() or not path.is_file():
                continue
            size += path.stat().st_size
            found.append((str(path.relative_to(folder)), path))
            if len(found) > MAX_FILES or size > MAX_BYTES:
                raise TooLarge(
                    f"The app's folder {folder} has more than {MAX_FILES:,} files or {MAX_BYTES / 1e6:g} MB.",
                    hint="An app's folder holds its program only; give data as 'file' parameters.",
                )
    return found
