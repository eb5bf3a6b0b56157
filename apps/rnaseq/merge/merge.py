"""Merges the transcripts of all samples and those that are known into one set, and says which are of which gene.

    python3 merge.py --results results.jsonl --annotation annotation.gtf

Leaves ``transcripts.gtf`` and ``genes.tsv``. Samples without transcripts are left out, and named on stderr. StringTie:
Pertea et al. 2015, doi:10.1038/nbt.3122.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from results import Kept, read_results

TRANSCRIPTS = Path("transcripts.gtf")
GENES = Path("genes.tsv")
PARTS = Path("samples.txt")


def genes_of(lines: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(gene, locus) by transcript, from a GTF that StringTie merged.

    A known transcript is of its known gene. A new one is of the only known gene of its locus; where there is none, or
    more than one, it is of a gene that is called as the locus.
    """
    locus_of: dict[str, str] = {}
    known: dict[str, str] = {}
    for line in lines:
        fields = line.rstrip("\n").split("\t")
        if len(fields) == 9 and fields[2] == "transcript":
            said = attributes(fields[8])
            locus_of[said["transcript_id"]] = said["gene_id"]
            if "ref_gene_id" in said:
                known[said["transcript_id"]] = said["ref_gene_id"]
    genes_in: dict[str, set[str]] = {}
    for transcript, locus in locus_of.items():
        genes_in.setdefault(locus, set()).update([known[transcript]] if transcript in known else [])
    found = {}
    for transcript, locus in locus_of.items():
        only = next(iter(genes_in[locus])) if len(genes_in[locus]) == 1 else locus
        found[transcript] = (known.get(transcript, only), locus)
    return found


def attributes(text: str) -> dict[str, str]:
    """Names and values of a GTF line's last field."""
    parts = (part.strip().partition(" ") for part in text.split(";"))
    return {name: value.strip().strip('"') for name, _, value in parts if name}


def merge(samples: Iterable[Kept], annotation: Path, threads: int) -> dict[str, int]:
    """Writes both files; returns numbers. Raises CalledProcessError when StringTie fails."""
    parts = [sample.files["transcripts"] for sample in samples]
    PARTS.write_text("".join(f"{part}\n" for part in parts))
    merging = Path("merging.gtf")
    command = ["stringtie", "--merge", "-p", str(threads), "-G", str(annotation), "-o", str(merging), str(PARTS)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    with merging.open() as lines, TRANSCRIPTS.open("w") as file:
        file.writelines(line for line in lines if not line.startswith("#"))  # which have paths of this run
    with TRANSCRIPTS.open() as lines:
        genes = genes_of(lines)
    with GENES.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("transcript", "gene", "locus"))
        writer.writerows((transcript, *of) for transcript, of in genes.items())
    return {"samples": len(parts), "transcripts": len(genes), "genes": len({gene for gene, _ in genes.values()})}


def main() -> int:
    """Merges, and prints numbers as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--annotation", type=Path, required=True)
    parser.add_argument("--threads", type=float, default=1)
    given = parser.parse_args()
    kept, missing = read_results(given.results)
    for sample in missing:
        print(f"sample '{sample.name}' is left out: {sample.reason or sample.state}", file=sys.stderr)
    if not kept:
        print("No sample has transcripts, so there is nothing to merge.", file=sys.stderr)
        return 1
    try:
        print(json.dumps(merge(kept, given.annotation, max(1, int(given.threads)))))
    except FileNotFoundError as error:
        print(f"{error.filename} is not here. StringTie has to be installed (Debian: stringtie).", file=sys.stderr)
        return 127
    except subprocess.CalledProcessError as error:
        print(f"stringtie ended with {error.returncode}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
