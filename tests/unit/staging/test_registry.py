"""What a registry may send that none of the real ones in tests/integration/images does, and where credentials are
found.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.images import ImageError, ImageFailure, parse_reference
from packhorse.staging.credentials import find_login
from packhorse.staging.registry import Layer, RegistryClient, RegistryOptions, authfile_for

IMAGE = parse_reference("hub.org/lab/tool:1")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, kind: str = CONFIG) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


CONFIG_BLOB = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
GOOD = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG_BLOB), "layers": []}


class Hub:
    """Answers by path, and remembers who asked for what."""

    def __init__(self, answers: dict[str, Callable[[httpx2.Request], httpx2.Response] | httpx2.Response]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((str(request.url), request.headers.get("Authorization")))
        answer = self.answers.get(f"{request.url.host}{request.url.path}", httpx2.Response(404))
        answer = answer if isinstance(answer, httpx2.Response) else answer(request)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=httpx2.ByteStream(answer.content))

    def client(self, **options: Any) -> RegistryClient:
        return RegistryClient(RegistryOptions(**options), httpx2.MockTransport(self))


def serving(document: Any, **headers: str) -> Hub:
    """A hub whose tag 1 is this document, or these bytes."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    answers = {
        "hub.org/v2/lab/tool/manifests/1": httpx2.Response(200, content=body, headers=headers),
        f"hub.org/v2/lab/tool/blobs/{digest_of(CONFIG_BLOB)}": httpx2.Response(200, content=CONFIG_BLOB),
    }
    return Hub(answers)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without anybody's credentials."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, auths: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": auths}))
    return path


def failure(hub: Hub, **options: Any) -> ImageError:
    with hub.client(**options) as client, pytest.raises(ImageError) as caught:
        client.resolve(IMAGE)
    return caught.value


def test_a_good_one() -> None:
    with serving(GOOD).client() as client:
        assert client.resolve(IMAGE).digest == digest_of(json.dumps(GOOD).encode())


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        (b"no json", "registry_away", "manifest that it sends is not a JSON object"),
        (b"[" * 100_000, "registry_away", "not a JSON object"),
        ([GOOD], "registry_away", "not a JSON object"),
        (b"x" * 5_000_000, "registry_away", "more than the 4194304 bytes"),
        ({"schemaVersion": 1, "fsLayers": []}, "cannot_run", "schema 1"),
        ({**GOOD, "config": descriptor(b"{}", "application/vnd.cncf.helm.config.v1+json")}, "cannot_run", "helm"),
        ({**GOOD, "config": None}, "cannot_run", "manifest is not one of an image"),
        (
            {**GOOD, "layers": [{"digest": "sha256:../../etc", "size": 1}]},
            "cannot_run",
            "manifest is not one of an image",
        ),
        ({**GOOD, "layers": [{**descriptor(b""), "size": -1}]}, "cannot_run", "manifest is not one of an image"),
        ({**GOOD, "manifests": [descriptor(b"")]}, "cannot_run", "neither a list of images nor an image"),
        ({"schemaVersion": 2, "manifests": []}, "cannot_run", "neither"),
        ({"schemaVersion": 2, "manifests": "x"}, "cannot_run", "neither"),
        (
            {"manifests": [{**descriptor(b""), "platform": {"os": "unknown", "architecture": "unknown"}}]},
            "wrong_architecture",
            "is for nothing that is named",
        ),
        (
            {"manifests": [{**descriptor(b""), "platform": {"os": "windows", "architecture": "amd64"}}]},
            "wrong_architecture",
            "is for windows/amd64; here linux/amd64 is needed",
        ),
    ],
)
def test_what_is_no_image(document: Any, kind: str, words: str) -> None:
    error = failure(serving(document))
    assert error.kind == kind and words in str(error) and str(IMAGE) in str(error)


odd = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just(digest_of(CONFIG_BLOB)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*GOOD, "manifests", "platform", "size", "digest"]), inner)
    ),
)


@given(odd, st.sampled_from([*GOOD, "manifests", "tags"]))
def test_no_manifest_is_too_odd(value: Any, field: str) -> None:
    """Nor a list of tags: only ImageError comes of it, fit for a terminal."""
    hub = serving({**GOOD, field: value})
    hub.answers["hub.org/v2/lab/tool/tags/list"] = httpx2.Response(200, json={"tags": value})
    with hub.client() as client:
        for tag in ("1", "2"):
            try:
                client.resolve(parse_reference(f"hub.org/lab/tool:{tag}"))
            except ImageError as error:
                assert str(error).isprintable() and len(str(error)) < 800


@given(st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=40))
def test_no_challenge_is_too_odd(text: str) -> None:
    for challenge in (
        text,
        f"Bearer {text}",
        f'Bearer realm="{text}"',
        f'Bearer realm="https://hub.org/{text}",scope="{text}"',
    ):
        hub = Hub(
            {
                "hub.org/v2/lab/tool/manifests/1": httpx2.Response(
                    401, headers={"WWW-Authenticate": challenge.encode("latin-1")}
                )
            }
        )
        assert failure(hub).kind in (ImageFailure.DENIED, ImageFailure.REGISTRY_AWAY)


@pytest.mark.parametrize(
    "config",
    ["x", {"Env": "PATH=/bin"}, {"Cmd": [1]}, {"Cmd": 5}, {"Entrypoint": {"a": 1}}, {"User": 5}, {"Cmd": ["a\0"]}],
)
def test_a_configuration_that_is_none(config: Any) -> None:
    blob = json.dumps({"os": "linux", "architecture": "amd64", "config": config}).encode()
    hub = serving({**GOOD, "config": descriptor(blob)})
    hub.answers[f"hub.org/v2/lab/tool/blobs/{digest_of(blob)}"] = httpx2.Response(200, content=blob)
    error = failure(hub)
    assert error.kind is ImageFailure.CANNOT_RUN and "configuration" in str(error)


def test_the_plainest_variant_is_chosen() -> None:
    """Which runs everywhere; and one whose platform is not told is looked at."""
    body = json.dumps(GOOD).encode()
    for entries in (
        [{**descriptor(b"x"), "platform": {"os": "linux", "architecture": "amd64", "variant": "v3"}},
         {**descriptor(body), "platform": {"os": "linux", "architecture": "amd64"}}],
        [descriptor(body)],
    ):  # fmt: skip
        hub = serving({"manifests": entries})
        hub.answers[f"hub.org/v2/lab/tool/manifests/{digest_of(body)}"] = httpx2.Response(200, content=body)
        with hub.client() as client:
            assert client.resolve(IMAGE).digest == digest_of(body)


def test_a_digest_that_the_registry_tells_wrongly() -> None:
    error = failure(serving(GOOD, **{"Docker-Content-Digest": "sha256:" + "0" * 64}))
    assert error.kind is ImageFailure.REGISTRY_AWAY and "it calls what it sends sha256:000000000000..." in str(error)


def test_something_else_than_asked_for() -> None:
    pinned = parse_reference("hub.org/lab/tool@sha256:" + "0" * 64)
    hub = Hub({f"hub.org/v2/lab/tool/manifests/{pinned.digest}": httpx2.Response(200, json=GOOD)})
    with hub.client() as client, pytest.raises(ImageError, match="it sends something else") as caught:
        client.resolve(pinned)
    assert caught.value.kind is ImageFailure.REGISTRY_AWAY


@pytest.mark.parametrize("sent", [b"other", b"too much of it", b""])
def test_a_layer_that_arrives_damaged(sent: bytes) -> None:
    layer = Layer(digest_of(b"right"), 5, "")
    hub = Hub({f"hub.org/v2/lab/tool/blobs/{layer.digest}": httpx2.Response(200, content=sent)})
    with hub.client() as client, pytest.raises(ImageError, match="arrived damaged"):
        assert len(b"".join(client.iter_layer(IMAGE, layer))) <= 5


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (429, {"Retry-After": "30"}, "registry_away", "ask less often. It says to wait 30 s."),
        (429, {"Retry-After": "<script>"}, "registry_away", "ask less often. Try again later."),
        (503, {}, "registry_away", "has a fault of its own (HTTP 503)"),
        (403, {}, "denied", "without credentials: it is private, or does not exist"),
        (401, {}, "denied", "without credentials"),
        (401, {"WWW-Authenticate": "Basic realm=x"}, "denied", "without credentials"),
        (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, "registry_away", "names no token server"),
        (401, {"WWW-Authenticate": "Bearer"}, "registry_away", "names no token server"),
        (401, {"WWW-Authenticate": 'Bearer realm="https://hub.org/empty"'}, "registry_away", "sends no token"),
        (418, {}, "registry_away", "HTTP 418"),
        (302, {"Location": "https://hub.org/v2/lab/tool/manifests/1"}, "registry_away", "sends us on in a circle"),
        (302, {"Location": "http://169.254.169.254/"}, "denied", "sends us to 169.254.169.254, without TLS"),
    ],
)
def test_answers_that_are_refusals(status: int, headers: dict[str, str], kind: str, words: str) -> None:
    hub = Hub(
        {
            "hub.org/v2/lab/tool/manifests/1": httpx2.Response(status, headers=headers),
            "hub.org/empty": httpx2.Response(200, json=[]),
        }
    )
    error = failure(hub)
    assert error.kind == kind and words in str(error)
    assert error.after_s == (30 if headers.get("Retry-After") == "30" else 0)
    assert not any(url.startswith("http:") for url, _ in hub.asked)


def test_a_missing_tag_where_tags_may_not_be_listed() -> None:
    hub = Hub({"hub.org/v2/lab/tool/tags/list": httpx2.Response(403)})
    assert failure(hub).kind is ImageFailure.MISSING_TAG


def test_credentials_do_not_follow_a_redirect_to_another_host(home: Path) -> None:
    """Large registries keep their layers elsewhere; who serves them is not to know our password, nor to be asked for
    another.
    """
    write(home / ".docker/config.json", {"hub.org": entry("alice", "secret")})
    layer = Layer(digest_of(b"right"), 5, "")

    def guarded(request: httpx2.Request) -> httpx2.Response:
        if not request.headers.get("Authorization"):
            return httpx2.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return httpx2.Response(307, headers={"Location": "https://store.net/blob"})

    hub = Hub(
        {f"hub.org/v2/lab/tool/blobs/{layer.digest}": guarded, "store.net/blob": httpx2.Response(200, content=b"right")}
    )
    with hub.client() as client:
        assert b"".join(client.iter_layer(IMAGE, layer)) == b"right"
        assert [bool(given) for url, given in hub.asked if "hub.org" in url] == [False, True]
        assert [given for url, given in hub.asked if "store.net" in url] == [None]
        hub.answers["store.net/blob"] = httpx2.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        with pytest.raises(ImageError) as caught:
            list(client.iter_layer(IMAGE, layer))
    assert caught.value.kind is ImageFailure.DENIED
    assert [given for url, given in hub.asked if "store.net" in url] == [None, None]
    assert not any(
        "secret" in text for text in (str(caught.value), repr(client._http._known), repr(find_login(IMAGE, None)))
    )


def test_a_token_that_has_expired_is_renewed() -> None:
    tokens = iter(["one", "two"])
    given: list[str | None] = []

    def guarded(request: httpx2.Request) -> httpx2.Response:
        given.append(request.headers.get("Authorization"))
        if given in ([None, "Bearer one"], [None, "Bearer one", "Bearer one", "Bearer two"]):
            return httpx2.Response(200, json=GOOD)
        return httpx2.Response(
            401,
            headers={"WWW-Authenticate": 'Bearer realm="https://auth.org/t?x=1", service="a \\"b\\"",scope="s:x:y,z"'},
        )

    blob = f"hub.org/v2/lab/tool/blobs/{digest_of(CONFIG_BLOB)}"
    hub = Hub({
        "hub.org/v2/lab/tool/manifests/1": guarded, blob: httpx2.Response(200, content=CONFIG_BLOB),
        "auth.org/t": lambda _: httpx2.Response(200, json={"access_token": next(tokens)}),
    })  # fmt: skip
    with hub.client() as client:
        client.resolve(IMAGE)
        client.resolve(IMAGE)
    assert given == [None, "Bearer one", "Bearer one", "Bearer two"]
    asked = [httpx2.URL(url).params for url, _ in hub.asked if "auth.org" in url]
    assert [(params["x"], params["service"], params["scope"]) for params in asked] == [("1", 'a "b"', "s:x:y,z")] * 2


def test_docker_hub_has_another_host_for_its_registry() -> None:
    hub = Hub({"registry-1.docker.io/v2/library/ubuntu/manifests/latest": httpx2.Response(503)})
    with hub.client() as client, pytest.raises(ImageError, match=r"docker\.io/library/ubuntu:latest cannot be had now"):
        client.resolve(parse_reference("ubuntu"))


@pytest.mark.parametrize(
    ("image", "user"),
    [
        ("hub.org/lab/tool", "tool"),
        ("hub.org/lab/tools", "lab"),
        ("hub.org/laboratory/tool", "hub"),
        ("hub.org:5000/lab/tool", None),
        ("hub.org:443/x", "port"),
        ("ubuntu", "docker"),
        ("other.org/x", "other"),
        ("helped.org/x", None),
    ],
)
def test_the_longest_name_counts(home: Path, image: str, user: str | None) -> None:
    auths = {"hub.org": entry("hub", "x"), "hub.org/lab": entry("lab", "x"), "hub.org/lab/tool": entry("tool", "x")}
    auths |= {
        "https://index.docker.io/v1/": entry("docker", "x:y"),
        "https://other.org/v2/": entry("other", ""),
        "helped.org": {},
    }
    auths |= {"hub.org:443": entry("port", "x")}
    login = find_login(parse_reference(image), write(home / "auth.json", auths))
    assert (login and login.user) == user


def test_the_usual_places_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that has something for an image; a file that is given is the only one."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(home / "named.json", {"a.org": entry("named", "x")})))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    write(home / "run/containers/auth.json", {name: entry("run", "x") for name in ("a.org", "b.org")})
    write(home / ".config/containers/auth.json", {name: entry("config", "x") for name in ("a.org", "b.org", "c.org")})
    write(home / ".docker/config.json", {name: entry("docker", "x") for name in ("a.org", "b.org", "c.org", "d.org")})
    logins = [find_login(parse_reference(f"{host}.org/x"), None) for host in "abcd"]
    assert [login and login.user for login in logins] == ["named", "run", "config", "docker"]
    given = write(home / "given.json", {"e.org": entry("given", "x")})
    assert find_login(parse_reference("a.org/x"), given) is None
    assert authfile_for(RegistryOptions(), ["c.org", "a.org"]) == {
        "auths": {"a.org": entry("named", "x"), "c.org": entry("config", "x")}
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ("no json", "it is not like"),
        ('{"auths": []}', "it is not like"),
        ('{"auths": {"hub.org": {"auth": "%%%"}}}', "The entry of hub.org in"),
        ('{"auths": {"hub.org": {"auth": "c2VjcmV0"}}}', "The entry of hub.org in"),
    ],
)
def test_files_that_cannot_be_read(home: Path, content: str | None, words: str) -> None:
    file = home / "auth.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ImageError) as caught:
        find_login(IMAGE, file)
    assert caught.value.kind is ImageFailure.DENIED
    assert words in str(caught.value) and str(file) in str(caught.value) and "c2Vj" not in str(caught.value)
    assert find_login(IMAGE, write(home / "empty.json", {})) is None
