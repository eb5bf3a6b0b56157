"""The batch script of an allocation. The only place of the engine that composes shell text; everything in it is quoted."""

from __future__ import annotations

import shlex

_TEMPLATE = """\
#!/bin/sh
# Packhorse allocation {token}
cd {spool} || exit 1
# Whoever comes second (a submission repeated after a crash) leaves the allocation to the first.
(set -C; echo "$$" > job.pid) 2>/dev/null || exit 0
exec >> job.out 2>&1 < /dev/null  # the submitter does not wait for us
trap : TERM
{command}
echo "$?" > job.exit.tmp && mv job.exit.tmp job.exit
"""


def batch_script(token: str, spool: str, command: list[str]) -> str:
    """A script that runs ``command`` once in ``spool`` and leaves its exit code in ``job.exit``.

    SIGTERM is for the agent, which drains; the script waits for it.
    """
    return _TEMPLATE.format(token=token, spool=shlex.quote(spool), command=shlex.join(command))
