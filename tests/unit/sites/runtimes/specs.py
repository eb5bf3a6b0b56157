"""What tests ask runtimes to run."""

from __future__ import annotations

from packhorse.sites.runtimes.base import Bind, ContainerSpec, ImageConfig

CONFIG = ImageConfig(("/bin/entry",), ("serve",), {"PATH": "/opt/bin:/bin", "LANG": "C"}, "1234", "/app")
SPEC = ContainerSpec(
    ("tool", "-x", "a b"), "IMAGE", CONFIG, binds=(Bind("/site/work/1", "/data", False), Bind("/ref", "/ref", True)),
    env={"THREADS": "4"}, pass_env=("PACKHORSE_TASK",), workdir="/data", uid=1001, gid=100, name="packhorse-1",
)  # fmt: skip
PLAIN = ContainerSpec(
    ("tool", "-x", "a b"),
    "IMAGE",
    CONFIG,
    binds=(Bind("/site/work/1", "/data"),),
    env={"THREADS": "4"},
    workdir="/data",
    uid=1001,
    gid=100,
)


def changed(spec: ContainerSpec, changes: dict[str, object]) -> ContainerSpec:
    """``spec`` with some of its fields replaced."""
    return ContainerSpec(**{name: changes.get(name, getattr(spec, name)) for name in ContainerSpec.__slots__})  # type: ignore[arg-type]
