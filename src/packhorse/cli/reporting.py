"""``packhorse report``: a run as a page, and as a research object."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from packhorse.cli.files import replacing
from packhorse.cli.output import print_json, say
from packhorse.client import Client
from packhorse.client.crates import unpack_crate


def write_report(run_id: str, output: str | None, crate: str | None, *, as_json: bool) -> None:
    """Writes the page, or a crate, or both."""
    written: dict[str, str] = {}
    with Client() as client:
        if crate is not None:
            unpack_crate(partial(client.backend.crate, run_id), Path(crate))
            written["crate"] = crate
        if crate is None or output is not None:
            target = output or f"{run_id}.html"
            page = client.backend.report(run_id)
            with replacing(Path(target)) as file:
                file.write(page)
            written["report"] = target
    if as_json:
        print_json({"run": run_id, **written})
        return
    for what, where in written.items():
        say(f"The {what} is in {where}")
