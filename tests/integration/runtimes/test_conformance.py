"""What every runtime must do, run for real on those that this machine has."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from packhorse.sites.runtimes.base import Ability, Bind, CannotRun

from .harness import Site, members, own_memory_cgroup, processes_of, wait_until

#: Podman hands signals on only from a moment after the container has started; before, SIGTERM ends Podman alone,
#: rootless with 0.
PROXY_S = 0.4
ODD = ["", " ", "a b", "--help", "-x", "--", "'", '"', "$HOME", "a\nb", "*", "\\", "é", "a=b", "{}", "`id`", "--gpu"]


@pytest.mark.parametrize("code", [0, 255])
def test_exit_codes(site: Site, code: int) -> None:
    assert site.run("sh", "-c", f"exit {code}").code == code


def test_arguments_arrive_unchanged(site: Site) -> None:
    result = site.run("sh", "-c", "printf '[%s]' \"$@\"", "sh", *ODD)
    assert result.out == "".join(f"[{word}]" for word in ODD)


def test_a_missing_program_is_a_failure(site: Site) -> None:
    result = site.run("no-such-program")
    assert result.code not in (0, None)
    assert "no-such-program" in result.err or "o such file" in result.err


def test_stdin_stdout_stderr(site: Site) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    file = site.folder / "in"
    file.write_text(text)
    result = site.run("sh", "-c", "cat; echo oops >&2", stdin=str(file))
    assert (result.code, result.out, result.err.strip()) == (0, text, "oops")


def test_without_stdin_there_is_nothing_to_read(site: Site) -> None:
    assert site.run("sh", "-c", "cat; echo end").out == "end\n"


def test_the_environment(site: Site) -> None:
    values = {
        "PLAIN": "1",
        "LINES": "a\nb\n",
        "QUOTES": "'a'\"b\"",
        "EXPAND": "$HOME:$PATH",
        "EMPTY": "",
        "EQUALS": "a=b=c",
        "COMMA": "x,y",
        "BOTH": "task",
    }
    script = 'for name in "$@"; do eval "printf \'%s|\' \\"\\$$name\\""; done'
    assert site.run("sh", "-c", script, "sh", *values, env=values).out == "".join(
        f"{value}|" for value in values.values()
    )


def test_variables_known_only_where_it_starts(site: Site) -> None:
    site = site.options(env={**site.env, "PACKHORSE_TASK": "17", "PACKHORSE_ATTEMPT": "a b", "SECRET": "not for tasks"})
    result = site.run(
        "sh",
        "-c",
        'echo "$PACKHORSE_TASK $PACKHORSE_ATTEMPT ${ABSENT-none}"',
        pass_env=("PACKHORSE_TASK", "PACKHORSE_ATTEMPT", "ABSENT"),
    )
    assert result.out == "17 a b none\n"


def test_the_hosts_environment_stays_outside(container: Site) -> None:
    container = container.options(env={**container.env, "SECRET": "not for tasks", "https_proxy": "http://127.0.0.1:1"})
    assert container.run("sh", "-c", 'echo "${SECRET-none} ${https_proxy-none}"').out == "none none\n"


def test_image_environment_workdir_and_command(container: Site) -> None:
    assert container.run("sh", "-c", 'echo "$FROM_IMAGE $BOTH $PATH"').out == "yes image /bin:/usr/bin\n"
    assert container.run("pwd", workdir=None).out == "/app\n"
    assert container.run().out == "entrypoint ran\nthe default command\n", "no command: the image's own"


def test_entrypoint_only_when_asked_for(container: Site) -> None:
    assert container.run("echo", "task").out == "task\n"
    assert container.run("echo", "task", uses_entrypoint=True).out == "entrypoint ran\ntask\n"


def test_workdir(site: Site) -> None:
    (site.folder / "sub dir").mkdir()
    assert site.run("pwd", workdir=f"{site.work}/sub dir").out == f"{site.work}/sub dir\n"


def test_outputs_belong_to_the_submitting_user(site: Site) -> None:
    """The image has a USER, who is somebody else."""
    assert site.run("sh", "-c", "touch out; mkdir folder; touch folder/file").code == 0
    for path in ("out", "folder", "folder/file"):
        status = (site.folder / path).stat()
        assert (status.st_uid, status.st_gid) == (site.uid, site.gid)


def test_the_root_is_read_only_and_tmp_is_not(container: Site) -> None:
    assert container.run("sh", "-c", "touch /new || touch /bin/new").code != 0
    assert container.run("sh", "-c", "echo x > /tmp/new && cat /tmp/new").out == "x\n"


def test_a_writable_root_is_forgotten(container: Site) -> None:
    if Ability.WRITABLE_ROOT not in container.runtime.abilities:
        with pytest.raises(CannotRun, match="cannot let a task change"):
            container.run("true", writable_root=True)
        return
    assert container.run("sh", "-c", "echo x > /app/new && cat /app/new", writable_root=True).out == "x\n"
    assert container.run("cat", "/app/new").code != 0


def test_read_only_binds(container: Site) -> None:
    bind = Bind(str(container.folder), container.work, read_only=True)
    if Ability.READ_ONLY_BINDS not in container.runtime.abilities:
        with pytest.raises(CannotRun, match="cannot keep a task from writing"):
            container.run("true", binds=(bind,))
        return
    (container.folder / "in").write_text("x")
    result = container.run("sh", "-c", "cat in; echo y > in", binds=(bind,))
    assert (result.code != 0, result.out, (container.folder / "in").read_text()) == (True, "x", "x")


def test_mount_points_that_the_image_does_not_have(container: Site) -> None:
    """/my work is one already: where the runtime does not make it, prepare did."""
    bind = Bind(str(container.folder), "/not/in/the image")
    result = container.run("touch", "/not/in/the image/out", binds=(bind,), workdir="/")
    assert (
        (result.code == 0)
        == (container.folder / "out").exists()
        == (Ability.NEW_MOUNT_POINTS in container.runtime.abilities)
    )


#: Characters in paths that a runtime's syntax cannot express.
REFUSED = {"charliecloud": ":", "podman": "\n", "podman_hpc": "\n", "docker": "\n", "apptainer": "\n"}


def test_odd_names_of_folders(container: Site) -> None:
    """They work, or are refused with a sentence; nothing in between."""
    binds, refused = [], set()
    for number, name in enumerate(["a b", "a,b", "a:b", 'a"b', "a'b", "a=b", "a\\b", "é", "-a", "a\nb"]):
        source = container.folder / name
        source.mkdir()
        (source / "in").write_text(f"{number} ")
        (container.folder / "points" / str(number)).mkdir(parents=True)
        new = Ability.NEW_MOUNT_POINTS in container.runtime.abilities
        bind = Bind(str(source), f"/new/{name}" if new else f"{container.work}/points/{number}")
        try:
            container.runtime.wrap(container.spec("true", binds=(bind,)))
            binds.append(bind)
        except CannotRun as refusal:
            assert container.runtime.name in str(refusal)
            refused.add(name)
    if not new:
        binds.insert(0, container.bind)
    files = [f"{bind.target}/in" for bind in binds if bind != container.bind]
    result = container.run("cat", *files, binds=tuple(binds), workdir="/")
    assert (result.err, len(result.out.split())) == ("", 10 - len(refused))
    assert refused == {f"a{character}b" for character in REFUSED[container.runtime.name]}


def test_no_network(container: Site) -> None:
    script = "cut -d: -f1 /proc/self/net/dev | tail -n +3 | tr -d ' '"
    if Ability.NO_NETWORK not in container.runtime.abilities:
        with pytest.raises(CannotRun, match="cannot take the network away"):
            container.run("true", network=False)
        return
    result = container.run("sh", "-c", f"{script}; touch out", network=False)
    assert set(result.out.split()) <= {"lo", "tunl0", "sit0", "gre0"}
    assert (container.folder / "out").stat().st_uid == container.uid
    assert len(container.run("sh", "-c", script).out.split()) == len(list(Path("/sys/class/net").iterdir()))


def test_a_memory_limit(container: Site) -> None:
    if Ability.LIMITS not in container.runtime.abilities:
        pytest.skip("its processes stay in the cgroup of who starts them: see test_processes_stay_in_the_cgroup")
    if container.uid and Path("/sys/fs/cgroup/memory").exists():
        pytest.skip("Podman says: resource limits are not supported and ignored on cgroups V1 rootless systems")
    assert container.run("dd", "if=/dev/zero", "of=/dev/null", "bs=300M", "count=1", memory_bytes=64 << 20).code == 137
    assert (
        container.run("dd", "if=/dev/zero", "of=/dev/null", "bs=8M", "count=1", memory_bytes=64 << 20, cores=1.5).code
        == 0
    )


def test_processes_stay_in_the_cgroup(site: Site) -> None:
    """In the memory cgroup of who starts the runtime: by inheritance, or as the given parent.

    A limit there holds for the container.
    """
    own = own_memory_cgroup()
    if own is None:
        pytest.skip("no memory cgroup (v1) that we may divide")
    folder, path = own[0] / f"packhorse-test-{os.getpid()}", f"{own[1].rstrip('/')}/packhorse-test-{os.getpid()}"
    folder.mkdir()
    # On cgroups v1 a user's Podman can make no cgroup, and refuses a parent: its containers stay where it was started.
    parent = None if site.uid else path
    try:
        (folder / "memory.limit_in_bytes").write_text(str(128 << 20))
        marker = str(100_000_000 + os.getpid())
        spec = site.spec("sleep", marker, cgroup_parent=parent)
        with site.started(spec, folder):
            wait_until(lambda: processes_of("sleep", marker))
            assert processes_of("sleep", marker) <= members(folder)
        spec = site.spec("dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1", cgroup_parent=parent)
        with site.started(spec, folder) as process:
            process.communicate(timeout=30)
            assert process.returncode in (137, -signal.SIGKILL)
    finally:
        wait_until(lambda: not members(folder))
        for child in sorted(folder.rglob("*"), reverse=True):
            if child.is_dir():
                child.rmdir()
        folder.rmdir()


def test_sigterm_reaches_the_process(site: Site) -> None:
    spec = site.spec("sh", "-c", "trap 'echo bye; exit 9' TERM; touch ready; while :; do sleep 0.05; done")
    with site.started(spec) as process:
        wait_until((site.folder / "ready").exists)
        time.sleep(PROXY_S if site.runtime.end(spec) else 0)
        os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=15)
    assert (process.returncode, out) == (9, "bye\n")


def test_sigterm_ends_a_process_that_does_not_handle_it(site: Site) -> None:
    """Exit code 143 for those that speak of signals so; the signal itself for those that become the command."""
    spec = site.spec("sh", "-c", "touch ready; exec sleep 1000")
    with site.started(spec) as process:
        wait_until((site.folder / "ready").exists)
        wait_until(lambda: processes_of("sleep", "1000"))
        time.sleep(PROXY_S if site.runtime.end(spec) else 0)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=15)
    assert process.returncode in (143, -signal.SIGTERM)


def test_a_signal_of_its_own(site: Site) -> None:
    assert site.run("sh", "-c", "kill -SEGV $$").code == 128 + signal.SIGSEGV


def test_cancel_ends_the_whole_tree(site: Site) -> None:
    """Children that ignore SIGTERM, and one that has left the session."""
    own = own_memory_cgroup()
    if own is None and not site.runtime.end(site.spec("true")):
        pytest.skip("no memory cgroup (v1) that we may divide")
    folder = own[0] / f"packhorse-test-{os.getpid()}" if own else None
    if folder:
        folder.mkdir()
    marker = str(200_000_000 + os.getpid())
    spec = site.spec("sh", "-c", f"trap '' TERM; setsid sleep {marker} & sleep {marker} & touch ready; wait")
    with site.started(spec, folder) as process:
        wait_until((site.folder / "ready").exists)
        wait_until(lambda: len(processes_of("sleep", marker)) == 2)
        os.killpg(process.pid, signal.SIGTERM)
        site.cancel(process, spec, folder)
        wait_until(lambda: not processes_of("sleep", marker))
    if folder:
        wait_until(lambda: not members(folder))
        folder.rmdir()


def test_the_same_image_twice_at_once(site: Site) -> None:
    first, second = (site.spec("sh", "-c", f"touch {n}; while [ ! -e {1 - n} ]; do sleep 0.05; done") for n in (0, 1))
    with site.started(first) as one, site.started(second) as two:
        assert (one.wait(20), two.wait(20)) == (0, 0)
