"""The keys of packhorse.toml, from the models of ``packhorse.domain.config``."""

from __future__ import annotations

from pydantic import BaseModel

from packhorse.domain.accessconfig import AuthConfig, KBaseAuthConfig, LimitsConfig, OidcConfig, UserLimits
from packhorse.domain.config import Config, DataConfig, ImagesConfig, ServerConfig, ShockConfig
from packhorse.domain.kbaseconfig import ClientGroupConfig, KBaseConfig
from packhorse.domain.siteconfig import SiteConfig
from tools.reference.markdown import page, prose, table
from tools.reference.models import default_words, field_docs, type_words, without_null

#: Heading → the model of its keys.
SECTIONS: dict[str, type[BaseModel]] = {
    "Keys before the first table": Config,
    "[sites.NAME]": SiteConfig,
    "[server]": ServerConfig,
    "[auth]": AuthConfig,
    "[[auth.oidc]]": OidcConfig,
    "[auth.kbase]": KBaseAuthConfig,
    "[limits]": LimitsConfig,
    "[limits.users.NAME]": UserLimits,
    "[images]": ImagesConfig,
    "[data]": DataConfig,
    '[data.shock."HOST"]': ShockConfig,
    "[kbase]": KBaseConfig,
    "[kbase.client_groups.NAME]": ClientGroupConfig,
}

_INTRODUCTION = """
There is one file, `~/.config/packhorse/packhorse.toml`, or the one that `$PACKHORSE_CONFIG` names. Every key may be
left out, and so may the file. A key that is not on this page is an error. [For operators](../operators.md) says how the
keys are used.
"""


def configuration_page() -> str:
    """A table for each section of the file."""
    sections = [f"## {_code(heading)}\n\n{_section(model)}" for heading, model in SECTIONS.items()]
    return page("Configuration", prose(_INTRODUCTION), *sections)


def _code(heading: str) -> str:
    return f"`{heading}`" if heading.startswith("[") else heading


def _section(model: type[BaseModel]) -> str:
    schema, docs = model.model_json_schema(), field_docs(model)
    rows = [
        (
            f"`{name}`",
            type_words(without_null(field), lambda _: "table").replace("object", "table"),
            "" if "$ref" in field else default_words(field, required=False, none=""),
            docs.get(name, ""),
        )
        for name, field in schema["properties"].items()
    ]
    return f"{_sentence(prose(model.__doc__))}\n\n{table(('key', 'type', 'default', ''), rows)}"


def _sentence(text: str) -> str:
    """Without the name of the section, which is its heading."""
    name, colon, rest = text.partition("]`: ")
    return rest[0].upper() + rest[1:] if colon else name
