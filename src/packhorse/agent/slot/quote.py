"""The only place where the agent composes shell text: a command for a shell session."""

from shlex import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Sequence


def command_text(argv: "Sequence[str]", env: "Mapping[str, str]", cwd: str, stdout: str, stderr: str, mark: str) -> str:
    """One command as text for the stdin of a POSIX shell: run in a subshell, then print `mark` and its exit status.

    Names in `env` that no shell can export are left out. The output is appended, so that following it survives
    truncation.
    """
    exports = "".join("export %s=%s; " % (name, quote(value)) for name, value in sorted(env.items()) if is_name(name))
    run = " ".join(quote(word) for word in argv)
    return "( %scd %s && exec %s ) </dev/null >>%s 2>>%s; echo %s $?\n" % (
        exports,
        quote(cwd),
        run,
        quote(stdout),
        quote(stderr),
        mark,
    )


def redirection(stdin: str, stdout: str) -> str:
    """Has a POSIX shell read its commands from one file from now on, and print to another."""
    return "exec <%s >%s\n" % (quote(stdin), quote(stdout))


def is_name(text: str) -> bool:
    """Whether a shell accepts the text as the name of a variable."""
    return (
        text.isidentifier() and text.isascii()
        if hasattr(text, "isascii")
        else all(c < "\x7f" for c in text) and text.isidentifier()
    )
