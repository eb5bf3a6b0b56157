"""Real gene models of a real chromosome arm, and what their transcripts are.

Debian's package ``augustus-doc`` has arm 2R of *Drosophila melanogaster* (21.1 Mb), and where in its bases 2,000,001 to
7,000,000 the coding parts of 1,120 transcripts are, as Scipio (Keller et al. 2008, doi:10.1186/1471-2105-9-278) aligned
proteins of FlyBase. Untranslated ends are not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

TUTORIAL = Path("/usr/share/doc/augustus/tutorial")
"""Where Debian's package puts them."""
CHROMOSOME = "chr2R"
MODELS_FROM = 2_000_000
"""The models count from this base (from 0) of the arm."""
MIN_INTRON_BP = 40
SPLICE_SITES = {("GT", "AG"), ("GC", "AG")}
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")

Exon = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript; exons from left to right, in bases of the genome, counted from 1, both ends included."""

    name: str
    gene: str
    strand: str
    exons: tuple[Exon, ...]

    @property
    def length(self) -> int:
        """Without introns, in bp."""
        return sum(end - start + 1 for start, end in self.exons)

    @property
    def introns(self) -> list[Exon]:
        """From the first base of each to its last."""
        return [(left[1] + 1, right[0] - 1) for left, right in pairwise(self.exons)]

    def sequence(self, genome: str) -> str:
        """As it is read, from its own start."""
        bases = "".join(genome[start - 1 : end] for start, end in self.exons)
        return bases if self.strand == "+" else reverse_complement(bases)

    def is_plain(self, genome: str) -> bool:
        """Whether each of its introns is long enough for one, and has the ends that nearly all have."""
        for start, end in self.introns:
            intron = genome[start - 1 : end] if self.strand == "+" else reverse_complement(genome[start - 1 : end])
            if end - start + 1 < MIN_INTRON_BP or (intron[:2], intron[-2:]) not in SPLICE_SITES:
                return False
        return True


def reverse_complement(bases: str) -> str:
    """The other strand."""
    return bases.translate(_COMPLEMENT)[::-1]


def read_sequence(fasta: Path) -> str:
    """The only sequence of a FASTA file, in capitals. Raises FileNotFoundError."""
    with fasta.open() as file:
        next(file)
        return "".join(line.strip() for line in file).upper()


def read_models(gff: Path, offset: int) -> list[Transcript]:
    """Transcripts of Scipio's GFF, from left to right, ``offset`` bases further on; genes are not known yet.

    Those with the same exons are one.
    """
    found: dict[str, tuple[str, list[Exon]]] = {}
    with gff.open() as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 9 or fields[2] != "CDS":
                continue
            name = fields[8].split('"')[1]
            exons = found.setdefault(name, (fields[6], []))[1]
            exons.append((int(fields[3]) + offset, int(fields[4]) + offset))
    distinct: dict[tuple[str, tuple[Exon, ...]], str] = {}
    for name, (strand, exons) in found.items():
        distinct.setdefault((strand, tuple(sorted(exons))), name)
    models = [Transcript(f"t{name}", "", strand, exons) for (strand, exons), name in distinct.items()]
    return sorted(models, key=lambda model: (model.exons, model.strand))


def in_genes(models: Sequence[Transcript]) -> list[Transcript]:
    """The same transcripts: those that share bases of exons on one strand are of one gene, named by its place."""
    gene_of = list(range(len(models)))

    def root(number: int) -> int:
        while gene_of[number] != number:
            number = gene_of[number]
        return number

    for strand in "+-":
        reach = owner = 0
        exons = sorted(
            (start, end, number)
            for number, model in enumerate(models)
            if model.strand == strand
            for start, end in model.exons
        )
        for start, end, number in exons:
            if start <= reach:
                first, second = sorted((root(owner), root(number)))
                gene_of[second] = first
            if end > reach:
                reach, owner = end, number
    roots = [root(number) for number in range(len(models))]
    place = {gene: f"g{models[gene].exons[0][0]}{'f' if models[gene].strand == '+' else 'r'}" for gene in set(roots)}
    return [
        Transcript(model.name, place[gene], model.strand, model.exons)
        for model, gene in zip(models, roots, strict=True)
    ]


def gtf_lines(chromosome: str, transcripts: Iterable[Transcript]) -> Iterable[str]:
    """An annotation in GTF, a line for each transcript and exon."""
    for transcript in transcripts:
        attributes = f'gene_id "{transcript.gene}"; transcript_id "{transcript.name}";'
        start, end = transcript.exons[0][0], transcript.exons[-1][1]
        for kind, left, right in [
            ("transcript", start, end), *(("exon", *exon) for exon in transcript.exons)
        ]:  # fmt: skip
            yield (
                "\t".join((chromosome, "Scipio", kind, str(left), str(right), ".", transcript.strand, ".", attributes))
                + "\n"
            )


def by_gene(transcripts: Iterable[Transcript], values: Mapping[str, float]) -> dict[str, float]:
    """The sum over the transcripts of each gene of what ``values`` has for them."""
    sums: dict[str, float] = {}
    for transcript in transcripts:
        sums[transcript.gene] = sums.get(transcript.gene, 0.0) + values[transcript.name]
    return sums
