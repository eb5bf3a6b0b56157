"""Assembles one sample with MEGAHIT, and compares the contigs with the genome where that is known.

    python3 assemble.py --sample S --reads1 S_1.fq --reads2 S_2.fq [--genome S.fasta] [--threads 2] [--memory-gb 4]

Leaves ``contigs.fasta`` in the work folder and prints a report as JSON. What MEGAHIT (Li et al. 2015,
doi:10.1093/bioinformatics/btv033) says goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from compare import compare, contig_statistics
from genomes import Genome, read_fasta, write_fasta

FOLDER = Path("megahit")
CONTIGS = Path("contigs.fasta")
MEMORY_FOR_GRAPH = 0.8
"""Part of the memory granted that MEGAHIT may fill with the graph; reads and the program itself need the rest."""


def megahit_command(
    reads1: Path, reads2: Path, min_contig_bp: int, threads: float, memory_gb: float | None
) -> list[str]:
    """MEGAHIT's command.

    It takes whole threads, and bytes; without a limit it would take nine tenths of the machine.
    """
    memory = [] if memory_gb is None else ["-m", str(int(memory_gb * 1e9 * MEMORY_FOR_GRAPH))]
    return [
        "megahit", "-1", str(reads1), "-2", str(reads2), "-o", str(FOLDER), "--min-contig-len", str(min_contig_bp),
        "-t", str(max(1, int(threads))), *memory,
    ]  # fmt: skip


def assemble(sample: str, reads1: Path, reads2: Path, genome: Path | None, min_contig_bp: int, threads: float,
             memory_gb: float | None) -> dict[str, Any]:  # fmt: skip
    """Contigs in CONTIGS, longest first, and the report. Raises CalledProcessError when a tool fails."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run(megahit_command(reads1, reads2, min_contig_bp, threads, memory_gb), check=True, stdout=sys.stderr)
    found = sorted(read_fasta(FOLDER / "final.contigs.fa"), key=lambda contig: (-len(contig.sequence), contig.sequence))
    contigs = [Genome(f"{sample}_{number}", contig.sequence) for number, contig in enumerate(found, 1)]
    write_fasta(CONTIGS, contigs)
    if genome is None:
        return {
            "sample": sample,
            **contig_statistics(len(contig.sequence) for contig in contigs),
            "genome_fraction": None,
        }
    return {"sample": sample, **compare(CONTIGS, genome, max(1, int(threads)))}


def main() -> int:
    """Assembles, and prints the report as one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sample", required=True)
    parser.add_argument("--reads1", type=Path, required=True)
    parser.add_argument("--reads2", type=Path, required=True)
    parser.add_argument("--genome", type=Path)
    parser.add_argument("--min-contig", type=int, default=500, help="bp")
    parser.add_argument("--threads", type=float, default=1)
    parser.add_argument("--memory-gb", type=float)
    given = parser.parse_args()
    if not given.sample or any(letter.isspace() or letter in "/>," for letter in given.sample):
        parser.error(f"the sample's name '{given.sample}' is empty, or has a space, '/', '>' or ',' in it")
    try:
        report = assemble(
            given.sample, given.reads1, given.reads2, given.genome, given.min_contig, given.threads, given.memory_gb
        )
    except FileNotFoundError as error:
        print(
            f"{error.filename} is not here. MEGAHIT and minimap2 have to be installed (Debian: megahit, minimap2).",
            file=sys.stderr,
        )
        return 127
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with {error.returncode}. {(error.stderr or '').strip()[-500:]}", file=sys.stderr)
        return 128 - error.returncode if error.returncode < 0 else error.returncode
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
