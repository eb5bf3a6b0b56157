"""The only place of the engine that composes shell text, all of it quoted: the batch script of an allocation, and a
command for SSH.
"""

from __future__ import annotations

import os
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

    SIGTERM is for the agent, which drains; the script waits for it. Where the batch system signals only the script, and
    not all that it started, the script forwards it; elsewhere it must not, since a second SIGTERM tells an agent to
    stop at once.
    """
    run = (_FORWARD if forwards_sigterm else _WAIT).format(command=shlex.join(command))
    return _TEMPLATE.format(token=token, spool=shlex.quote(spool), run=run)


_PLAIN = {code: f"\\0{code:03o}" for code in range(256) if not 32 <= code < 127 or chr(code) in "\\'!"}

#: Runs "$@" between two marks on either stream; the mark at the end has its exit code. It stands in single quotes in
#: whatever shell the user has at the site, so that it has none itself, and no newline, no '!' (csh) and no '\\' (fish).
#: The streams are exchanged, so that what the shell itself says of a command that a signal ended goes nowhere. '(exec':
#: a program, never a builtin.
_FRAME = (
    't=$1; shift; case "$*" in *"\\0"*) n=$#; while [ "$n" -gt 0 ]; do w=$1; shift; n=$((n - 1)); '
    'case "$w" in *"\\0"*) w=$(printf "%b." "$w"); w=${w%.};; esac; set -- "$@" "$w"; done;; esac; '
    'printf "%s<1" "$t"; printf "%s<2" "$t" >&2; exec 3>&2 2>/dev/null; (exec "$@" 2>&3 3>&-); c=$?; '
    'printf "%s>2%d." "$t" "$c" >&3; printf "%s>1%d." "$t" "$c"'
)


def framed_command(argv: list[str], token: str) -> str:
    """``argv`` as the text that a login shell is given, since SSH carries no list of arguments.

    Raises ValueError as subprocess does.

    Any shell takes it: sh, bash, zsh, csh, tcsh, fish. What it makes a command print is between marks with ``token`` in
    them (``sites.transports.framing`` reads them), so that what the shell's start files print is not taken for it.
    """
    if not argv:
        raise ValueError("a command needs a program")
    if any("\0" in word for word in argv):
        raise ValueError("embedded null byte")
    # each word as ASCII in single quotes: what some shell takes for more than itself there is written as printf's %b
    # reads it
    words = (os.fsencode(word).decode("latin-1").translate(_PLAIN) for word in ["sh", token, *argv])
    return f"exec /bin/sh -c '{_FRAME}' " + " ".join(f"'{word}'" for word in words)


#: One line, since a user's login shell may be one of csh's family. What looks like a name, in a value of several lines,
#: is not set.
_FILTER = (
    "for n in $(env | LC_ALL=C sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do case $n in {patterns}) "
    'eval "[ -z \\"\\${{$n+x}}\\" ] || set -- \\"$n=\\$$n\\" \\"\\$@\\"";; esac; done; exec env -i "$@"'
)


def in_environment(argv: list[str], names: Iterable[str]) -> list[str]:
    """``argv`` such that it sees only what of the environment it is started in has one of these names, or begins so
    (``LC_*``).

    Without ``argv``, what is to be put before a command whose first word is neither an option nor an assignment.
    """
    names = tuple(names)
    if wrong := [name for name in names if not PASSED.match(name)]:
        raise ValueError(f"no name of a variable: {wrong[0]!r}")
    if argv and (argv[0].startswith("-") or "=" in argv[0]):  # env would take it for an option, or an assignment
        argv = ["sh", "-c", 'exec "$@"', "sh", *argv]
    return ["sh", "-c", _FILTER.format(patterns="|".join(names)), "sh", *argv]
