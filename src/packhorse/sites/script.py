"""The only place of the engine that composes shell text, all of it quoted: the batch script of an allocation, and a command for SSH."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from packhorse.sites.environment import PASSED

_TEMPLATE = """\
#!/bin/sh
# Packhorse allocation {token}
cd {spool} || exit 1
# Whoever comes second (a submission repeated after a crash) leaves the allocation to the first.
(set -C; echo "$$" > job.pid) 2>/dev/null || exit 0
exec >> job.out 2>&1 < /dev/null  # the submitter does not wait for us
trap : TERM
{run}
echo "$code" > job.exit.tmp && mv job.exit.tmp job.exit
"""

_WAIT = """{command}
code=$?"""

_FORWARD = """{command} &
trap 'kill -TERM "$!"' TERM
wait "$!"; code=$?
while kill -0 "$!" 2>/dev/null; do wait "$!"; code=$?; done  # the trap interrupts a wait"""


def batch_script(token: str, spool: str, command: list[str], *, forwards_sigterm: bool = False) -> str:
    """A script that runs ``command`` once in ``spool`` and leaves its exit code in ``job.exit``.

    SIGTERM is for the agent, which drains; the script waits for it. Where the batch system signals only the script, and not all that
    it started, the script forwards it; elsewhere it must not, since a second SIGTERM tells an agent to stop at once.
    """
    run = (_FORWARD if forwards_sigterm else _WAIT).format(command=shlex.join(command))
    return _TEMPLATE.format(token=token, spool=shlex.quote(spool), run=run)


def shell_command(argv: list[str]) -> str:
    """``argv`` as the text that a login shell is given, since SSH carries no list of arguments. Raises ValueError as subprocess does.

    ``exec``: the first word is then a program, never a builtin, a keyword, an alias or an assignment; and signals reach it.
    """
    if not argv:
        raise ValueError("a command needs a program")
    if any("\0" in word for word in argv):
        raise ValueError("embedded null byte")
    return f"exec {shlex.join(argv)}"


#: One line, since a user's login shell may be one of csh's family. What looks like a name, in a value of several lines, is not set.
_FILTER = (
    "for n in $(env | LC_ALL=C sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do case $n in {patterns}) "
    'eval "[ -z \\"\\${{$n+x}}\\" ] || set -- \\"$n=\\$$n\\" \\"\\$@\\"";; esac; done; exec env -i "$@"'
)


def in_environment(argv: list[str], names: Iterable[str]) -> list[str]:
    """``argv`` such that it sees only what of the environment it is started in has one of these names, or begins so (``LC_*``).

    Without ``argv``, what is to be put before a command whose first word is neither an option nor an assignment.
    """
    names = tuple(names)
    if wrong := [name for name in names if not PASSED.match(name)]:
        raise ValueError(f"no name of a variable: {wrong[0]!r}")
    if argv and (argv[0].startswith("-") or "=" in argv[0]):  # env would take it for an option, or an assignment
        argv = ["sh", "-c", 'exec "$@"', "sh", *argv]
    return ["sh", "-c", _FILTER.format(patterns="|".join(names)), "sh", *argv]
