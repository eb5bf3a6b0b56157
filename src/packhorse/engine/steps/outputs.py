"""What becomes of outputs that have URLs, and what a container sees of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packhorse.domain.app import Session
from packhorse.domain.outputpath import below_prefix, is_pattern, kept_as, normal, plain
from packhorse.domain.outputurl import below
from packhorse.engine.containers import Containers, input_binds


def delivered_below(
    url: str | None, run_id: str, index: int, files: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """(path, URL) of ``files``, as a journal names them, that all go below the URL of their run."""
    if url is None:
        return []
    paths = [str(file["path"]) for file in files]
    own = dict.fromkeys(path for path in paths if ".." not in path.split("/"))  # no agent of ours says that
    return [(path, below(url, run_id, str(index), kept_as(path))) for path in own]


def is_of(output: str, path: str, pattern: str | None) -> bool:
    """Whether the output that is declared as ``output`` is what a journal calls ``path``, matched by ``pattern`` if by
    one.
    """
    return output == pattern if is_pattern(output) else pattern is None and normal(plain(output)) == normal(path)


def own_url(output: Mapping[str, Any], path: str) -> str:
    """Where ``path``, which is that output or which its pattern matched, goes: as TES says of ``path_prefix``."""
    if not is_pattern(output["path"]):
        return str(output["url"])
    return below(output["url"], below_prefix(path, plain(output.get("path_prefix") or "")))


def own_binds(containers: Containers, session: Session, paths: Sequence[str]) -> dict[str, Any]:
    binds = input_binds(containers.site, session, paths)
    return {"binds": binds} if binds else {}
