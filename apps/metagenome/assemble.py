"""Assembles a metagenome over many ranks: one round per length of k-mers, the most contiguous one kept.

    python3 assemble.py --reads1 reads_1.fq --reads2 reads_2.fq --k 31,51 --ranks 2 [--genomes genomes.fasta] [--resume]

Runs once, on the first node of its allocation, and starts the ranks itself. A round of ABySS has two steps: ``unitigs``
(ABYSS-P on all ranks: Simpson et al. 2009, doi:10.1101/gr.089532.108) and ``contigs`` (the rest of ABySS, on this
node). A round of Ray (Boisvert et al. 2012, doi:10.1186/gb-2012-13-12-r122) has one, on all ranks. A finished step
leaves a mark and is not repeated with ``--resume``; an unfinished one starts anew, whatever files it left. Leaves
``contigs.fasta``, and prints a report as JSON; everything else goes to stderr.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare import compare, contig_statistics, nx50
from genomes import Genome, read_fasta, write_fasta
from launch import OUT_OF_MEMORY, choose_launcher, launch_command, launch_environment, out_of_memory_suspected

FOLDER = Path("assembly")
CONTIGS = Path("contigs.fasta")
NAME = "asm"
"""ABySS's prefix of file names; it must be longer than a letter, because a letter is an option of abyss-pe."""
ABYSS_BIN = "/usr/lib/abyss"
"""Where Debian keeps ABYSS-P, which is not in PATH."""
RAY_MAX_K = 31
"""Debian compiles Ray with MAXKMERLENGTH=32, and its k are odd."""
LOG_TAIL_BYTES = 20_000


class StepFailed(Exception):
    """A program of a step failed."""

    def __init__(self, step: str, program: str, code: int, log: str) -> None:
        super().__init__(f"Step {step}: {program} ended with {code}. The end of its log:\n{log[-2000:]}")
        self.code = OUT_OF_MEMORY if out_of_memory_suspected(log) else 128 - code if code < 0 else code


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be assembled, and on what."""

    reads: tuple[Path, Path]
    assembler: str
    k: list[int]
    min_contig_bp: int
    nodes: int
    ranks: int
    threads: int
    launcher: str


def parse_k(text: str, assembler: str) -> list[int]:
    """Lengths of k-mers, ascending, each once. Raises ValueError with a sentence."""
    try:
        lengths = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ValueError(f"'{text}' is not a list of numbers like '31,51'") from None
    most = RAY_MAX_K if assembler == "ray" else 127
    for k in lengths:
        if not 15 <= k <= most or (assembler == "ray" and k % 2 == 0):
            kind = "odd lengths" if assembler == "ray" else "lengths"
            raise ValueError(f"k={k} does not go with {assembler}, which takes {kind} from 15 to {most}")
    return lengths


def abyss_p_command(job: Job, k: int) -> list[str]:
    """ABYSS-P as abyss-pe starts it (``abyss-pe --dry-run``). ``-q3`` trims read ends of a quality below 3."""
    reads = [str(path) for path in job.reads]
    files = ["--coverage-hist=coverage.hist", "-s", f"{NAME}-bubbles.fa", "-o", f"{NAME}-1.fa"]
    return launch_command(job.launcher, job.nodes, job.ranks, ["ABYSS-P", f"-k{k}", "-q3", *files, *reads])


def abyss_pe_command(job: Job, k: int, *targets: str) -> list[str]:
    """Makes ``targets`` from ABYSS-P's result. abyss-pe finds that one and does not make it again, but wants to know
    ``np``.
    """
    reads = " ".join(str(path) for path in job.reads)
    return [
        "abyss-pe",
        f"name={NAME}",
        f"k={k}",
        f"in={reads}",
        f"np={job.ranks}",
        f"j={job.threads}",
        "-o",
        f"{NAME}-1.fa",
        *targets,
    ]


def ray_command(job: Job, k: int) -> list[str]:
    """Ray with pairs; it makes the folder ``ray``."""
    reads = [str(path) for path in job.reads]
    options = ["-minimum-contig-length", str(job.min_contig_bp), "-o", "ray"]
    return launch_command(job.launcher, job.nodes, job.ranks, ["Ray", "-k", str(k), "-p", *reads, *options])


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a round. It works in a folder of its name below FOLDER, into which ``takes`` are copied first.

    ``joining`` follows if ``command`` found pairs of reads that join unitigs. ABySS fails without any: each genome is
    one unitig then.
    """

    name: str
    command: list[str]
    takes: tuple[Path, ...] = ()
    joining: list[str] | None = None


def steps(job: Job) -> list[Step]:
    """All steps, in order."""
    if job.assembler == "ray":
        return [Step(f"ray-{k}", ray_command(job, k)) for k in job.k]
    found: list[Step] = []
    for k in job.k:
        unitigs = FOLDER / f"unitigs-{k}"
        found.append(Step(unitigs.name, abyss_p_command(job, k)))
        takes = (unitigs / f"{NAME}-1.fa", unitigs / "coverage.hist")
        map_pairs, join = abyss_pe_command(job, k, "unitigs", "pe-sam"), abyss_pe_command(job, k, "contigs")
        found.append(Step(f"contigs-{k}", map_pairs, takes, join))
    return found


def result_of(assembler: str, k: int) -> Path:
    """The contigs of a round; where nothing joined ABySS's unitigs, these."""
    if assembler == "ray":
        return FOLDER / f"ray-{k}" / "ray" / "Contigs.fasta"
    contigs = FOLDER / f"contigs-{k}" / f"{NAME}-contigs.fa"
    return contigs if contigs.exists() else contigs.with_name(f"{NAME}-unitigs.fa")


def pairs_join(sam: Path) -> bool:
    """Whether a gzipped SAM file has any alignment; abyss-fixmate leaves only those of pairs on two unitigs."""
    with gzip.open(sam, "rt") as lines:
        return any(not line.startswith("@") for line in lines)


def run_steps(job: Job, *, resume: bool) -> None:
    """Runs what is not done yet, one step after the other. Raises StepFailed."""
    if not resume:
        shutil.rmtree(FOLDER, ignore_errors=True)
    environment = launch_environment(os.environ, as_root=os.geteuid() == 0)
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}:{ABYSS_BIN}"
    for step in steps(job):
        folder, mark = FOLDER / step.name, FOLDER / f"{step.name}.done"
        if mark.exists():
            print(f"Step {step.name} was done by an earlier attempt.", file=sys.stderr, flush=True)
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in step.takes:
            shutil.copy(file, folder / file.name)
        started = time.monotonic()
        _run(step.name, step.command, folder, environment)
        if step.joining is not None and pairs_join(folder / f"{NAME}-3.sam.gz"):
            _run(step.name, step.joining, folder, environment)
        mark.touch()
        print(f"Completed step {step.name} in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _run(step: str, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    log = FOLDER / f"{step}.log"
    with log.open("ab") as output:
        before = output.tell()
        code = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
    if code:
        with log.open("rb") as file:
            file.seek(max(before, log.stat().st_size - LOG_TAIL_BYTES))
            raise StepFailed(step, command[0], code, file.read().decode(errors="replace"))


def choose(rounds: dict[int, list[Genome]]) -> int:
    """The k with the largest NG50, for a size common to all: that of the largest round.

    N50 would favour one that found little.
    """
    size = max(sum(len(contig.sequence) for contig in contigs) for contigs in rounds.values())
    return max(rounds, key=lambda k: (nx50((len(contig.sequence) for contig in rounds[k]), size), k))


def assemble(job: Job, genomes: Path | None, *, resume: bool) -> dict[str, Any]:
    """Contigs in CONTIGS, longest first, and the report. Raises StepFailed, or CalledProcessError from comparing."""
    run_steps(job, resume=resume)
    rounds = {
        k: [contig for contig in read_fasta(result_of(job.assembler, k)) if len(contig.sequence) >= job.min_contig_bp]
        for k in job.k
    }
    k = choose(rounds)
    best = sorted(rounds[k], key=lambda contig: (-len(contig.sequence), contig.sequence))
    write_fasta(CONTIGS, [Genome(f"contig_{number}", contig.sequence) for number, contig in enumerate(best, 1)])
    how = {"assembler": job.assembler, "k": k, "nodes": job.nodes, "ranks": job.ranks, "n50_bp_by_k": _n50s(rounds)}
    if genomes is None:
        return {**how, **contig_statistics(len(contig.sequence) for contig in best), "genome_fraction": None}
    return {**how, **compare(CONTIGS, genomes, job.threads)}


def _n50s(rounds: dict[int, list[Genome]]) -> dict[str, int]:
    return {str(k): nx50(len(contig.sequence) for contig in contigs) for k, contigs in rounds.items()}


def main() -> int:
    """Assembles, and prints the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--reads1", type=Path, required=True)
    parser.add_argument("--reads2", type=Path, required=True)
    parser.add_argument("--genomes", type=Path)
    parser.add_argument("--assembler", choices=["abyss", "ray"], default="abyss")
    parser.add_argument("--k", default="31,51")
    parser.add_argument("--min-contig", type=int, default=500, help="bp")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=2, help="on all nodes together")
    parser.add_argument("--threads", type=float, default=1, help="for what runs on one node")
    parser.add_argument(
        "--memory-gb", type=float, help="granted per node; said in the log, and enforced by who granted it"
    )
    parser.add_argument(
        "--launcher", choices=["srun", "mpirun"], help="default: srun in an allocation of Slurm, else mpirun"
    )
    parser.add_argument(
        "--resume", action="store_true", help="do not repeat the steps that an earlier attempt finished"
    )
    given = parser.parse_args()
    try:
        k = parse_k(given.k, given.assembler)
        if given.ranks < given.nodes:
            raise ValueError(f"{given.ranks} ranks are not enough for {given.nodes} nodes")
    except ValueError as error:
        parser.error(str(error))
    launcher = given.launcher or choose_launcher(os.environ)
    job = Job(
        (given.reads1.resolve(), given.reads2.resolve()),
        given.assembler,
        k,
        given.min_contig,
        given.nodes,
        given.ranks,
        max(1, int(given.threads)),
        launcher,
    )
    memory = "no limit of memory" if given.memory_gb is None else f"{given.memory_gb:g} GB a node"
    print(
        f"{job.assembler} by {launcher}: {job.ranks} ranks on {job.nodes} nodes, {memory}, k = {given.k}.",
        file=sys.stderr,
        flush=True,
    )
    try:
        report = assemble(job, given.genomes, resume=given.resume)
    except StepFailed as error:
        print(error, file=sys.stderr)
        return error.code
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with {error.returncode}. {(error.stderr or '').strip()[-500:]}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(
            f"{error.filename} is not here. Debian's packages abyss (or ray) and minimap2 have to be installed.",
            file=sys.stderr,
        )
        return 127
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
