"""The paths of a TES task: what is shared by its containers, and what is refused, in whose words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.run import check_tasks
from packhorse.domain.submitted import task_run
from packhorse.domain.task import Task
from packhorse.domain.taskpaths import AbsolutePaths, is_within


def task(
    *, image: str | None = "tool:1", steps: int = 1, step: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    executor = {"command": ["x"], **({"image": image} if image else {}), **(step or {})}
    return {"executors": [executor] * steps, **fields}


def paths(**fields: Any) -> AbsolutePaths | None:
    return AbsolutePaths.of(Task.model_validate(task(**fields)))


def refusal(*documents: dict[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as refused:
        check_tasks(task_run(list(documents)).tasks)
    return str(refused.value)


def out(*given_paths: str, **more: Any) -> list[dict[str, Any]]:
    return [{"path": path, **more} for path in given_paths]


def test_relative_paths_need_nothing() -> None:
    assert (
        paths(
            inputs=out("a", content="x"), outputs=out("b/*.txt"), step={"workdir": "w", "stdin": "a", "stdout": "b/c"}
        )
        is None
    )


def test_folders_that_are_written_to_are_shared_the_outermost_ones_only() -> None:
    found = paths(
        inputs=out("/data/in/a", "/ref", content="x"),
        outputs=[
            {"path": "/data/out/x.txt"},
            {"path": "/data/out//deep/*.txt"},
            {"path": "/o", "type": "DIRECTORY"},
            {"path": "/p/*/q/r"},
        ],
        volumes=["/vol/A/"],
        step={"stdout": "/tmp/log", "workdir": "/data/out/w", "stdin": "/data/in/a"},
    )
    assert found is not None
    assert found.shared == ("/data/out", "/o", "/p", "/tmp", "/vol/A")
    assert found.made == ("/data/out", "/data/out/deep", "/data/out/w", "/o", "/p", "/tmp", "/vol/A")
    assert (
        found.inputs == ("/data/in/a", "/ref") and not found.is_shared("/data/in/a") and found.is_shared("/data/out/y")
    )


def test_a_stream_in_the_root_is_kept_without_being_bound() -> None:
    found = paths(outputs=out("/log.txt"), step={"stdout": "/log.txt"})
    assert found is not None and found.shared == () and found.made == ()
    check_tasks(task_run(task(outputs=out("/log.txt"), step={"stdout": "/log.txt"})).tasks)


def test_a_workdir_among_the_usual_folders_is_the_tasks_own_and_else_the_images() -> None:
    found = paths(step={"workdir": "/work/a"})
    assert found is not None and found.shared == ("/work/a",)
    for workdir in ("/app", "/usr/bin"):
        other = paths(step={"workdir": workdir})
        assert other is not None and other.shared == () and other.made == ()
    inside = paths(step={"workdir": "/data/ref"}, inputs=out("/data/ref", content=""))
    assert inside is not None and inside.shared == ()


def test_empty_content_beside_a_url_is_none() -> None:
    given = (
        Task.model_validate(
            task(inputs=[{"path": "a", "url": "/x", "content": ""}, {"path": "b", "content": ""}])
        ).inputs
        or []
    )
    assert [item.content for item in given] == [None, ""]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"image": None, "outputs": out("/data/x")},
            "output: the path '/data/x' is absolute, which needs a container. Name an 'image'",
        ),
        (
            {"image": None, "step": {"workdir": "/w"}},
            "executor 1, workdir: the path '/w' is absolute, which needs a container.",
        ),
        ({"image": None, "volumes": ["/v"]}, "volume: the path '/v' is absolute, which needs a container."),
        (
            {"outputs": out("/x.txt")},
            "output '/x.txt': lies directly in the container's root, which cannot be written to.",
        ),
        ({"outputs": out("/*.txt")}, "output '/*.txt': lies directly in the container's root"),
        ({"outputs": out("/*/x")}, "output '/*/x': lies directly in the container's root"),
        ({"outputs": out("/")}, "the path '/' is the container's root."),
        ({"volumes": ["//"]}, "the path '//' is the container's root."),
        (
            {"outputs": out("/usr/bin/x")},
            "output '/usr/bin/x': would be kept in '/usr/bin', and hide what the image has there.",
        ),
        ({"outputs": out("/etc/x")}, "would be kept in '/etc'"),
        ({"outputs": out("/usr/lib", type="DIRECTORY")}, "would be kept in '/usr/lib'"),
        ({"volumes": ["/opt"]}, "volume '/opt': would be kept in '/opt'"),
        ({"outputs": out("/proc/x/y")}, "lies where a container has devices or processes"),
        ({"inputs": out("/dev/x", content="")}, "lies where a container has devices or processes"),
        ({"outputs": out("/data/../etc/x")}, "the path '/data/../etc/x' contains '..'. Write it without."),
        ({"outputs": out("/d/" + "x" * 300)}, "has a part of 300 bytes"),
        ({"outputs": out("../x")}, "output: the path '../x' contains '..'"),
        ({"outputs": out("")}, "output: the path '' is empty"),
        ({"outputs": out("a\\")}, "output 'a\\': has a backslash with nothing to escape. Write two for one."),
        (
            {"inputs": out("/a", "/a/b", content="")},
            "input '/a/b': lies in the input '/a', which cannot be written to.",
        ),
        ({"inputs": out("/a", "//a/", content="")}, "input '/a': is there twice."),
        ({"inputs": out("a", "./a", content="")}, "input 'a': is there twice."),
        ({"inputs": out("/ref", content=""), "outputs": out("/ref/x")}, "output '/ref/x': lies in the input '/ref'"),
        (
            {"inputs": out("/ref", content=""), "outputs": out("/ref", type="DIRECTORY")},
            "output '/ref': lies in the input '/ref'",
        ),
        ({"inputs": out("/ref", content=""), "volumes": ["/ref/v"]}, "volume '/ref/v': lies in the input '/ref'"),
        (
            {"step": {"stdin": "/etc/passwd"}},
            "executor 1, stdin '/etc/passwd': is neither an input nor in a folder of an output",
        ),
        ({"outputs": out("/d/x", "d/x")}, "output '/d/x': is kept under the same name as the output 'd/x'."),
        (
            {"outputs": out("/d/*.x", url="file:///t")},
            "output '/d/*.x': has wildcards and a URL, but no 'path_prefix'.",
        ),
        ({"outputs": out("/d/*.x", url="file:///t", path_prefix="/e")}, "does not begin with its 'path_prefix', '/e'."),
        (
            {"outputs": out("/d/*.x", url="file:///t", path_prefix="/d/*")},
            "does not begin with its 'path_prefix', '/d/*'.",
        ),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], says: str) -> None:
    assert f"task 'task', {says}" in refusal(task(**fields)) or says in refusal(task(**fields))


@pytest.mark.parametrize("prefix", ["/out", "/out/", "/out/s", "/"])
def test_a_prefix_is_how_all_matches_begin(prefix: str) -> None:
    check_tasks(task_run(task(outputs=out("/out/s*.txt", url="file:///t", path_prefix=prefix))).tasks)


def test_a_pattern_is_no_input_and_what_it_matches_is() -> None:
    first = {**task(outputs=out("/o/part-*.bam")), "name": "a"}
    takes = {**task(inputs=[{"path": "/i/x", "url": "task://a//o/part-1.bam"}]), "name": "b"}
    check_tasks(task_run([first, takes]).tasks)
    wrong = {**task(inputs=[{"path": "/i/x", "url": "task://a//o/part-*.bam"}]), "name": "b"}
    assert "takes '/o/part-*.bam' of task 'a', which is a pattern. Name one of the files that it matches" in refusal(
        first, wrong
    )
    other = {**task(inputs=[{"path": "/i/x", "url": "task://a/o/part.bai"}]), "name": "b"}
    assert "takes 'o/part.bai' of task 'a', which does not declare that output" in refusal(first, other)


PART = st.sampled_from(["a", "b", "data", "*", "x?", "..", ".", "", "usr", "tmp", "é", "[ab]", "\\*"])
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join).flatmap(lambda path: st.sampled_from([path, "/" + path]))


@given(st.lists(PATH, max_size=3), st.lists(PATH, max_size=3), st.lists(PATH, max_size=2), PATH)
def test_what_is_accepted_binds_no_folder_twice_and_none_of_the_image(
    inputs: list[str], outputs: list[str], volumes: list[str], stdout: str
) -> None:
    document = task(inputs=out(*inputs, content=""), outputs=out(*outputs), volumes=volumes, step={"stdout": stdout})
    try:
        check_tasks(task_run(document).tasks)
    except InvalidRequest:
        return
    found = AbsolutePaths.of(Task.model_validate(document))
    if found is None:
        return
    assert all(
        path.startswith("/") and path != "/" and ".." not in path.split("/") and "//" not in path for path in found.all
    )
    assert not any(one != other and is_within(one, other) for one in found.shared for other in found.shared)
    assert not any(is_within(folder, path) for folder in found.shared for path in found.inputs)
    assert "/usr" not in found.shared and all(
        any(is_within(folder, outer) for outer in found.shared) for folder in found.made
    )
