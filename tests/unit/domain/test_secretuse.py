"""How TES documents name the secrets that their tasks are given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from packhorse.domain.errors import InvalidRequest
from packhorse.domain.secretuse import as_told, secrets_of
from packhorse.domain.task import Task
from packhorse.domain.taskpaths import AbsolutePaths, path_problems

USES = {"KEY": {"variable": "API_KEY"}, "CERT": {"file": "/run/secrets/cert.pem"}, "LOGIN": {"file": "login"}}


@pytest.mark.parametrize("said", [USES, json.dumps(USES)])
def test_as_an_object_and_as_its_json(said: Any) -> None:
    told = as_told(secrets_of({"walltime_s": "60", "secrets": said}))
    assert told == {"variables": {"API_KEY": "KEY"}, "files": {"/run/secrets/cert.pem": "CERT", "login": "LOGIN"}}


@pytest.mark.parametrize("said", [None, {}, {"walltime_s": 1}, {"secrets": None}, {"secrets": ""}, {"secrets": {}}])
def test_none_are_named(said: Any) -> None:
    assert secrets_of(said) == {}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("KEY", "is a text that is no JSON"),
        ("[" * 100_000, "is a text that is no JSON"),
        ("[]", "is no object of at most 100 secrets"),
        (7, "is no object of at most 100 secrets"),
        ({f"S{number}": {"variable": f"V{number}"} for number in range(101)}, "is no object of at most 100 secrets"),
        ({"A-B": {"variable": "A"}}, "'A-B' cannot be the name of a secret"),
        ({"A": {"variable": "A", "file": "a"}}, "expected 'variable' or 'file', and one of them"),
        ({"A": {}}, "expected 'variable' or 'file', and one of them"),
        ({"A": {"variable": "PACKHORSE_TASK"}}, "is Packhorse's own"),
        ({"A": {"variable": "A B"}}, "variable"),
        ({"A": {"file": "../a"}}, "expected a path within the work folder"),
        ({"A": {"file": "/a\nb"}}, "expected a path within the work folder"),
        ({"A": {"value": "tr0ub4dor"}}, "value"),
        ({"A": "X"}, "A"),
        ({"A": {"variable": "X"}, "B": {"variable": "X"}}, "two secrets are given as 'X'"),
        ({"A": {"file": "x"}, "B": {"file": "x"}}, "two secrets are given as 'x'"),
    ],
)
def test_what_makes_no_sense(said: Any, told: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        secrets_of({"secrets": said})
    assert told in str(refusal.value) and "tr0ub4dor" not in str(refusal.value)


def task(said: Any, image: str | None = "debian:12") -> Task:
    executor = {"image": image, "command": ["true"]}
    document = {"executors": [executor], "resources": {"backend_parameters": {"secrets": said}}}
    return Task.model_validate(document)


def test_a_file_at_an_absolute_path_has_a_folder_there() -> None:
    paths = AbsolutePaths.of(task(USES))
    assert paths is not None and paths.shared == ("/run/secrets",)
    assert path_problems(task(USES), in_images=True) == []


@pytest.mark.parametrize(
    ("file", "image", "told"),
    [
        ("/run/x", None, "absolute, which needs a container"),
        ("/run/../x", "i", "contains '..'"),
        ("/proc/x", "i", "devices or processes"),
        ("/x", "i", "lies directly in the container's root"),
        ("/etc/x", "i", "hide what the image has there"),
    ],
)
def test_paths_that_cannot_be(file: str, image: str | None, told: str) -> None:
    [problem] = path_problems(task({"A": {"file": file}}, image), in_images=image is not None)
    assert problem.where.startswith("secret 'A', file") and told in str(problem)
