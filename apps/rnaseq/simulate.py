"""Makes samples of RNA-seq reads whose expression levels are known, and the table to run the pipeline over.

    python3 simulate.py --samples 100 --pairs 50000 --folder samples
    packhorse run apps/rnaseq --over samples/table.csv --set genome=samples/genome.fasta \
        --set annotation=samples/annotation.gtf

Genome and genes are real (``models.py``); levels and reads are simulated. Half of the samples are of condition A, half
of B. The same arguments give the same files, and a sample's reads do not depend on how many others there are.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from math import exp, log10
from pathlib import Path

from models import (
    CHROMOSOME,
    MODELS_FROM,
    TUTORIAL,
    Transcript,
    gtf_lines,
    in_genes,
    read_models,
    read_sequence,
    reverse_complement,
)

READ_BP = 100
FRAGMENT_BP = 250
FRAGMENT_SD_BP = 30
MIN_TRANSCRIPT_BP = 500
"""Shorter ones are left out: of a transcript about as long as a fragment hardly a read comes, and its level is lost."""
ERROR_RATES = (0.001, 0.01)
"""Substitutions a base, at the first base of a read and at its last; between them it grows evenly."""
OFF = 0.15
"""Part of the genes that are not expressed at all."""
LEVEL_SD = 1.5
"""Of the natural logarithm of a gene's level, over genes."""
CHANGED = 0.2
"""Part of the genes that have another level in condition B."""
FOLDS = (1.0, 3.0)
"""Of the changed ones, up or down: powers of two."""
SAMPLE_SD = 0.25
"""Of the natural logarithm of a gene's level, over samples of one condition."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its name, its condition, and how many molecules there are of each transcript, up to a factor."""

    name: str
    condition: str
    levels: dict[str, float]

    @property
    def tpm(self) -> dict[str, float]:
        """Transcripts per million: molecules of each among a million."""
        scale = 1e6 / sum(self.levels.values())
        return {name: level * scale for name, level in self.levels.items()}


def make_sample(transcripts: Sequence[Transcript], number: int, seed: int) -> Sample:
    """The levels of sample ``number``, counted from 0; even ones are of condition A."""
    name, condition = f"S{number + 1:03d}", "AB"[number % 2]
    shares: dict[str, dict[str, float]] = {}
    for transcript in transcripts:
        chance = random.Random(f"{seed} {transcript.name}")  # noqa: S311
        shares.setdefault(transcript.gene, {})[transcript.name] = chance.gammavariate(1, 1)
    levels: dict[str, float] = {}
    for gene, own in shares.items():
        level = gene_level(gene, condition, seed)
        level *= exp(random.Random(f"{seed} {gene} {name}").gauss(0, SAMPLE_SD))  # noqa: S311
        for transcript_name, share in own.items():
            levels[transcript_name] = level * share / sum(own.values())
    return Sample(name, condition, levels)


def gene_level(gene: str, condition: str, seed: int) -> float:
    """What samples of a condition have on average, before they differ from each other."""
    chance = random.Random(f"{seed} {gene}")  # noqa: S311
    is_on, level = chance.random() >= OFF, exp(chance.gauss(0, LEVEL_SD))
    is_changed, fold = chance.random() < CHANGED, 2.0 ** (chance.uniform(*FOLDS) * chance.choice((-1, 1)))
    return level * (fold if is_changed and condition == "B" else 1) if is_on else 0.0


class Sequencer:
    """Draws fragments of transcripts, and reads both ends of each, with errors."""

    def __init__(self, sequences: Mapping[str, str], levels: Mapping[str, float], seed: str) -> None:
        self._chance = random.Random(seed)  # noqa: S311
        names = [name for name in sequences if levels[name] > 0]
        self._sequences = [(name, sequences[name]) for name in names]
        self._weights = list(accumulate(levels[name] * len(sequences[name]) for name in names))
        first, last = ERROR_RATES
        rates = [first + (last - first) * place / (READ_BP - 1) for place in range(READ_BP)]
        self.qualities = "".join(chr(33 + round(-10 * log10(rate))) for rate in rates)
        self._places = list(accumulate(rates))
        self._no_error = 1.0
        for rate in rates:
            self._no_error *= 1 - rate

    def pairs(self, number: int) -> Iterator[tuple[str, str, str]]:
        """(transcript, first read, second read). A transcript's fragments may begin at each of its bases from which one
        of that length fits: each molecule has the same chance at each place.
        """
        chance = self._chance
        while number:
            name, sequence = chance.choices(self._sequences, cum_weights=self._weights)[0]
            length = max(READ_BP, round(chance.gauss(FRAGMENT_BP, FRAGMENT_SD_BP)))
            start = int(chance.random() * len(sequence))
            if start + length > len(sequence):
                continue
            number -= 1
            forward = sequence[start : start + READ_BP]
            backward = reverse_complement(sequence[start + length - READ_BP : start + length])
            reads = (forward, backward) if chance.random() < 0.5 else (backward, forward)
            yield name, self._read(reads[0]), self._read(reads[1])

    def _read(self, bases: str) -> str:
        """With errors: as many as a Poisson distribution says (Knuth's way to draw from one)."""
        chance = self._chance
        product = chance.random()
        if product < self._no_error:
            return bases
        wrong = list(bases)
        while product >= self._no_error:
            place = chance.choices(range(READ_BP), cum_weights=self._places)[0]
            wrong[place] = chance.choice([base for base in "ACGT" if base != wrong[place]])
            product *= chance.random()
        return "".join(wrong)


def write_reads(sample: Sample, sequences: Mapping[str, str], pairs: int, folder: Path, seed: int) -> dict[str, int]:
    """Writes NAME_1.fq.gz and NAME_2.fq.gz; returns the fragments of each transcript."""
    sequencer = Sequencer(sequences, sample.levels, f"{seed} {sample.name} reads")
    fragments = dict.fromkeys(sequences, 0)
    paths = [folder / f"{sample.name}_{end}.fq.gz" for end in (1, 2)]
    with gzip.open(paths[0], "wt", 1) as first, gzip.open(paths[1], "wt", 1) as second:
        for number, (name, read1, read2) in enumerate(sequencer.pairs(pairs), 1):
            fragments[name] += 1
            first.write(f"@{sample.name}.{number}/1\n{read1}\n+\n{sequencer.qualities}\n")
            second.write(f"@{sample.name}.{number}/2\n{read2}\n+\n{sequencer.qualities}\n")
    return fragments


def choose_models(genome: str, last_bp: int) -> list[Transcript]:
    """The gene models that samples are made of: within the first ``last_bp`` bases of the genome, in genes."""
    models = read_models(TUTORIAL / "results" / "scipio.gff", MODELS_FROM)
    fit = [model for model in models if model.exons[-1][1] <= last_bp and model.length >= MIN_TRANSCRIPT_BP]
    return in_genes([model for model in fit if model.is_plain(genome)])


def write_truth(path: Path, transcripts: Sequence[Transcript], columns: Mapping[str, Mapping[str, float]]) -> None:
    """A table of a line for each transcript and a column for each sample."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("transcript", "gene", "length_bp", *columns))
        for transcript in transcripts:
            values = [f"{values[transcript.name]:.6g}" for values in columns.values()]
            writer.writerow((transcript.name, transcript.gene, transcript.length, *values))


def make_samples(folder: Path, number: int, pairs: int, genome_bp: int | None, seed: int, jobs: int) -> Path:
    """Writes genome, annotation, reads, what is true of them, and the table, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    genome = read_sequence(TUTORIAL / "data" / "chr2R.fa")[:genome_bp]
    transcripts = choose_models(genome, len(genome))
    with (folder / "genome.fasta").open("w") as file:
        file.write(f">{CHROMOSOME}\n")
        file.writelines(genome[start : start + 80] + "\n" for start in range(0, len(genome), 80))
    with (folder / "annotation.gtf").open("w") as file:
        file.writelines(gtf_lines(CHROMOSOME, transcripts))
    sequences = {transcript.name: transcript.sequence(genome) for transcript in transcripts}
    samples = [make_sample(transcripts, turn, seed) for turn in range(number)]
    with ProcessPoolExecutor(jobs) as pool:
        written = [pool.submit(write_reads, sample, sequences, pairs, folder, seed) for sample in samples]
        fragments = {sample.name: one.result() for sample, one in zip(samples, written, strict=True)}
    write_truth(folder / "truth_tpm.tsv", transcripts, {sample.name: sample.tpm for sample in samples})
    write_truth(folder / "truth_fragments.tsv", transcripts, fragments)
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sample", "condition", "reads1", "reads2"))
        for sample in samples:
            reads = [folder.resolve() / f"{sample.name}_{end}.fq.gz" for end in (1, 2)]
            writer.writerow((sample.name, sample.condition, *reads))
    return table


def main() -> int:
    """Makes the samples."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=50_000, help="read pairs of each sample")
    parser.add_argument("--folder", type=Path, required=True, help="where all files go")
    parser.add_argument("--genome-bp", type=int, help="take this many bases of the arm (there are genes from 2.0 Mb)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="samples made at the same time")
    given = parser.parse_args()
    if given.genome_bp is not None and given.genome_bp < MODELS_FROM + 200_000:
        parser.error(f"--genome-bp must be {MODELS_FROM + 200_000} at least: there are no genes before")
    try:
        print(make_samples(given.folder, given.samples, given.pairs, given.genome_bp, given.seed, given.jobs))
    except FileNotFoundError as error:
        parser.error(f"{error.filename} is not here. Debian's package augustus-doc brings the genome and its genes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
