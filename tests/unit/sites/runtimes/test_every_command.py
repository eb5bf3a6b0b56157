"""Properties of what runtimes are told, whatever a task asks for."""

from __future__ import annotations

import csv
import io

from hypothesis import assume, given
from hypothesis import strategies as st

from packhorse.sites.runtimes.base import Bind, CannotRun
from packhorse.sites.runtimes.registry import RUNTIMES, runtime

from .specs import PLAIN, changed

text = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=12)
words = st.lists(
    text | st.sampled_from(["--", "-", "--help", "--privileged", "-v", "--gpu", "a=b", "--image=x"]), max_size=5
)


@given(name=st.sampled_from(sorted(RUNTIMES)), program=text, arguments=words)
def test_a_tasks_command_is_always_the_tail(name: str, program: str, arguments: list[str]) -> None:
    """Nothing in it moves an option: what comes before it is the same as for any other command."""
    assume(program)
    spec = changed(
        PLAIN,
        {
            "argv": (program, *arguments),
            **({"image": "", "binds": (), "workdir": None, "env": {}} if name == "none" else {}),
        },
    )
    composed = runtime(name).wrap(spec)
    other = runtime(name).wrap(changed(spec, {"argv": ("true",)}))
    assert composed == [*other[:-1], program, *arguments]
    if name in ("charliecloud", "shifter"):
        assert other[-2] == "--"
    if name == "podman_hpc":
        assert other[-3:-1] == ["--", "IMAGE"]


@given(name=st.sampled_from(sorted(set(RUNTIMES) - {"none"})), value=text)
def test_a_value_of_the_environment_is_one_word(name: str, value: str) -> None:
    """Handled, or refused; it never becomes another option."""
    spec = changed(PLAIN, {"env": {"X": value}})
    try:
        composed = runtime(name).wrap(spec)
    except CannotRun as refusal:
        assert (name, value) == ("shifter", ""), refusal
        return
    held = {"apptainer": f"APPTAINERENV_X={value}", "charliecloud": f"--set-env=X='{value}'"}.get(
        name, f"--env=X={value}"
    )
    assert composed.count(held) == 1
    assert len(composed) == len(runtime(name).wrap(PLAIN))


@given(
    name=st.sampled_from(["podman", "podman_hpc", "docker", "apptainer"]),
    source=text,
    target=text,
    read_only=st.booleans(),
)
def test_a_bind_is_read_as_it_was_meant(name: str, source: str, target: str, read_only: bool) -> None:
    """By a reader of CSV, as these programs have."""
    bind = Bind(f"/s/{source}", f"/t/{target}", read_only)
    try:
        composed = runtime(name).wrap(changed(PLAIN, {"binds": (bind,)}))
    except CannotRun as refusal:
        assert "line break" in str(refusal) or ".." in str(refusal)
        return
    (mount,) = (word.removeprefix("--mount=") for word in composed if word.startswith("--mount="))
    (fields,) = csv.reader(io.StringIO(mount, newline=""))
    assert fields == [
        "type=bind",
        f"source={bind.source}",
        f"target={bind.target}",
        *(["readonly"] if read_only else []),
    ]


@given(source=text, target=text)
def test_shifter_and_charliecloud_split_a_bind_only_where_we_do(source: str, target: str) -> None:
    bind = Bind(f"/s/{source}", f"/t/{target}")
    for name, option in (("shifter", "--volume="), ("charliecloud", "--bind=")):
        try:
            composed = runtime(name).wrap(changed(PLAIN, {"binds": (bind,)}))
        except CannotRun:
            continue
        (held,) = (word.removeprefix(option) for word in composed if word.startswith(option))
        assert held.split(":") == [bind.source, bind.target]
        assert ";" not in held or name == "charliecloud"
