"""The command line's beginning and end: signals, standard streams, and what becomes of a refusal."""

from __future__ import annotations

import atexit
import gc
import sys

from packhorse.cli.streams import signals_end_it, standard_streams

#: Objects after which garbage is looked for the first time. Imports make nearly as many, none of them garbage: to look
#: at them as often as Python does by itself takes a quarter of the start.
_FIRST_LOOK = 200_000
#: Afterwards. Python's own 700 take a third of the time in which thousands of runs are accepted, whose objects live on.
_LATER_LOOKS = (10_000, 20, 50)


def main() -> None:
    """Runs the command line; a refusal is a sentence on stderr and an exit code, never a traceback."""
    gc.set_threshold(_FIRST_LOOK)
    gc.callbacks.append(_look_seldom)
    atexit.register(gc.freeze)  # nor is it looked for once more at the end
    with standard_streams(), signals_end_it():
        sys.exit(_run())


def _look_seldom(_phase: str, _about: dict[str, int]) -> None:
    gc.callbacks.remove(_look_seldom)
    gc.freeze()  # what was imported stays
    gc.set_threshold(*_LATER_LOOKS)


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
