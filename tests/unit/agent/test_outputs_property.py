"""Whatever a task leaves and declares: either all of it is kept, readable as it was, or nothing has changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from packhorse.agent.outcome import Verdict
from packhorse.agent.removal import remove

from .outputs import ROOT, Task, as_root, picture, place

DEPTH = 7  # to which links are looked through: they may lead round in circles
INPUT = "in/reads"

names = st.sampled_from(["a", "b", "c\udce9", ".d"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
targets = st.one_of(
    paths,
    paths.map(lambda path: f"../{path}"),
    st.tuples(st.integers(1, 3), paths).map(lambda pair: "../" * pair[0] + pair[1]),
    st.sampled_from(
        [
            ".",
            "..",
            "../..",
            "/WORK",
            "/DATA/reads",
            "/DATA/reads/one",
            "/DATA/other",
            "a/.",
            "a/..",
            "b/",
            "/etc/hostname",
            INPUT,
        ]
    ),
    paths.map(lambda path: f"/WORK/{path}"),
)
entries = st.one_of(
    st.tuples(st.just("file"), paths, st.sampled_from([0o644, 0o400, 0o755, 0o000])),
    st.tuples(st.just("folder"), paths, st.sampled_from([0o755, 0o555, 0o500, 0o000, 0o300])),
    st.tuples(st.just("link"), paths, targets),
    st.tuples(st.just("link"), paths, targets),
    st.tuples(st.just("hard"), paths, paths),
    st.tuples(st.sampled_from(["fifo", "file", "file", "file"]), paths, st.just(0o600)),
)
declared = st.one_of(paths, paths, st.sampled_from([INPUT, "./a//b", "in"]))


def grow(task: Task, what: list[tuple[str, str, Any]]) -> None:
    """Make what can be made of it; modes last."""
    (task.data / "reads").mkdir()
    (task.data / "reads/one").write_text("one")
    (task.data / "reads/link").symlink_to("one")
    (task.data / "other").touch()
    task.link(INPUT, task.data / "reads")
    modes = []
    for kind, path, more in what:
        place = task.work / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                with place.open("x") as file:  # nothing that is there already, such as a pipe that nobody reads
                    file.write(path.replace("\udce9", "?"))
                modes.append((place, more))
            elif kind == "folder":
                place.mkdir(exist_ok=True)
                modes.append((place, more))
            elif kind == "link":
                place.symlink_to(more.replace("/WORK", str(task.work)).replace("/DATA", str(task.data)))
            elif kind == "hard":
                os.link(task.work / more, place, follow_symlinks=False)
            else:
                os.mkfifo(place)
        except OSError:
            pass  # something else is there
    with as_root():
        for place, mode in modes:
            if task.work in place.resolve().parents:
                place.chmod(mode)


def seen(path: Path, depth: int = DEPTH) -> Any:
    """What is found at a path by whoever follows links."""
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        return path.read_bytes(), mode
    if not stat.S_ISDIR(status.st_mode):
        return stat.S_IFMT(status.st_mode)
    return mode, {name: seen(path / name, depth - 1) for name in sorted(os.listdir(path))} if depth else None


def can_be_kept(task: Task, path: Path, looked: set[Path]) -> bool:
    """Whether all that is found from a path is there, is a file or a folder, and lies in the work folder or in an
    input.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    allowed = real.is_relative_to(task.work) or real.is_relative_to(task.data / "reads")
    if not allowed or real == task.work or not (real.is_file() or real.is_dir()):
        return False
    if real in looked or real.is_file():
        return True
    looked.add(real)
    return all(can_be_kept(task, entry, looked) for entry in real.iterdir())


@settings(max_examples=150, deadline=None)
@given(
    what=st.lists(entries, max_size=12),
    wanted=st.lists(st.tuples(declared, st.sampled_from([True, False, False])), min_size=1, max_size=4),
    as_user=st.booleans(),
    attempts=st.integers(1, 2),
)
def test_all_or_nothing(
    what: list[tuple[str, str, Any]], wanted: list[tuple[str, bool]], as_user: bool, attempts: int
) -> None:
    with place("user" if as_user else "root") as folder:
        task = Task(folder)
        grow(task, what)
        with as_root():
            there = [path for kind, path, _ in what if kind != "fifo" and os.path.exists(task.work / path)]
        chosen = [path if lucky else there[len(path) % len(there)] if there else INPUT for path, lucky in wanted]
        if attempts > 1:
            (task.out / "a/b").mkdir(parents=True)  # of an earlier one
        with as_root():
            possible = all(can_be_kept(task, task.work / path, set()) for path in chosen)
            before = {path: seen(task.work / path) for path in chosen} if possible else {}
        left, was_out = picture(task.work), picture(task.out)
        try:
            sizes = task.keep(*chosen, inputs=[{"path": INPUT, "source": str(task.data / "reads")}])
        except Verdict as verdict:
            event("refused")
            assert not possible or not ROOT, verdict.msg
            assert picture(task.work) == left and picture(task.out) == was_out
            return
        event("kept")
        assert possible
        assert remove(str(task.work)) and not task.work.exists()
        with as_root():
            (task.data / "reads").rename(task.data / "gone")
            assert {path: seen(task.out / path) for path in chosen} == before
            assert sizes.keys() == before.keys()
            for path, size in sizes.items():
                if (task.out / path).is_file():
                    assert size == (task.out / path).stat().st_size
            tops = {Path(path).parts[0] for path in chosen}
            assert {path.name for path in task.out.iterdir()} == tops, "nothing is kept that was not declared"
