"""Numbers and truth values: what people mean by them, and nothing that only a programming language understands."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.app import STORED, Parameter
from packhorse.domain.numbers import number, shown, truth, whole_number
from packhorse.domain.parameters import check_row
from packhorse.domain.resources import Resources

NO_NUMBER = [
    "",
    " ",
    "1_000",
    "１２",
    "٣",
    "0x1F",
    "0o17",
    "0b1",
    "1,5",
    "1 000",
    "1-",
    "--1",
    "+",
    ".",
    "e5",
    "1e",
    "1\n",
    "\u00a01",
    "1\0",
    "one",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "1j",
    "½",
    "1d",
    [1],
    {},
    None,
    True,
    False,
    b"1",
    math.nan,
    math.inf,
]


@pytest.mark.parametrize(
    "text",
    [
        *NO_NUMBER,
        "1e3",
        "1.0",
        "1.",
        1.5,
        "9223372036854775808",
        2**63,
        -(2**63),
        1e300,
        "9" * 5000,
        pytest.param(10**5000, id="long"),
    ],
)
def test_what_is_no_whole_number(text: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a whole number.* found .{1,70}$"):
        whole_number(text)


@pytest.mark.parametrize(
    "text",
    [*NO_NUMBER, "1e999", "-1e999", pytest.param(10**400, id="long"), "1e", "1__0.0", "1.2.3", "0x1p3", "infinity"],
)
def test_what_is_no_number(text: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a number.* found .{1,70}$"):
        number(text)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        (" 7\t", 7),
        ("007", 7),
        ("010", 10),
        (7.0, 7),
        ("9223372036854775807", 2**63 - 1),
        ("0" * 300 + "1", 1),
    ],
)
def test_whole_numbers(given: Any, value: int) -> None:
    assert whole_number(given) == value
    assert type(whole_number(given)) is int


@pytest.mark.parametrize(
    ("given", "value"), [("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-1.5E-3", -0.0015), (3, 3.0), (" 2 ", 2.0)]
)
def test_numbers(given: Any, value: float) -> None:
    assert number(given) == value


@pytest.mark.parametrize(
    ("given", "value"), [("TRUE", True), ("yes", True), ("On", True), ("1", True), (1, True), ("no", False), (0, False)]
)
def test_truth(given: Any, value: bool) -> None:
    assert truth(given) is value


@pytest.mark.parametrize("given", ["y", "t", "2", "", "ＴＲＵＥ", "1.0", 2, 1.5, None, [], "truee"])
def test_what_is_neither_true_nor_false(given: Any) -> None:
    with pytest.raises(ValueError, match="expected true or false"):
        truth(given)


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_from_their_text(whole: int, real: float) -> None:
    assert whole_number(str(whole)) == whole
    assert number(repr(real)) == real


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.none()) | st.binary())
def test_anything_is_a_value_or_a_short_sentence(value: Any) -> None:
    for take in (whole_number, number, truth):
        try:
            taken = take(value)
        except ValueError as error:
            assert len(str(error)) < 300
        else:
            assert math.isfinite(taken)
    assert shown(value)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("cpu_cores", "1_0"),
        ("cpu_cores", True),
        ("cpu_cores", math.inf),
        ("ram_gb", "１"),
        ("walltime_s", "1:30:00"),
        ("nodes", "1e3"),
        ("nodes", 1.5),
        ("nodes", True),
        ("gpus", "0x1"),
        ("walltime_s", 1e300),
        ("ranks_per_node", 2**70),
        ("preemptible", "y"),
    ],
)
def test_resources_are_as_strict(field: str, given: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|less than"):
        Resources.model_validate({field: given})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"type": "integer", "default": "1_000"},
            "the default: expected a whole number written in the digits 0 to 9, found '1_000'",
        ),
        ({"type": "integer", "default": 1.5}, "the default: expected a whole number"),
        ({"type": "integer", "default": " "}, "the default is empty"),
        ({"type": "number", "default": ".nan"}, "the default: expected a number"),
        ({"type": "boolean", "default": "maybe"}, "the default: expected true or false"),
        ({"type": "integer", "default": 5, "maximum": 4}, "the default: must be at most 4, found 5"),
        ({"default": True}, "the default: expected text, found true"),
        ({"minimum": 2, "maximum": 1}, "'minimum' is more than 'maximum'"),
        ({"type": "choice", "choices": ["a", " "]}, "one of the choices is empty"),
        ({"type": "choice", "choices": ["a"], "default": "b"}, "the default: expected one of a, found 'b'"),
    ],
)
def test_a_default_is_a_value_of_its_type(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        Parameter.model_validate(fields)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [("boolean", "no", False), ("integer", "010", 10), ("number", 3, 3.0), ("string", 3, "3")],
)
def test_a_default_has_its_type(kind: str, given: Any, value: Any) -> None:
    default = Parameter.model_validate({"type": kind, "default": given}).default
    assert (default, type(default)) == (value, type(value))


def test_a_manifest_that_was_accepted_before_is_read_as_it_was() -> None:
    stored = {"type": "integer", "default": "one", "minimum": 2, "maximum": 1}
    assert Parameter.model_validate(stored, context=STORED).default == "one"


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "file", "choice"])
@pytest.mark.parametrize("empty", ["", " ", "\t", None])
def test_nothing_does_not_satisfy_what_is_required(kind: str, empty: str | None) -> None:
    extra = {"choices": ["a"]} if kind == "choice" else {}
    needed = {"p": Parameter.model_validate({"type": kind, "help": "HELP", **extra})}
    for partial in (False, True):
        values, problems = check_row(needed, {"p": empty}, "row 3", lambda _path: None, partial=partial)
        assert values == {}
        assert [str(problem) for problem in problems] == [
            f"row 3: parameter 'p' is empty; it is required, and of type {kind}. HELP"
        ]
    optional = {"p": Parameter.model_validate({"type": kind, "optional": True, **extra})}
    assert check_row(optional, {"p": empty}, "row 3", lambda _path: None) == ({}, [])
    assert check_row(needed, {"p": empty}, "row 3", lambda _path: None, elsewhere={"p"}) == ({}, [])


def test_empty_text_is_a_value_of_a_string() -> None:
    needed = {"p": Parameter.model_validate({})}
    assert check_row(needed, {"p": ""}, "row 1", lambda _path: None) == ({"p": ""}, [])
    assert check_row(needed, {"p": None}, "row 1", lambda _path: None)[1]
    assert check_row(needed, {}, "row 1", lambda _path: None)[1]


@pytest.mark.parametrize("given", [math.nan, math.inf, True, [1], {"a": 1}, pytest.param(10**5000, id="long"), b"x"])
def test_what_is_no_text(given: Any) -> None:
    _, problems = check_row({"p": Parameter.model_validate({})}, {"p": given}, "row 1", lambda _path: None)
    assert len(problems) == 1
    assert problems[0].where == "row 1, parameter 'p'"
