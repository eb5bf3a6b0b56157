"""The metagenome app with stand-ins for its programs: commands, launchers, steps and what a restart repeats, choice of
k, the manifest.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.manifest import parse_manifest
from packhorse.domain.render import app_template, compile_parts, granted

from .folder import APPS, app_modules

APP = APPS / "metagenome"


@pytest.fixture(scope="module")
def app() -> Iterator[dict[str, Any]]:
    with app_modules("metagenome") as modules:
        yield dict(modules)


def a_job(app: dict[str, Any], **changes: Any) -> Any:
    given = {
        "assembler": "abyss",
        "k": [31, 51],
        "min_contig_bp": 500,
        "nodes": 1,
        "ranks": 2,
        "threads": 1,
        "launcher": "mpirun",
    }
    return app["assemble"].Job(reads=(Path("/r1.fq"), Path("/r2.fq")), **{**given, **changes})


def test_srun_within_slurm_and_mpirun_elsewhere(app: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "srun").touch(mode=0o755)
    choose = app["launch"].choose_launcher
    assert choose({"SLURM_JOB_ID": "7", "PATH": str(tmp_path)}) == "srun"
    assert choose({"SLURM_JOB_ID": "7", "PATH": "/nonexistent"}) == "mpirun"
    assert choose({"PATH": str(tmp_path)}) == "mpirun"


def test_launch_commands(app: dict[str, Any]) -> None:
    launch = app["launch"].launch_command
    assert launch("mpirun", 1, 2, ["x", "y"]) == [
        "mpirun",
        "-np",
        "2",
        "--map-by",
        "node",
        "--bind-to",
        "none",
        "--oversubscribe",
        "x",
        "y",
    ]
    assert launch("srun", 2, 3, ["x"]) == [
        "srun",
        "--mpi=pmix",
        "--nodes=2",
        "--ntasks=3",
        "--ntasks-per-node=2",
        "--overlap",
        "--mem=0",
        "--kill-on-bad-exit=1",
        "x",
    ]


def test_the_environment_keeps_what_the_site_says(app: dict[str, Any]) -> None:
    environment = app["launch"].launch_environment(
        {"OMPI_MCA_btl_vader_eager_limit": "32768", "HOME": "/h"}, as_root=False
    )
    assert environment["OMPI_MCA_btl_vader_eager_limit"] == "32768"
    assert environment["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert environment["HOME"] == "/h"
    assert "OMPI_ALLOW_RUN_AS_ROOT" not in environment
    assert app["launch"].launch_environment({}, as_root=True)["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] == "1"


@pytest.mark.parametrize(
    ("log", "suspected"),
    [
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("mpirun noticed that process rank 1 with PID 0 on node n2 exited on signal 9 (Killed).", True),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=3.1.", True),
        ("error: `reads.fq': No such file or directory", False),
        ("", False),
    ],
)
def test_memory_exhaustion_is_read_from_the_log(app: dict[str, Any], log: str, suspected: bool) -> None:
    assert app["launch"].out_of_memory_suspected(log) is suspected
    code = app["assemble"].StepFailed("unitigs-31", "mpirun", 1, log).code
    assert code == (137 if suspected else 1)


def test_a_signal_becomes_an_exit_code(app: dict[str, Any]) -> None:
    assert app["assemble"].StepFailed("s", "abyss-pe", -15, "").code == 143


@pytest.mark.parametrize(
    ("text", "assembler", "k"), [("31", "abyss", [31]), ("51,31,31", "abyss", [31, 51]), ("21, 31", "ray", [21, 31])]
)
def test_lengths_of_k_mers(app: dict[str, Any], text: str, assembler: str, k: list[int]) -> None:
    assert app["assemble"].parse_k(text, assembler) == k


@pytest.mark.parametrize(
    ("text", "assembler"),
    [("", "abyss"), ("a", "abyss"), ("5", "abyss"), ("128", "abyss"), ("32", "ray"), ("51", "ray")],
)
def test_other_lengths_are_refused(app: dict[str, Any], text: str, assembler: str) -> None:
    with pytest.raises(ValueError, match=r"is not a list of numbers|does not go with"):
        app["assemble"].parse_k(text, assembler)


def test_abyss_has_a_step_on_all_ranks_and_one_on_this_node(app: dict[str, Any]) -> None:
    found = app["assemble"].steps(a_job(app, nodes=2, ranks=4, threads=3, launcher="srun", k=[31]))
    assert [step.name for step in found] == ["unitigs-31", "contigs-31"]
    assert (
        found[0].command[-8:]
        == [
            "ABYSS-P",
            "-k31",
            "-q3",
            "--coverage-hist=coverage.hist",
            "-s",
            "asm-bubbles.fa",
            "-o",
            "asm-1.fa",
            "/r1.fq",
            "/r2.fq",
        ][-8:]
    )
    assert found[0].command[:4] == ["srun", "--mpi=pmix", "--nodes=2", "--ntasks=4"]
    common = ["abyss-pe", "name=asm", "k=31", "in=/r1.fq /r2.fq", "np=4", "j=3", "-o", "asm-1.fa"]
    assert (found[1].command, found[1].joining) == ([*common, "unitigs", "pe-sam"], [*common, "contigs"])
    assert [str(path) for path in found[1].takes] == [
        "assembly/unitigs-31/asm-1.fa",
        "assembly/unitigs-31/coverage.hist",
    ]


def test_ray_has_one_step_a_round(app: dict[str, Any]) -> None:
    (step,) = app["assemble"].steps(a_job(app, assembler="ray", k=[31]))
    assert step.command[-10:] == [
        "Ray",
        "-k",
        "31",
        "-p",
        "/r1.fq",
        "/r2.fq",
        "-minimum-contig-length",
        "500",
        "-o",
        "ray",
    ]


def test_the_kept_round_is_the_most_contiguous_of_what_all_could_have_found(app: dict[str, Any]) -> None:
    def contigs(*lengths: int) -> list[Any]:
        return [app["genomes"].Genome("c", "A" * length) for length in lengths]

    choose = app["assemble"].choose
    assert (
        choose({31: contigs(400, 300, 300), 51: contigs(500)}) == 51
    )  # it holds half of the 1000 bp of the larger round
    assert (
        choose({31: contigs(400, 300, 300), 51: contigs(450)}) == 31
    )  # its N50 is larger, but it found less than half
    assert choose({31: contigs(400, 100), 51: contigs(400, 100)}) == 51
    assert choose({31: [], 51: []}) == 51


def _programs(
    app: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fails: set[str], alignments: str = "pair\n"
) -> list[str]:
    """Stand-ins: each program leaves its files and a log; what is in ``fails`` ends badly, after it left them."""
    ran: list[str] = []

    def run(command: list[str], *, cwd: Path, stdout: Any, **_: Any) -> subprocess.CompletedProcess[bytes]:
        done = f"{cwd.name} join" if command[-1] == "contigs" else cwd.name
        ran.append(done)
        sequence = f">1\n{'A' * 600}\n"
        if command[-1] == "contigs":
            (cwd / "asm-contigs.fa").write_text(sequence)
        elif cwd.name.startswith("contigs"):
            assert {path.name for path in cwd.iterdir()} == {"asm-1.fa", "coverage.hist"}
            (cwd / "asm-unitigs.fa").write_text(sequence)
            (cwd / "asm-3.sam.gz").write_bytes(gzip.compress(f"@SQ\n{alignments}".encode()))
        else:
            assert not list(cwd.iterdir())
            (cwd / "asm-1.fa").touch()
            (cwd / "coverage.hist").touch()
        stdout.write(b"it says why\n")
        return subprocess.CompletedProcess(command, 1 if done in fails else 0)

    monkeypatch.setattr(app["assemble"].subprocess, "run", run)
    return ran


def test_where_nothing_joins_unitigs_they_are_the_contigs(
    app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = _programs(app, monkeypatch, set(), alignments="")
    report = app["assemble"].assemble(a_job(app, k=[31]), None, resume=False)
    assert ran == ["unitigs-31", "contigs-31"]
    assert report["contigs"] == 1


def test_a_restart_repeats_what_was_not_finished(
    app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fails = {"contigs-31 join"}
    ran = _programs(app, monkeypatch, fails)
    with pytest.raises(
        app["assemble"].StepFailed, match=r"Step contigs-31: abyss-pe ended with 1\. [\s\S]*it says why"
    ):
        app["assemble"].run_steps(a_job(app), resume=False)
    assert ran == ["unitigs-31", "contigs-31", "contigs-31 join"]

    progress = re.compile(parse_manifest((APP / "app.yaml").read_text(), "app.yaml").progress or "")
    assert len(progress.findall(capsys.readouterr().err)) == 1

    fails.clear()
    ran.clear()
    report = app["assemble"].assemble(a_job(app, ranks=4), None, resume=True)
    assert ran == ["contigs-31", "contigs-31 join", "unitigs-51", "contigs-51", "contigs-51 join"]
    assert len(progress.findall(capsys.readouterr().err)) == 3
    assert (report["k"], report["contigs"], report["genome_fraction"]) == (51, 1, None)
    assert Path("contigs.fasta").read_text().startswith(">contig_1\n")

    ran.clear()
    app["assemble"].run_steps(a_job(app), resume=False)
    assert ran == ["unitigs-31", "contigs-31", "contigs-31 join", "unitigs-51", "contigs-51", "contigs-51 join"]


def test_a_restart_with_nothing_to_resume_is_a_start(
    app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = _programs(app, monkeypatch, set())
    app["assemble"].run_steps(a_job(app, k=[31]), resume=True)
    assert ran == ["unitigs-31", "contigs-31", "contigs-31 join"]


def test_the_manifest_renders_the_command_and_its_restart() -> None:
    manifest = parse_manifest((APP / "app.yaml").read_text(), "app.yaml")
    values = {"reads1": "/r1", "reads2": "/r2", "genomes": None, "assembler": "abyss", "k": "31", "min_contig": 500}
    argv = app_template(manifest, "/a", manifest.resources).arguments(values)
    assert argv == [
        "python3",
        "/a/assemble.py",
        "--reads1",
        "/r1",
        "--reads2",
        "/r2",
        "--assembler",
        "abyss",
        "--k",
        "31",
        "--min-contig",
        "500",
        "--nodes",
        "2",
        "--ranks",
        "2",
        "--threads",
        "1",
        "--memory-gb",
        "2",
    ]
    assert manifest.resumable
    more = manifest.resources.override({"nodes": 4, "ranks_per_node": 8})
    restart = compile_parts([*manifest.command, *manifest.arguments, *manifest.resume])(
        {"app": "/a", **granted(more), **values}
    )
    assert restart[-9:] == ["--nodes", "4", "--ranks", "32", "--threads", "1", "--memory-gb", "2", "--resume"]
