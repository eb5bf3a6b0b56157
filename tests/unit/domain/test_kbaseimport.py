"""Modules of KBase's SDK become apps; what they say that an app cannot is told, and what is wrong is a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from packhorse.cli.importing import import_kbase
from packhorse.domain.errors import Conflict, InvalidRequest, NotFound
from packhorse.domain.kbaseimport import ModuleFiles, import_module
from packhorse.domain.manifest import parse_manifest

MODULE = Path(__file__).parents[3] / "deploy" / "testimages" / "module"
ABOUT = "module-name: M\nmodule-version: 0.0.1\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def method(*parameters: dict[str, Any], name: str = "M", function: str = "run") -> str:
    """A spec.json."""
    mapping = {"name": name, "method": function}
    return json.dumps({"parameters": list(parameters), "behavior": {"service-mapping": mapping}})


def test_the_test_module_becomes_two_apps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_kbase(MODULE, tmp_path / "apps", "reg.example/shell:1", COMMIT, force=False, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert list(told["apps"]) == ["shellmodule", "shellmodule-shout_all"]
    whole, shout = (parse_manifest(Path(file).read_text(), file) for file in told["apps"].values())
    assert (whole.version, whole.image, whole.command) == (
        "0.1.0",
        "reg.example/shell:1",
        ["/kb/module/scripts/entrypoint.sh", "async"],
    )
    assert whole.kbase is not None and (whole.kbase.module, whole.kbase.function) == ("ShellModule", None)
    assert whole.description == "A module of the SDK's shape whose program is in shell, for tests."
    assert shout.kbase is not None and shout.kbase.function == "shout_all" and shout.kbase.git_commit == COMMIT
    assert (shout.kbase.data_folder, shout.kbase.data_version) == ("shellmodule", "1.0")
    assert (shout.title, shout.description) == ("Shout all words", "Says each word loudly .")
    told_of = {name: (p.type.value, p.default, p.minimum, p.maximum, p.choices) for name, p in shout.parameters.items()}
    assert told_of == {
        "text": ("string", "hello", None, None, None),
        "times": ("integer", 1, 1, 9, None),
        "how": ("choice", "loud", None, None, ["loud", "soft"]),
        "again": ("boolean", False, None, None, None),
    }
    assert shout.parameters["text"].help == "Text: What is to be said"
    with pytest.raises(Conflict, match="is there already"):
        import_kbase(MODULE, tmp_path / "apps", "reg.example/shell:1", COMMIT, force=False, as_json=True)
    import_kbase(MODULE, tmp_path / "apps", None, COMMIT, force=True, as_json=False)
    assert yaml.safe_load(Path(told["apps"]["shellmodule"]).read_text())["image"].endswith(
        f"/kbase:shellmodule.{COMMIT}"
    )


@pytest.mark.parametrize(
    "broken", ["description : |\n     <p>One.</p>\n\n   <p>Less far in.</p>\n", "a: [1\n", "publications :\n  - ]\n"]
)
def test_a_display_that_is_broken_in_part_is_read_where_it_is_not(broken: str) -> None:
    display = f"name: Trims reads\n{broken}parameters :\n\tx :\n\t\tui-name : The reads\ntooltip : Short\n"
    found = import_module(ModuleFiles(ABOUT, "", {"x": (method({"id": "x"}), display)}), None, COMMIT)
    app = found.apps["m-run"]
    assert (app["title"], app["parameters"]["x"]["help"], app["description"]) == ("Trims reads", "The reads", "Short")
    [note] = found.notes
    assert note.startswith("x: what can be read of its display.yaml is taken. x/display.yaml is not YAML")


def test_a_display_of_which_nothing_can_be_read_is_no_reason_to_refuse() -> None:
    found = import_module(ModuleFiles(ABOUT, "", {"x": (method(), "- [")}), None, COMMIT)
    assert found.apps["m-run"]["title"] == "run" and len(found.notes) == 1


@pytest.mark.parametrize("broken", ["{", "", '{"a": 1}}', "[" * 100_000])
def test_a_method_whose_spec_is_broken_is_run_by_the_apps_of_its_module(broken: str) -> None:
    found = import_module(ModuleFiles(ABOUT, "", {"x": (broken, ""), "y": (method(), "")}), None, COMMIT)
    assert list(found.apps) == ["m", "m-run"]
    [note] = found.notes
    assert note.startswith("x: its spec.json is not JSON") and note.endswith("it becomes no app of its own.")


def test_what_an_app_cannot_have_is_told() -> None:
    odd = [
        {
            "id": "k",
            "field_type": "text",
            "text_options": {"validate_as": "int", "max_int": 3},
            "default_values": ["7"],
        },
        {"id": "two words", "field_type": "text"},
        {"id": "many", "field_type": "text", "allow_multiple": True},
        {
            "id": "list",
            "field_type": "dropdown",
            "default_values": ["x"],
            "dropdown_options": {"options": [{"value": "y"}]},
        },
    ]
    methods = {
        "a": (method(*odd), ""),
        "b": (method(), ""),
        "view": ('{"behavior": {"none": {}}}', ""),
        "else": (method(name="N"), ""),
    }
    found = import_module(ModuleFiles(ABOUT, "", methods), "i:1")
    assert list(found.apps) == ["m", "m-run"]
    assert found.apps["m-run"]["parameters"] == {
        "k": {"type": "integer", "maximum": 3, "optional": True},
        "many": {},
        "list": {"type": "choice", "choices": ["y"], "optional": True},
    }
    assert [note.partition(":")[0] for note in found.notes] == ["a", "a", "a", "a", "b", "else", "view"]


def test_the_entrypoint_is_that_of_the_image() -> None:
    for line, command in {
        'ENTRYPOINT [ "./scripts/entrypoint.sh" ]': "/kb/module/scripts/entrypoint.sh",
        'WORKDIR /other\nENTRYPOINT ["./run.sh"]': "/other/run.sh",
        'ENTRYPOINT ["/bin/run"]': "/bin/run",
        'ENTRYPOINT ["run"]': "run",
        "ENTRYPOINT run me": "/kb/module/scripts/entrypoint.sh",
    }.items():
        assert import_module(ModuleFiles(ABOUT, line), "i:1").apps["m"]["command"] == [command, "async"]


WRONG = {
    "no name": (ModuleFiles("module-version: 1\n"), "names no 'module-name'"),
    "no YAML": (ModuleFiles("a: [1"), "kbase.yml is not YAML"),
    "a list": (ModuleFiles("- 1\n"), "a mapping was expected"),
    "version": (ModuleFiles("module-name: M\nmodule-version: a b\n"), "would not be valid"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_module_is_refused(case: str) -> None:
    files, words = WRONG[case]
    with pytest.raises(InvalidRequest, match=words):
        import_module(files, "i:1")


def test_a_folder_that_is_no_module(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no kbase"):
        import_kbase(tmp_path, tmp_path / "apps", None, None, force=False, as_json=False)
    (tmp_path / "kbase.yml").write_text(ABOUT)
    with pytest.raises(InvalidRequest, match="its image is not") as refusal:
        import_kbase(tmp_path, tmp_path / "apps", None, "", force=False, as_json=False)
    assert "--image" in refusal.value.hint
