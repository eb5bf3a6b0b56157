"""What a manifest says of the KBase method that its app runs. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Tag = Literal["release", "beta", "dev"]
_FOLDER = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"


class KBaseMethod(BaseModel):
    """A method of a KBase SDK module: what EE2's clients call it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    module: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$", description="the module's name, as in kbase.yml")
    function: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$",
        description="the function that it runs; without it, every one of the module that no other app names",
    )
    git_commit: str = Field(default="", pattern=r"^([0-9a-f]{7,40})?$", description="the commit that the image is of")
    tags: list[Tag] = Field(default=["release"], description="what of the catalogue's tags it stands for")
    data_folder: str | None = Field(default=None, pattern=_FOLDER, description="its folder of reference data")
    data_version: str | None = Field(default=None, pattern=_FOLDER, description="the version of that data")
    secure: list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]] = Field(
        default=[], description="names of the secure parameters that it is given"
    )

    def answers_to(self, version: str, asked: str) -> bool:
        """Whether this app, of a ``version``, is what was ``asked`` for: a tag, a commit or a version."""
        if asked in self.tags or asked == version:
            return True
        return (
            len(asked) >= 7
            and bool(self.git_commit)
            and (self.git_commit.startswith(asked) or asked.startswith(self.git_commit))
        )
