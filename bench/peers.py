"""Peers that run N × /bin/true. Their start-up is not counted, as ours is not."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable

from bench.harness import python, timed

TASKS = 2000

_PARSL = """
import os, sys, tempfile, time
import parsl
from concurrent.futures import wait
from parsl import bash_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
number, folder = int(sys.argv[1]), tempfile.mkdtemp()
os.chdir(folder)
executor = HighThroughputExecutor(
    label="htex", address="127.0.0.1", loopback_address="127.0.0.1", max_workers_per_node=2, cores_per_worker=1,
    provider=LocalProvider(init_blocks=1, max_blocks=1, min_blocks=1),
)
@bash_app
def true():
    return "/bin/true"
options = {"initialize_logging": False, "strategy": "none", "usage_tracking": 0}
with parsl.load(Config(executors=[executor], run_dir=folder, **options)):
    wait([true() for _ in range(4)])
    began = time.perf_counter()
    futures = [true() for _ in range(number)]
    wait(futures)
    took = time.perf_counter() - began
    assert all(future.result() == 0 for future in futures)
print(took)
"""

_DASK = """
import subprocess, sys, time
from distributed import Client, LocalCluster, wait
def true(_):
    return subprocess.run(["/bin/true"]).returncode
if __name__ == "__main__":
    number = int(sys.argv[1])
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster) as client:
        wait(client.map(true, range(4), pure=False))
        began = time.perf_counter()
        futures = client.map(true, range(number), pure=False)
        wait(futures)
        took = time.perf_counter() - began
        assert all(future.status == "finished" for future in futures)
    print(took)
"""


def available() -> dict[str, Callable[[int], float]]:
    """The peers that are installed: name → seconds for N tasks."""
    found: dict[str, Callable[[int], float]] = {}
    if shutil.which("parallel"):
        found["gnu_parallel"] = _parallel
    else:
        print("GNU parallel is not installed; 'make setup-bench' installs it.")
    for name, module, code in (("parsl_htex_bash", "parsl", _PARSL), ("dask", "distributed", _DASK)):
        if importlib.util.find_spec(module):
            found[name] = lambda number, code=code: float(python(code, str(number)).split()[-1])  # type: ignore[misc]
        else:
            print(f"{module} is not installed; 'make setup-bench' installs it.")
    return found


def _parallel(number: int) -> float:
    command = f"seq {number} | parallel -j2 --will-cite /bin/true"
    return timed(lambda: subprocess.run(command, shell=True, check=True, stderr=subprocess.DEVNULL))
