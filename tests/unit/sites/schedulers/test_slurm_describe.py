"""Queues, limits and nodes."""

from __future__ import annotations

from packhorse.sites.schedulers.description import NodeKind
from packhorse.sites.schedulers.slurm_describe import describe, parse_node_kinds, parse_pairs, parse_queues

from .recorded import text

PERLMUTTER = (
    "PartitionName=gpu_regular AllowGroups=ALL AllowAccounts=m1,m2 AllowQos=ALL AllocNodes=ALL Default=NO QoS=N/A"
    " DefaultTime=00:10:00 DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=128 MaxTime=2-00:00:00"
    " MinNodes=1 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=nid[001000-001003] PriorityJobFactor=1 PriorityTier=5"
    " RootOnly=NO ReqResv=NO OverSubscribe=EXCLUSIVE OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=512"
    " TotalNodes=4 SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED"
)


def test_a_real_cluster() -> None:
    cluster = describe(text("scontrol-partition.txt"), text("sinfo.txt"), text("scontrol-config.txt"))
    assert (cluster.name, cluster.version, cluster.has_accounting, cluster.remembers_s) == (
        "Slurm cluster testcluster",
        "22.05.8",
        True,
        30.0,
    )
    default = cluster.queue(None)
    assert default is not None
    assert (default.name, default.max_walltime_s, default.max_nodes, default.nodes, default.preemptible) == (
        "debug",
        None,
        None,
        4,
        False,
    )
    assert default.kinds == (
        NodeKind(2, 2, 2, 4194, 0, ("fast",)), NodeKind(1, 1, 2, 4194), NodeKind(1, 1, 2, 4194, 1),
    )  # fmt: skip
    short = cluster.queue("short")
    assert short is not None
    assert (short.max_walltime_s, short.default_walltime_s, short.max_nodes, short.priority) == (300.0, 60.0, 2, 10)
    assert [(queue.name, queue.is_up, queue.preemptible) for queue in cluster.queues] == [
        ("debug", True, False), ("short", True, False), ("preemptible", True, True), ("closed", False, True),
    ]  # fmt: skip
    assert cluster.queue("nothing") is None


def test_nodes_that_are_down_are_not_usable() -> None:
    kinds = parse_node_kinds(text("sinfo-down.txt"))["debug"]
    assert sum(kind.count for kind in kinds) == 4
    assert sum(kind.usable for kind in kinds) == 3


def test_a_large_site() -> None:
    alike = "128|245760|gpu:a100:4(S:0-3)|gpu,a100,hbm40g"
    nodes = f"gpu_regular|mix|3|{alike}\ngpu_regular|drain*|1|{alike}\n"
    (queue,) = parse_queues(PERLMUTTER, parse_node_kinds(nodes))
    assert queue.kinds == (NodeKind(4, 3, 128, 257698, 4, ("gpu", "a100", "hbm40g")),)
    assert (queue.max_nodes, queue.min_nodes, queue.max_walltime_s, queue.whole_nodes, queue.accounts) == (
        128,
        1,
        172800.0,
        True,
        ("m1", "m2"),
    )


def test_values_with_spaces() -> None:
    assert parse_pairs("NodeName=n1 Reason=Not responding [root@x] Arch=x86_64") == {
        "NodeName": "n1", "Reason": "Not responding [root@x]", "Arch": "x86_64",
    }  # fmt: skip
