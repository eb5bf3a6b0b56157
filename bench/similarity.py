"""Contigs against proteins by BLAST+ in chunks on the cluster, against one run over all of them with one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any

from bench.cluster import Room, bench_cluster
from bench.harness import Figures, bracketed, complete, ratio, record, scaled, timed
from bench.parts import parts
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded
from packhorse.logs import configure_logs

APP = Path(__file__).parents[1] / "apps" / "similarity"
CONTIGS = scaled(400, 20)
CHUNK_S = 4  # about twenty chunks
ROUNDS = 1


class Search:
    """One search, run in several ways, which all have to find the same."""

    def __init__(self, folder: Path) -> None:
        _script("contigs.py", "--contigs", str(CONTIGS), "--folder", str(folder))
        self._proteins, self._queries = str(folder / "proteins.fasta"), str(folder / "contigs.fasta")
        self._works = (folder / f"work-{number}" for number in count())
        self._hits = b""

    @property
    def request(self) -> AppRun:
        """The pipeline."""
        files = {"queries": self._queries, "proteins": self._proteins}
        return AppRun(app=str(APP), image="none", params={**files, "tool": "blast", "chunk_s": CHUNK_S})

    def alone(self) -> float:
        """Seconds of one run over all contigs, with one thread."""
        work = next(self._works)

        def whole() -> None:
            self._make_database(work)
            self._search(work, work, self._queries)

        took_s = timed(whole)
        self._hits = (work / "hits.tsv").read_bytes()
        return took_s

    def barest(self) -> float:
        """Seconds of the same chunks with nothing around them, as many at a time as there are cores."""
        work = next(self._works)

        def chunks() -> None:
            self._make_database(work)
            own = ["--queries", self._queries, "--database", "database", "--tool", "blast", "--chunk-s", str(CHUNK_S)]
            places = [work / str(number) for number in json.loads(_script("split/split.py", *own, cwd=work))]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda place: self._search(work, place, f"{work}/chunks/{place.name}.fasta"), places))
            self.check(b"".join((place / "hits.tsv").read_bytes() for place in places))

        return timed(chunks)

    def check(self, hits: bytes) -> None:
        """Raises where a table is not that of one run over all contigs."""
        if hits != self._hits:
            raise RuntimeError("chunks have found something else than one run over all contigs")

    def _make_database(self, work: Path) -> None:
        work.mkdir()
        _script("database/database.py", "--proteins", self._proteins, "--tool", "blast", cwd=work)

    def _search(self, work: Path, place: Path, queries: str) -> None:
        place.mkdir(exist_ok=True)
        own = ["--queries", queries, "--database", f"{work}/database", "--tool", "blast"]
        _script("search/search.py", *own, cwd=place)


def measure() -> Figures:
    """similarity_speedup, and the merge's share."""
    configure_logs()
    with bench_cluster() as cluster:
        search = Search(cluster.folder("contigs"))
        ours: list[dict[str, Any]] = []

        def pipeline() -> float:
            with Room(cluster).leading() as room:
                with parts() as spent:
                    took_s = complete(room, search.request, [{}])
                ours.append({"s": took_s, **_about(room, search), "processor_time": spent.as_shares()})
            return took_s

        pairs = bracketed(pipeline, search.alone, ROUNDS)
        barest_s = search.barest()
    figures = {
        "similarity_barest_speedup": round(mean(alone_s for _, alone_s in pairs) / barest_s, 2),
        "similarity_merge_share": round(max(one["merge_s"] / one["s"] for one in ours), 4),
        "similarity_speedup": round(1 / ratio(pairs), 2),
    }
    record("similarity", figures, {"ours": ours, "pairs": pairs, "barest_s": barest_s})
    return figures


def _about(room: Embedded, search: Search) -> dict[str, Any]:
    """What is to be said of the last run, whose table is compared."""
    [run] = room.mine.runs(limit=1).items
    search.check(room.mine.gathered(run.id)["hits"].read_bytes())
    tasks = room.mine.tasks(run.id).items
    [merge_s] = [(task.ended_at or 0) - (task.started_at or 0) for task in tasks if task.step == "merge"]
    return {"merge_s": merge_s, "chunks": sum(task.step == "search" for task in tasks)}


def _script(name: str, *arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, str(APP / name), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout
