"""Finds apps, and packs the folders of those that are run: editing an app never changes a run that was accepted."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from packhorse.domain.app import AppManifest
from packhorse.domain.apparchive import AppFile, digest_of, pack_app
from packhorse.domain.errors import InvalidRequest, NotFound, PackhorseError, TooLarge
from packhorse.domain.images import refuse_image_beside
from packhorse.domain.manifest import PipelineFile, read_manifest
from packhorse.domain.pipeline import PipelineManifest

MANIFEST = "app.yaml"
MAX_FILES = 2000
MAX_BYTES = 100_000_000
_LEFT_OUT = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache"}
_REMEMBERED = 64  # apps whose digests are known while their files are as they were


_Look = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class AppFolder:
    """An app on this machine: its manifest and the folder that the manifest lies in."""

    manifest: AppManifest
    folder: Path


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """A pipeline on this machine: its manifest, and the folder that this lies in."""

    file: PipelineFile
    folder: Path

    @property
    def manifest(self) -> PipelineManifest:
        return self.file.manifest


Found = AppFolder | PipelineFolder
App = TypeVar("App")


class AppCatalog:
    """The apps in some folders, by name; and, for those who may, any app by the path of its manifest or folder."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._digests: OrderedDict[_Look, str] = OrderedDict()
        self._loaded: OrderedDict[Path, tuple[tuple[int, ...], Found]] = OrderedDict()

    def for_one_request(self) -> AppCatalog:
        """The same catalogue, which looks at the files of each app once: a request may name it thousands of times."""
        return _SeenOnce(self)

    def all(self) -> list[Found]:
        """Every readable app of the catalogue, by name. A broken manifest does not hide the others."""
        found: dict[str, Found] = {}
        for path in sorted(path for folder in self._folders for path in folder.glob(f"*/{MANIFEST}")):
            try:
                app = load(path)
            except PackhorseError:
                continue
            found.setdefault(app.manifest.name, app)
        return [found[name] for name in sorted(found)]

    def find(self, name: str, *, paths_allowed: bool) -> Found:
        """The app called ``name``, or NAME@VERSION, or, if ``paths_allowed``, at the path ``name``.

        Raises NotFound with what there is.
        """
        if paths_allowed and ("/" in name or name.endswith((".yaml", ".yml"))):
            return self._load(Path(name))
        wanted, at, version = name.partition("@")
        if (found := self._named(wanted)) is not None:
            if at and found.manifest.version != version:
                told = f"There is no app '{name[:100]}': '{wanted}' is at version {found.manifest.version} here."
                raise NotFound(told, hint="Ask for that version, or for none.")
            return found
        if paths_allowed and _is_file(Path(name) / MANIFEST):
            return self._load(Path(name))
        known = ", ".join(app.manifest.name for app in self.all()) or "none"
        hint = "Give the path of its app.yaml, or one of these." if paths_allowed else "See 'packhorse apps'."
        raise NotFound(f"There is no app '{name[:100]}'. Known apps: {known}.", hint=hint)

    def get(self, name: str, *, paths_allowed: bool) -> AppFolder:
        """The same for an app with a command. Raises InvalidRequest for a pipeline."""
        return _no_pipeline(self.find(name, paths_allowed=paths_allowed))

    def apps_of(
        self, pipeline: PipelineManifest, folder: Path | None, *, paths_allowed: bool = False
    ) -> dict[str, AppFolder | PackhorseError]:
        """The apps of a pipeline's steps as these name them; or why there is none. See ``apps_of``."""
        return apps_of(pipeline, folder, lambda name: self.get(name, paths_allowed=paths_allowed), self._load)

    def _named(self, name: str) -> Found | None:
        for folder in self._folders:
            path = folder / name / MANIFEST
            if "/" not in name and name not in ("", ".", "..") and _is_file(path):
                return self._load(path)
        return next((app for app in self.all() if app.manifest.name == name), None)

    def _load(self, path: Path) -> Found:
        """``load``; a manifest that is as it was is not read again."""
        try:
            status = (path if path.name == MANIFEST else path / MANIFEST).stat()
        except (OSError, ValueError):
            return load(path)
        look = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._loaded.get(path)
        if known is None or known[0] != look:
            known = self._loaded[path] = look, load(path)
            while len(self._loaded) > _REMEMBERED:
                self._loaded.popitem(last=False)
        return known[1]

    def digest(self, app: AppFolder) -> str:
        """The digest of what an app's folder holds; files are read again where size, mode or time have changed."""
        look = tuple(
            (name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            for name, status in _files_of(app.folder)
        )
        if look not in self._digests:
            self._digests[look] = digest_of(read_files(app.folder))
            while len(self._digests) > _REMEMBERED:
                self._digests.popitem(last=False)
        return self._digests[look]


class _SeenOnce(AppCatalog):
    """A catalogue as it was when it was first asked for each app."""

    def __init__(self, catalog: AppCatalog) -> None:
        super().__init__(catalog._folders)
        self._catalog = catalog
        self._found: dict[tuple[str, bool], Found] = {}
        self._known: dict[Path, str] = {}

    def find(self, name: str, *, paths_allowed: bool) -> Found:
        asked = (name, paths_allowed)
        if asked not in self._found:
            self._found[asked] = self._catalog.find(name, paths_allowed=paths_allowed)
        return self._found[asked]

    def digest(self, app: AppFolder) -> str:
        if app.folder not in self._known:
            self._known[app.folder] = self._catalog.digest(app)
        return self._known[app.folder]


def pack_folder(app: AppFolder) -> tuple[str, bytes]:
    """The digest of an app's folder as it is now, and the folder as an archive."""
    files = read_files(app.folder)
    return digest_of(files), pack_app(files)


def read_files(folder: Path) -> list[AppFile]:
    """The files of an app's folder, by name. Raises TooLarge, InvalidRequest."""
    try:
        return [
            AppFile(relative, (folder / relative).read_bytes(), os.access(folder / relative, os.X_OK))
            for relative, _ in _files_of(folder)
        ]
    except OSError as error:
        raise InvalidRequest(f"The app's file {error.filename} cannot be read: {error.strerror}.") from None


def load(path: Path) -> Found:
    """The app whose manifest, or whose folder, is at ``path``."""
    manifest_path = path
    try:
        manifest_path = path / MANIFEST if path.is_dir() else path
        manifest, folder = read_manifest(manifest_path), manifest_path.parent.resolve()
    except FileNotFoundError:
        raise NotFound(
            f"There is no app manifest at {manifest_path}.",
            hint="Give the path of an app.yaml, or of a folder with one.",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InvalidRequest(f"{manifest_path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if isinstance(manifest, PipelineFile):
        return PipelineFolder(manifest, folder)
    if manifest.image is not None:
        refuse_image_beside(manifest.image, str(folder), lambda name: (folder / name).exists())
    return AppFolder(manifest, folder)


def load_app(path: Path) -> AppFolder:
    """The same for an app with a command. Raises InvalidRequest for a pipeline."""
    return _no_pipeline(load(path))


def apps_of(
    pipeline: PipelineManifest, folder: Path | None, named: Callable[[str], App], load: Callable[[Path], Found] = load
) -> dict[str, App | AppFolder | PackhorseError]:
    """The apps of a pipeline's steps as these name them: below its ``folder``, or ``named``; or why there is none.

    One that came with a request has no folder, and may name paths.
    """
    found: dict[str, App | AppFolder | PackhorseError] = {}
    for name in dict.fromkeys(step.app for step in pipeline.steps.values()):
        try:
            if folder is not None and name.startswith(("./", "../")):
                found[name] = _no_pipeline(load(folder / name))
            elif ("@" in name and "/" not in name) or (folder is None and name.startswith("/")):
                found[name] = named(name)
            else:
                beside = "" if folder is None else ", or a folder beside the manifest: ./NAME"
                raise InvalidRequest(f"'{name[:100]}' names no app: expected NAME@VERSION{beside}.")
        except PackhorseError as error:
            found[name] = error
    return found


def _no_pipeline(found: Found) -> AppFolder:
    if isinstance(found, PipelineFolder):
        told = f"'{found.manifest.name}' is a pipeline, which can be no step of a run."
        raise InvalidRequest(told, hint="Name the apps of its steps.")
    return found


def _is_file(path: Path) -> bool:
    """Whether there is such a file; of a name that no file can have, it is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _files_of(folder: Path) -> list[tuple[str, os.stat_result]]:
    """(path in the folder, status) of the app's regular files, by name. Image recipes and caches stay behind."""
    found: list[tuple[str, os.stat_result]] = []
    size = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        for name in sorted(names):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                continue
            size += status.st_size
            found.append((os.path.relpath(path, folder), status))
            if len(found) > MAX_FILES or size > MAX_BYTES:
                raise TooLarge(
                    f"The app's folder {folder} has more than {MAX_FILES:,} files or {MAX_BYTES / 1e6:g} MB.",
                    hint="An app's folder holds its program only; give data as 'file' parameters.",
                )
    return found
