"""Numbers and truth values as people and programs write them: decimal digits, a point, an exponent; nothing that is
Python's alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, time
from typing import Annotated, Any

from pydantic import BeforeValidator

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BLANKS = " \t"
_MAX_WHOLE = 2**63 - 1  # what the store and most languages hold
_MAX_EXACT = 2**53  # above it, a float does not tell one whole number from the next
_MAX_DIGITS = 400
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def whole_number(given: Any) -> int:
    """A whole number of at most 64 bits; also of a text in decimal digits, and of a float without a fraction.

    Raises ValueError with what was expected.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        value = int(given)
    elif isinstance(given, str) and _WHOLE.fullmatch(text := given.strip(_BLANKS)):
        value = int(text) if len(text) <= _MAX_DIGITS else _MAX_WHOLE + 1
    elif isinstance(given, float) and given.is_integer() and abs(given) <= _MAX_EXACT:
        value = int(given)
    else:
        raise ValueError(f"expected a whole number{_in_digits(given, int)}, found {shown(given)}")
    if abs(value) > _MAX_WHOLE:
        raise ValueError(f"expected a whole number of at most 64 bits, found {shown(given)}")
    return value


def number(given: Any) -> float:
    """A finite number; also of a text such as 12, 0.5 or 1e-3. Raises ValueError with what was expected."""
    try:
        if isinstance(given, float) or (isinstance(given, int) and not isinstance(given, bool)):
            value = float(given)
        elif isinstance(given, str) and _NUMBER.fullmatch(text := given.strip(_BLANKS)):
            value = float(text)
        else:
            raise ValueError(f"expected a number{_in_digits(given, float)}, found {shown(given)}")
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"expected a number that is finite and below 1.8e308, found {shown(given)}")
    return value


def _in_digits(given: Any, python: Callable[[str], float]) -> str:
    """Says which digits count, where Python would have taken others."""
    try:
        python(str(given)[:100])
    except ValueError:
        return ""
    return " written in the digits 0 to 9"


def truth(given: Any) -> bool:
    """True or false; also of true, yes, on, 1 and their opposites, in small or capital letters. Raises ValueError."""
    if isinstance(given, bool):
        return given
    if isinstance(given, str | int):
        value = _TRUTH.get(str(given).strip(_BLANKS).lower()) if isinstance(given, str) or given in (0, 1) else None
        if value is not None:
            return value
    raise ValueError(f"expected true or false, found {shown(given)}")


def plain_number(value: float) -> str:
    """A number as a person writes it: 1000000, not 1e+06."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def shown(value: Any) -> str:
    """A value in a message: short, and in words of the user's, not of Python's."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= 60 else value[:57] + "...")
        case int() if value.bit_length() > 256:
            return "a whole number of very many digits"
        case int() | float():
            return str(value)
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case date() | time():
            return value.isoformat()
        case _:
            text = repr(value)
            if text.startswith("<"):
                return f"a value of type {type(value).__name__}"
            return text if len(text) <= 60 else text[:57] + "..."


Whole = Annotated[int, BeforeValidator(whole_number)]
"""A field that is a whole number."""
Number = Annotated[float, BeforeValidator(number)]
"""A field that is a number."""
Truth = Annotated[bool, BeforeValidator(truth)]
"""A field that is true or false."""
