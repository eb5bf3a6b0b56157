"""Tables of what each runtime is told, and properties that hold for all of them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.sites.runtimes.base import Ability, Bind, CannotRun, ContainerSpec, Image, ImageConfig, RuntimeOptions
from packhorse.sites.runtimes.registry import RUNTIMES, runtime
from packhorse.sites.script import in_environment

from .specs import PLAIN, SPEC, changed

DIGEST = "sha256:" + "ab" * 32
IMAGE = Image("registry.example/lab/tool", DIGEST, "/site/images/ab", "2.1", mounted="/node/ab")
ENGINE = [
    "--rm",
    "--init",
    "--pull=never",
    "--entrypoint=",
    "--workdir=/data",
    "--network=host",
    "--read-only",
    "--name=packhorse-1",
]
MOUNTS = ["--mount=type=bind,source=/site/work/1,target=/data", "--mount=type=bind,source=/ref,target=/ref,readonly"]
ENV = ["--env=HOME=/data", "--env=THREADS=4", "--env=PACKHORSE_TASK"]
PODMAN = ["--log-driver=none", "--http-proxy=false"]
FILTER = in_environment([], ["PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "PACKHORSE_TASK"])
TAIL = ["tool", "-x", "a b"]

TABLE = [
    ("podman", SPEC, ["podman", "run", *ENGINE, "--user=0:0", *PODMAN, *MOUNTS, *ENV, "IMAGE"]),
    ("podman_hpc", SPEC, ["podman-hpc", "run", *ENGINE, "--user=0:0", *PODMAN, *MOUNTS, *ENV, "--", "IMAGE"]),
    (
        "docker",
        SPEC,
        ["docker", "run", *ENGINE, "--user=1001:100", "--log-driver=none", "--tmpfs=/tmp", *MOUNTS, *ENV, "IMAGE"],
    ),
    (
        "apptainer",
        SPEC,
        [
            *FILTER,
            "env",
            "APPTAINERENV_PATH=/opt/bin:/bin",
            "APPTAINERENV_LANG=C",
            "APPTAINERENV_THREADS=4",
            "apptainer",
            "exec",
            "--contain",
            "--no-eval",
            "--pwd=/data",
            *MOUNTS,
            "IMAGE",
        ],
    ),
    (
        "charliecloud",
        PLAIN,
        [
            "env",
            "USER=1001",
            "ch-run",
            "--unset-env=*",
            "--env-no-expand",
            "--set-env=PATH='/opt/bin:/bin'",
            "--set-env=HOME='/data'",
            "--set-env=LANG='C'",
            "--set-env=THREADS='4'",
            "--cd=/data",
            "--private-tmp",
            "--bind=/site/work/1:/data",
            "IMAGE",
            "--",
        ],
    ),
    (
        "shifter",
        SPEC,
        [
            *FILTER,
            "shifter",
            "--image=IMAGE",
            "--workdir=/data",
            "--volume=/site/work/1:/data",
            "--volume=/ref:/ref:ro",
            "--env=HOME=/data",
            "--env=THREADS=4",
            "--",
        ],
    ),
    ("none", ContainerSpec(tuple(TAIL)), []),
    (
        "none",
        ContainerSpec(tuple(TAIL), env={"THREADS": "4"}, workdir="/data"),
        ["env", "--chdir=/data", "--", "THREADS=4"],
    ),
]


@pytest.mark.parametrize(("name", "spec", "before"), TABLE)
def test_the_command(name: str, spec: ContainerSpec, before: list[str]) -> None:
    assert runtime(name).wrap(spec) == before + TAIL


#: What changes → the words that it adds, by runtime; a sentence where it is refused.
ADDED = [
    ("podman", {"network": False}, ["--network=none"]),
    ("docker", {"network": False}, ["--network=none"]),
    ("apptainer", {"network": False}, ["--net", "--network=none"]),
    ("charliecloud", {"network": False}, ["unshare", "--user", "--map-root-user", "--net", "--uid=1001", "--gid=100"]),
    ("shifter", {"network": False}, "take the network away"),
    ("none", {"network": False, "image": ""}, "take the network away"),
    ("podman", {"memory_bytes": 1000, "cores": 1.5}, ["--memory=1000b", "--memory-swap=1000b", "--cpus=1.5"]),
    ("docker", {"memory_bytes": 1000}, ["--memory=1000b", "--memory-swap=1000b"]),
    ("podman", {"cgroup_parent": "/slurm/job_1"}, ["--cgroup-manager=cgroupfs", "--cgroup-parent=/slurm/job_1"]),
    ("docker", {"cgroup_parent": "/slurm/job_1"}, ["--cgroup-parent=/slurm/job_1"]),
    ("apptainer", {"memory_bytes": 1000, "cgroup_parent": "/slurm/job_1"}, []),
    ("podman", {"cgroup_parent": "job_1"}, "is not absolute"),
    ("podman", {"gpus": 1}, ["--device=nvidia.com/gpu=all"]),
    ("podman_hpc", {"gpus": 1}, ["--gpu"]),
    ("docker", {"gpus": 1}, ["--gpus=all"]),
    ("apptainer", {"gpus": 1}, ["--nv"]),
    ("shifter", {"gpus": 1}, ["--module=gpu"]),
    ("charliecloud", {"gpus": 1}, "give GPUs"),
    ("podman", {"stdin": "/site/in"}, ["--interactive"]),
    ("apptainer", {"stdin": "/site/in"}, []),
    ("apptainer", {"writable_root": True}, ["--writable-tmpfs"]),
    ("charliecloud", {"writable_root": True}, "change the files of the image"),
    ("shifter", {"writable_root": True}, "change the files of the image"),
    ("charliecloud", {"binds": (Bind("/a", "/b", True),)}, "keep a task from writing"),
    ("charliecloud", {"binds": (Bind("/a:b", "/b"),)}, "':' separates"),
    ("shifter", {"binds": (Bind("/a b", "/b"),)}, "may have letters, digits"),
    ("shifter", {"binds": (Bind("/a", "/etc/x"),)}, "keeps for itself"),
    ("shifter", {"env": {"E": ""}}, "to nothing"),
    ("apptainer", {"env": {"HOME": "/data"}}, "sets HOME itself"),
    ("podman", {"binds": (Bind("/a\nb", "/b"),)}, "line break"),
    ("podman", {"binds": (Bind("/a", "/"),)}, "over the root"),
    ("podman", {"binds": (Bind("a", "/b"),)}, "is not absolute"),
    ("podman", {"binds": (Bind("/a/../b", "/b"),)}, "contains '..'"),
    ("podman", {"name": "-x"}, "not a name of a container"),
    ("podman", {"image": "--privileged"}, "is not an image"),
    ("podman", {"env": {"A=B": "c"}}, "not a name of an environment variable"),
    ("podman", {"pass_env": ("A*",)}, "not a name of an environment variable"),
    ("podman", {"argv": (), "config": ImageConfig()}, "there is no command"),
    ("podman", {"argv": ("",)}, "name of the program is empty"),
    ("podman", {"argv": ("a\0b",)}, "NUL"),
    ("none", {}, "it has no images"),
    ("none", {"image": ""}, "cannot be seen as '/data'"),
    ("none", {"image": "", "binds": (), "argv": ("A=B",), "workdir": "/data"}, "contains '='"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "expected"), ADDED)
def test_what_else_is_asked_for(name: str, changes: dict[str, object], expected: list[str] | str) -> None:
    spec = changed(PLAIN, changes)
    if isinstance(expected, str):
        with pytest.raises(CannotRun, match=expected) as refusal:
            runtime(name).wrap(spec)
        assert str(refusal.value).startswith(f"{name} cannot run this")
        return
    usual = runtime(name).wrap(PLAIN)
    assert [word for word in runtime(name).wrap(spec) if word not in usual] == expected


def test_what_a_site_adds_comes_before_the_image() -> None:
    for name in sorted(set(RUNTIMES) - {"none"}):
        words = runtime(name, RuntimeOptions(program="/opt/run", extra=("--x=1",))).wrap(PLAIN)
        assert "/opt/run" in words
        assert words.index("--x=1") < len(words) - len(TAIL)


def test_the_user_keeps_the_own_uid_where_a_site_says_so() -> None:
    words = runtime("podman", RuntimeOptions(keep_id=True)).wrap(PLAIN)
    assert {"--userns=keep-id", "--user=1001:100"} <= set(words)
    assert "--user=0:0" not in words


def test_the_entrypoint() -> None:
    assert changed(PLAIN, {"uses_entrypoint": True}).command == ("/bin/entry", *TAIL)
    assert changed(PLAIN, {"argv": ()}).command == ("/bin/entry", "serve")


def test_an_oci_configuration() -> None:
    given = {"config": {"Env": ["A=b=c", "E="], "Entrypoint": ["/e"], "Cmd": None, "WorkingDir": "", "User": "7"}}
    assert ImageConfig.from_oci(given) == ImageConfig(("/e",), (), {"A": "b=c", "E": ""}, "7", None)
    assert ImageConfig.from_oci({}) == ImageConfig()


def test_where_a_path_of_the_container_is_on_the_host() -> None:
    spec = ContainerSpec(("x",), "i", binds=(Bind("/w/1", "/data"), Bind("/w/2", "/data/deep/"), Bind("/", "/host")))
    assert [spec.on_host(path) for path in ("/data/in", "/data", "/data/deep/in", "/database", "/host/etc")] == [
        "/w/1/in", "/w/1", "/w/2/in", None, "/etc",
    ]  # fmt: skip


def test_only_known_names() -> None:
    with pytest.raises(InvalidRequest, match="There is no container runtime 'rkt'"):
        runtime("rkt")


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_what_ends_a_container(name: str) -> None:
    commands = runtime(name).end(SPEC)
    assert bool(commands) == (name in ("podman", "podman_hpc", "docker"))
    assert all(command[-1] == "packhorse-1" for command in commands)


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_a_job_names_an_image_only_where_that_is_of_use(name: str) -> None:
    directives = runtime(name).directives(f"id:{'ab' * 32}", [Bind("/site", "/site")])
    assert bool(directives) == (Ability.SET_UP_BY_JOB in runtime(name).abilities) == (name == "shifter")


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_it_tells_its_program_unless_it_has_none(name: str) -> None:
    has_one = Ability.IMAGES in runtime(name).abilities
    assert bool(runtime(name).program) == has_one
    assert runtime(name, RuntimeOptions(program="/opt/bin/x")).program == ("/opt/bin/x" if has_one else "")


PREPARED = {
    "apptainer": "/site/images/ab/image.sif",
    "charliecloud": "/site/images/ab/rootfs",
    "docker": f"registry.example/lab/tool@{DIGEST}",
    "podman": f"registry.example/lab/tool@{DIGEST}",
    "podman_hpc": f"registry.example/lab/tool@{DIGEST}",
    "shifter": f"id:{'ab' * 32}",
}


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_preparing_is_by_digest(name: str) -> None:
    assert runtime(name).prepared(IMAGE) == PREPARED[name]
    words = [word for command in runtime(name).prepare(IMAGE) for word in command]
    if name == "shifter":  # its gateway pulls by tag, and what it then runs is named by digest
        assert words == ["shifterimg", "pull", "docker:registry.example/lab/tool:2.1"]
    else:
        assert any(word.endswith(f"registry.example/lab/tool@{DIGEST}") for word in words)


def test_a_squashfs_file_is_mounted_by_each_node() -> None:
    squashed = runtime("charliecloud", RuntimeOptions(squashfs=True))
    assert squashed.prepared(IMAGE) == "/node/ab"
    assert squashed.mount(IMAGE) == ["squashfuse", "-f", "/site/images/ab/image.sqfs", "/node/ab"]
    assert runtime("charliecloud").mount(IMAGE) is None


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_only_images_of_nodes_are_asked_for_there(name: str) -> None:
    assert (runtime(name).has(IMAGE) is not None) == runtime(name).per_node == (name in ("docker", "podman"))


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_ranks(name: str) -> None:
    """They take along what their launcher tells them."""
    spec = ContainerSpec(("true",), "image", ranks_on_node=2, name="rank", uid=1001, gid=100)
    if Ability.RANKS not in runtime(name).abilities:
        with pytest.raises(CannotRun, match="one for each rank"):
            runtime(name).wrap(spec)
        return
    with pytest.raises(CannotRun, match="could not reach each other"):
        runtime(name).wrap(replace(spec, network=False))
    composed = runtime(name).wrap(spec)
    assert not {"--cleanenv", "--clearenv", "--unset-env=*"} & set(composed)
    if name == "charliecloud":
        assert "--unset-env=!(PMI*|PMIX*|OMPI*|SLURM*|PALS*|MPI*)" in composed
        assert "--set-env=OMPI_MCA_btl_vader_single_copy_mechanism='none'" in composed
        with pytest.raises(CannotRun, match="SquashFS"):
            runtime(name, RuntimeOptions(squashfs=True)).wrap(spec)


@pytest.mark.parametrize("name", ["apptainer", "shifter"])
def test_a_runtime_that_lets_in_all_finds_little(tmp_path: Path, name: str) -> None:
    """The shell's part of it, with a program that says what it finds."""
    program = tmp_path / "runtime"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    spec = replace(SPEC, ranks_on_node=2, gpus=1, pass_env=("PACKHORSE_TASK", "ABSENT"))
    passed = {
        "PACKHORSE_TASK": "7",
        "PMI_RANK": "1",
        "SLURM_JOB_ID": "3",
        "CUDA_VISIBLE_DEVICES": "0",
        "PATH": os.environ["PATH"],
    }
    ours = {
        **passed,
        "AWS_SECRET_ACCESS_KEY": "s",
        "APPTAINERENV_X": "s",
        "APPTAINER_BIND": "/s",
        "https_proxy": "http://s",
    }
    done = subprocess.run(
        runtime(name, RuntimeOptions(str(program))).wrap(spec), env=ours, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {value: found.get(value) for value in passed} == passed
    assert not {"AWS_SECRET_ACCESS_KEY", "APPTAINERENV_X", "APPTAINER_BIND", "https_proxy", "ABSENT"} & found.keys()


@pytest.mark.parametrize("name", sorted(PREPARED))
def test_a_bind_is_one_option_of_the_run_command(name: str) -> None:
    bind = Bind("/data/reads", "/data/reads", read_only=runtime(name).abilities >= {Ability.READ_ONLY_BINDS})
    option = runtime(name).bind(bind)
    spec = ContainerSpec(("true",), "image", more=("--further",), uid=1001, gid=100)
    without, given = runtime(name).wrap(spec), runtime(name).wrap(replace(spec, binds=(bind,)))
    assert [word for word in given if word != option] == without
    assert given.index("--further") == given.index(option) + 1


def test_credentials_are_a_file_for_whoever_pulls() -> None:
    image = replace(IMAGE, authfile="/site/auth.json")
    for name in ("charliecloud", "podman", "podman_hpc"):
        words = [word for command in runtime(name).prepare(image) for word in command]
        assert [word for word in words if word.endswith("authfile=/site/auth.json")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "--help"),
        ("name", "a b"),
        ("digest", "sha256:xyz"),
        ("digest", "latest"),
        ("folder", "images"),
        ("folder", "/a:b"),
        ("tag", "-x"),
        ("layout", "/a/../b"),
        ("mount_points", ("data",)),
        ("mounted", "/a:b"),
    ],
)
@pytest.mark.parametrize("name", sorted(PREPARED))
def test_images_that_are_refused(name: str, field: str, value: object) -> None:
    image = Image(**{key: getattr(IMAGE, key) for key in Image.__slots__} | {field: value})
    with pytest.raises(CannotRun, match=f"{name} cannot prepare this"):
        runtime(name).prepared(image)
