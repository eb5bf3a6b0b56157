"""What is written as TOML is read back the same."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.toml import toml_table

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEY = TEXT
SCALAR = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = st.dictionaries(KEY, SCALAR | st.lists(TEXT) | st.dictionaries(KEY, TEXT))


@given(st.lists(KEY, min_size=1, max_size=3), VALUES)
def test_a_table_is_read_back_the_same(path: list[str], values: dict[str, object]) -> None:
    document = tomllib.loads(toml_table(path, values))  # type: ignore[arg-type]
    for name in path:
        document = document[name]
    assert document == values
    assert [type(document[name]) for name in values] == [type(value) for value in values.values()]


def test_it_looks_as_a_person_would_write_it() -> None:
    text = toml_table(
        ["sites", "hpc"],
        {"host": "a.b", "port": 22, "submit_options": ["--x", 'a "b"'], "env": {"A": "1"}, "queue": "q"},
    )
    assert (
        text == '[sites.hpc]\nhost = "a.b"\nport = 22\nsubmit_options = ["--x", "a \\"b\\""]\nqueue ='
        ' "q"\n\n[sites.hpc.env]\nA = "1"\n'
    )


def test_what_utf8_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is not valid UTF-8"):
        toml_table(["sites", "x"], {"root": "/\udcff"})
