"""The zipapp's entry: `python3 agent.pyz SPOOL` supervises; `python3 agent.pyz --slot` is one of its slots."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional


def main(arguments: "Optional[List[str]]" = None) -> None:
    """Run as supervisor or as slot, then exit. Each imports only what it needs: slots must start fast."""
    argv = sys.argv[1:] if arguments is None else arguments
    if argv == ["--slot"]:
        from .slot import main as run_slot

        sys.exit(run_slot())
    if len(argv) != 1 or argv[0].startswith("-"):
        sys.stderr.write("usage: python3 agent.pyz SPOOL\n")
        sys.exit(2)
    from .supervisor import main as supervise

    sys.exit(supervise(argv[0]))


if __name__ == "__main__":
    main()
