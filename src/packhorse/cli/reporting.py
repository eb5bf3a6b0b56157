"""``packhorse report``: a run as a page, and as a research object."""

from __future__ import annotations

from pathlib import Path

from packhorse.cli.files import replacing
from packhorse.cli.output import print_json, say
from packhorse.client import Client


def write_report(run_id: str, output: str | None, *, as_json: bool) -> None:
    """Writes the page."""
    with Client() as client:
        page = client.backend.report(run_id)
    target = Path(output or f"{run_id}.html")
    with replacing(target) as file:
        file.write(page)
    if as_json:
        print_json({"run": run_id, "report": str(target)})
    else:
        say(f"The report is in {target}")
