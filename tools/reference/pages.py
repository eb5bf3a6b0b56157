"""All pages by name."""

from __future__ import annotations

from pathlib import Path

from tools.reference.client import client_page
from tools.reference.commands import commands_page
from tools.reference.configuration import configuration_page
from tools.reference.rest import rest_page

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
COMMAND = "make reference"

_NOTE = f"<!-- Made from the code by `{COMMAND}`. Do not edit it here. -->\n\n"


def pages() -> dict[str, str]:
    """File name → text of each page, as the code is now."""
    makers = {
        "client.md": client_page,
        "commands.md": commands_page,
        "configuration.md": configuration_page,
        "rest.md": rest_page,
    }
    return {name: _NOTE + make() for name, make in makers.items()}
