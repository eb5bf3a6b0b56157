"""An engine that is killed in the middle of each user story: what comes out is that of an undisturbed run, to the byte.

On this machine, without containers: an engine knows tasks by their journals, which are the same everywhere.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packhorse.domain.run import AppRun
from packhorse.domain.states import TaskState
from packhorse.domain.views import RunView
from packhorse.engine.embedded import Embedded
from tests.fixtures.room import EngineProcess, wait_for
from tests.fixtures.truth import assert_each_ended_once, attempts_by_task

APPS = Path(__file__).resolve().parents[2] / "apps"

pytestmark = pytest.mark.slow

Document = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """A user story, small: the app, the programs that it needs, what it is run over, and when its engine is killed.

    ``kills`` are numbers of tasks that have ended (0: when one runs), or what the first task has said by then.
    ``file`` and ``result`` leave out what no two runs have in common.
    """

    app: str
    needs: tuple[str, ...]
    over: Callable[[Path], Document]
    kills: tuple[int | str, ...]
    file: Callable[[Path], bytes] = Path.read_bytes
    result: Callable[[Any], Any] = lambda result: result

    def request(self, folder: Path) -> AppRun:
        return AppRun(app=str(APPS / self.app), image="none", **self.over(folder))


def simulate(script: str, folder: Path, *options: str) -> list[dict[str, str]]:
    """Makes samples; their table, if there is one."""
    command = [sys.executable, APPS / script, "--folder", folder, *options]
    subprocess.run(command, check=True, capture_output=True)
    table = folder / "table.csv"
    return list(csv.DictReader(table.read_text().splitlines())) if table.exists() else []


def samples_to_assemble(folder: Path) -> Document:
    return {"over": simulate("assembly/simulate.py", folder, "--samples", "4", "--part-bp", "12000")}


def reads_of_rna(folder: Path) -> Document:
    own = ["--samples", "2", "--pairs", "4000", "--genome-bp", "2500000"]
    rows = simulate("rnaseq/simulate.py", folder, *own)
    common = {"genome": str(folder / "genome.fasta"), "annotation": str(folder / "annotation.gtf")}
    return {"over": rows, "params": common}


def without_where_it_ran(path: Path) -> bytes:
    """Alignments and transcripts begin with the commands that made them, which name the folder of the run."""
    if path.suffix == ".bam":
        return subprocess.run(["samtools", "view", path], check=True, capture_output=True).stdout
    if path.suffix == ".gtf":
        return b"".join(line for line in path.open("rb") if not line.startswith(b"#"))
    return path.read_bytes()


def contigs(folder: Path) -> Document:
    simulate("similarity/contigs.py", folder, "--contigs", "30", "--proteins", "2000")
    common = {"queries": str(folder / "contigs.fasta"), "proteins": str(folder / "proteins.fasta")}
    return {"params": {**common, "chunk_s": 1, "speed": 8e9}}


def without_times(result: Any) -> Any:
    """A search says how long it took, and the merge how fast that was."""
    if not isinstance(result, dict):
        return result
    return {name: value for name, value in result.items() if name not in ("cpu_s", "speed")}


def models(folder: Path) -> Document:
    """As many media as tasks: one bound of the uptake of glucose each."""
    return {"over": [{"model": "textbook", "medium": f"EX_glc__D_e={number / 100}"} for number in range(1, 501)]}


def without_names_of_tasks(path: Path) -> bytes:
    """The table names the tasks, and with them the run."""
    if path.suffix != ".csv":
        return path.read_bytes()
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert lines[0][1] == "task"
    return "\n".join(",".join([first, *rest]) for first, _, *rest in lines).encode()


def community(folder: Path) -> Document:
    simulate("metagenome/simulate.py", folder, "--part-bp", "6000", "--coverages", "40,25")
    files = {"reads1": "reads_1.fq", "reads2": "reads_2.fq", "genomes": "genomes.fasta"}
    common = {name: str(folder / file) for name, file in files.items()}
    return {"params": {**common, "k": "31,41"}, "resources": {"nodes": 1, "ranks_per_node": 2}}


STORIES = [
    Story("assembly", ("megahit", "minimap2", "art_illumina"), samples_to_assemble, (0, 2)),
    Story("rnaseq", ("hisat2", "samtools", "stringtie"), reads_of_rna, (0, 1, 4), file=without_where_it_ran),
    Story("similarity", ("diamond",), contigs, (1, 3), result=without_times),
    Story("fba", (), models, (5, 100), file=without_names_of_tasks),
    Story(
        "metagenome", ("abyss-pe", "mpirun", "minimap2", "art_illumina"), community, (0, "Completed step unitigs-31")
    ),
]


@contextmanager
def room_in(home: Path) -> Iterator[Embedded]:
    """Looks at a home whose engine is another process."""
    room = Embedded(home)
    try:
        yield room
    finally:
        room.close()


def is_the_moment(room: Embedded, run_id: str, moment: int | str) -> bool:
    if isinstance(moment, str):
        return moment.encode() in room.mine.log(f"{run_id}.0", "stderr").data
    view = room.mine.run(run_id)
    return view.done >= moment and (view.done > 0 or TaskState.RUNNING in view.counts)


def end_of(room: Embedded, run_id: str) -> RunView:
    wait_for(lambda: room.mine.run(run_id).ended, 240, "the run's end")
    view = room.mine.run(run_id)
    assert view.counts == {TaskState.COMPLETE: view.tasks}
    return view


def left(room: Embedded, run_id: str, story: Story) -> dict[str, Any]:
    """All that a run left: files by their paths, results by index."""
    folder = Path(room.sites[0].run_folder(run_id))
    files = {str(path.relative_to(folder)): story.file(path) for path in folder.rglob("*") if path.is_file()}
    results = {str(one["index"]): story.result(one["result"]) for one in room.mine.results(run_id)}
    return {**files, **results}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.app)
def test_what_comes_out_is_the_same(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := [program for program in story.needs if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)}: make setup-test")
    if story.app == "fba":
        pytest.importorskip("cobra")
        pytest.importorskip("matplotlib")
    monkeypatch.setenv("PACKHORSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    request = story.request(tmp_path / "samples")
    with room_in(tmp_path / "undisturbed") as undisturbed, room_in(tmp_path / "disturbed") as disturbed:
        runs = [room.mine.submit(request).id for room in (undisturbed, disturbed)]
        with EngineProcess(undisturbed.home):
            for moment in story.kills:
                with EngineProcess(disturbed.home) as engine:
                    wait_for(lambda moment=moment: is_the_moment(disturbed, runs[1], moment), 120, f"moment {moment}")
                    engine.kill()
                assert not disturbed.mine.run(runs[1]).ended, "it is killed in the middle"
            end_of(undisturbed, runs[0])
        with EngineProcess(disturbed.home):
            view = end_of(disturbed, runs[1])
        expected, found = left(undisturbed, runs[0], story), left(disturbed, runs[1], story)
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == []
        assert len(expected) > (view.tasks or 0), "there are files, too"
        assert_each_ended_once(disturbed)
        assert set(attempts_by_task(disturbed).values()) == {1}, "agents do not need an engine"
