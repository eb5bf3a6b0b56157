"""Makes a database of proteins for DIAMOND or for BLAST+.

    python3 database.py --proteins proteins.fasta --tool diamond

Leaves the folder ``database``: what the tool made, and ``about.json``, which has how large it is. DIAMOND: Buchfink et
al. 2021, doi:10.1038/s41592-021-01101-x. BLAST+: Camacho et al. 2009, doi:10.1186/1471-2105-10-421.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path("database")
PACKAGES = {"diamond": "diamond-aligner", "makeblastdb": "ncbi-blast+"}
"""Of Debian, that bring the tools."""
_PIECE = 1 << 20


def command_of(tool: str, threads: int) -> list[str]:
    """What makes the database of a FASTA file that it reads from stdin."""
    place = str(FOLDER / "proteins")
    if tool == "diamond":
        return ["diamond", "makedb", "--quiet", "--threads", str(threads), "--db", place]
    return ["makeblastdb", "-dbtype", "prot", "-title", "proteins", "-in", "-", "-out", place]


def measured(lines: Iterable[bytes], counts: dict[str, int]) -> Iterable[bytes]:
    """The lines of a FASTA file; when all are read, ``counts`` has its ``proteins`` and their ``letters``.

    Raises ValueError for a line with letters before the first header.
    """
    counts.update(proteins=0, letters=0)
    for line in lines:
        if line.startswith(b">"):
            counts["proteins"] += 1
        elif line.strip() and not counts["proteins"]:
            raise ValueError("it does not begin with '>', as FASTA does")
        else:
            counts["letters"] += len(line.strip())
        yield line


def make_database(proteins: Path, tool: str, threads: int) -> dict[str, int]:
    """Makes it; returns how many proteins and letters it has. Raises CalledProcessError, ValueError."""
    FOLDER.mkdir(exist_ok=True)
    command, counts = command_of(tool, threads), dict[str, int]()
    with (
        gzip.open(proteins) if proteins.suffix == ".gz" else proteins.open("rb") as lines,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr, bufsize=_PIECE) as process,
    ):
        assert process.stdin is not None
        try:
            process.stdin.writelines(measured(lines, counts))
            process.stdin.close()
        except BrokenPipeError:
            pass  # its exit code says why
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    if not counts["letters"]:
        raise ValueError("there is no protein in it")
    return counts


def main() -> int:
    """Makes the database; prints how large it is as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--proteins", type=Path, required=True)
    parser.add_argument("--tool", choices=("diamond", "blast"), required=True)
    parser.add_argument("--threads", type=float, default=1)
    given = parser.parse_args()
    try:
        about = {"tool": given.tool, **make_database(given.proteins, given.tool, max(1, int(given.threads)))}
    except FileNotFoundError as error:
        package = PACKAGES.get(str(error.filename))
        help_with = f" It has to be installed (Debian: {package})." if package else ""
        print(f"{error.filename} is not here.{help_with}", file=sys.stderr)
        return 127
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with {error.returncode}.", file=sys.stderr)
        return 1
    except (ValueError, gzip.BadGzipFile) as error:
        print(f"{given.proteins} is no FASTA file of proteins: {error}.", file=sys.stderr)
        return 2
    (FOLDER / "about.json").write_text(json.dumps(about))
    print(json.dumps(about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
