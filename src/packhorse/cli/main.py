"""The command line's beginning and end: signals, standard streams, and what becomes of a refusal."""

from __future__ import annotations

import atexit
import gc
import sys

from packhorse.cli.streams import signals_end_it, standard_streams

#: Objects after which garbage is looked for. To import makes a hundred thousand, none of them garbage, and to look as
#: often as Python does by itself takes a quarter of the start.
_COLLECT_AFTER = 50_000


def main() -> None:
    """Runs the command line; a refusal is a sentence on stderr and an exit code, never a traceback."""
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)  # garbage is not looked for once more at the end
    with standard_streams(), signals_end_it():
        sys.exit(_run())


def _run() -> int:
    """The exit code. What was printed has been written then, not only put into a buffer."""
    try:
        from packhorse.cli.commands import app

        code = app(standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from packhorse.cli.output import report

        return report(error, as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
