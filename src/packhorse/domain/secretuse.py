"""How an app's tasks are given secrets of their user: as variables, or as files that are gone afterwards. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_OURS = "PACKHORSE_"


class SecretUse(BaseModel):
    """One secret: as a variable of the environment, or as a file of the work folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] | None = None
    file: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> SecretUse:
        if (self.variable is None) == (self.file is None):
            raise ValueError("expected 'variable' or 'file', and one of them")
        if self.variable is not None and self.variable.startswith(_OURS):
            raise ValueError(f"variable: what begins with '{_OURS}' is Packhorse's own")
        if self.file is not None:
            path = PurePosixPath(self.file)
            if path.is_absolute() or ".." in path.parts or not path.parts or not self.file.isprintable():
                raise ValueError("file: expected a path within the work folder")
        return self


def as_told(secrets: Mapping[str, SecretUse]) -> dict[str, dict[str, str]]:
    """As an agent is told: names of secrets by 'variables' and by 'files'."""
    return {
        "variables": {one.variable: name for name, one in secrets.items() if one.variable is not None},
        "files": {one.file: name for name, one in secrets.items() if one.file is not None},
    }
