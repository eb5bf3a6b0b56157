"""The zipapp's entry:

`python3 agent.pyz SPOOL` supervises; `--slot` is one of its slots; `--background FOLDER` works in the background;
`--journals SPOOLS` reads for the engine; `--take` gives tasks what earlier ones left.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional


def main(arguments: "Optional[List[str]]" = None) -> None:
    """Run as what the arguments say, then exit. Each imports only what it needs, to start fast."""
    argv = sys.argv[1:] if arguments is None else arguments
    if argv == ["--slot"]:
        from .slot.main import main as run_slot

        sys.exit(run_slot())
    if len(argv) == 2 and argv[0] == "--background":
        from .background.main import main as run_background

        sys.exit(run_background(argv[1]))
    if len(argv) == 3 and argv[0] == "--unpack":
        from .background.unpack import main as run_unpack

        sys.exit(run_unpack(argv[1], argv[2]))
    if argv == ["--take"]:
        from .background.take import main as run_take

        sys.exit(run_take())
    if len(argv) == 2 and argv[0] == "--journals":
        from .journals import main as run_journals

        sys.exit(run_journals(argv[1]))
    if len(argv) != 1 or argv[0].startswith("-"):
        ways = "SPOOL | --background FOLDER | --unpack ARCHIVE FOLDER | --journals SPOOLS | --take"
        sys.stderr.write("usage: python3 agent.pyz %s\n" % ways)
        sys.exit(2)
    from .supervisor.slotprocess import first_slot, open_standard_files

    open_standard_files()
    first = first_slot()  # it starts while the rest is imported
    from .supervisor.main import main as supervise

    sys.exit(supervise(argv[0], first))


if __name__ == "__main__":
    main()
