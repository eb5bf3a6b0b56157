"""What is refused before anything is written, and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from packhorse.domain.app import AppManifest
from packhorse.domain.errors import InvalidRequest, PackhorseError, TooLarge
from packhorse.domain.run import AppRun, NamedTask, TaskRun
from packhorse.engine.requests.accept import Accepted, Requester, SubmittedApp
from packhorse.engine.requests.accept_documents import accept_task_run
from packhorse.engine.requests.accept_table import accept_app_run
from packhorse.engine.requests.filerules import FileRules
from packhorse.sites.site import local_site
from packhorse.store.newtasks import NewTask

SITE = local_site("/nowhere", cores=2, memory_mb=4000)


def manifest(**fields: Any) -> AppManifest:
    document = {
        "packhorse": 1, "name": "t", "version": "1", "command": ["true", "{i}"],
        "parameters": {"i": {"type": "integer"}, "reads": {"type": "file", "optional": True}}, **fields,
    }  # fmt: skip
    return AppManifest.model_validate(document)


def accept(rows: Any, app: AppManifest | None = None, files: FileRules | None = None, **request: Any) -> Accepted:
    submitted = SubmittedApp(app or manifest(), "digest")
    return accept_app_run(AppRun(app="t", **request), submitted, rows, requester(files))


def requester(files: FileRules | None = None) -> Requester:
    return Requester("r-1", "ada", files or FileRules(), [SITE])


def tasks_of(accepted: Accepted) -> list[NewTask]:
    return [task for step in accepted.steps for task in step.tasks()]


def refusal(function: Callable[[], object], kind: type[PackhorseError] = InvalidRequest) -> str:
    with pytest.raises(kind) as caught:
        function()
    return str(caught.value)


def test_every_problem_of_a_table_is_told_at_once_with_its_row() -> None:
    said = refusal(lambda: accept([{"i": 1}, {"i": "one"}, {}, {"i": 3, "j": 4}, {"i": 5, "reads": "/no/such.fq"}]))
    for words in (
        "row 2, parameter 'i': expected a whole number, found 'one'.",
        "row 3: parameter 'i' is missing; it is required, and of type integer.",
        "row 4: unknown parameter 'j'.",
        "row 5, parameter 'reads': the file '/no/such.fq' is not there.",
    ):
        assert words in said
    assert "row 1" not in said


def test_two_rows_with_the_same_value_of_what_is_unique_are_refused() -> None:
    app = manifest(parameters={"i": {"type": "integer", "unique": True}})
    said = refusal(lambda: accept([{"i": 1}, {"i": 2}, {"i": "1"}], app))
    assert "row 3, parameter 'i': '1' is in row 1 already; no two rows may have the same." in said
    assert len(tasks_of(accept([{"i": 1}, {"i": 2}], app))) == 2


def test_thousands_of_problems_are_cut_short() -> None:
    said = refusal(lambda: accept({"i": "x"} for _ in range(10_000)))
    assert "row 100," in said
    assert "row 101," not in said
    assert "There may be more" in said


def test_a_parameter_of_10_mb_is_refused() -> None:
    said = refusal(lambda: accept([{"i": "1" * 10_000_000}]))
    assert "is 10,000,000 characters long; the limit is 65,536 bytes. Put it into a file and pass that." in said
    assert len(said) < 1000


def test_more_than_a_million_tasks_are_refused() -> None:
    rows = ({"i": "x"} for _ in range(1_000_001))  # wrong ones are only counted after a while, which is quick
    assert "more than 1,000,000 rows" in refusal(lambda: accept(rows), TooLarge)


def test_a_table_without_rows_is_refused() -> None:
    assert "nothing to run" in refusal(lambda: accept([]))


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"cpu_cores": 3}, "asks for 3 cores and 'local' has 2"),
        ({"ram_gb": 5}, "asks for 5 GB of memory and 'local' has 4 GB"),
        ({"nodes": 2}, "asks for 2 nodes"),
        ({"gpus": 1}, "asks for 1 GPUs on a node and 'local' has none"),
        ({"cpu_cores": -1}, "resources, field 'cpu_cores': expected a number greater than 0 (found: -1)."),
        ({"cpus": 1}, "resources, field 'cpus': is not a field that is known here."),
    ],
)
def test_resources_that_no_site_can_give_are_refused(resources: dict[str, Any], words: str) -> None:
    assert words in refusal(lambda: accept([{"i": 1}], resources=resources))


def test_ranks_have_processes_of_their_own() -> None:
    words = refusal(lambda: accept([{"i": 1}], resources={"launch": "ranks"}, session="shell"))
    assert "its ranks are started by a launcher" in words
    words = refusal(lambda: accept([{"i": 1}], resources={"launch": "ranks", "ranks_per_node": 3, "cpu_cores": 2}))
    assert "3 ranks on a node take 3 cores, and 'cpu_cores' is 2" in words
    app = manifest(resources={"launch": "ranks", "ranks_per_node": 2, "cpu_cores": 2})
    assert "2 ranks on a node take 2 cores, and 'cpu_cores' is 1" in refusal(
        lambda: accept([{"i": 1}], app, resources={"cpu_cores": 1})
    )


def test_a_gathering_task_that_no_site_can_run_is_refused() -> None:
    app = manifest(gather={"arguments": ["{results}"], "resources": {"cpu_cores": 64}})
    assert "the gathering task: no site can run it" in refusal(lambda: accept([{"i": 1}], app))


def test_a_retry_policy_of_unknown_classes_is_refused() -> None:
    assert "retry, 'bad_luck': is not a failure class." in refusal(lambda: accept([{"i": 1}], retry={"bad_luck": 1}))


def test_common_parameters_are_checked_once_and_rows_may_override_them() -> None:
    accepted = accept([{}, {"i": 7}], params={"i": "3"})
    assert accepted.steps[0].spec.params == {"i": 3}
    assert [task.params for task in tasks_of(accepted)] == ["{}", '{"i":7}']
    assert "common parameters: unknown parameter 'k'." in refusal(lambda: accept([{"i": 1}], params={"k": 1}))


def test_a_file_outside_the_data_roots_is_refused_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "reads.fq").write_text("x")
    rules = FileRules(((tmp_path / "data").resolve(),))
    accept([{"i": 1, "reads": str(tmp_path / "data" / "reads.fq")}], files=rules)
    for path in (tmp_path / "secret", tmp_path / "data" / "link", tmp_path / "data" / ".." / "secret"):
        assert "outside the folders that this server may read" in refusal(
            lambda path=path: accept([{"i": 1, "reads": str(path)}], files=rules)
        )


def named(name: str, *, after: list[str] | None = None, **task: Any) -> NamedTask:
    return NamedTask.model_validate(
        {"name": name, "after": after or [], "task": {"executors": [{"command": ["true"]}], **task}}
    )


def accept_tasks(*tasks: NamedTask) -> Accepted:
    return accept_task_run(TaskRun(tasks=list(tasks)), requester())


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([named("a"), named("a")], "task 'a': is there twice."),
        ([named("a", after=["b"])], "waits for 'b', which is not a task of this run."),
        ([named("a", after=["b"]), named("b", after=["a"])], "in a circle: a → b → a."),
        ([named("a", after=["a"])], "in a circle: a → a."),
        ([named("a", outputs=[{"path": "../x"}])], "contains '..', which leaves the task's work folder."),
        ([named("a", outputs=[{"path": "/etc/passwd"}])], "is absolute"),
        ([named("a", inputs=[{"path": "x"}])], "has neither 'url' nor 'content'."),
        ([named("a", inputs=[{"path": "x", "url": "ftp://host/x"}])], "cannot be fetched here."),
        ([named("a", inputs=[{"path": "x", "url": "file:///no/such/file"}])], "is not there."),
        ([named("a"), named("b", inputs=[{"path": "x", "url": "task://a/y"}])], "does not declare that output."),
        ([named("a", resources={"backend_parameters": {"colour": "blue"}})], "'colour' is not known here."),
        ([named("a", resources={"cpu_cores": 99})], "asks for 99 cores"),
        ([named("a", inputs=[{"path": "x", "content": "y" * 5_000_000}])], "is larger than 4,194,304 bytes."),
    ],
)
def test_pipelines_that_cannot_work_are_refused(tasks: list[NamedTask], words: str) -> None:
    assert words in refusal(lambda: accept_tasks(*tasks))


def test_edges_come_from_inputs_and_from_after() -> None:
    accepted = accept_tasks(
        named("a", outputs=[{"path": "o"}]),
        named("b", inputs=[{"path": "i", "url": "task://a/o"}]),
        named("c", after=["a", "b"]),
    )
    assert accepted.task_edges == [(0, 1, False), (0, 2, False), (1, 2, False)]
    assert [task.waiting_on for task in tasks_of(accepted)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        (
            "..",
            "{s}/x",
            "row 2, parameter 's': with '..' the path of the output 'o' would be '../x', which contains '..'",
        ),
        ("", "{s}", "row 2, parameter 's': with '' the path of the output 'o' would be '', which is empty"),
        ("", "{s}/x", "row 2, parameter 's': with '' the path of the output 'o' would be '/x', which is absolute"),
        (
            "/etc",
            "{s}/*",
            "row 2, parameter 's': with '/etc' the path of the output 'o' would be '/etc/*', which is absolute",
        ),
        (
            ".",
            "{s}",
            (
                "row 2, parameter 's': with '.' the path of the output 'o' would be '.', which names the work folder"
                " itself"
            ),
        ),
        ("a/../..", "{s}-{i}", "row 2, parameters 's', 'i': with 'a/../..', '1' the path of"),
        ("x" * 300, "{s}", "has a part of 300 bytes; names are at most 255 long"),
        ("é" * 128, "{s}.txt", "has a part of 260 bytes"),
    ],
)
def test_a_value_that_leads_out_of_the_work_folder_is_refused(value: str, path: str, says: str) -> None:
    app = manifest(parameters={"i": {"type": "integer"}, "s": {}}, outputs={"o": {"path": path}})
    said = refusal(lambda: accept([{"i": 1, "s": "fine"}, {"i": 1, "s": value}], app))
    assert says in said
    assert "row 1" not in said
    assert len(tasks_of(accept([{"i": 1, "s": "fine/a..b"}], app))) == 1


def test_a_default_and_a_common_value_are_looked_at_too() -> None:
    app = manifest(parameters={"i": {"type": "integer"}, "s": {"default": ".."}}, outputs={"o": {"path": "{s}/x"}})
    assert "row 1, parameter 's': with '..'" in refusal(lambda: accept([{"i": 1}], app))
    assert "row 1, parameter 's': with '/a'" in refusal(lambda: accept([{"i": 1}], app, params={"s": "/a"}))
    gathering = manifest(gather={"command": ["a"], "outputs": {"all": {"path": "{memory_gb}"}}})
    assert "output 'all': with '' the path of the output 'all' would be ''" in refusal(
        lambda: accept([{"i": 1}], gathering)
    )


def test_a_file_or_folder_as_image_is_refused_with_the_next_step() -> None:
    """In a manifest, for a run, and of a TES task's executor."""
    with pytest.raises(
        ValidationError, match=r"names a file of Apptainer.* Name it as a registry does, like 'quay.io/lab/tool:1.2'"
    ):
        manifest(image="tool.sif")
    task = NamedTask.model_validate({"name": "a", "task": {"executors": [{"image": "./rootfs", "command": ["a"]}]}})
    for refused in (
        lambda: accept([{"i": 1}], image="/images/tool.sif"),
        lambda: accept_task_run(TaskRun(tasks=[task]), requester()),
    ):
        said = refusal(refused)
        assert "and images come from a registry. Name it as a registry does" in said
