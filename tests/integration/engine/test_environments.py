"""What a task on this machine sees of an environment: a server's task a short list, one's own task all but the outer
job's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from packhorse.client import Client
from tests.fixtures.room import make_app, wait_for

#: A job and a launcher around us, and a task of another Packhorse.
OUTER = {
    "SLURM_JOB_ID": "77", "SLURM_CONF": "/nowhere", "SBATCH_PARTITION": "gone", "PMI_RANK": "1", "PMIX_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "9", "PBS_JOBID": "1", "SGE_TASK_ID": "3", "QUEUE": "all.q", "ENVIRONMENT": "BATCH",
    "PACKHORSE_TASK": "4", "PACKHORSE_TOKEN": "t",
}  # fmt: skip
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hidden",
    "https_proxy": "http://127.0.0.1:1",
    "VIRTUAL_ENV": "/venv",
    "PYTHONPATH": "/nowhere",
}
ODD = {
    b"LC_ODD": b"two\nlines=1\nPATH=no",
    b"LC_BYTES": b"\xff\xfe",
    b"BASH_FUNC_f%%": b"() {  echo\n}",
    b"TMPDIR": b"/not/there",
}
SAID = "outputs: {said: {from: stdout, type: json}}\nenv: {OF_THE_APP: yes please}\n"


def environment_with(home: Path, **more: str) -> dict[bytes, bytes]:
    """Ours with what must not pass, and with values that are odd."""
    kept = {
        name: value for name, value in os.environb.items() if not name.startswith((b"PACKHORSE_", b"XDG_", b"SLURM_"))
    }
    text = {
        **OUTER,
        **SECRETS,
        "PACKHORSE_HOME": str(home),
        "CONDA_DEFAULT_ENV": "mine",
        "OF_THE_LAB": "passed",
        **more,
    }
    return {**kept, **ODD, **{os.fsencode(name): os.fsencode(value) for name, value in text.items()}}


def app_that_sees(folder: Path) -> str:
    """It prints its environment, each byte as one character."""
    command = "import os, json; print(json.dumps(dict([w.decode('latin-1') for w in p] for p in os.environb.items())))"
    return make_app(folder, command=json.dumps([sys.executable, "-I", "-S", "-c", command]), more=SAID)


def check(seen: dict[str, str]) -> None:
    """Nothing of an outer job; what the app says and what tasks are told is there."""
    assert not OUTER.keys() & seen.keys() - {"PACKHORSE_TASK"}
    assert seen["PACKHORSE_TASK"] != "4" and seen["OF_THE_APP"] == "yes please"
    assert (seen["LC_ODD"], seen["LC_BYTES"]) == ("two\nlines=1\nPATH=no", "\xff\xfe")
    assert "TMPDIR" not in seen, "a folder that is not there"


def test_a_servers_task_sees_nothing_of_the_servers_secrets(tmp_path: Path) -> None:
    config = tmp_path / "packhorse.toml"
    config.write_text(
        f'[sites.here]\nroot = "{tmp_path}/here"\nenv = {{OF_THE_SITE = "s"}}\nenv_pass = ["OF_THE_LAB",'
        ' "CONDA_*"]\nlinger_s = 1\n'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path / "home"
    command = [sys.executable, "-m", "packhorse.cli.main", "serve", "--port", str(port)]
    server = subprocess.Popen(
        command, env=environment_with(home, PACKHORSE_CONFIG=str(config)), stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: (home / "token").exists() and _listens(port), 30, "the server")
        app = app_that_sees(tmp_path / "app")
        with Client(url=f"http://127.0.0.1:{port}", token=(home / "token").read_text().strip()) as client:
            runs = {site: client.run(app, over=[{"i": 1}], resources={"site": site}) for site in ("local", "here")}
            seen = {site: next(iter(run.wait().iter_results()))["result"] for site, run in runs.items()}
    finally:
        server.terminate()
        server.wait(30)
    for found in seen.values():
        check(found)
        assert not SECRETS.keys() & found.keys() and "BASH_FUNC_f%%" not in found
        assert "HOME" in found and "PATH" in found
        assert "hidden" not in found.values()
    assert "CONDA_DEFAULT_ENV" not in seen["local"] and "OF_THE_LAB" not in seen["local"]
    assert (seen["here"]["OF_THE_LAB"], seen["here"]["CONDA_DEFAULT_ENV"], seen["here"]["OF_THE_SITE"]) == (
        "passed",
        "mine",
        "s",
    )
    assert seen["local"]["PATH"].split(":")[0] == str(Path(sys.executable).parent), "the example apps' packages"
    assert str(Path(sys.prefix) / "bin") not in seen["here"]["PATH"].split(":")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_ones_own_task_sees_ones_own_environment_less_the_outer_jobs(tmp_path: Path) -> None:
    app = app_that_sees(tmp_path / "app")
    for word in ("first", "second"):  # the agents of the first do not serve the second
        environment = environment_with(
            tmp_path / "home", CONDA_DEFAULT_ENV=word, CUDA_VISIBLE_DEVICES="1", PACKHORSE_CONFIG=os.devnull
        )
        command = [sys.executable, "-m", "packhorse.cli.main", "run", app, "--set", "i=1", "--json"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        results = [
            sys.executable,
            "-m",
            "packhorse.cli.main",
            "results",
            json.loads(done.stdout)["run"]["id"],
            "--json",
        ]
        printed = subprocess.run(
            results, env=environment, cwd=tmp_path, capture_output=True, timeout=60, check=True
        ).stdout
        seen = json.loads(printed)["result"]
        check(seen)
        assert {name: seen[name] for name in SECRETS} == SECRETS, "one's own"
        assert (seen["CONDA_DEFAULT_ENV"], seen["CUDA_VISIBLE_DEVICES"], seen["BASH_FUNC_f%%"]) == (
            word,
            "1",
            "() {  echo\n}",
        )
