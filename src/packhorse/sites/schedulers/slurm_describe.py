"""Reads partitions, nodes and configuration as scontrol and sinfo print them.

What it does not understand takes its default.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from packhorse.sites.schedulers.description import Description, NodeKind, Queue
from packhorse.sites.schedulers.slurm_text import lines_of, parse_minutes

_PAIR = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9_:/.]*)=(.*?)(?=\s+[A-Za-z][A-Za-z0-9_:/.]*=|\s*$)")
_SETTING = re.compile(r"(\w+)\s*=\s*(.*)")
_NUMBER = re.compile(r"[0-9]{1,12}")
_COUNT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMGT]?)\+?")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_GPUS = re.compile(r"(?:^|,)\s*gpu(?::[^:,()]+)*?:([0-9]{1,6})(?=[,(]|\s*$)")
_MIB_IN_MB = 1.048576
_MARKS = "@#~$!%^*-+"
"""After a node's state: rebooting, powering up or down, in maintenance, not answering, and so on."""
_NODE_STATE = re.compile(rf"[a-z_]{{2,20}}[{re.escape(_MARKS)}]*")
_IN_SERVICE = frozenset({"idle", "mix", "alloc", "comp", "plnd", "resv", "npc"})


def parse_pairs(line: str) -> dict[str, str]:
    """``Key=Value`` pairs of a line of ``scontrol --oneliner``; a value may hold spaces."""
    return {key: value.strip() for key, value in _PAIR.findall(line)}


def parse_config(text: str) -> dict[str, str]:
    """Settings of ``scontrol show config``: what stands after its heading, and there what comes first."""
    lines = lines_of(text)
    start = next((number for number, line in enumerate(lines) if line.strip().startswith("Configuration data")), -1)
    found: dict[str, str] = {}
    for line in lines[start + 1 :]:
        if match := _SETTING.match(line):
            found.setdefault(match.group(1), match.group(2).strip())
    return found


def parse_node_kinds(text: str) -> dict[str, tuple[NodeKind, ...]]:
    """Nodes by partition, from ``NODES_COMMAND``; sinfo has a line for each state, which are added up here."""
    counts: defaultdict[tuple[str, int, int, int, tuple[str, ...]], list[int]] = defaultdict(lambda: [0, 0])
    for line in lines_of(text):
        fields = [field.strip() for field in line.strip().split("|")]
        if len(fields) < 7:
            continue
        partition, state = fields[0].removesuffix("*"), fields[1].lower()
        numbers = [_count(fields[2]), _count(fields[3]), _memory_mib(fields[4])]
        if None in numbers or not partition or not _NODE_STATE.fullmatch(state):
            continue
        count, cores, memory_mib = (number or 0 for number in numbers)
        gpus = sum(int(number) for number in _GPUS.findall(fields[5]))
        features = () if fields[6] in ("", "(null)") else tuple(fields[6].split(","))
        kind = counts[partition, cores, int(memory_mib * _MIB_IN_MB), gpus, features]
        kind[0] += count
        kind[1] += count if state.rstrip(_MARKS) in _IN_SERVICE and not state.endswith("*") else 0
    kinds: defaultdict[str, list[NodeKind]] = defaultdict(list)
    for (partition, cores, memory_mb, gpus, features), (count, usable) in counts.items():
        kinds[partition].append(NodeKind(count, usable, cores, memory_mb, gpus, features))
    return {partition: tuple(found) for partition, found in kinds.items()}


def _records(text: str) -> Iterator[str]:
    """A line for each partition, also where ``--oneliner`` was lost: then its further lines are indented."""
    record = ""
    for line in lines_of(text):
        if line.startswith("PartitionName="):
            yield from [record] if record else []
            record = line
        elif record and line[:1].isspace() and "=" in line:
            record += " " + line.strip()
        else:
            yield from [record] if record else []
            record = ""
    yield from [record] if record else []


def parse_queues(text: str, kinds: dict[str, tuple[NodeKind, ...]]) -> tuple[Queue, ...]:
    """Partitions of ``scontrol --oneliner show partition``."""
    queues = []
    for record in _records(text):
        pairs = parse_pairs(record)
        name = pairs.get("PartitionName")
        if not name or "State" not in pairs:  # somebody speaks of a partition
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


def _limit(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _count(text: str) -> int | None:
    """A number as Slurm shortens it (``2K`` is 2048); ``128+`` are at least as many. None for what is none."""
    match = _COUNT.fullmatch(text)
    return None if match is None else int(float(match.group(1)) * _UNITS[match.group(2)])


def _memory_mib(text: str) -> int | None:
    """MiB, which sinfo counts in where it gives no unit."""
    number = _count(text)
    return number if number is None or text.rstrip("+").isdecimal() else number // _UNITS["M"]


def _int(text: str, default: int) -> int:
    match = _NUMBER.match(text.strip())
    return int(match.group()) if match else default
