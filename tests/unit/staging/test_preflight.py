"""Layers on top of each other, and what is said of images made here, small and wrong in one way each."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.images import ImageReference, parse_reference
from packhorse.staging import layers as module
from packhorse.staging.layers import Files, Kind, read_layers
from packhorse.staging.preflight import Finding, Level, examine_image
from packhorse.staging.registry import Layer, ResolvedImage
from tests.fixtures.registries import tar_of

REFERENCE = parse_reference("hub.org/lab/tool:1")
Member = tuple[tarfile.TarInfo, bytes]


def member(path: str, content: bytes = b"", mode: int = 0o755, kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(path)
    info.mode, info.type, info.linkname = mode, kind, link
    return info, content


def folder(path: str, mode: int = 0o755) -> Member:
    return member(path, mode=mode, kind=tarfile.DIRTYPE)


def link(path: str, target: str) -> Member:
    return member(path, kind=tarfile.SYMTYPE, link=target)


def hard(path: str, target: str) -> Member:
    return member(path, kind=tarfile.LNKTYPE, link=target)


class Source:
    """Layers in memory, in small pieces."""

    def __init__(self, *archives: bytes) -> None:
        self.archives = archives
        self.read = [0] * len(archives)

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(Layer(f"sha256:{number:064}", len(archive), "") for number, archive in enumerate(self.archives))

    def iter_layer(self, reference: ImageReference, layer: Layer) -> Iterator[bytes]:
        number = int(layer.digest[7:])
        for start in range(0, layer.size, 1000):
            self.read[number] += 1
            yield self.archives[number][start : start + 1000]


def merged(*archives: list[Member], names: tuple[str, ...] = ()) -> Files:
    source = Source(*map(tar_of, archives))
    return read_layers(source, REFERENCE, source.layers, names, 10**9)


SHELL = [folder("bin"), member("bin/sh", b"elf"), member("usr/bin/env", b"elf"), folder("tmp", 0o1777)]


def findings(config: dict[str, Any], *archives: list[Member], **document: Any) -> list[Finding]:
    source = Source(*(gzip.compress(tar_of(archive)) for archive in archives))
    document = {"architecture": "amd64", "os": "linux", "config": config, **document}
    image = ResolvedImage(
        REFERENCE, "sha256:x", "", document, sum(layer.size for layer in source.layers), source.layers
    )
    found = examine_image(source, image)
    assert all(str(finding.detail).isprintable() for finding in found)
    return found


def said(found: list[Finding], what: str) -> str:
    """All that is said of one thing, worst first."""
    return "; ".join(f"{finding.level}: {finding.detail}" for finding in found if finding.what == what)


PATH = "PATH=/bin:/usr/bin"


def test_a_good_image() -> None:
    found = findings({"Env": [PATH], "Cmd": ["sh"]}, SHELL)
    assert {finding.level for finding in found} == {Level.FINE}
    assert {finding.what for finding in found} == {"architecture", "size", "entrypoint", "needs root", "shell"}


def test_the_worst_comes_first() -> None:
    levels = [
        finding.level
        for finding in findings({"Entrypoint": ["none"], "Volumes": {"/data": {}}}, SHELL, architecture="arm64")
    ]
    assert (
        levels[0] is Level.PROBLEM
        and levels == sorted(levels, key=list(Level).index, reverse=True)
        and levels[-1] is Level.FINE
    )


@pytest.mark.parametrize(
    ("config", "more", "what", "sentence"),
    [
        ({}, [], "environment", "note: It sets no PATH"),
        ({"User": "1234:1234"}, [], "user", "note: USER 1234:1234 is not used"),
        ({"User": "root"}, [], "user", ""),
        ({"Volumes": {"/data": {}}}, [], "writes", "warning: It declares the VOLUME /data"),
        (
            {"Entrypoint": ["/bin/sh", "-x"]},
            [],
            "entrypoint",
            "note: It has an ENTRYPOINT, /bin/sh -x, which does not run",
        ),
        (
            {"Entrypoint": ["/bin/nothing"]},
            [],
            "entrypoint",
            "warning: ENTRYPOINT starts /bin/nothing, which is not in the image",
        ),
        ({"Cmd": ["nothing"]}, [], "entrypoint", "warning: CMD starts nothing, which is not in the image"),
        ({"Entrypoint": ["sh"], "Cmd": ["nothing"]}, [], "entrypoint", "note: It has an ENTRYPOINT, sh"),
        (
            {"Cmd": ["/opt/tool"]},
            [member("opt/tool", b"elf", 0o700)],
            "needs root",
            "warning: CMD starts /opt/tool, which is closed to",
        ),
        ({"Cmd": ["/opt/tool"]}, [member("opt/tool", b"elf", 0o711)], "needs root", "fine: No folder"),
        (
            {"Cmd": ["/opt/tool"]},
            [member("opt/tool", b"#!/bin/sh", 0o711)],
            "needs root",
            "warning: CMD starts /opt/tool",
        ),
        (
            {"Env": ["PATH=/root/conda/bin:/bin"]},
            [folder("root", 0o700), folder("root/conda/bin")],
            "needs root",
            "warning: PATH names /root/conda/bin, which is closed to other users (/root has mode 0700)",
        ),
        ({"Env": ["HOME=/root"]}, [folder("root", 0o700)], "needs root", "warning: HOME names /root"),
        (
            {"Env": ["HOME=/home/x"]},
            [folder("home/x")],
            "writes",
            "warning: HOME is /home/x, where only its owner may write (mode 0755)",
        ),
        ({"Env": ["HOME=/tmp"]}, [], "writes", ""),
        (
            {"WorkingDir": "/root/x"},
            [folder("root", 0o700), folder("root/x")],
            "needs root",
            "warning: WORKDIR names /root/x",
        ),
        ({"WorkingDir": "/app"}, [folder("app")], "writes", "note: WORKDIR is /app, where only its owner may write"),
        ({"WorkingDir": "/app"}, [], "writes", "note: WORKDIR is /app, which is not in the image"),
        ({"WorkingDir": "/app"}, [folder("app", 0o777)], "writes", ""),
        ({"WorkingDir": "/"}, [], "writes", ""),
        ({}, [member("bin/su", b"elf", 0o4755)], "setuid", "note: /bin/su would run as another user"),
        ({}, [folder("var/mail", 0o2775)], "setuid", ""),
        (
            {},
            [member("kb/module/kbase.yml", b"")],
            "writes",
            "warning: It is a KBase module: its ENTRYPOINT writes /kb/module/deploy.cfg",
        ),
        (
            {"Entrypoint": ["/bin/sh", "-c", "echo >/etc/x; exec tool"]},
            [],
            "writes",
            "warning: What it starts seems to write to /etc/x",
        ),
        (
            {"Entrypoint": ["/bin/sh", "-c", "chown x /y"]},
            [],
            "needs root",
            "warning: What it starts seems to call chown",
        ),
    ],
)
def test_what_bites(config: dict[str, Any], more: list[Member], what: str, sentence: str) -> None:
    told = said(findings(config, SHELL, more), what)
    assert told.startswith(sentence) if sentence else told == ""


def test_architectures() -> None:
    assert (
        said(findings({}, SHELL, architecture="arm64"), "architecture")
        == "problem: It is for arm64, and amd64 is needed."
    )
    assert said(findings({}, SHELL, architecture=None), "architecture").startswith("note: The image does not say")


SCRIPT = b"""#!/bin/bash
# writes >/never/said
set -e 2>/dev/null
echo "a" > /tmp/fine
python ./prepare.py ./deploy.cfg >>/var/log/app.log 2>&1
if [ -d /x ]; then mkdir -p /opt/cache; fi
sed -i 's/a/b/' /etc/nginx.conf
cat /etc/passwd | tee /dev/null
test 1 -gt 0 && gosu app "$@"
"""


@pytest.mark.parametrize(
    "entrypoint", [["/run.sh"], ["run.sh"], ["./run.sh"], ["/bin/sh", "/run.sh"], ["/link/run.sh"]]
)
def test_the_script_that_starts(entrypoint: list[str]) -> None:
    """However it is named; what is said is said as a guess."""
    files = [member("srv/run.sh", SCRIPT), link("run.sh", "srv/run.sh"), link("link", "/srv")]
    found = findings({"Entrypoint": entrypoint, "WorkingDir": "/srv", "Env": ["PATH=/bin:/srv"]}, SHELL, files)
    assert "seems to write to /etc/nginx.conf, /opt/cache, /var/log/app.log, inside the image" in said(found, "writes")
    assert "/run.sh seems to call gosu" in said(found, "needs root")
    assert "/never" not in said(found, "writes")


@pytest.mark.parametrize(
    ("archives", "shell"),
    [
        ([[member("bin/sh")]], "fine: /bin/sh is there."),
        ([[member("./bin/sh")]], "fine: /bin/sh is there."),
        ([[member("/bin/sh")]], "fine: /bin/sh is there."),
        (
            [[link("bin", "usr/bin"), link("usr/bin/sh", "dash"), member("usr/bin/dash")]],
            "fine: /bin/sh is there (it is /usr/bin/dash).",
        ),
        ([[member("bin/busybox"), hard("bin/sh", "bin/busybox")]], "fine: /bin/sh is there."),
        ([[member("bin/busybox")], [hard("bin/sh", "bin/busybox")]], "fine: /bin/sh is there."),
        (
            [[link("bin/sh", "../../../bin/busybox"), member("bin/busybox")]],
            "fine: /bin/sh is there (it is /bin/busybox).",
        ),
        ([[link("bin/sh", "/etc/alternatives/sh")]], "warning: There is no shell, /bin/sh."),
        ([[link("bin/sh", "sh")]], "warning: There is no shell, /bin/sh."),
        ([[hard("bin/sh", "bin/none")]], "warning: There is no shell, /bin/sh."),
        ([[folder("bin/sh")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/bash")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/sh")], [member("bin/.wh.sh")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/sh")], [member(".wh.bin")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/sh")], [member("bin/.wh..wh..opq")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/sh")], [member(".wh..wh..opq")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/sh")], [member("bin/sh"), member("bin/.wh..wh..opq")]], "fine: /bin/sh is there."),
        ([[member("bin/sh")], [member("bin/.wh.sh")], [member("bin/sh")]], "fine: /bin/sh is there."),
        ([[member("bin"), member("bin/sh")]], "warning: There is no shell, /bin/sh."),
        ([[member("bin/sh")], [link("bin", "usr/bin")]], "warning: There is no shell, /bin/sh."),
        ([[folder("bin")], [member(".wh.bin"), member("bin/sh")]], "fine: /bin/sh is there."),
        ([[member("bin/sh", mode=0o700)]], ""),
    ],
)
def test_a_shell_is_found_where_the_kernel_finds_it(archives: list[list[Member]], shell: str) -> None:
    found = findings({}, *archives)
    assert said(found, "shell") == shell
    assert shell or "warning: /bin/sh is there, which is closed" in said(found, "needs root")


def test_no_env() -> None:
    assert "note: There is no /usr/bin/env" in said(findings({"Env": [PATH]}, [member("bin/sh")]), "environment")


def test_sizes() -> None:
    """Of what is there in the end; a further name of a file takes no room."""
    files = merged(
        [member("a", b"x" * 1000), hard("b", "a"), member("c", b"x" * 10)], [member("a", b"x"), member(".wh.c")]
    )
    assert (files.size_bytes, files.layered_bytes) == (1, 1011)


def test_large_images_are_noted() -> None:
    image = ResolvedImage(REFERENCE, "", "", {}, 2 * 10**9, (Layer("sha256:" + "0" * 64, 2 * 10**9, ""),))
    found = examine_image(Source(b""), image, max_scan_bytes=10**9)
    assert "note: Compressed it has 2.0 GB, in 1 layer." in said(found, "size")
    assert "reading stopped before layer 1 of 1" in said(found, "not looked into")


def test_what_was_not_read_is_said_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upper layer may change all that a lower one has."""
    source = Source(tar_of(SHELL), tar_of([member("bin/.wh.sh"), member("x", b"y" * 20_000)]))
    image = ResolvedImage(REFERENCE, "", "", {"config": {"Cmd": ["none"]}}, 1, source.layers)
    found = examine_image(source, image, max_scan_bytes=len(source.archives[0]))
    assert source.read == [11, 0]
    assert {finding.what for finding in found} == {
        "architecture",
        "size",
        "entrypoint",
        "environment",
        "not looked into",
    }
    assert "files and folders" not in said(found, "size")
    monkeypatch.setattr(module, "MAX_PATHS", 3)
    assert "more than 3 paths" in said(examine_image(source, image), "not looked into")


BROKEN = {
    "plain": b"no archive" * 100,
    "gzip": gzip.compress(b"no archive" * 100, mtime=0),
    "cut off": gzip.compress(tar_of(SHELL), mtime=0)[:60],
    "zstd": b"\x28\xb5\x2f\xfd broken",
    "bzip2": b"BZh91AY&SY",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_layer(how: str) -> None:
    source = Source(BROKEN[how])
    assert "not an archive" in read_layers(source, REFERENCE, source.layers, (), 10**9).unread[0]


def test_a_header_that_wants_all_memory() -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 7 * 1024**3
    source = Source(gzip.compress(info.tobuf() + bytes(100_000)))
    assert "a name in it is too long" in read_layers(source, REFERENCE, source.layers, (), 10**9).unread[0]


def test_a_small_archive_that_is_large_inside() -> None:
    info = tarfile.TarInfo("x")
    info.size = 1024**4
    source = Source(gzip.compress(info.tobuf() + bytes(100_000)))
    assert "more than" in read_layers(source, REFERENCE, source.layers, (), 10**6).unread[0]


def test_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read where the package is there, else said."""
    source = Source(zstandard.compress(tar_of(SHELL)))
    assert read_layers(source, REFERENCE, source.layers, (), 10**9).find("/bin/sh")
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    assert "zstd" in read_layers(source, REFERENCE, source.layers, (), 10**9).unread[0]


def test_a_layer_is_read_to_its_end_and_not_kept() -> None:
    """Where the client compares its digest; only what is asked for is kept."""
    source = Source(tar_of([member("etc/passwd", b"x" * 100_000), member("other", b"y")]) + bytes(50_000))
    files = read_layers(source, REFERENCE, source.layers, ("passwd",), 10**9)
    assert source.read == [-(-len(source.archives[0]) // 1000)]
    assert {path: len(content) for path, content in files.contents.items()} == {"etc/passwd": 65536}


part = st.sampled_from(["a", "b", "c"])
path = st.lists(part, min_size=1, max_size=3).map("/".join)
target = st.lists(st.sampled_from(["a", "b", "..", "/", "."]), min_size=1, max_size=5).map("/".join)
entry = st.one_of(
    st.builds(member, path), st.builds(folder, path), st.builds(link, path, target), st.builds(hard, path, path),
    path.map(lambda path: member("/".join([*path.split("/")[:-1], ".wh." + path.split("/")[-1]]))),
    path.map(lambda path: member(f"{path}/.wh..wh..opq")),
)  # fmt: skip


@given(st.lists(st.lists(entry, max_size=6), max_size=3), target)
def test_no_layers_are_too_odd(archives: list[list[Member]], wanted: str) -> None:
    """Whatever they say: links end, every path has its folders, and what is found is there and is no link."""
    files = merged(*archives)
    assert not files.unread
    for name in files.entries:
        assert not name or name.rpartition("/")[0] in files.entries
    if found := files.find(wanted):
        assert files.entries[found[0]] == found[1] and found[1].kind is not Kind.LINK
        files.open_to_all(found[0], 1)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_no_configuration_is_too_odd(value: Any) -> None:
    for config in (value, dict.fromkeys(("Entrypoint", "Cmd", "Env", "Volumes", "User", "WorkingDir"), value)):
        assert findings(config, SHELL)


def test_an_archive_in_gzip_that_tarfile_writes() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("ü" * 200))
    source = Source(buffer.getvalue())
    assert "ü" * 200 in read_layers(source, REFERENCE, source.layers, (), 10**9).entries
