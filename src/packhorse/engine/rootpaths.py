"""Absolute paths of a task in its containers: what is bound where. Pure.

All that a task writes at absolute paths lies below ``ROOT`` of its work folder, as if that were the root, and so do
links to its inputs (docs/spool.md, ``root``). A runtime that can bind anywhere is given the folders that the task
writes to, and each input at its path, read-only. One that binds only to what the image has is given whole top folders,
which preparing an image has made (``TOP_FOLDERS``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from packhorse.domain.outputpath import normal
from packhorse.domain.taskpaths import TOP_FOLDERS, AbsolutePaths, is_within
from packhorse.sites.runtimes.base import Ability, Bind, CannotRun
from packhorse.sites.site import Site

ROOT = ".root"
_RELATIVE = "Use paths relative to the task's work folder instead."


@dataclass(frozen=True, slots=True)
class RootPaths:
    """Those of one task.

    ``sources`` is where its inputs are at the site, by path; an input that is not there has its content written.
    """

    paths: AbsolutePaths
    sources: Mapping[str, str] = field(default_factory=dict)

    def binds(self, site: Site, work: str) -> tuple[Bind, ...]:
        """What its containers are given besides all else, before it; ``work`` is the work folder. Raises CannotRun."""
        if site.sets_up_images:
            raise _refused(
                site,
                f"the same folders are bound for all tasks of a job, so not {self.paths.all[0]}"
                if self.paths.all
                else "",
            )
        if Ability.NEW_MOUNT_POINTS not in site.runtime.abilities:
            return self._top_folders(site, work)
        shared = [Bind(f"{work}/{ROOT}{folder}", folder) for folder in self.paths.shared]
        own = [path for path in self.paths.inputs if not self.paths.is_shared(path)]
        read_only = Ability.READ_ONLY_BINDS in site.runtime.abilities
        return (*shared, *(Bind(self.sources.get(path, f"{work}/{ROOT}{path}"), path, read_only) for path in own))

    def linked(self) -> list[str]:
        """The sources that its inputs are links to, as a container sees them: those in folders that it writes to."""
        return [source for path, source in self.sources.items() if self.paths.is_shared(path)]

    def folders(self, site: Site) -> list[str]:
        """What has to be made in the work folder: also where the site's own folders are bound in a top folder of the
        task's.
        """
        made = set(self.paths.made)
        if Ability.NEW_MOUNT_POINTS not in site.runtime.abilities:
            tops = {_top(path) for path in self.paths.all} - set(self.paths.inputs)
            made |= tops | {folder for folder in (site.root, *site.binds) if _top(folder) in tops}
        return [f"{ROOT}{folder}" for folder in sorted(made)]

    def _top_folders(self, site: Site, work: str) -> tuple[Bind, ...]:
        tops = sorted({_top(path) for path in self.paths.all})
        for top in tops:
            if top != "/tmp" and top not in TOP_FOLDERS:  # noqa: S108
                raise _refused(
                    site, f"it binds only to folders that the image has, and {top} may be none of them", _FOLDERS
                )
            if top in self.paths.inputs and top not in self.paths.folders:
                raise _refused(
                    site, f"it cannot bind a file to {top}", f"Put it into a folder, like '{top}/{top[1:]}'."
                )
            if taken := next(
                (folder for folder in (site.root, *site.binds) if folder == top or is_within(top, folder)), None
            ):
                raise _refused(site, f"its containers see the folder {taken} of '{site.name}' itself", _RELATIVE)
        return tuple(Bind(f"{work}/{ROOT}{top}", top) for top in tops)


_FOLDERS = f"Use one of {', '.join(('/tmp', *TOP_FOLDERS))}, or paths relative to the task's work folder."  # noqa: S108


def _top(path: str) -> str:
    return "/" + path.split("/")[1]


def _refused(site: Site, why: str, hint: str = _RELATIVE) -> CannotRun:
    return CannotRun(f"{site.runtime.name} cannot run this: {why}. {hint}")


def in_work(path: str | None) -> str | None:
    """A path of a task as its agent finds it: relative to the work folder."""
    return f"{ROOT}{normal(path)}" if path is not None and path.startswith("/") else path
