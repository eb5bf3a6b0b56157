"""Records what Slurm prints on the test cluster, for every ending of a job that can be produced there, by
SlurmScheduler's own commands.

Run after 'make cluster-up' and 'source .../env': .venv/bin/python -m tests.recorded.slurm.record It breaks the cluster
and mends it, and takes about 5 minutes.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from packhorse.sites.base import CommandResult, Job
from packhorse.sites.schedulers import slurm_commands as commands
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm_text import parse_submitted
from packhorse.sites.transports.local import LocalTransport

HERE = Path(__file__).parent
ROOT = Path(os.environ["TESTCLUSTER_ROOT"])
SERVICE = HERE.parents[2] / "deploy" / "testcluster" / "service.sh"
TRANSPORT = LocalTransport()
EAT = "python3 -c 'x = bytearray(400_000_000); import time; time.sleep(9)'"
ELSEWHERE = "--exclude=n1,n4"
REFUSED = {
    "account": "--account=nobody",
    "partition": "--partition=nothing",
    "qos": "--qos=nothing",
    "constraint": "--constraint=purple",
    "time": "--partition=short --time=600",
    "memory": "--mem=100G",
    "cores": "--cpus-per-task=64",
    "nodes": "--nodes=5",
    "qos-nodes": "--qos=small --nodes=2",
    "license": "--licenses=nothing:1",
    "gpus": "--gres=gpu:7",
    "option": "--nonsense",
}
jobs: dict[str, str] = {}


def run(*command: str) -> CommandResult:
    return TRANSPORT.run(list(command))


def keep(name: str, result: CommandResult) -> None:
    """Keeps what a command printed; errors with the exit code in the first line."""
    if result.exit_code == 0:
        (HERE / f"{name}.txt").write_text(result.stdout)
    else:
        (HERE / f"{name}.txt").write_text(f"{result.exit_code}\n{result.stderr}")
    print(f"{name}: {result.exit_code} {result.stderr.strip()[:150]}")


def sbatch(
    name: str,
    script: str,
    *extra: str,
    cores: int = 1,
    memory_mb: int | None = 100,
    walltime_s: float | None = 600,
    nodes: int = 1,
    queue: str | None = None,
) -> CommandResult:
    folder = ROOT / "jobs" / "record" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.sh").write_text(f"#!/bin/sh\n{script}\n")
    job = Job(name, str(folder), str(folder / "job.sh"), cores, memory_mb, walltime_s, nodes=nodes, queue=queue)
    result = TRANSPORT.run(commands.sbatch_command(job, SchedulerOptions(extra=extra)))
    jobs[name] = parse_submitted(result.stdout) or ""
    return result


def sleep_until_running(*names: str) -> None:
    wanted = {jobs[name] for name in names}
    for _ in range(300):
        if wanted <= set(run("squeue", "-h", "-t", "R", "-o", "%i").stdout.split()):
            return
        time.sleep(0.2)
    raise RuntimeError(f"not running: {names}")


def refusals() -> None:
    for name, extra in REFUSED.items():
        keep(f"sbatch-refused-{name}", sbatch(f"ph-refused-{name}", "true", *extra.split()))
    for number in range(2):
        sbatch(f"ph-few{number}", "true", "--qos=few", "--hold")
    keep("sbatch-refused-full", sbatch("ph-few2", "true", "--qos=few", "--hold"))
    run("scancel", jobs["ph-few0"], jobs["ph-few1"])


def though_asked() -> None:
    """What the commands print where a wrapper of the site's has lost the options that ask for something else."""

    def less(command: list[str], *options: str) -> CommandResult:
        return TRANSPORT.run([word for word in command if word not in options])

    folder = ROOT / "jobs" / "record" / "asked"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.sh").write_text("#!/bin/sh\nsrun true\n")
    job = Job("ph-asked", str(folder), str(folder / "job.sh"), 1, 100, 60)
    sentence = less(commands.sbatch_command(job, SchedulerOptions()), "--parsable")
    keep("sbatch-sentence", sentence)
    job_id = parse_submitted(sentence.stdout) or ""
    for _ in range(100):
        if "COMPLETED" in run("sacct", "-nPX", "-j", job_id, "-o", "state").stdout:
            break
        time.sleep(0.3)
    keep("squeue-heading", less(commands.squeue_command("ph-asked"), "--noheader", "SLURM_TIME_FORMAT=%s"))
    keep("sacct-heading", less(commands.sacct_command([job_id]), "--noheader", "--allocations", "SLURM_TIME_FORMAT=%s"))
    keep("sinfo-heading", less(commands.NODES_COMMAND, "--noheader", "--exact"))
    keep("scontrol-partition-lines", less(commands.PARTITIONS_COMMAND, "--oneliner"))


def without(service: str, *, seconds: float) -> None:
    """What the commands say while a part of the cluster is away."""
    subprocess.run([SERVICE, "kill", service], check=True)
    folder = ROOT / "jobs" / "record" / "away"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.sh").write_text("#!/bin/sh\n")
    if service != "slurmdbd":
        job = Job("ph-away", str(folder), str(folder / "job.sh"), 1, 100, 60)
        keep(f"sbatch-without-{service}", TRANSPORT.run(commands.sbatch_command(job, SchedulerOptions())))
        keep(f"squeue-without-{service}", TRANSPORT.run(commands.squeue_command()))
        keep(f"scancel-without-{service}", TRANSPORT.run(commands.scancel_command(["1"])))
    else:
        keep(f"sacct-without-{service}", TRANSPORT.run(commands.sacct_command(["1"])))
    subprocess.run([SERVICE, "start", service], check=True)
    time.sleep(seconds)


def main() -> None:
    keep("scontrol-partition", TRANSPORT.run(commands.PARTITIONS_COMMAND))
    keep("scontrol-config", TRANSPORT.run(commands.CONFIG_COMMAND))
    keep("sinfo", TRANSPORT.run(commands.NODES_COMMAND))
    refusals()

    # what waits, and why
    sbatch("ph-busy", "sleep 300", "--licenses=assembler:2", "--qos=single", "--nodelist=n1")
    sbatch("ph-license", "true", "--licenses=assembler:1")
    sbatch("ph-qos", "true", "--qos=single")
    sbatch("ph-held", "true", "--hold")
    sbatch("ph-held-admin", "true", "--hold")
    run("scontrol", "hold", jobs["ph-held-admin"])
    sbatch("ph-begin", "true", "--begin=now+1hour")
    sbatch("ph-after", "true", f"--dependency=afterany:{jobs['ph-held']}")
    sbatch("ph-partition-down", "true", queue="closed")
    # what ends by itself or by us
    sbatch("ph-timeout", "sleep 300", "--nodelist=n1", walltime_s=30)
    deadline = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 75))
    sbatch("ph-deadline", "true", "--licenses=assembler:1", f"--deadline={deadline}", walltime_s=30)
    sleep_until_running("ph-busy", "ph-timeout")
    sbatch("ph-ok", "true", ELSEWHERE)
    sbatch("ph-exit7", "exit 7", ELSEWHERE)
    sbatch("ph-signal", "kill -9 $$", ELSEWHERE)
    sbatch("ph-memory", EAT, ELSEWHERE)
    sbatch("ph-memory-step", f"srun {EAT}", ELSEWHERE)
    sbatch("ph-canceled", "sleep 300", ELSEWHERE)
    sbatch("ph-completing", "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 300\"", ELSEWHERE)
    sleep_until_running("ph-canceled")
    run("scancel", jobs["ph-canceled"])
    sbatch("ph-canceled-waiting", "true", "--hold")
    run("scancel", jobs["ph-canceled-waiting"])
    sbatch("ph-requeued", "sleep 300", ELSEWHERE, "--requeue")
    sbatch("ph-requeue-held", "sleep 300", ELSEWHERE, "--requeue")
    sbatch("ph-suspended", "sleep 300", ELSEWHERE)
    sleep_until_running("ph-requeued", "ph-requeue-held", "ph-suspended")
    run("scontrol", "requeue", jobs["ph-requeued"])
    run("scontrol", "requeuehold", "State=SpecialExit", jobs["ph-requeue-held"])
    run("scontrol", "suspend", jobs["ph-suspended"])
    # a node that is lost, and one that an administrator takes down
    sbatch("ph-preempted", "sleep 300", "--nodelist=n4", queue="preemptible")
    sbatch("ph-preempted-requeue", "sleep 300", "--nodelist=n4", "--requeue", queue="preemptible")
    sleep_until_running("ph-preempted", "ph-preempted-requeue")
    sbatch("ph-preemptor", "sleep 20", "--nodelist=n4", "--exclusive", cores=2)
    time.sleep(8)
    keep("squeue-1", TRANSPORT.run(commands.squeue_command()))
    keep("sacct-1", TRANSPORT.run(commands.sacct_command(value for value in jobs.values() if value)))
    run("scontrol", "resume", jobs["ph-suspended"])
    run("scancel", *(jobs[name] for name in ("ph-suspended", "ph-requeued", "ph-completing")))
    time.sleep(0.5)
    keep("squeue-2", TRANSPORT.run(commands.squeue_command()))
    sbatch("ph-node-down", "sleep 300", "--nodelist=n2")
    sbatch("ph-node-lost", "sleep 300", "--nodelist=n3")
    sbatch("ph-node-lost-requeue", "sleep 300", "--nodelist=n3", "--requeue")
    sleep_until_running("ph-node-down", "ph-node-lost", "ph-node-lost-requeue")
    run("scontrol", "update", "nodename=n2", "state=down", "reason=record")
    subprocess.run([SERVICE, "kill", "n3"], check=True)
    for _ in range(90):
        time.sleep(1)
        if "NODE_FAIL" in run("sacct", "-nPX", "-j", jobs["ph-node-lost"], "-o", "state").stdout:
            break
    keep("sinfo-down", TRANSPORT.run(commands.NODES_COMMAND))
    run("scontrol", "update", "nodename=n2", "state=resume")
    keep("squeue-3", TRANSPORT.run(commands.squeue_command()))
    for _ in range(90):
        states = run("sacct", "-nPX", "-j", f"{jobs['ph-timeout']},{jobs['ph-deadline']}", "-o", "state").stdout.split()
        if "TIMEOUT" in states and "DEADLINE" in states:
            break
        time.sleep(1)
    keep("squeue-4", TRANSPORT.run(commands.squeue_command()))
    run("scancel", "--me")
    time.sleep(3)
    mine = [value for value in jobs.values() if value]
    keep("sacct-2", TRANSPORT.run(commands.sacct_command(mine)))
    keep("sacct-name", TRANSPORT.run(commands.sacct_by_name_command("ph-node-lost-requeue")))
    keep("sacct-unknown", TRANSPORT.run(commands.sacct_command(["999999"])))
    subprocess.run([SERVICE, "start", "n3"], check=True)
    though_asked()
    without("slurmctld", seconds=2)
    without("slurmdbd", seconds=2)
    without("munged", seconds=1)


if __name__ == "__main__":
    main()
