"""Names of things. Ids sort by creation time, read well aloud, and say what they name."""

from __future__ import annotations

import os
import re
import time

from packhorse.domain.errors import InvalidRequest

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32
_RUN_ID = re.compile(r"r-[0-9a-z]{16}")
TASK_ID = r"r-[0-9a-z]{16}\.[0-9]{1,7}"
_TASK_ID = re.compile(r"(r-[0-9a-z]{16})\.([0-9]{1,7})")


def new_id(prefix: str) -> str:
    """``<prefix>-<16 characters>``: 45 bits of milliseconds, then 35 random bits."""
    number = (int(time.time() * 1000) << 35) | (int.from_bytes(os.urandom(5), "big") >> 5)
    digits = []
    for _ in range(16):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{prefix}-{''.join(reversed(digits))}"


def task_id(run_id: str, index: int) -> str:
    """The public id of the ``index``-th task (from 0) of a run."""
    return f"{run_id}.{index}"


def is_run_id(text: str) -> bool:
    """Whether ``text`` can be the id of a run; nothing else is looked for in the store."""
    return _RUN_ID.fullmatch(text) is not None


def parse_task_id(text: str) -> tuple[str, int]:
    """(run id, index) of a public task id; refuses anything else."""
    match = _TASK_ID.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"'{text[:60]}' is not a task id.", hint="A task id looks like r-0123456789abcdef.17.")
    return match[1], int(match[2])
