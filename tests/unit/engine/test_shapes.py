"""How large allocations are: nothing that cannot fit, nothing beyond the limits, and enough nodes for the work."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.resources import Resources
from packhorse.engine.placing import pack
from packhorse.sites.base import Limits, Shape
from packhorse.sites.site import fitting, why_not

CLUSTER = Limits(32, 128_000, nodes=10, walltime_s=86_400, usual_walltime_s=3600, whole_nodes=False, queue="cpu")
WHOLE = Limits(128, 512_000, nodes=4, walltime_s=43_200, usual_walltime_s=3600, whole_nodes=True, queue="whole")

resources = st.builds(
    Resources,
    cpu_cores=st.sampled_from([0.5, 1, 2, 7, 32]),
    ram_gb=st.none() | st.sampled_from([0.5, 4, 100]),
    walltime_s=st.none() | st.sampled_from([60, 3600, 86_400]),
    nodes=st.sampled_from([1, 1, 1, 2, 10]),
)
demands = st.builds(
    pack.Demand, st.just("u"), st.just(1), st.integers(1, 1_000_000), st.floats(1e-3, 1e5), resources, st.booleans()
)


@given(demands, st.integers(1, 20))
def test_a_shape_holds_its_tasks_and_the_limits(demand: pack.Demand, nodes: int) -> None:
    shape = pack.shape(demand, [CLUSTER, WHOLE], nodes)
    asked = demand.resources
    if shape is None:
        assert not fitting([CLUSTER, WHOLE], asked)
        return
    limits = fitting([CLUSTER, WHOLE], asked)[0]
    assert asked.cpu_cores <= shape.cores <= limits.cores
    assert shape.memory_mb is None or (asked.memory_mb or 0) <= shape.memory_mb <= limits.memory_mb
    assert 1 <= shape.nodes <= limits.nodes
    assert shape.walltime_s is not None
    assert (asked.walltime_s or 0) <= shape.walltime_s
    assert limits.walltime_s is not None
    assert shape.walltime_s <= limits.walltime_s
    assert shape.for_one_task == (asked.nodes > 1)
    assert shape.nodes == asked.nodes if asked.nodes > 1 else shape.nodes <= nodes
    # what was made for these tasks can run them, unless their walltime leaves nothing to spare
    if asked.nodes == 1 and (asked.walltime_s or 0) + pack.SPARE_S <= limits.walltime_s:
        assert (
            pack.suits(shape, demand, shape.walltime_s - pack.SPARE_S / 2)
            or demand.core_s / asked.cpu_cores > shape.walltime_s / 4
        )


@given(demands)
def test_no_more_nodes_than_have_a_task_and_some_work(demand: pack.Demand) -> None:
    if not fitting([CLUSTER], demand.resources):
        return
    wanted = pack.nodes_wanted(demand, CLUSTER)
    assert 1 <= wanted <= CLUSTER.nodes
    assert wanted <= demand.tasks
    seconds = demand.tasks * demand.core_s / demand.resources.cpu_cores  # one after the other
    assert wanted == 1 or seconds > pack.SPREAD_S * (wanted - 1)


def test_one_task_of_many_cores_gets_a_part_of_a_node_that_fits_it() -> None:
    demand = pack.Demand("u", 1, 1, 100.0, Resources(cpu_cores=8, ram_gb=20, walltime_s=7200))
    assert pack.shape(demand, [CLUSTER], 5) == Shape(8, 20_000, 7320.0 + pack.MIN_WALLTIME_S)


def test_a_site_of_whole_nodes_gives_whole_nodes() -> None:
    demand = pack.Demand("u", 1, 1, 100.0, Resources(cpu_cores=8))
    shape = pack.shape(demand, [WHOLE], 5)
    assert shape is not None
    assert (shape.cores, shape.memory_mb, shape.nodes) == (128, 512_000, 1)


def test_a_task_over_nodes_gets_exactly_those() -> None:
    demand = pack.Demand("u", 1, 3, 100.0, Resources(nodes=4, cpu_cores=16, ram_gb=64, walltime_s=600))
    assert pack.shape(demand, [CLUSTER], 1) == Shape(16, 64_000, 900.0, 4, for_one_task=True)


def test_a_queue_is_named_where_it_is_asked_for_or_not_the_usual_one() -> None:
    limits = [CLUSTER, WHOLE]
    shapes = [
        pack.shape(pack.Demand("u", 1, 1, 1.0, asked), limits, 1)
        for asked in (Resources(), Resources(queue="cpu"), Resources(cpu_cores=64))
    ]
    assert [shape and shape.queue for shape in shapes] == [None, "cpu", "whole"]


def test_this_machine_has_no_walltime() -> None:
    shape = pack.shape(pack.Demand("u", 1, 5000, 0.5), [Limits(2, 4000)], 1)
    assert shape == Shape(2, 4000)


@pytest.mark.parametrize(
    ("asked", "left_s", "yes"),
    [
        (Resources(), 500.0, True),
        (Resources(walltime_s=400), 500.0, True),
        (Resources(walltime_s=600), 500.0, False),  # travels in the next allocation
        (Resources(walltime_s=600), None, True),
        (Resources(cpu_cores=9), None, False),
        (Resources(ram_gb=17), None, False),
        (Resources(gpus=1), None, False),
        (Resources(queue="other"), None, False),
        (Resources(nodes=2), None, False),
    ],
)
def test_what_suits_an_allocation(asked: Resources, left_s: float | None, yes: bool) -> None:
    assert pack.suits(Shape(8, 16_000, 900.0, queue="cpu"), pack.Demand("u", 1, 1, 10.0, asked), left_s) is yes


def test_an_allocation_of_a_spanning_task_takes_no_other() -> None:
    assert not pack.suits(Shape(8, 16_000, 900.0, 2, for_one_task=True), pack.Demand("u", 1, 1, 1.0), None)


@given(resources)
def test_a_site_says_why_not_or_fits(asked: Resources) -> None:
    why = why_not("s", [CLUSTER, WHOLE], asked)
    assert (why is None) == bool(fitting([CLUSTER, WHOLE], asked))
    assert why is None or why.startswith("it asks for ")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Resources(nodes=11), "asks for 11 nodes and 's' has"),
        (Resources(queue="no"), "'s' has no queue 'no' (it has: cpu, whole)"),
        (Resources(site="t"), "it is to run at 't', not at 's'"),
        (Resources(cpu_cores=256), "asks for 256 cores and 's' has 128 on a node"),
        (Resources(walltime_s=1e6), "a walltime of"),
    ],
)
def test_refusals(asked: Resources, words: str) -> None:
    assert words in (why_not("s", [CLUSTER, WHOLE], asked) or "")


def test_more_work_than_one_round_asks_for_more_walltime() -> None:
    short = pack.shape(pack.Demand("u", 1, 64, 600.0, is_known=True), [CLUSTER], 1)
    long = pack.shape(pack.Demand("u", 1, 640, 600.0, is_known=True), [CLUSTER], 1)
    assert short is not None
    assert long is not None
    assert short.walltime_s is not None
    assert long.walltime_s is not None
    assert short.walltime_s < long.walltime_s <= 86_400
    assert math.isclose(long.walltime_s, pack.SPARE_S + 2 * 20 * 600)


@pytest.mark.parametrize(("is_known", "tasks"), [(False, 1), (False, 640), (True, 1), (True, 640)])
def test_tasks_with_a_walltime_start_in_an_allocation_for_as_long_as_there_are_some(is_known: bool, tasks: int) -> None:
    """Not only at its begin, while their walltime is left by chance: each allocation would run one task for a slot."""
    demand = pack.Demand("u", 1, tasks, 30.0, Resources(ram_gb=2, walltime_s=7200), is_known=is_known)
    shape = pack.shape(demand, [CLUSTER], 1)
    assert shape is not None and shape.walltime_s is not None
    rounds = math.ceil(tasks / 32)
    started_s = max(800.0, rounds * 30.0)
    assert pack.suits(shape, demand, shape.walltime_s - pack.SPARE_S / 2 - started_s)
    assert shape.walltime_s <= 7200 + pack.SPARE_S + 3600


SMALL = Limits(2, 4000, nodes=4, whole_nodes=False)
PART, NODE = Shape(1, 2000), Shape(2, 4000)


@pytest.mark.parametrize(
    ("tasks", "core_s", "is_known", "there", "missing"),
    [
        (24, 0.5, False, [], 1),
        (1, 0.5, False, [PART], 0),
        (24, 0.5, False, [PART], 1),  # one core is not a node
        (24, 0.5, False, [NODE], 0),
        (24, 10.0, True, [PART], 4),
        (24, 10.0, True, [PART, NODE, NODE, NODE, NODE], 0),
        (24, 10.0, True, [NODE], 3),
        (3, 1.0, True, [PART], 0),  # it is done in a moment
        (5000, 0.5, False, [NODE, NODE, NODE], 1),
    ],
)
def test_a_part_of_a_node_counts_as_one(
    tasks: int, core_s: float, is_known: bool, there: list[Shape], missing: int
) -> None:
    demand = pack.Demand("u", 1, tasks, core_s, Resources(ram_gb=2), is_known)
    assert pack.nodes_missing(demand, SMALL, there) == missing
