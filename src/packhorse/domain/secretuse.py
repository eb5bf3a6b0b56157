"""How tasks are given secrets of their user: as variables, or as files that are gone afterwards. Pure.

An app's manifest says it, or a TES document, in ``resources.backend_parameters`` (an extension of ours).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from packhorse.domain.errors import InvalidRequest, Problem
from packhorse.domain.problems import problems_of
from packhorse.domain.resources import SECRETS

_SHAPE = """Expected NAME: {"variable": "…"} or NAME: {"file": "…"}, as an object or as its JSON."""
MOST = 100  # of one task
NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_OURS = "PACKHORSE_"


class SecretUse(BaseModel):
    """One secret: as a variable of the environment, or as a file of the work folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    takes_absolute: ClassVar[bool] = False
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
            if path.is_absolute() and self.takes_absolute and self.file.isprintable():
                return self  # domain.taskpaths looks at it as at other absolute paths
            if path.is_absolute() or ".." in path.parts or not path.parts or not self.file.isprintable():
                raise ValueError("file: expected a path within the work folder")
        return self


class TaskSecretUse(SecretUse):
    """The same in a TES document, whose containers may have it at an absolute path, too."""

    takes_absolute: ClassVar[bool] = True


def secrets_of(parameters: Mapping[str, Any] | None) -> dict[str, TaskSecretUse]:
    """What ``backend_parameters`` say of secrets, by their names. Raises InvalidRequest with all that is wrong."""
    said = (parameters or {}).get(SECRETS)
    if said is None or said == "":
        return {}
    where = f"resources.backend_parameters, {SECRETS}"
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            raise InvalidRequest(_REFUSED, problems=[Problem(where, "is a text that is no JSON.", _SHAPE)]) from None
    if not isinstance(said, Mapping) or len(said) > MOST:
        raise InvalidRequest(_REFUSED, problems=[Problem(where, f"is no object of at most {MOST} secrets.", _SHAPE)])
    found: dict[str, TaskSecretUse] = {}
    problems: list[Problem] = []
    for name, use in said.items():
        if not re.fullmatch(NAME, str(name)):
            problems.append(Problem(where, f"'{str(name)[:60]}' cannot be the name of a secret."))
            continue
        try:
            found[name] = TaskSecretUse.model_validate(use)
        except ValidationError as error:
            problems += problems_of(error, f"{where}, {name}")
    given = Counter(text for use in found.values() for text in (use.variable, use.file) if text is not None)
    problems += [
        Problem(where, f"two secrets are given as '{text[:60]}'.") for text, number in given.items() if number > 1
    ]
    if problems:
        raise InvalidRequest(_REFUSED, problems=problems)
    return found


_REFUSED = "The task names its secrets in a way that makes no sense."


def as_told(secrets: Mapping[str, SecretUse]) -> dict[str, dict[str, str]]:
    """As an agent is told: names of secrets by 'variables' and by 'files'."""
    return {
        "variables": {one.variable: name for name, one in secrets.items() if one.variable is not None},
        "files": {one.file: name for name, one in secrets.items() if one.file is not None},
    }
