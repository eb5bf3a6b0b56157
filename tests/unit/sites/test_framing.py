"""The frame of a remote command: what comes out is what the command printed, whatever is printed around it and in
whatever pieces.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packhorse.sites.base import CommandResult
from packhorse.sites.transports.framing import Framed

NOISE = st.binary(max_size=60) | st.sampled_from(
    [b"Welcome!\n", b"0\n", b"ph<1", b">10.", b"ph0123>20.", b"\0" * 3, b"\xff\xfe"]
)
BYTES = st.binary(max_size=200)
WORDS = st.binary(max_size=20).map(lambda word: os.fsdecode(word.replace(b"\0", b"")))
ODD_WORDS = [
    "",
    "two\nlines",
    "it's",
    "'",
    'a "b"',
    "a\\nb",
    "\\0041",
    "\\",
    "\\\\",
    "\\'",
    "!bang !! !$",
    "^x^y",
    "~",
    "$HOME `id` $(id)",
    "%self",
    "=ls",
    "é長い🐴",
    "\udcff\udcfe\udc80\udc81\udc88",
    "{a,b}",
    "*?[a]",
    "-n",
    "\t\r\x01\x7f",
    "a" * 7_000,
    "end\n\n",
]
#: Whatever a user has chosen at a site, and whatever sh is there. Not all are on every machine.
SHELLS = [
    shell
    for shell in ("sh", "bash", "dash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish", "busybox")
    if shutil.which(shell)
]


def marks(command: Framed) -> tuple[str, str]:
    """The token, and the text that stands for it."""
    found = re.search(r"ph[0-9a-f]{24}", command.text)
    assert found is not None
    return found.group(), command.text


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` in pieces, as a network brings it."""
    found = []
    for size in sizes:
        found.append(data[:size])
        data = data[size:]
    return [*found, data]


def run(command: Framed, shell: str, sh: str = "/bin/sh") -> CommandResult | None:
    """As sshd does."""
    text = command.text.replace("exec /bin/sh ", f"exec {sh} ", 1)
    login = ["busybox", "sh"] if shell == "busybox" else [shell]
    done = subprocess.run([*login, "-c", text], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    command.stdout.take(done.stdout)
    command.stderr.take(done.stderr)
    return command.result()


@given(NOISE, BYTES, NOISE, NOISE, BYTES, NOISE, st.integers(0, 128), st.lists(st.integers(1, 40), max_size=30))
def test_what_is_around_it_is_left_out_however_it_comes_in(
    before: bytes, out: bytes, after: bytes, before2: bytes, err: bytes, after2: bytes, code: int, sizes: list[int]
) -> None:
    command = Framed(["x"])
    token = marks(command)[0].encode()
    for piece in pieces(before + token + b"<1" + out + token + b">1%d." % code + after, sizes):
        command.stdout.take(piece)
    for piece in pieces(before2 + token + b"<2" + err + token + b">2%d." % code + after2, sizes):
        command.stderr.take(piece)
    assert command.result() == CommandResult(code, os.fsdecode(out), err.decode(errors="replace"))


@given(NOISE, BYTES, st.data())
def test_what_is_cut_off_anywhere_has_not_ended(before: bytes, out: bytes, data: st.DataObject) -> None:
    command = Framed(["x"])
    token = marks(command)[0].encode()
    whole = before + token + b"<1" + out + token + b">10."
    command.stdout.take(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert command.result() is None


def test_an_end_of_one_stream_alone_is_no_end() -> None:
    command = Framed(["x"])
    token = marks(command)[0].encode()
    command.stdout.take(token + b"<1out" + token + b">10.")
    command.stderr.take(token + b"<2half a comp")
    assert command.result() is None
    command.stderr.take(b"laint" + token + b">20.")
    assert command.result() == CommandResult(0, "out", "half a complaint")


def test_a_shell_whose_start_files_close_stderr_is_only_without_complaints() -> None:
    command = Framed(["x"])
    token = marks(command)[0].encode()
    command.stdout.take(token + b"<1out" + token + b">17.")
    assert command.result() == CommandResult(7, "out", "")


def test_streams_that_came_in_one_are_no_result() -> None:
    command = Framed(["sh", "-c", "echo out; echo err >&2"])
    text = command.text
    done = subprocess.run(["sh", "-c", f"exec 2>&1; {text}"], capture_output=True)
    command.stdout.take(done.stdout)
    command.stderr.take(done.stderr)
    assert command.result() is None
    assert command.is_mixed


def test_noise_without_end_is_not_kept() -> None:
    command = Framed(["x"])
    token = marks(command)[0].encode()
    for _ in range(100):
        command.stdout.take(b"x" * 100_000)
    assert len(command.stdout.noise) < 1 << 17
    command.stdout.take(b"y" + token[:9])
    command.stdout.take(token[9:] + b"<1out" + token + b">10.")
    assert command.result() == CommandResult(0, "out", "")


def test_the_words_for_a_person_are_one_line_without_control_characters() -> None:
    command = Framed(["x"])
    command.stdout.take(b"\x1b[31mYour account\r\nhas   expired.\n\xff")
    assert command.words() == "[31mYour account has expired. \ufffd"


@pytest.mark.parametrize("argv", [[], ["a", "b\0c"]])
def test_what_is_no_command_is_refused(argv: list[str]) -> None:
    with pytest.raises(ValueError):
        Framed(argv)


def test_nobody_can_guess_the_marks() -> None:
    assert len({marks(Framed(["x"]))[0] for _ in range(100)}) == 100


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=8), st.sampled_from([shell for shell in ("sh", "tcsh", "zsh") if shutil.which(shell)]))
def test_words_arrive_as_they_are(words: list[str], shell: str) -> None:
    command = Framed(["/usr/bin/printf", "%s\\0", *words])
    assert command.text.isascii() and "\n" not in command.text and "!" not in command.text
    assert run(command, shell) == CommandResult(0, "".join(f"{word}\0" for word in words or [""]), "")


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_passes_the_words_on(shell: str) -> None:
    assert run(Framed(["/usr/bin/printf", "%s\\0", *ODD_WORDS]), shell) == CommandResult(
        0, "".join(f"{word}\0" for word in ODD_WORDS), ""
    )


@pytest.mark.parametrize("sh", [shell for shell in SHELLS if shell not in ("csh", "tcsh", "fish", "busybox", "zsh")])
def test_any_sh_at_the_site_does(sh: str) -> None:
    """What /bin/sh is differs between systems."""
    path = shutil.which(sh) or sh
    words = run(Framed(["/usr/bin/printf", "%s\\0", *ODD_WORDS]), "sh", path)
    assert words == CommandResult(0, "".join(f"{word}\0" for word in ODD_WORDS), "")
    for script, result in [
        ("echo out; echo err >&2; exit 255", CommandResult(255, "out\n", "err\n")),
        ("printf no-newline; exit 1", CommandResult(1, "no-newline", "")),
        ("kill -TERM $$", CommandResult(-15, "", "")),
        ("kill -KILL $$", CommandResult(-9, "", "")),
        ("cat; exit 2", CommandResult(2, "", "")),
    ]:
        assert run(Framed(["sh", "-c", script]), "sh", path) == result
    missing = run(Framed(["no-such-program"]), "sh", path)
    assert (
        missing is not None and (missing.exit_code, missing.stdout) == (127, "") and "no-such-program" in missing.stderr
    )
    denied = run(Framed(["/etc/passwd"]), "sh", path)
    assert denied is not None and (denied.exit_code, denied.stdout) == (126, "") and "/etc/passwd" in denied.stderr


def test_output_that_shows_the_command_itself_is_only_output() -> None:
    """As ps and the tracing of a shell do."""
    command = Framed(["sh", "-c", "cat /proc/$PPID/cmdline | tr '\\0' ' '"])
    token, _ = marks(command)
    result = run(command, "sh")
    assert result is not None and result.exit_code == 0
    assert token in result.stdout and "printf" in result.stdout


def test_a_command_that_ends_its_frame_has_not_ended() -> None:
    command = Framed(["sh", "-c", "echo half; kill -9 $PPID; sleep 0.2"])
    assert run(command, "sh") is None
