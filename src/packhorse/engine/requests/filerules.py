"""Which files and URLs a user may name: as inputs, and for outputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from packhorse.domain.dataurl import is_below, is_url, url_problem
from packhorse.domain.outputurl import file_target, has_folders, output_problem
from packhorse.http.reach import Reach


@dataclass(frozen=True, slots=True)
class FileRules:
    """Which files may be inputs: any that is readable, or only those below ``roots``; and which URLs: any, or those
    below ``urls``.
    """

    roots: tuple[Path, ...] | None = None
    urls: tuple[str, ...] | None = None
    output_urls: tuple[str, ...] | None = None
    """What URLs of outputs must begin as; None is any."""
    reach: Reach | None = None
    """Where URLs may lead; None is anywhere."""

    def problem(self, path: str) -> str | None:
        """Why ``path``, or a URL, cannot be an input; None when it can."""
        if not path:
            return "names no file."
        if is_url(path):
            return url_problem(path) or self._forbidden(path) or self._inside(path)
        path = file_target(path)
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return f"the file '{path[:200]}' is not there."
        if self.roots is not None and not any(real.is_relative_to(root) for root in self.roots):
            return (
                f"the file '{path[:200]}' is outside the folders that this server may read (data_roots in its"
                " packhorse.toml)."
            )
        return None if os.access(real, os.R_OK) else f"the file '{path[:200]}' cannot be read."

    def output_problem(self, url: str) -> str | None:
        """Why outputs cannot be delivered to ``url``; None when they can."""
        if why := output_problem(url):
            return why
        if self.output_urls is not None and not any(
            f"{url.rstrip('/')}/".startswith(f"{prefix.rstrip('/')}/") for prefix in self.output_urls
        ):
            return (
                f"this server delivers no outputs of its users to '{url[:200]}' ([data] output_urls in its"
                " packhorse.toml)."
            )
        if has_folders(url) and self.roots is not None:
            target = Path(file_target(url)).resolve()
            if not any(target.is_relative_to(root) for root in self.roots):
                return (
                    f"the folder '{target}' is outside those that this server may use (data_roots in its"
                    " packhorse.toml)."
                )
        return None

    def _inside(self, url: str) -> str | None:
        """What can be told before it is used: a name may have any address by then, and is looked at again. Hosts of
        other schemes are names in the configuration.
        """
        parts = urlsplit(url)
        if (
            self.reach is None
            or parts.scheme not in ("http", "https")
            or not self.reach.is_inside(parts.hostname or "")
        ):
            return None
        return (
            f"the URL '{url[:200]}' leads into this server's own network, which is closed to its users ([server]"
            " private_networks in its packhorse.toml)."
        )

    def _forbidden(self, url: str) -> str | None:
        if self.urls is None or any(is_below(url, prefix) for prefix in self.urls):
            return None
        return (
            f"the URL '{url[:200]}' is not one that this server fetches for its users ([data] urls in its"
            " packhorse.toml)."
        )
