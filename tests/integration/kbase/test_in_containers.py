"""A module of the SDK's shape in a real container, with jobs below its own, reference data and a secure parameter."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from packhorse.domain.config import ImagesConfig
from tests.fixtures.kbase import KBaseServices, RpcFailure, kbase_server, served
from tests.fixtures.registry import TestRegistry, registry
from tests.fixtures.room import wait_for
from tests.integration.images.rooms import container_site

__all__ = ["registry"]

SECRET = "s3cret-of-the-catalogue"


def test_a_module_runs_by_the_contract_of_the_sdk(registry: TestRegistry, tmp_path: Path) -> None:
    app = tmp_path / "catalog" / "shellmodule"
    app.mkdir(parents=True)
    kbase = {"module": "ShellModule", "data_folder": "shell", "data_version": "1.0", "secure": ["key"]}
    command = ["/kb/module/scripts/entrypoint.sh", "async"]
    manifest = {"packhorse": 1, "name": "shellmodule", "version": "0.1.0", "image": "packhorse/kbase-module:1"}
    (app / "app.yaml").write_text(json.dumps({**manifest, "command": command, "kbase": kbase}))
    data = tmp_path / "refdata" / "shell" / "1.0"
    data.mkdir(parents=True)
    (data / "greeting").write_text("good day")
    token_file = tmp_path / "catalogue.token"
    services = KBaseServices({})
    token_file.write_text(services.service_token)
    services.secure["ShellModule"] = {"key": SECRET}
    images = ImagesConfig(default_registry=registry.address, insecure=[registry.address])
    options = {
        "catalog_url": services.endpoint,
        "catalog_token_file": token_file,
        "reference_data": tmp_path / "refdata",
    }
    site = container_site("podman", tmp_path / "site")
    with served(tmp_path / "home", sites=[site], images=images, **options) as server:
        asked = {"method": "ShellModule.shout_all", "params": ["one two three"], "app_id": "ShellModule/shout_all"}
        job = server.call("run_job", asked)
        seen = []

        def over() -> bool:
            seen.append(_commands())
            server.call("get_job_logs", {"job_id": job})
            return server.call("check_job", {"job_id": job})["status"] in ("completed", "error")

        wait_for(over, 120, "the module")
        state = server.call("check_job", {"job_id": job})
        log = [line["line"] for line in server.call("get_job_logs", {"job_id": job})["lines"]]
        assert state["status"] == "completed", (state.get("error"), log)
        assert [line for line in log if "image" in line], "what it waited for is told"
        assert state["job_output"]["result"] == [{"said": "ONE TWO THREE ", "data": "good day", "secret": len(SECRET)}]
        assert len(server.room.mine.runs().items) == 4, "each word was a job of its own"
        commands = "\n".join(seen)
        assert "kbase-module" in commands or "podman" in commands
        for secret in (server.tokens["alice"], SECRET, "/services/callback/"):
            assert secret not in commands, "in no process list"
            found = ["grep", "-rlF", "--", secret, tmp_path / "site", tmp_path / "home"]
            told = lambda found=found: subprocess.run(found, capture_output=True, text=True).stdout  # noqa: E731
            wait_for(lambda told=told: told() == "", 30, f"the end of every copy: {told()}")
    services.close()


def _commands() -> str:
    """The command lines of all processes now, but those of the module's own that say where it sends something."""
    lines = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                lines.append(Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(line for line in lines if not line.startswith("wget "))


def test_a_site_whose_images_cannot_be_written_to_is_refused_with_the_next_step(tmp_path: Path) -> None:
    app = tmp_path / "catalog" / "writes"
    app.mkdir(parents=True)
    manifest = {"packhorse": 1, "name": "writes", "version": "1", "image": "writes:1", "command": ["async"]}
    (app / "app.yaml").write_text(json.dumps({**manifest, "kbase": {"module": "Writes"}}))
    sites = [container_site("charliecloud", tmp_path / "site")]
    with kbase_server(tmp_path / "home", sites=sites) as server, pytest.raises(RpcFailure) as failure:
        server.call("run_job", {"method": "Writes.all"})
    why = "a module of KBase writes to /kb/module of its image, and charliecloud of 'local' lets nobody"
    assert failure.value.message == f"No site can run it: {why}."
    assert "another 'runtime'" in failure.value.error and "Podman" in failure.value.error
