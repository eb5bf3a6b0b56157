"""Refusals that a person can act on: what happened, why, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from packhorse.domain.text import holdable


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request.

    ``where`` locates it (``row 3, parameter 'genes'``; ``app.yaml, line 7, field 'resources.cpu_cores'``), ``what``
    says what is wrong, ``hint`` what to do next (may be empty).
    """

    where: str
    what: str
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("where", "what", "hint"):
            object.__setattr__(self, name, holdable(getattr(self, name)))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} {self.hint}" if self.hint else text


class PackhorseError(Exception):
    """Base of every refusal. ``code`` is stable for programs, ``problems`` are sentences for people."""

    code = "error"
    http_status = 400
    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", problems: tuple[Problem, ...] | list[Problem] = ()) -> None:
        self.message = holdable(message)  # what it quotes of a request may be anything
        super().__init__(self.message)
        self.hint = holdable(hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [self.message if not self.hint else f"{self.message} {self.hint}"]
        lines += [f"  - {problem}" for problem in self.problems]
        return "\n".join(lines)


class InvalidRequest(PackhorseError):
    """What was asked for is wrong; the same request will be refused again."""

    code = "invalid_request"


class InvalidManifest(InvalidRequest):
    """An app manifest is wrong; every problem names file, line, field and what was expected."""

    code = "invalid_manifest"


class TooLarge(InvalidRequest):
    """Over a limit of size or number."""

    code = "too_large"
    http_status = 413


class TooSlow(PackhorseError):
    """What was sent did not come in time."""

    code = "too_slow"
    http_status = 408
    exit_code = 6


class TooMany(PackhorseError):
    """More than a user may take at a time; the same request may succeed after ``after_s`` seconds."""

    code = "too_many"
    http_status = 429
    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        problems: tuple[Problem, ...] | list[Problem] = (),
        after_s: float = 1.0,
    ) -> None:
        super().__init__(message, hint=hint, problems=problems)
        self.after_s = after_s


class NotFound(PackhorseError):
    """No such app, run, task or site, or none that this user may see."""

    code = "not_found"
    http_status = 404
    exit_code = 3


class Conflict(PackhorseError):
    """The thing exists in a state that forbids the request (a client key reused for something else, a second
    engine).
    """

    code = "conflict"
    http_status = 409
    exit_code = 4


class NotAllowed(PackhorseError):
    """The user is known but may not do this."""

    code = "not_allowed"
    http_status = 403
    exit_code = 5


class NotAuthenticated(PackhorseError):
    """No token, or one that is not known."""

    code = "not_authenticated"
    http_status = 401
    exit_code = 5


class Unavailable(PackhorseError):
    """Something we depend on (the database, a site, the server) does not answer now; the same request may succeed
    later.
    """

    code = "unavailable"
    http_status = 503
    exit_code = 6
