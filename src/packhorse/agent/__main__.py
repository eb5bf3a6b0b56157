"""The zipapp's entry: `python3 agent.pyz SPOOL` supervises; `python3 agent.pyz --slot` is one of its slots."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional


def main(arguments: "Optional[List[str]]" = None) -> int:
    """Run as supervisor or as slot; returns the exit code. Each imports only what it needs: slots must start fast."""
    argv = sys.argv[1:] if arguments is None else arguments
    if argv == ["--slot"]:
        from .slot import main as run_slot

        return run_slot()
    if len(argv) != 1 or argv[0].startswith("-"):
        sys.stderr.write("usage: python3 agent.pyz SPOOL\n")
        return 2
    from .supervisor import main as supervise

    return supervise(argv[0])


if __name__ == "__main__":
    sys.exit(main())
