"""Reads partitions, nodes and configuration as scontrol and sinfo print them. What it does not understand takes its default."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from packhorse.sites.base import Limits
from packhorse.sites.schedulers.description import Description, NodeKind, Queue
from packhorse.sites.schedulers.slurm_text import parse_minutes

_PAIR = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_:/.]*)=(.*?)(?=\s+[A-Za-z][A-Za-z0-9_:/.]*=|\s*$)")
_SETTING = re.compile(r"(\w+)\s*=\s*(.*)")
_NUMBER = re.compile(r"[0-9]{1,12}")
_GPUS = re.compile(r"gpu(?::[^:,()]+)?:(\d{1,6})")
USUAL_WALLTIME_S = 3600.0
_MIB_IN_MB = 1.048576
_IN_SERVICE = frozenset({"idle", "mix", "alloc", "comp", "plnd", "resv", "npc"})


def parse_pairs(line: str) -> dict[str, str]:
    """``Key=Value`` pairs of a line of ``scontrol --oneliner``; a value may hold spaces."""
    return {key: value.strip() for key, value in _PAIR.findall(line)}


def parse_config(text: str) -> dict[str, str]:
    """Settings of ``scontrol show config``."""
    return {match.group(1): match.group(2).strip() for line in text.splitlines() if (match := _SETTING.match(line))}


def parse_node_kinds(text: str) -> dict[str, tuple[NodeKind, ...]]:
    """Nodes by partition, from ``NODES_COMMAND``; sinfo has a line for each state, which are added up here."""
    counts: defaultdict[tuple[str, int, int, int, tuple[str, ...]], list[int]] = defaultdict(lambda: [0, 0])
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) < 7:
            continue
        partition, state, *numbers = fields[:5]
        count, cores, memory_mib = (_int(number, 0) for number in numbers)
        gpus = sum(int(number) for number in _GPUS.findall(fields[5]))
        features = () if fields[6] == "(null)" else tuple(fields[6].split(","))
        kind = counts[partition, cores, int(memory_mib * _MIB_IN_MB), gpus, features]
        kind[0] += count
        kind[1] += count if state.rstrip("@#~$!%^*-+") in _IN_SERVICE and not state.endswith("*") else 0
    kinds: defaultdict[str, list[NodeKind]] = defaultdict(list)
    for (partition, cores, memory_mb, gpus, features), (count, usable) in counts.items():
        kinds[partition].append(NodeKind(count, usable, cores, memory_mb, gpus, features))
    return {partition: tuple(found) for partition, found in kinds.items()}


def parse_queues(text: str, kinds: dict[str, tuple[NodeKind, ...]]) -> tuple[Queue, ...]:
    """Partitions of ``scontrol --oneliner show partition``."""
    queues = []
    for line in text.splitlines():
        pairs = parse_pairs(line)
        name = pairs.get("PartitionName")
        if not name:
            continue
        accounts = pairs.get("AllowAccounts", "ALL")
        queues.append(
            Queue(
                name=name,
                is_default=pairs.get("Default") == "YES",
                is_up=pairs.get("State", "UP") == "UP",
                max_walltime_s=parse_minutes(pairs.get("MaxTime", "")),
                default_walltime_s=parse_minutes(pairs.get("DefaultTime", "")),
                max_nodes=_limit(pairs.get("MaxNodes", "")),
                min_nodes=_int(pairs.get("MinNodes", ""), 0),
                whole_nodes=pairs.get("OverSubscribe", "").startswith("EXCLUSIVE"),
                preemptible=pairs.get("PreemptMode", "OFF").split(",")[-1] in ("REQUEUE", "CANCEL", "SUSPEND"),
                priority=_int(pairs.get("PriorityTier", ""), 1),
                accounts=None if accounts in ("ALL", "(null)", "") else tuple(accounts.split(",")),
                kinds=kinds.get(name, ()),
            )
        )
    return tuple(queues)


def describe(partitions: str, nodes: str, config: str) -> Description:
    """All of it, from what the three commands printed."""
    settings = parse_config(config)
    kept = _NUMBER.match(settings.get("MinJobAge", ""))
    return Description(
        name=f"Slurm cluster {settings.get('ClusterName', 'without a name')}",
        version=settings.get("SLURM_VERSION", ""),
        queues=parse_queues(partitions, parse_node_kinds(nodes)),
        has_accounting="slurmdbd" in settings.get("AccountingStorageType", ""),
        remembers_s=float(kept.group()) if kept else None,
    )


def limits_of(description: Description, queue: str | None) -> tuple[Limits, ...]:
    """What an allocation can have: in ``queue`` (None: the default one), then in the others that are up; more nodes first."""
    own = description.queue(queue)
    others = [other for other in description.queues if other.is_up and other is not own]
    found = []
    for candidate in [*([own] if own else []), *others]:
        alike: Counter[tuple[int, int, int]] = Counter()
        for kind in candidate.kinds:  # features do not count: who wants one says so to the scheduler
            alike[kind.cores, kind.memory_mb, kind.gpus] += kind.count
        for (cores, memory_mb, gpus), count in alike.most_common():
            nodes = count if candidate.max_nodes is None else min(count, candidate.max_nodes)
            found.append(
                Limits(
                    cores,
                    memory_mb,
                    nodes,
                    gpus,
                    candidate.max_walltime_s,
                    USUAL_WALLTIME_S,
                    candidate.whole_nodes,
                    candidate.name,
                )
            )
    return tuple(found)


def _limit(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _int(text: str, default: int) -> int:
    match = _NUMBER.match(text.strip())
    return int(match.group()) if match else default
