"""The commands that are sent to Slurm."""

from __future__ import annotations

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.sites.base import Job
from packhorse.sites.schedulers.options import SchedulerOptions
from packhorse.sites.schedulers.slurm_commands import (
    agent_command,
    minutes,
    sacct_command,
    sbatch_command,
    scancel_command,
    squeue_command,
)
from packhorse.sites.script import batch_script

JOB = Job("a-01", "/site/spool/a-01", "/site/spool/a-01/job.sh", 32, 200_000, 90.0)


def test_a_submission() -> None:
    assert sbatch_command(JOB, SchedulerOptions()) == [
        "sbatch",
        "--parsable",
        "--no-requeue",
        "--job-name=a-01",
        "--comment=packhorse a-01",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=32",
        "--mem=190735M",
        "--time=2",
        "--chdir=/site/spool/a-01",
        "--output=/site/spool/a-01/job.out",
        "--open-mode=append",
        "--export=ALL",
        "/site/spool/a-01/job.sh",
    ]


def test_what_the_site_adds() -> None:
    options = SchedulerOptions("regular", "m1234", "premium", "cpu", "maintenance", ("--exclusive", "--mail-type=NONE"))
    command = sbatch_command(JOB, options)
    for word in (
        "--partition=regular",
        "--account=m1234",
        "--qos=premium",
        "--constraint=cpu",
        "--reservation=maintenance",
    ):
        assert word in command
    assert command[-3:] == ["--exclusive", "--mail-type=NONE", JOB.script]


def test_what_a_job_asks_for() -> None:
    job = Job("a-01", "/s", "/s/job.sh", 4, None, None, nodes=3, gpus=2, queue="gpu")
    command = sbatch_command(job, SchedulerOptions(queue="regular"))
    assert {"--nodes=3", "--gpus-per-node=2", "--partition=gpu", "--no-kill"} <= set(command)
    assert not [word for word in command if word.startswith(("--mem", "--time"))]


def test_a_folder_with_per_cent_signs_is_no_pattern() -> None:
    command = sbatch_command(Job("a", "/s/100%j", "/s/100%j/job.sh", 1, None, None), SchedulerOptions())
    assert "--output=/s/100%%j/job.out" in command
    assert "--chdir=/s/100%j" in command


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_minutes_are_rounded_up_and_never_zero(walltime_s: float) -> None:
    assert minutes(walltime_s) >= 1
    assert minutes(walltime_s) * 60 >= walltime_s
    assert (minutes(walltime_s) - 1) * 60 < walltime_s or minutes(walltime_s) == 1


@given(st.integers(min_value=1, max_value=10_000_000))
def test_memory_reported_by_slurm_can_be_asked_for_again(memory_mib: int) -> None:
    memory_mb = int(memory_mib * 1.048576)  # as the description says it
    command = sbatch_command(Job("a", "/s", "/s/j", 1, memory_mb, None), SchedulerOptions())
    asked = next(int(word.removeprefix("--mem=").removesuffix("M")) for word in command if word.startswith("--mem="))
    assert asked <= memory_mib
    assert asked * (1 << 20) >= memory_mb * 1e6
    assert math.isclose(asked, memory_mib, abs_tol=1)


def test_one_question_whatever_the_number_of_jobs() -> None:
    assert len(squeue_command()) == len(squeue_command("a-01")) - 1
    assert sacct_command(["12", "3"])[-1] == "--jobs=12,3"
    assert scancel_command({"12", "3"})[-2:] == ["12", "3"]


def test_one_node_needs_no_srun() -> None:
    assert agent_command(1, 4, ["python3", "agent.pyz"]) == ["python3", "agent.pyz"]
    command = agent_command(3, 4, ["python3", "agent.pyz"])
    assert command[0] == "srun"
    assert {"--nodes=3", "--ntasks=3", "--cpus-per-task=4", "--overlap", "--no-kill"} <= set(command)
    assert command[-2:] == ["python3", "agent.pyz"]


@pytest.mark.parametrize("forwards_sigterm", [False, True])
@pytest.mark.parametrize("code", [0, 7, 143])
def test_the_script_leaves_its_commands_exit_code(tmp_path: Path, forwards_sigterm: bool, code: int) -> None:
    text = batch_script(
        "a-01", str(tmp_path), ["sh", "-c", f"echo {{it}} 'runs'; exit {code}"], forwards_sigterm=forwards_sigterm
    )
    subprocess.run(["sh", "-c", text], check=True)
    assert (tmp_path / "job.exit").read_text() == f"{code}\n"
    assert (tmp_path / "job.out").read_text() == "{it} runs\n"


def test_the_script_forwards_sigterm_once_and_waits(tmp_path: Path) -> None:
    program = "trap 'echo drains; sleep 0.2; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    (tmp_path / "job.sh").write_text(batch_script("a-01", str(tmp_path), ["sh", "-c", program], forwards_sigterm=True))
    with subprocess.Popen(["sh", str(tmp_path / "job.sh")], start_new_session=True) as script:
        while not (tmp_path / "job.out").exists() or "ready" not in (tmp_path / "job.out").read_text():
            assert script.poll() is None
        script.terminate()  # the script alone, as Slurm does
        script.wait(timeout=10)
    assert (tmp_path / "job.out").read_text() == "ready\ndrains\n"
    assert (tmp_path / "job.exit").read_text() == "9\n"


def test_a_jobs_own_options_come_before_the_sites() -> None:
    job = replace(JOB, options=("--image=id:ab12", "--volume=/site:/site;/data:/data:ro"))
    command = sbatch_command(job, SchedulerOptions(extra=("--exclusive",)))
    assert command[-4:] == ["--image=id:ab12", "--volume=/site:/site;/data:/data:ro", "--exclusive", JOB.script]
