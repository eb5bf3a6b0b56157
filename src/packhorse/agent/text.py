"""What a result may hold: the rules of `domain/text.py` once more, since the agent imports nothing.

A test holds both to one table.
"""

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple, Union

MAX_DEPTH = 100
MOST = 1.7976931348623157e308
LARGEST = int(MOST)
odd = re.compile("[\0\ud800-\udfff]")
plain_name = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Constant(float):
    """NaN or Infinity as they stood in a text, which JSON does not have."""


class Twice(dict):  # type: ignore[type-arg]  # Python 3.6 knows no dict[…]
    """An object that has `key` more than once."""

    key = ""


def parse_json(text: str) -> "Any":
    """JSON as a value, which may still hold what `value_problem` tells of; ValueError says why it is no JSON."""
    try:
        try:
            return decoder.decode(text)
        except json.JSONDecodeError as error:
            raise ValueError(str(error)) from None
        except ValueError:  # newer Pythons do not read integers of thousands of digits
            return patient.decode(text)
    except RecursionError:
        raise ValueError("it is nested more than %d levels deep" % MAX_DEPTH) from None


def value_problem(value: "Any", place: str = "$", depth: int = MAX_DEPTH) -> "Optional[str]":
    """What of a JSON value cannot be kept, as a sentence without its full stop; None if all can."""
    if value is None or value is True or value is False:
        return None
    if isinstance(value, str):
        why = text_problem(value)
        return why and "%s %s" % (place, why)
    if isinstance(value, int):
        return (
            None
            if -LARGEST <= value <= LARGEST
            else "%s is beyond the numbers that JSON's readers take (1.8e308)" % place
        )
    if isinstance(value, float):
        return number_problem(value, place)
    if depth == 0:
        return "it is nested more than %d levels deep" % MAX_DEPTH
    if not isinstance(value, dict):
        for index, item in enumerate(value):
            found = value_problem(item, "%s[%d]" % (place, index), depth - 1)
            if found:
                return found
        return None
    if isinstance(value, Twice):
        return "%s is there twice" % below(place, value.key)
    for key, item in value.items():
        why = text_problem(key)
        if why:
            return "a key of %s %s" % (place, why)
        found = value_problem(item, below(place, key), depth - 1)
        if found:
            return found
    return None


def text_problem(text: str) -> "Optional[str]":
    """Why a text cannot be kept, as the end of a sentence about it; None if it can."""
    found = odd.search(text)
    if found is None:
        return None
    return "holds a NUL character" if found.group() == "\0" else "holds a lone surrogate or a byte that is not UTF-8"


def number_problem(value: float, place: str) -> "Optional[str]":
    """Why a number cannot be kept."""
    if -MOST <= value <= MOST:  # false of NaN
        return None
    name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Constant) or value != value:
        return "%s is %s, which JSON does not have" % (place, name)
    return "%s is %s, or beyond the numbers that JSON's readers take (1.8e308)" % (place, name)


def below(place: str, key: str) -> str:
    """The place of a member of an object."""
    return (
        "%s.%s" % (place, key)
        if plain_name.match(key)
        else "%s[%s]" % (place, json.dumps(key[:60], ensure_ascii=bool(odd.search(key))))
    )


def constant(name: str) -> float:
    """NaN, Infinity or -Infinity."""
    return Constant(name)


def integer(text: str) -> "Union[int, float]":
    """As `int`, but an infinity where Python refuses to read so many digits."""
    try:
        return int(text)
    except ValueError:
        return float("-inf" if text[0] == "-" else "inf")


def object_of(pairs: "List[Tuple[str, Any]]") -> "Dict[str, Any]":
    """A dict, marked if a key was there twice: what it held before would be lost without a word."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = Twice(found)
    seen: "Set[str]" = set()
    for key, _ in pairs:
        if key in seen:
            twice.key = key
            break
        seen.add(key)
    return twice


decoder = json.JSONDecoder(parse_constant=constant, object_pairs_hook=object_of)
patient = json.JSONDecoder(parse_constant=constant, object_pairs_hook=object_of, parse_int=integer)
