"""The FBA app by itself, on the textbook model: worker and one-shot mode, errors, agreement with COBRApy, cache."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cobra")
pytest.importorskip("matplotlib")


from .conftest import APP

ISOENZYMES = "b0118+b1276"  # either aconitase does

Answer = tuple[int, Any]


class WorkerProcess:
    """The app's worker, spoken to as an agent does."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, APP / "fba.py", "--persistent_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def send(self, line: bytes) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        response = json.loads(self.process.stdout.readline())
        assert set(response) == {"exitCode", "output", "requestId"}
        assert isinstance(response["output"], str)
        return dict(response)

    def ask(self, *arguments: str, request_id: int = 0) -> Answer:
        """(exit code, the result or the message)."""
        response = self.send(json.dumps({"arguments": arguments, "inputs": [], "requestId": request_id}).encode())
        assert response["requestId"] == request_id
        return response["exitCode"], json.loads(response["output"]) if response["exitCode"] == 0 else response["output"]

    def close(self) -> tuple[int, bytes]:
        """The exit code, and what was left on stdout."""
        rest, _ = self.process.communicate(timeout=10)
        self._errors.close()
        return self.process.returncode, rest


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    it = WorkerProcess(tmp_path / "stderr")
    yield it
    if it.process.returncode is None:
        assert it.close() == (0, b"")


@pytest.fixture(scope="module")
def textbook() -> Any:
    from cobra.io import load_model

    return load_model("textbook")


def one_shot(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **env}
    return subprocess.run(
        [sys.executable, APP / "fba.py", *arguments], capture_output=True, text=True, timeout=60, env=environment
    )


# --- the protocol ------------------------------------------------------------


def test_a_worker_answers_requests_and_leaves_at_the_end_of_its_input(worker: WorkerProcess) -> None:
    code, result = worker.ask("--model", "textbook", request_id=7)
    assert code == 0
    assert result["growth"] == pytest.approx(0.8739215069684305, abs=1e-6)
    assert (result["status"], result["reactions_off"]) == ("optimal", 0)
    assert worker.close() == (0, b"")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"what?", "not a work request"),
        (b"[]", "not a work request"),
        (b'{"arguments": "--model"}', "not a list of strings"),
        (b'{"arguments": [1]}', "not a list of strings"),
        (b"\xff", "not a work request"),
    ],
)
def test_what_is_not_a_request_is_answered_and_survived(worker: WorkerProcess, line: bytes, why: str) -> None:
    response = worker.send(line)
    assert response["exitCode"] == 2
    assert why in response["output"]
    assert worker.ask("--model", "textbook")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--genes", "b9999"], 1, "textbook has no gene 'b9999'"),
        (["--genes", "b072O"], 1, "Did you mean b072"),
        (["--medium", "EX_gold_e=1"], 1, "textbook has no exchange reaction 'EX_gold_e'"),
        (["--medium", "PGI=1"], 1, "textbook has no exchange reaction 'PGI'"),
        (["--medium", "EX_o2_e=-1"], 2, "0 or more"),
        (["--medium", "EX_o2_e=nan"], 2, "0 or more"),
        (["--medium", "EX_o2_e=much"], 2, "has to be a number, not 'much'"),
        (["--medium", "airless"], 2, "neither EXCHANGE=UPTAKE nor a medium that has a name (anaerobic)"),
        (["--model", "mini"], 2, "invalid choice: 'mini'"),
        (["--colour", "red"], 2, "--colour"),
    ],
)
def test_errors_are_sentences_and_the_next_request_is_served(
    tmp_path: Path, arguments: list[str], code: int, why: str
) -> None:
    from fba import Fba

    fba = Fba()
    given, message = fba.answer(["--model", "textbook", *arguments])
    assert (given, why in message) == (code, True), message
    assert "Traceback" not in message
    assert fba.answer(["--model", "textbook"])[0] == 0


def test_a_worker_says_why_on_stderr_too_where_the_engine_looks(tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path / "stderr")
    assert worker.ask("--model", "textbook", "--genes", "b9999")[0] == 1
    worker.close()
    assert "has no gene 'b9999'" in (tmp_path / "stderr").read_text()


def test_only_answers_reach_stdout(tmp_path: Path) -> None:
    """Neither Python's print nor what a C library writes to file descriptor 1."""
    noisy = tmp_path / "noisy.py"
    noisy.write_text(
        f"import os, sys; sys.path.insert(0, {str(APP)!r})\n"
        "import fba, lp\n"
        "load = lp.load\n"
        "def chatter(name):\n    print('GLPK says hello'); os.write(1, b'and so do I')\n    return load(name)\n"
        "lp.load = chatter\nfba.main()\n"
    )
    request = b'{"arguments": ["--model", "textbook"], "requestId": 0}\n'
    done = subprocess.run(
        [sys.executable, noisy, "--persistent_worker"], input=request, capture_output=True, timeout=60
    )
    assert json.loads(done.stdout)["exitCode"] == 0
    assert b"hello" in done.stderr
    assert b"and so do I" in done.stderr


def test_one_process_for_one_task() -> None:
    done = one_shot("--model", "textbook", "--genes", ISOENZYMES)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["reactions_off"] == 2
    done = one_shot("--model", "textbook", "--genes", "b9999")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("textbook has no gene 'b9999'.")
    assert one_shot("--genes").returncode == 2


# --- the numbers ------------------------------------------------------------


def test_all_pairs_of_genes_agree_with_cobra(textbook: Any) -> None:
    import lp
    from cobra.flux_analysis import double_gene_deletion

    genes = random.Random(4).sample([gene.id for gene in textbook.genes], 25)
    model = lp.load("textbook")
    table = double_gene_deletion(textbook, genes, processes=1)
    assert len(table) == 25 * 26 // 2  # with the single deletions
    for ids, growth, status in table.itertuples(index=False):
        ours = model.grow(sorted(ids), {})
        assert ours["status"] == status, ids
        assert ours["growth"] == pytest.approx(growth, abs=1e-6) if growth == growth else ours["growth"] is None, ids


MEDIA = [
    "anaerobic",
    "EX_glc__D_e=0,EX_ac_e=10",
    "EX_glc__D_e=0 EX_fru_e=4.5;EX_o2_e=3",
    "EX_glc__D_e=0",
    "EX_pi_e=0",
    "anaerobic,EX_o2_e=7",
]


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("genes", [[], ["b0720"], ["b0118", "b1276", "b2296"]])
def test_media_agree_with_cobra(textbook: Any, medium: str, genes: list[str]) -> None:
    import lp
    from fba import parse_medium

    with textbook:
        textbook.medium = {**textbook.medium, **parse_medium(medium)}
        for gene in genes:
            textbook.genes.get_by_id(gene).knock_out()
        growth = textbook.slim_optimize()
        status = textbook.solver.status
    ours = lp.load("textbook").grow(genes, parse_medium(medium))
    assert ours["status"] == status
    assert ours["growth"] == (pytest.approx(growth, abs=1e-6) if growth == growth else None)


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    """To the last bit: media and deletions are undone exactly, and every problem starts from the same basis."""
    import lp

    genes = sorted(lp.load("textbook").genes)
    tasks: list[tuple[list[str], dict[str, float]]] = [
        ([], {}),
        ([], {"EX_o2_e": 0.0}),
        ([], {"EX_glc__D_e": 0.0, "EX_ac_e": 10.0}),
    ]
    tasks += [([gene], {}) for gene in genes[:30]] + [(list(pair), {}) for pair in combinations(genes[30:40], 2)]
    alone = [lp.load("textbook").grow(*task) for task in tasks]
    for seed in (1, 2):
        order = random.Random(seed).sample(range(len(tasks)), len(tasks))
        model = lp.load("textbook")
        together = {k: model.grow(*tasks[k]) for k in order}
        assert [together[k] for k in range(len(tasks))] == alone


@pytest.mark.parametrize(
    ("text", "genes"),
    [
        ("", []),
        ("b1", ["b1"]),
        ("b1+b2", ["b1", "b2"]),
        (" b1  b2 + b3 ", ["b1", "b2", "b3"]),
        ("b1+b1", ["b1"]),
        ("+", []),
    ],
)
def test_genes_are_joined_by_plus_or_spaces(text: str, genes: list[str]) -> None:
    from fba import parse_genes

    assert parse_genes(text) == genes


# --- the cache ------------------------------------------------------------


def damage_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_number(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"1000.0", b"9000.0", 1))


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_end, damage_number, make_empty, Path.unlink])
def test_a_damaged_cache_is_built_again(cache: Path, damage: Callable[[Path], None]) -> None:
    import lp

    wanted = lp.load("textbook").grow([], {})
    (path,) = cache.glob("textbook-*.json")
    sound = path.read_bytes()
    damage(path)
    assert lp.load("textbook").grow([], {}) == wanted
    assert path.read_bytes() == sound
    assert not [name for name in cache.iterdir() if name.suffix not in (".json", ".lock")], "no temporary file stays"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = one_shot("--model", "textbook", PACKHORSE_CACHE=str(tmp_path / "file"))
    assert json.loads(done.stdout)["status"] == "optimal"
    assert "not cached" in done.stderr
