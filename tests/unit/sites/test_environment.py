"""What of an environment goes where: properties of the composing functions, and the shell's part of it, in real
shells.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from packhorse.agent import environment as agent
from packhorse.domain.config import parse_config
from packhorse.domain.errors import InvalidRequest
from packhorse.sites.environment import Composer, Purpose, outer_names
from packhorse.sites.script import in_environment
from packhorse.sites.transports.framing import Framed

#: Of jobs, launchers and tasks around us, as their programs set them.
OUTER = [
    *(
        "SLURM_JOB_ID",
        "SLURM_NTASKS",
        "SLURMD_NODENAME",
        "SBATCH_PARTITION",
        "SRUN_DEBUG",
        "SQUEUE_FORMAT",
        "SACCT_FORMAT",
        "SALLOC_ACCOUNT",
    ),
    *(
        "SCANCEL_ACCOUNT",
        "SINFO_FORMAT",
        "PMI_RANK",
        "PMI2_X",
        "PMIX_RANK",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_MCA_orte_hnp_uri",
        "PRTE_X",
    ),
    *(
        "MPI_LOCALRANKID",
        "HYDRA_X",
        "MPIEXEC_X",
        "MV2_COMM_WORLD_RANK",
        "I_MPI_HYDRA_X",
        "PALS_RANKID",
        "ALPS_APP_PE",
        "PBS_JOBID",
    ),
    *(
        "PBS_ENVIRONMENT",
        "LSB_JOBID",
        "LSF_X",
        "SGE_TASK_ID",
        "JOB_ID",
        "PE_HOSTFILE",
        "NSLOTS",
        "NHOSTS",
        "FLUX_JOB_ID",
        "HQ_JOB_ID",
    ),
    *("COBALT_JOBID", "OAR_JOB_ID", "CONDOR_X", "_CONDOR_SCRATCH_DIR", "PACKHORSE_TASK", "PACKHORSE_TOKEN"),
]
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "s",
    "GITHUB_TOKEN": "s",
    "https_proxy": "http://u:p@proxy",
    "VIRTUAL_ENV": "/venv",
    "PYTHONPATH": "/p",
    "LD_PRELOAD": "/l.so",
    "CUDA_VISIBLE_DEVICES": "3",
    "DATABASE_URL": "postgresql://u:p@h/d",
    "SSH_AUTH_SOCK": "/s",
    "BASH_ENV": "/rc",
    "BASH_FUNC_module%%": "() {  eval 1\n}",
    "CONDA_PREFIX": "/conda",
}
PLAIN = {
    "PATH": "/venv/bin:/usr/bin:/conda/bin:/bin",
    "HOME": "/h",
    "USER": "u",
    "LANG": "C.UTF-8",
    "LC_TIME": "de_DE",
    "TZ": "UTC",
}

names = st.one_of(
    st.sampled_from([*OUTER, *SECRETS, *PLAIN, "TMPDIR", "SLURM_CONF", "MPI_HOME", "QUEUE"]),
    st.builds(
        lambda a, b: a + b,
        st.sampled_from(["SLURM_", "OMPI_", "PACKHORSE_", "LC_", "MY_", ""]),
        st.text("ABCXYZ_%=0", max_size=6),
    ),
)
environments = st.dictionaries(names, st.text(st.characters(), max_size=12))
composers = st.builds(Composer, st.booleans(), st.booleans(), st.just(("MY_*", "EXTRA")))


@given(environments, composers, st.sampled_from(list(Purpose)))
@example(dict.fromkeys(OUTER, "x"), Composer(own=True, here=True), Purpose.COMMAND)
@example({"": "x", "A": "\0"}, Composer(own=True), Purpose.COMMAND)
def test_nothing_of_an_outer_job_passes_and_nothing_is_made_up(
    ours: dict[str, str], composer: Composer, purpose: Purpose
) -> None:
    seen = composer.compose(ours, purpose)
    assert not outer_names(seen) - {"SLURM_CONF"}
    assert not set(OUTER) & seen.keys()
    assert all(value == ours[name] for name, value in seen.items() if name != "PATH")
    assert all(name and "=" not in name and "\0" not in name + value for name, value in seen.items())
    assert composer.compose(seen, purpose) == seen


@given(environments)
def test_a_server_passes_a_list_and_ones_own_work_all_but_the_outer_jobs(ours: dict[str, str]) -> None:
    seen = Composer(here=True, passes=("MY_*", "EXTRA")).compose(ours)
    assert not SECRETS.keys() & seen.keys()
    assert all(
        name.startswith(("LC_", "MY_")) or name in (*PLAIN, *("TMPDIR", "SLURM_CONF", "EXTRA", "SHELL"))
        for name in seen
    )
    own = Composer(own=True, here=True).compose(ours)
    kept = {name for name, value in ours.items() if name and "=" not in name and "\0" not in name + value}
    assert own.keys() == (kept - outer_names(ours)) | ({"SLURM_CONF"} & kept)
    assert own.get("PATH") == ours.get("PATH") or "\0" in ours["PATH"]


def test_a_server_keeps_its_virtual_environment_to_itself() -> None:
    assert Composer().compose({**PLAIN, **SECRETS}) == {**PLAIN, "PATH": "/usr/bin:/bin"}
    assert Composer().compose(PLAIN, prefix="/venv")["PATH"] == "/usr/bin:/conda/bin:/bin"
    assert Composer(own=True).compose({**PLAIN, **SECRETS}) == {**PLAIN, **SECRETS}


def test_where_things_are_installed_and_plain_words_are_no_job() -> None:
    own = {
        "MPI_HOME": "/mpi",
        "I_MPI_ROOT": "/impi",
        "QUEUE": "mine",
        "JOB_NAME": "nightly",
        "ENVIRONMENT": "production",
        "TASK_ID": "7",
    }
    assert Composer(own=True).compose(own) == own
    engine = {"SGE_TASK_ID": "1", "QUEUE": "all.q", "JOB_NAME": "x", "REQUEST": "x", "ENVIRONMENT": "BATCH"}
    assert Composer(own=True).compose(engine) == {}


def test_only_background_jobs_see_the_way_to_the_internet() -> None:
    ours = {"https_proxy": "http://proxy", "SSL_CERT_FILE": "/pem", "AWS_SECRET_ACCESS_KEY": "s"}
    assert Composer(here=True).compose(ours) == {}
    assert Composer(here=True).compose(ours, Purpose.BACKGROUND) == {
        "https_proxy": "http://proxy",
        "SSL_CERT_FILE": "/pem",
    }


def test_what_a_site_passes_on_passes() -> None:
    composer = Composer(passes=("LMOD_*", "OMPI_MCA_*", "SLURM_CLUSTERS"))
    ours = {
        "LMOD_CMD": "l",
        "OMPI_MCA_btl": "^openib",
        "SLURM_CLUSTERS": "b",
        "SLURM_JOB_ID": "1",
        "OMPI_COMM_WORLD_RANK": "0",
    }
    passed = {"LMOD_CMD": "l", "OMPI_MCA_btl": "^openib", "SLURM_CLUSTERS": "b"}
    assert composer.compose(ours) == passed
    assert agent.compose(ours, composer.for_agents(), {}, False) == passed


@given(environments, composers, st.booleans())
def test_agents_keep_the_job_from_tasks_that_start_no_ranks(
    ours: dict[str, str], composer: Composer, launches: bool
) -> None:
    rules = json.loads(json.dumps(composer.for_agents()))
    seen = agent.compose(
        {**ours, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "PMI_RANK": "0"}, rules, {"GIVEN": "g"}, launches
    )
    assert seen.pop("GIVEN") == "g"
    assert ("SLURM_JOB_ID" in seen) == launches
    assert not {"SLURM_STEP_ID", "PMI_RANK", "PACKHORSE_TASK", "PACKHORSE_TOKEN", "OMPI_COMM_WORLD_RANK"} & seen.keys()
    assert launches or not outer_names({name: value for name, value in seen.items() if not name.startswith("MY_")}) - {
        "QUEUE",
        "SLURMD_NODENAME",
    }
    assert seen.get("CUDA_VISIBLE_DEVICES") == ours.get("CUDA_VISIBLE_DEVICES"), "a job's GPUs are its tasks'"


SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh") if shutil.which(shell)]
OTHER_SHELLS = [shell for shell in ("csh", "tcsh", "fish") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=15)
@given(st.dictionaries(st.sampled_from(["HOME", "LC_TIME", "LC_X", "MY_A", "EXTRA", "SECRET"]), st.binary(max_size=12)))
@example({"HOME": b"a\nSECRET=1\nLC_X=2\nUSER=3", "EXTRA": b"$(x) `y` \"'\\ \xff\xfe", "SECRET": b"s"})
def test_the_filter_of_a_login_node_passes_the_same(shell: str, ours: dict[str, bytes]) -> None:
    ours = {name: value.replace(b"\0", b"") for name, value in ours.items()}
    given_: dict[bytes, bytes] = {name.encode(): value for name, value in ours.items()}
    given_ |= {b"PATH": os.environb[b"PATH"], b"BASH_FUNC_f%%": b"() {  exit 3\n}", b"SLURM_JOB_ID": b"1"}
    argv = in_environment(["env", "-0"], Composer(passes=("MY_*", "EXTRA")).names())
    printed = os.fsencode(_in_login_shell(shell, argv, given_))
    seen = {bytes(name): value for name, _, value in (line.partition(b"=") for line in printed.split(b"\0") if line)}
    expected = {
        name: value for name, value in given_.items() if name not in (b"SECRET", b"BASH_FUNC_f%%", b"SLURM_JOB_ID")
    }
    for made in (b"LOGNAME", b"HOME", b"USER"):  # by zsh, whatever there was
        if made.decode() not in ours:
            seen.pop(made, None)
    assert seen == expected


@pytest.mark.parametrize("shell", OTHER_SHELLS)
def test_login_shells_of_other_families_understand_the_filter(shell: str) -> None:
    argv = in_environment(["sh", "-c", 'echo "$HOME|$LC_TIME|$SECRET"'], Composer().names())
    ours = {"PATH": os.environ["PATH"], "HOME": "/it's a \\ 'home'", "LC_TIME": "C", "SECRET": "s"}
    assert _in_login_shell(shell, argv, ours) == "/it's a \\ 'home'|C|\n"


def _in_login_shell(shell: str, argv: list[str], environment: Mapping[Any, Any]) -> str:
    """What a command prints that a login shell is given as SSH does."""
    command = Framed(argv)
    done = subprocess.run([shell, "-c", command.text], env=environment, capture_output=True, check=True)
    command.stdout.take(done.stdout)
    command.stderr.take(done.stderr)
    result = command.result()
    assert result is not None and result.exit_code == 0, command.words()
    return result.stdout


@pytest.mark.parametrize("program", ["-odd", "a=b", "plain"])
def test_the_filter_runs_any_program_with_any_arguments(tmp_path: Path, program: str) -> None:
    (tmp_path / program).write_text('#!/bin/sh\nprintf "%s|" "$@"\nexit 7\n')
    (tmp_path / program).chmod(0o755)
    argv = in_environment([program, "a b", "$HOME", "x=y", "", "'"], ["PATH"])
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True)
    assert (done.stdout, done.returncode) == (b"a b|$HOME|x=y||'|", 7)


def test_the_filter_takes_names_only() -> None:
    with pytest.raises(ValueError, match="no name of a variable"):
        in_environment(["true"], ["PATH) touch x;; *"])
    with pytest.raises(ValueError, match="no name of a variable"):
        Composer(passes=("$(x)",))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('env_pass = ["A-B"]', "neither the name of a variable"),
        ('env_pass = ["*"]', "neither the name of a variable"),
        ('env_pass = ["PACKHORSE_TOKEN"]', "a token among them"),
        ('env_pass = ["PACK*"]', "a token among them"),
        ('env = {"A=B" = "c"}', "not the name of a variable"),
        ('env = {"" = "c"}', "not the name of a variable"),
        ('env = {A = "\\u0000"}', "the character NUL"),
    ],
)
def test_what_cannot_be_in_an_environment_is_refused(setting: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_config(f"[sites.there]\n{setting}\n".encode(), Path("packhorse.toml"))
    assert words in str(refused.value) and "sites.there" in str(refused.value)


@pytest.mark.parametrize("weight", ["0", "-1", "'much'", "true"])
def test_a_weight_that_is_no_part_is_refused(weight: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_config(f"[weights]\nalice = {weight}\n".encode(), Path("packhorse.toml"))
    assert "alice" in str(refused.value.problems[0].where)
