"""What each step asked for, was granted and used; what was wasted, and what to ask for next time."""

from __future__ import annotations

from collections.abc import Callable

from packhorse.report.charts import colour, draw_distribution, draw_spent
from packhorse.report.facts import AskedFacts, Measured, RunFacts, Spent, StepFacts
from packhorse.report.markup import Markup, el, table
from packhorse.report.scatter import draw_scatter
from packhorse.report.sketch import Sketch
from packhorse.report.units import duration, hours, number, share, size, some

_MAX_CARDS = 60
_QUANTILES = ((0.5, "median"), (0.95, "95 %"))


def resources_section(facts: RunFacts) -> Markup:
    """A table of what was wasted, and a card of distributions for each step."""
    measured = [step for step in facts.steps if step.measured.attempts]
    heading = el("h2", "Resources: asked for, granted, used")
    if not measured:
        return el("section", heading, el("p", "No attempt has ended yet.", class_="note"))
    what = (
        "Granted is what attempts were given, times how long they ran. Used is their CPU time, or their peak of memory"
        " as if they had needed it all the time. What attempts were granted that failed or were canceled is lost."
        " The dashed line of a distribution is what was granted."
    )
    keys = [
        el("span", el("span", class_=f"key {kind}"), said)
        for kind, said in (
            ("used", "used"),
            ("unused", "granted and not used"),
            ("lost", "lost: the attempt failed or was canceled"),
        )
    ]
    cards = [_card(step) for step in measured[:_MAX_CARDS]]
    left = len(measured) - len(cards)
    more = [el("p", f"The other {left:,} steps are in the table only.", class_="note")] if left else []
    return el(
        "section",
        heading,
        el("p", what, class_="note"),
        el("p", _estimated(facts.estimated), class_="note"),
        _waste(measured),
        el("div", keys, class_="legend"),
        cards,
        more,
    )


def _estimated(number: int) -> str:
    if not number:
        return "All attempts were granted what was asked for."
    return (
        f"{some(number, 'attempt')} were granted what such tasks are estimated to need (packhorse why TASK says more)."
    )


def _waste(steps: list[StepFacts]) -> Markup:
    rows: list[list[object]] = []
    for step in steps:
        core_s, gb_s = step.measured.core_s, step.measured.gb_s
        rows.append([el("span", class_=f"key {colour(step.number)}"), step.name, *_cells(core_s), *_cells(gb_s)])
    if len(steps) > 1:
        cores = _sum([step.measured.core_s for step in steps])
        memory = _sum([step.measured.gb_s for step in steps])
        rows.append(["", el("b", "all"), *_cells(cores), *_cells(memory)])
    head = ["", "step", "core-hours granted", "used", "wasted", "", "GB-hours granted", "used", "wasted", ""]
    return table(head, rows, numbers=range(2, 10))


def _sum(parts: list[Spent]) -> Spent:
    return Spent(sum(one.used for one in parts), sum(one.unused for one in parts), sum(one.failed for one in parts))


def _cells(spent: Spent) -> list[object]:
    if not spent.granted:
        return ["no limit", "", "", ""]
    return [hours(spent.granted), hours(spent.used), hours(spent.wasted), share(spent.wasted, spent.granted)]


def _card(step: StepFacts) -> Markup:
    measured = step.measured
    title = el("h3", el("span", class_=f"key {colour(step.number)}"), step.name)
    asked = el("p", f"Asked for: {'; '.join(_asked(one) for one in step.asked) or 'nothing'}.", class_="note")
    failed = f", of which {measured.failed:,} failed" if measured.failed else ""
    read = f"{size(measured.read_bytes)} read, {size(measured.write_bytes)} written"
    attempts = el("p", f"{some(measured.attempts, 'attempt')}{failed}; {read}.", class_="note")
    return el("div", title, asked, attempts, el("div", _cores(step), _memory(step), _time(step), class_="three"),
              el("div", _pairs(step), class_="three"), class_="card")  # fmt: skip


def _pairs(step: StepFacts) -> list[Markup]:
    """Granted against used, of what had a limit; predicted against used, of what was sized."""
    measured = step.measured
    drawn = []
    if measured.memory.kept:
        drawn.append(draw_scatter(measured.memory, step.number, size, "Memory"))
    if measured.time.kept:
        drawn.append(draw_scatter(measured.time, step.number, duration, "Time"))
    if measured.predicted_memory.kept:
        drawn.append(draw_scatter(measured.predicted_memory, step.number, size, "Memory", "predicted"))
    if measured.predicted_time.kept:
        drawn.append(draw_scatter(measured.predicted_time, step.number, duration, "Time", "predicted"))
    return drawn


def _asked(one: AskedFacts) -> str:
    parts = [f"{number(one.cores)} {'core' if one.cores == 1 else 'cores'}"]
    if one.memory_mb is not None:
        parts.append(f"{size(one.memory_mb * 1e6)} of memory")
    if one.gpus:
        parts.append(f"{one.gpus} GPUs")
    if one.walltime_s is not None:
        parts.append(duration(one.walltime_s))
    each = f" on each of {one.nodes} nodes" if one.nodes > 1 else ""
    return f"{', '.join(parts)}{each} by {some(one.tasks, 'task')}"


def _cores(step: StepFacts) -> Markup:
    measured = step.measured
    drawn = draw_distribution(measured.cores_used, measured.cores_granted, step.number, number)
    return _part(
        "Cores", drawn, _quantiles(measured.cores_used, measured.cores_granted, number, "no limit"),
        _spent(measured.core_s, "core-hours"),
    )  # fmt: skip


def _memory(step: StepFacts) -> Markup:
    measured = step.measured
    drawn = draw_distribution(measured.peak_memory, measured.memory_granted, step.number, size)
    told = _quantiles(measured.peak_memory, measured.memory_granted, size, "no limit")
    return _part("Memory, at its peak", drawn, told, _spent(measured.gb_s, "GB-hours"))


def _time(step: StepFacts) -> Markup:
    measured = step.measured
    drawn = draw_distribution(measured.wall_s, measured.walltime_granted, step.number, duration)
    told = _quantiles(measured.wall_s, measured.walltime_granted, duration, "no limit")
    return _part("Time", drawn, told, _all_times(measured))


def _all_times(measured: Measured) -> Markup:
    return el("p", f"{duration(measured.wall_s.total)} together, {duration(measured.cpu_s)} of CPU time.")


def _part(name: str, *pieces: Markup) -> Markup:
    return el("div", el("h4", name), pieces)


def _quantiles(used: Sketch, granted: Sketch, show: Callable[[float], str], no_limit: str) -> Markup:
    if not used.count:
        return el("p", "")
    told = [f"{name} {show(used.quantile(part))}" for part, name in _QUANTILES] + [f"most {show(used.maximum)}"]
    low, high = granted.quantile(0), granted.maximum
    given = no_limit if not granted.count else show(high) if low > 0.98 * high else f"{show(low)} to {show(high)}"
    return el("p", f"{', '.join(told)}; granted {given}.")


def _spent(spent: Spent, unit: str) -> Markup:
    if not spent.granted:
        return el("p", "")
    told = f"{hours(spent.wasted)} of {hours(spent.granted)} {unit} wasted ({share(spent.wasted, spent.granted)})."
    return el("p", draw_spent(spent, unit), told)
