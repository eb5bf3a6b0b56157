"""A fetch step: in a process of its own, so that a connection that hangs can be ended like any program."""

import importlib
import json
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple


def start_fetch(wanted: "Dict[str, Any]", progress: "Callable[[int], None]") -> "Tuple[int, int]":
    """Start fetching; returns the process and a descriptor for its answer:

    `{"fetched": {...}}`, or `{"failed": kind}` with exit code 1.
    """
    answer, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, answer
    try:
        os.close(answer)
        os.setpgid(0, 0)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        code = run(wanted, progress, write)
        os._exit(code)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(70)


def run(wanted: "Dict[str, Any]", progress: "Callable[[int], None]", write: int) -> int:
    """Fetch and answer; returns the exit code."""
    module = importlib.import_module(".fetch", __package__)
    try:
        said, code = {"fetched": module.fetch(wanted, progress)}, 0
    except module.FetchFailed as failed:
        os.write(2, ("%s\n" % failed.msg).encode("utf-8", "replace"))
        said, code = {"failed": failed.kind}, 1
    os.write(write, json.dumps(said).encode("ascii"))
    return code
