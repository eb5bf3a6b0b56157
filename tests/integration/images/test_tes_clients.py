"""Programs that speak TES, against a server over HTTP: py-tes, Snakemake with its TES plugin, a CWL workflow through
Toil's. Their tasks run in real containers, in an image that has them from this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.domain.config import ImagesConfig
from packhorse.engine.embedded import Embedded
from tests.fixtures.registries import push
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.s3server import KEY, SECRET, S3Server, s3

from .rooms import container_site

__all__ = ["registry", "s3"]

VENV = Path(__file__).resolve().parents[3] / ".venv"
#: What of this machine the containers see, so that an image with nothing but busybox has Python and these programs.
HOST = [path for path in ("/bin", "/etc/alternatives", "/lib", "/lib64", "/usr") if Path(path).exists()]
PY_TES = """
import sys, tes
client = tes.HTTPClient(sys.argv[1], token=sys.argv[2], timeout=60)
print(client.get_service_info().name)
task = tes.Task(
    name="hello", tags={"project": "py-tes"}, volumes=["/vol"],
    inputs=[tes.Input(path="/data/in.txt", content="hello\\n")],
    outputs=[tes.Output(path="/data/out.txt", url=sys.argv[3])],
    resources=tes.Resources(cpu_cores=1, ram_gb=0.5),
    executors=[
        tes.Executor(image="packhorse/box:1", command=["cat", "/data/in.txt"], stdout="/vol/x"),
        tes.Executor(image="packhorse/box:1", command=["cat"], stdin="/vol/x", stdout="/data/out.txt"),
    ],
)
one = client.create_task(task)
other = client.create_task(tes.Task(executors=[tes.Executor(image="packhorse/box:1", command=["sleep", "300"])]))
client.cancel_task(other)
print(client.wait(one, timeout=120).state, client.wait(other, timeout=120).state)
full = client.get_task(one, view="FULL")
print([log.exit_code for log in full.logs[0].logs], full.logs[0].logs[1].stdout.strip(), full.resources.cpu_cores)
print([task.id == one for task in client.list_tasks(view="BASIC").tasks], full.logs[0].outputs[0].size_bytes)
"""
SNAKEMAKE = """
import sys, snakemake_executor_plugin_tes as plugin
plugin.common_settings.init_seconds_before_status_checks = 1  # 40 otherwise
plugin.common_settings.auto_deploy_default_storage_provider = False  # with pip, from the network
from snakemake.cli import main
sys.exit(main(sys.argv[1:]))
"""
SNAKEFILE = """
rule sum:
    input: "count.txt"
    output: "sum.txt"
    shell: "cat {input} {input} > {output}"

rule count:
    input: "words.txt"
    output: "count.txt"
    shell: "wc -w < {input} > {output}"
"""
CWL = {
    "cwlVersion": "v1.2", "class": "CommandLineTool", "baseCommand": ["wc", "-w"],
    "inputs": {"words": {"type": "File"}}, "stdin": "$(inputs.words.path)",
    "outputs": {"count": "stdout"}, "stdout": "count.txt",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server at work whose site shows ``shared`` to all containers."""

    url: str
    token: str
    shared: Path
    registry: TestRegistry
    room: Embedded

    def image(self, name: str, tag: str, environment: str, folder: Path) -> str:
        """An image whose PATH begins with the programs of one of our environments."""
        layout = folder / "layout"
        subprocess.run(["cp", "-r", str(self.registry.layout), str(layout)], check=True)
        changes = [f"--config.env=PATH={VENV}/{environment}/bin:/bin:/usr/bin", "--config.env=HOME=/tmp"]
        subprocess.run(["umoci", "config", "--image", f"{layout}:box", "--tag", name, *changes], check=True)
        push(f"oci:{layout}:{name}", f"{self.registry.address}/packhorse/{name}:{tag}")
        return f"packhorse/{name}:{tag}"

    def tasks(self) -> list[dict[str, Any]]:
        """All that came over TES."""
        from packhorse.domain.tes import View
        from packhorse.store.listing import Wanted

        return self.room.mine.tes.page(Wanted(), View.FULL, 64, None)[0]


@pytest.fixture
def server(registry: TestRegistry, tmp_path: Path) -> Iterator[Server]:
    shared = tmp_path / "shared"
    shared.mkdir()
    binds = (*HOST, sys.base_prefix, str(VENV), str(shared))
    site = container_site("charliecloud", tmp_path / "site", binds=tuple(dict.fromkeys(binds)))
    images = ImagesConfig(default_registry=registry.address, insecure=[registry.address])
    room = Embedded(tmp_path / "home", sites=[site], images=images)
    tokens = Tokens(room.database)
    http = uvicorn.Server(uvicorn.Config(create_app(room.service, tokens), port=0, log_level="warning"))
    thread = threading.Thread(target=http.run, daemon=True)
    with room.run_engine():
        thread.start()
        give_up = time.monotonic() + 60
        while not http.started and time.monotonic() < give_up:
            time.sleep(0.05)
        port = http.servers[0].sockets[0].getsockname()[1]
        yield Server(f"http://127.0.0.1:{port}", tokens.add("root", admin=True), shared, registry, room)
        http.should_exit = True
        thread.join(30)
    room.close()


def python_of(environment: str) -> str:
    program = VENV / environment / "bin" / "python"
    assert program.exists(), "make setup-test makes it"
    return str(program)


def run(folder: Path, command: list[str], **environment: str) -> str:
    """What a client prints, which must end well."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PACKHORSE_", "AWS_"))}
    done = subprocess.run(
        command, cwd=folder, env={**own, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


@pytest.mark.parametrize(("packages", "suffix"), [("", "/ga4gh/tes"), ("py-tes", "")])
def test_py_tes(server: Server, tmp_path: Path, packages: str, suffix: str) -> None:
    """As Toil and Snakemake have it (0.4), and its newest version."""
    command = [python_of("toil"), "-c", PY_TES, server.url + suffix, server.token, f"file://{tmp_path}/out/hello.txt"]
    said = run(tmp_path, command, **({"PYTHONPATH": str(VENV / packages)} if packages else {})).splitlines()
    assert said == ["Packhorse", "COMPLETE CANCELED", "[0, 0] hello 1", "[False, True] 6"]
    assert (tmp_path / "out" / "hello.txt").read_text() == "hello\n"


def test_a_snakemake_workflow(server: Server, s3: S3Server, tmp_path: Path) -> None:
    """Two rules, one after the other; files and sources go through S3, from within the tasks."""
    image = server.image("snakemake", "1", "snakemake", tmp_path)
    bucket = s3.bucket("snakemake")
    s3.client.put_object(Bucket=bucket, Key="words.txt", Body=b"one two three\n")
    folder = tmp_path / "flow"
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    options = {
        "--executor": "tes", "--tes-url": f"{server.url}/ga4gh/tes", "--container-image": image, "--jobs": "2",
        "--default-storage-provider": "s3", "--default-storage-prefix": f"s3://{bucket}",
        "--storage-s3-endpoint-url": s3.endpoint, "--seconds-between-status-checks": "1",
    }  # fmt: skip
    secrets = {
        "SNAKEMAKE_TES_TOKEN": server.token, "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": KEY,
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1", "HOME": str(tmp_path),
    }  # fmt: skip
    words = [word for pair in options.items() for word in pair]
    try:
        run(folder, [python_of("snakemake"), "-c", SNAKEMAKE, *words], **secrets)
    except AssertionError:
        raise AssertionError([task["logs"] for task in server.tasks()]) from None
    assert s3.client.get_object(Bucket=bucket, Key="sum.txt")["Body"].read() == b"3\n3\n"
    assert [task["state"] for task in server.tasks()] == ["COMPLETE", "COMPLETE"]


def test_a_cwl_workflow_through_toil(server: Server, tmp_path: Path) -> None:
    """Its job store lies in a folder that the site's containers see."""
    python = python_of("toil")
    commit = run(tmp_path, [python, "-c", "import toil.version; print(toil.version.currentCommit)"]).strip()
    image = server.image("toil", commit, "toil", tmp_path)  # an image with this tag is not looked for by Toil itself
    (tmp_path / "words.txt").write_text("one two three\n")
    (tmp_path / "count.cwl").write_text(json.dumps(CWL))
    (tmp_path / "in.json").write_text(json.dumps({"words": {"class": "File", "path": "words.txt"}}))
    options = {
        "--batchSystem": "tes", "--tesEndpoint": f"{server.url}/ga4gh/tes", "--tesBearerToken": server.token,
        "--jobStore": f"file:{server.shared}/jobs", "--symlinkImports": "False", "--statePollingWait": "1",
        "--defaultMemory": "200Mi", "--defaultDisk": "100Mi", "--outdir": "out",
    }  # fmt: skip
    words = [word for pair in options.items() for word in pair]
    programs = VENV / "toil" / "bin"
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"  # it runs parts of itself by name
    command = [str(programs / "toil-cwl-runner"), *words, "count.cwl", "in.json"]
    run(tmp_path, command, PATH=path, TOIL_APPLIANCE_SELF=image, HOME=str(tmp_path))
    assert (tmp_path / "out" / "count.txt").read_text().split() == ["3"]
    assert [task["state"] for task in server.tasks()] == ["COMPLETE"]
