"""Why a job waits, in plain English. Any reason that is not here is passed on as it is.

Reasons of Slurm 22.05 to 25.05 (https://slurm.schedmd.com/job_reason_codes.html).
"""

from __future__ import annotations

import re

#: Reason → sentence. These pass by themselves.
_WAITS: dict[str, str] = {
    "None": "The scheduler has not looked at it yet.",
    "Priority": "Jobs of higher priority are waiting before it.",
    "Resources": "It waits for enough free nodes, cores or memory.",
    "Licenses": "It waits for a licence.",
    "BeginTime": "Its earliest start has not come yet.",
    "Dependency": "It waits for another job.",
    "Cleaning": "Its last try is still being cleaned up.",
    "Prolog": "Its nodes are being prepared.",
    "Reservation": "It waits for its reservation to begin.",
    "NodeDown": "A node it needs is down.",
    "ReqNodeNotAvail": "A node it needs is not available now: reserved, down, or draining.",
    "NodesDown": "Nodes it needs are down, draining, or reserved for jobs in partitions of higher priority.",
    "PartitionDown": "The partition is down.",
    "PartitionInactive": "The partition takes jobs but does not start any now.",
    "FrontEndDown": "The front-end node is down.",
    "JobArrayTaskLimit": "Its array's limit of tasks at once is reached.",
    "JobLaunchFailure": "Its last start failed; a file system or a program may be missing.",
    "SchedDefer": "The scheduler puts it off: it asked for resources that are not free now.",
    "QOSUsageThreshold": "The usage of its quality of service (QOS) is over its threshold.",
    "MaxBBPerAccount": "Its account's limit of burst buffer is reached.",
}

#: Reason → sentence. These last until somebody acts.
_BLOCKS: dict[str, str] = {
    "JobHeldUser": "It is held by its owner; 'scontrol release' lets it go.",
    "JobHeldAdmin": "It is held by an administrator of the site.",
    "JobHoldMaxRequeue": "It was requeued too often and is held now.",
    "BadConstraints": "No node has what it asks for.",
    "DependencyNeverSatisfied": "The job it waits for ended in a way that it can never follow.",
    "PartitionNodeLimit": "It asks for more nodes than the partition allows, or some of them are down.",
    "PartitionTimeLimit": "It asks for more time than the partition allows.",
    "PartitionConfig": "The partition does not allow what it asks for.",
    "AccountNotAllowed": "Its account may not use the partition.",
    "QOSNotAllowed": "Its quality of service (QOS) may not be used in the partition.",
    "AccountingPolicy": "An accounting policy of the site stops it.",
    "InvalidAccount": "Its account is not valid.",
    "InvalidQOS": "Its quality of service (QOS) is not valid.",
    "ReservationDeleted": "Its reservation was deleted.",
    "DeadLine": "It can no longer end before its deadline.",
    "SystemFailure": "The batch system, a file system or the network failed.",
    "NodeFail": "A node failed at its last start, and it is held.",
}

_HELD = "Its last start failed, and it is held; 'scontrol release' lets it go."
_OF = {"Assoc": "its user's or account's association", "QOS": "its quality of service (QOS)"}
_WHAT = [
    ("submitjob", "jobs in the queue"),
    ("job", "jobs at once"),
    ("runmin", "minutes of running jobs"),
    ("minutes", "minutes"),
    ("wall", "time"),
    ("cpu", "cores"),
    ("node", "nodes"),
    ("mem", "memory"),
    ("gres", "GPUs or other devices"),
    ("bb", "burst buffer"),
    ("license", "licences"),
    ("energy", "energy"),
    ("billing", "billing units"),
]
_LIMIT = re.compile(r"(Assoc|QOS)(Grp|Max|Min)(\w*)")
_PER_ACCOUNT = re.compile(r"Max(\w+)PerAccount")
_CODE = re.compile(r"[A-Za-z]+")


def explain_reason(reason: str) -> str:
    """A sentence, then Slurm's own word for it."""
    sentence = _sentence(reason.strip())
    return f"{sentence} (Slurm: {reason.strip()})" if sentence else reason.strip()


def is_blocked(reason: str) -> bool:
    """Whether a job with this reason waits until somebody acts."""
    code = _code(reason)
    return code in _BLOCKS or _is_held(reason) or "PerJob" in code or code.startswith("QOSMin")


def _sentence(reason: str) -> str:
    code = _code(reason)
    if known := _WAITS.get(code) or _BLOCKS.get(code):
        return known
    if _is_held(reason):
        return _HELD
    if reason.lower().startswith("nodes required for job are"):
        return _WAITS["NodesDown"]
    if limit := _LIMIT.fullmatch(code):
        owner, kind, what = limit.groups()
        of_one = re.sub(r"PerJob|PerNode", "", what)
        limited = next((name for part, name in _WHAT if part in of_one.lower()), "resources")
        if kind == "Min":
            return f"It asks for fewer {limited} than {_OF[owner]} requires."
        if of_one != what:
            return f"It asks for more {limited} than {_OF[owner]} allows to one job."
        return f"The limit of {limited} of {_OF[owner]} is reached."
    if limit := _PER_ACCOUNT.fullmatch(code):
        limited = next((name for part, name in _WHAT if part in limit.group(1).lower()), "resources")
        return f"Its account's limit of {limited} is reached."
    return ""


def _code(reason: str) -> str:
    """The reason's code: ``ReqNodeNotAvail, UnavailableNodes:n2`` and ``(ReqNodeNotAvail)`` are ReqNodeNotAvail."""
    match = _CODE.match(reason.strip(" ("))
    return match.group() if match and " " not in reason.strip().split(",")[0] else ""


def _is_held(reason: str) -> bool:
    return "held" in reason.lower().replace("_", " ").split()
