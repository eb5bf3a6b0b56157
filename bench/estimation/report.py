"""Tables of the protocols: all peers, ours, and our share of the best peer's waste and failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.estimation import published, traces
from bench.estimation.ours import MB, Ours
from bench.estimation.peers import PEERS, Peer
from bench.estimation.protocols import LEAST, MOST, Outcome, protocol_a, protocol_b
from bench.estimation.traces import Task

OURS = "packhorse"
_UNLIKE_PRESET = 1.1
"""On no type of task may we waste more than so many times what the preset does."""

Figures = Mapping[str, tuple[float, float]]
"""Waste (GBh) and failed attempts, by who it was."""


def report_a(folder: Path, names: Sequence[str], seeds: Sequence[int], seconds: dict[str, list[float]],
             types: bool) -> dict[str, float]:  # fmt: skip
    """Protocol A: figures are means over the seeds, each against the best peer of that seed."""
    rows, worst, worse_types = [], {"a_ratio": 0.0, "a_failures": 0.0}, []
    for name in names:
        tasks = traces.read(folder, name)
        runs = [_seed_of_a(name, tasks, seed, seconds) for seed in seeds]
        best = [_best(figures) for _, figures in runs]
        waste = sum(ours.waste for ours, _ in runs)
        waste /= sum(figures[who][0] for (_, figures), who in zip(runs, best, strict=True))
        failed = sum(ours.failed for ours, _ in runs) / max(
            1, sum(figures[who][1] for (_, figures), who in zip(runs, best, strict=True))
        )
        worst = {"a_ratio": max(worst["a_ratio"], waste), "a_failures": max(worst["a_failures"], failed)}
        means = _means([{**figures, OURS: (ours.waste, ours.failed)} for ours, figures in runs])
        rows.append((f"{name} ({runs[0][0].tasks})", means, waste, failed, 0.0))
        by_type = _by_type(
            [(ours, figures) for ours, figures in runs], [_presets_by_type(tasks, seed) for seed in seeds]
        )
        worse_types += [
            f"{name} {each}: {ratio:.2f}" for each, (_, _, ratio) in by_type.items() if ratio > _UNLIKE_PRESET
        ]
        if types:
            _show_types(name, by_type)
    _show(f"Protocol A: waste in GBh / failed attempts, means over the seeds {', '.join(map(str, seeds))}", rows)
    listed = "; ".join(worse_types) or "none"
    print(f"types of task on which we waste more than {_UNLIKE_PRESET} times the preset: {listed}\n")
    return worst


def _seed_of_a(name: str, tasks: Sequence[Task], seed: int,
               seconds: dict[str, list[float]]) -> tuple[Outcome, dict[str, tuple[float, float]]]:  # fmt: skip
    """Ours, and the peers; for the seed of the published figures those count where there are some."""
    figures: dict[str, tuple[float, float]] = {}
    for who, make in PEERS.items():
        outcome = protocol_a(tasks, seed, _any_type(make()))
        figures[who] = outcome.waste, outcome.failed
    if seed == published.SEED:
        figures |= published.FIGURES.get(name, {})
    ours = Ours(name)
    outcome = protocol_a(tasks, seed, ours.of)
    seconds.setdefault(name, []).extend(ours.seconds)
    return outcome, figures


def report_b(folder: Path, names: Sequence[str], seconds: dict[str, list[float]], types: bool) -> dict[str, float]:
    """Protocol B, cold and warm. Warm: the first half of the samples (or of each type's tasks) ran before."""
    cold, warm = [], []
    for name in names:
        tasks = [task for task in traces.read(folder, name) if task.peak_rss > 0]
        ours, figures = _run_b(name, tasks, (), seconds)
        cold.append(_row(f"{name} ({len(tasks)})", ours, figures))
        if types:
            _show_types(name, {each: (*of[1:], 0.0) for each, of in ours.by_type.items()})
        before, after = halves(tasks)
        ours, _ = _run_b(name, after, before, seconds)
        _, without = _run_b(name, after, (), {})
        warm.append(_row(f"{name} ({len(after)})", ours, without))
    _show("Protocol B: waste in GBh / failed attempts", cold)
    _show("Protocol B, warm: ours knows the first half of the samples; peers begin with the second", warm)
    print(f"highest share of failed attempts: {100 * max(row[4] for row in [*cold, *warm]):.1f} %\n")
    return {
        "b_ratio": max(row[2] for row in cold),
        "b_warm_ratio": max(row[2] for row in warm),
        "b_failed_share": max(row[4] for row in [*cold, *warm]),
    }


def _run_b(name: str, tasks: Sequence[Task], before: Sequence[Task],
           seconds: dict[str, list[float]]) -> tuple[Outcome, dict[str, tuple[float, float]]]:  # fmt: skip
    figures: dict[str, tuple[float, float]] = {}
    for who, make in PEERS.items():
        outcome = protocol_b(tasks, _any_type(make()), before)
        figures[who] = outcome.waste, outcome.failed
    ours = Ours(name, LEAST / MB, MOST / MB)
    outcome = protocol_b(tasks, ours.of, before, cold=False)
    seconds.setdefault(name, []).extend(ours.seconds)
    return outcome, figures


def halves(tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Tasks of the first half of the samples, in the order in which they came, and those of the others.

    Where a trace does not name samples (no tag in ten that several types share): the first half of each type's.
    """
    types: dict[str, set[str]] = {}
    for task in sorted(tasks, key=lambda task: task.start):
        types.setdefault(task.tag, set()).add(task.process)
    samples = [tag for tag, of in types.items() if len(of) > 1 and tag != "-"]
    if len(samples) >= 10:
        first = set(samples[: len(samples) // 2])
        others = set(samples) - first
        before = [task for task in tasks if task.tag in first]
        return before, [task for task in tasks if task.tag in others]
    before, after = [], []
    for of_type in traces.by_process(sorted(tasks, key=lambda task: task.start)).values():
        before += of_type[: len(of_type) // 2]
        after += of_type[len(of_type) // 2 :]
    return before, after


def _any_type(make: Callable[[], Peer]) -> Callable[[str], Peer]:
    return lambda process: make()


def _best(figures: Figures) -> str:
    return min(figures, key=lambda who: figures[who][0])


def _row(title: str, ours: Outcome, figures: Figures) -> tuple[str, Figures, float, float, float]:
    best = figures[_best(figures)]
    share = ours.failed / (ours.tasks + ours.failed)
    everyone = {**figures, OURS: (ours.waste, ours.failed)}
    return title, everyone, ours.waste / best[0], ours.failed / max(1, best[1]), share


def _means(runs: Sequence[Figures]) -> Figures:
    """Of those who are in all of them."""
    everywhere = [who for who in {who: None for run in runs for who in run} if all(who in run for run in runs)]
    return {
        who: (sum(run[who][0] for run in runs) / len(runs), sum(run[who][1] for run in runs) / len(runs))
        for who in everywhere
    }


def _presets_by_type(tasks: Sequence[Task], seed: int) -> dict[str, float]:
    outcome = protocol_a(tasks, seed, _any_type(PEERS["presets"]()))
    return {process: waste for process, (_, waste, _) in outcome.by_type.items()}


def _by_type(runs: Sequence[tuple[Outcome, Figures]],
             presets: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float, float]]:  # fmt: skip
    """Waste and failures of each type, all seeds together, and its waste relative to the preset's."""
    found: dict[str, tuple[float, float, float]] = {}
    for process in runs[0][0].by_type:
        waste = sum(ours.by_type[process][1] for ours, _ in runs)
        failed = sum(ours.by_type[process][2] for ours, _ in runs)
        found[process] = waste, failed, waste / sum(preset[process] for preset in presets)
    return found


def _show(title: str, rows: Sequence[tuple[str, Figures, float, float, float]]) -> None:
    peers = [who for who in dict.fromkeys(who for _, figures, *_ in rows for who in figures) if who != OURS]
    print(f"{title}\n")
    print("| trace (tasks) | " + " | ".join([*peers, OURS, "waste ÷ best peer's", "failures ÷ best peer's"]) + " |")
    print("|" + " --- |" * (len(peers) + 4))
    for trace, figures, waste, failed, _ in rows:
        cells = [f"{figures[who][0]:.4g}/{figures[who][1]:.0f}" if who in figures else "-" for who in [*peers, OURS]]
        print(f"| {trace} | " + " | ".join([*cells, f"{waste:.2f}", f"{failed:.2f}"]) + " |", flush=True)
    print()


def _show_types(name: str, by_type: Mapping[str, tuple[float, float, float]]) -> None:
    for process, (waste, failed, ratio) in sorted(by_type.items(), key=lambda each: -each[1][0]):
        print(f"{name} {process}: {waste:.4g} GBh, {failed:.0f} failed" + (f", {ratio:.2f} × preset" if ratio else ""))
