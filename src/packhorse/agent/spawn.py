"""Start one program: its own process group, clean signals, three files.

Never a fork of something large, never a shell.
"""

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Mapping, Sequence, Tuple

# Python ignores SIGPIPE, and agent and slots handle the rest: none of that may leak into a task.
RESET = [signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO, signal.SIGXFSZ, signal.SIGCHLD]
_found: "Dict[Tuple[str, str], str]" = {}


def find_program(name: str, env: "Mapping[str, str]") -> str:
    """Where the task's own PATH has the program; the name itself if nowhere (starting it then says why)."""
    if "/" in name:
        return name
    path = env.get("PATH", os.defpath)
    hit = _found.get((name, path))
    if hit is None:
        for folder in path.split(os.pathsep):
            candidate = os.path.join(folder or ".", name)
            if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
                if not os.path.isabs(candidate):
                    return candidate  # depends on the work folder: not to be remembered
                _found[(name, path)] = candidate
                return candidate
        return name
    return hit


def explain(error: OSError, argv: "Sequence[str]") -> str:
    """Why a program could not be started, for a person."""
    import errno

    reasons = {
        errno.ENOENT: "no such program (or its interpreter is missing)",
        errno.EACCES: "not executable",
        errno.ENOEXEC: "not a program for this machine (a script without #! line?)",
        errno.E2BIG: "its arguments or environment are too long",
    }
    return "%s: %s" % (argv[0], reasons.get(error.errno or 0, os.strerror(error.errno or 0)))


if hasattr(os, "posix_spawn"):

    def start(path: str, argv: "List[str]", env: "Mapping[str, str]", stdin: int, stdout: int, stderr: int) -> int:
        """Start a program in the current folder; returns its process id; OSError says why it could not be."""
        dup2 = os.POSIX_SPAWN_DUP2  # novm
        actions = [(dup2, stdin, 0), (dup2, stdout, 1), (dup2, stderr, 2)]
        spawn = os.posix_spawn  # novm
        return spawn(path, argv, env, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=RESET)

else:  # Python 3.6 and 3.7

    def start(path: str, argv: "List[str]", env: "Mapping[str, str]", stdin: int, stdout: int, stderr: int) -> int:
        """Start a program in the current folder; returns its process id; OSError says why it could not be."""
        import subprocess

        child = subprocess.Popen(
            argv,
            executable=path,
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            close_fds=True,
            start_new_session=True,
        )
        child.returncode = 0  # it is waited for by its id, with its usage: Popen must not do it
        return child.pid


def run_quietly(argv: "List[str]", env: "Mapping[str, str]", timeout_s: float) -> bool:
    """Run a command whose output nobody reads; whether it succeeded. Beyond its time it is killed."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = start(find_program(argv[0], env), argv, env, null, null, null)
    except (OSError, TypeError, ValueError, IndexError):
        return False
    finally:
        os.close(null)
    pause, waited = 0.001, 0.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        if waited > timeout_s:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
        time.sleep(pause)
        waited += pause
        pause = min(0.02, pause * 2)
