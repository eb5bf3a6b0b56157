"""Growth rate of a metabolic model with genes deleted or its medium changed, by flux balance analysis.

One model a process:      python3 fba.py --model iJO1366 --genes b0002+b0003
Many models a process:    python3 fba.py --persistent_worker   (Bazel's JSON persistent worker protocol on stdin and
stdout)

The answer is one JSON object: {"growth": 0.982, "status": "optimal", "reactions_off": 0}; growth in h⁻¹.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from typing import IO, Any, NoReturn

import lp

USAGE = 2
FAILED = 1


class UsageError(Exception):
    """The arguments cannot be understood."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}.")


def parser() -> argparse.ArgumentParser:
    """The program's arguments, of one process and of one request alike."""
    it = _Parser(prog="fba.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    it.add_argument("--model", choices=lp.MODELS, default=lp.MODELS[0])
    it.add_argument(
        "--genes", default="", help="ids of the genes to delete, joined by '+' or spaces; none: the wild type"
    )
    it.add_argument("--medium", default="", help="changes to the medium: EXCHANGE=UPTAKE (mmol gDW⁻¹ h⁻¹) or a name "
                    f"({', '.join(lp.MEDIA)}), joined by commas")  # fmt: skip
    return it


def parse_genes(text: str) -> list[str]:
    """('b0002+b0003' → ['b0002', 'b0003']), each once."""
    return list(dict.fromkeys(re.split(r"[+\s]+", text.strip("+ \t")))) if text.strip("+ \t") else []


def parse_medium(text: str) -> dict[str, float]:
    """('anaerobic,EX_ac_e=10' → {'EX_o2_e': 0.0, 'EX_ac_e': 10.0}); what comes later wins. Raises UsageError."""
    medium: dict[str, float] = {}
    for part in filter(None, re.split(r"[,;\s]+", text)):
        exchange, equals, amount = part.partition("=")
        if not equals:
            if part not in lp.MEDIA:
                raise UsageError(
                    f"'{part}' is neither EXCHANGE=UPTAKE nor a medium that has a name ({', '.join(lp.MEDIA)})."
                )
            medium.update(lp.MEDIA[part])
            continue
        try:
            uptake = float(amount)
        except ValueError:
            raise UsageError(f"The uptake of {exchange} has to be a number, not '{amount}'.") from None
        if not math.isfinite(uptake) or uptake < 0:
            raise UsageError(f"The uptake of {exchange} has to be 0 or more and finite, not {amount}.")
        medium[exchange] = uptake
    return medium


class Fba:
    """Answers requests; holds the models that it has loaded."""

    def __init__(self) -> None:
        self._parser = parser()
        self._models: dict[str, lp.Model] = {}

    def answer(self, arguments: list[str]) -> tuple[int, str]:
        """The exit code and the output: JSON, or a sentence that says what is wrong."""
        try:
            given = self._parser.parse_args(arguments)
            medium = parse_medium(given.medium)
            if given.model not in self._models:
                self._models[given.model] = lp.load(given.model)
            result = self._models[given.model].grow(parse_genes(given.genes), medium)
            return 0, json.dumps(result, allow_nan=False)
        except UsageError as error:
            return USAGE, str(error)
        except lp.FbaError as error:
            return FAILED, str(error)
        except Exception as error:  # a worker outlives whatever one request does to it
            return FAILED, f"Unexpected {type(error).__name__}: {error}"


def serve(requests: IO[bytes], responses: IO[bytes]) -> None:
    """Answers one WorkRequest a line until the input ends."""
    fba = Fba()
    for line in requests:
        request_id: Any = 0
        try:
            request = json.loads(line)
            request_id = request.get("requestId", 0)
            arguments = request.get("arguments", [])
            if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
                raise ValueError("'arguments' is not a list of strings")
        except (ValueError, AttributeError) as error:
            code, output = USAGE, f"This is not a work request: {error}."
        else:
            code, output = fba.answer(arguments)
        if code:
            print(output, file=sys.stderr, flush=True)  # where the engine looks for the reason of a failure
        response = {"exitCode": code, "output": output, "requestId": request_id}
        responses.write(json.dumps(response).encode() + b"\n")
        responses.flush()


def main() -> int:
    """Runs as one process or as a worker.

    Only answers go to the real stdout; all else that is printed goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    arguments = sys.argv[1:]
    if arguments == ["--persistent_worker"]:
        serve(sys.stdin.buffer, answers)
        return 0
    if set(arguments) & {"-h", "--help"}:
        answers.write(parser().format_help().encode())
        answers.flush()
        return 0
    code, output = Fba().answer(arguments)
    (answers if code == 0 else sys.stderr.buffer).write(output.encode() + b"\n")
    answers.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
