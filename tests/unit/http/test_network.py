"""Which proxy is asked for which URL, and which certificates are trusted: by the environment, as curl has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packhorse.agent.background.network import BadSetting, proxy_for, tls_context
from packhorse.engine.embedded import Embedded
from packhorse.http.settings import describe
from tests.fixtures.oddserver import Authority

P = "http://p:3128"


def chosen(url: str, **environ: str) -> str | None:
    """scheme://host:port of the proxy, and the variable."""
    proxy = proxy_for(url, environ)
    return None if proxy is None else f"{proxy.scheme}://{proxy.address} {proxy.variable}"


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a.org/", {}, None),
        ("http://a.org/", {"http_proxy": P}, "http://p:3128 http_proxy"),
        ("http://a.org/", {"HTTP_PROXY": P}, None),  # a visitor of a web server can set it
        ("http://a.org/", {"https_proxy": P}, None),
        ("http://a.org/", {"http_proxy": "", "all_proxy": P}, "http://p:3128 all_proxy"),
        ("https://a.org/", {"http_proxy": P}, None),
        ("https://a.org/", {"https_proxy": P, "HTTPS_PROXY": "http://q"}, "http://p:3128 https_proxy"),
        ("https://a.org/", {"https_proxy": " ", "HTTPS_PROXY": P}, "http://p:3128 HTTPS_PROXY"),
        ("https://a.org/", {"ALL_PROXY": P}, "http://p:3128 ALL_PROXY"),
        ("HTTPS://A.org/", {"ALL_PROXY": P}, "http://p:3128 ALL_PROXY"),
        ("http://a.org/", {"http_proxy": "p"}, "http://p:1080 http_proxy"),
        ("http://a.org/", {"http_proxy": "p:8/"}, "http://p:8 http_proxy"),
        ("http://a.org/", {"http_proxy": "HTTPS://p"}, "https://p:443 http_proxy"),
        ("http://a.org/", {"http_proxy": "http://[::1]:8"}, "http://[::1]:8 http_proxy"),
        ("http://a.org/", {"http_proxy": "user:pass%40@p:8\n"}, "http://p:8 http_proxy"),
        ("http://a.org/", {"http_proxy": "socks5h://p"}, "socks5h://p:1080 http_proxy"),
        ("http://a.org/", {"http_proxy": "http://bücher.example:8"}, "http://xn--bcher-kva.example:8 http_proxy"),
    ],
)
def test_which_variable_counts(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert chosen(url, **environ) == proxy


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.9.9.9:80",
        "[::1]",
        "[::1]:8",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ],
)
def test_loopback_is_never_asked_through_a_proxy(host: str) -> None:
    everything = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "nonsense://")
    assert chosen(f"http://{host}/", **everything) is None and chosen(f"https://{host}/", **everything) is None


@pytest.mark.parametrize("host", ["localhost.org", "notlocalhost", "128.0.0.1", "[::2]", "127.0.0.1.org"])
def test_what_only_looks_like_loopback_is_asked_through_it(host: str) -> None:
    assert chosen(f"http://{host}/", http_proxy=P) is not None


@pytest.mark.parametrize(
    ("entries", "host", "is_direct"),
    [
        ("*", "a.org", True),
        ("x, * ", "a.org", True),
        ("*:8080", "a.org", False),
        ("a.org", "a.org", True),
        ("a.org", "b.a.org", True),
        ("a.org", "ba.org", False),
        ("b.a.org", "a.org", False),
        (".a.org", "b.a.org", True),
        (".a.org", "a.org", True),
        ("*.a.org", "c.b.a.org", True),
        ("A.ORG.", "b.a.org", True),
        ("a.org", "B.A.ORG.", True),
        ("a.org:443", "a.org", False),
        ("a.org:80", "a.org", True),
        ("a.org:8080", "a.org:8080", True),
        ("a.org:", "a.org", True),
        ("a.org:x", "a.org", False),
        ("a.org:٨٠", "a.org", False),
        ("http://a.org", "a.org", True),
        (",, ,x.org\ta.org,,", "a.org", True),
        ("", "a.org", False),
        (",", "a.org", False),
        (".", "a.org", False),
        ("org", "a.org", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("192.168.1.7", "192.168.1.7", True),
        ("192.168.1.7", "192.168.1.70", False),
        ("192.168.0.0/16", "192.168.9.9", True),
        ("192.168.3.4/16", "192.168.9.9", True),
        ("192.168.0.0/16", "192.169.9.9", False),
        ("192.168.0.0/99", "192.168.9.9", False),
        ("192.168.0.0/16:80", "192.168.9.9", True),
        ("192.168.0.0/16", "a.org", False),
        ("0.0.0.0/0", "8.8.8.8", True),
        ("7", "192.168.1.7", False),
        (".1.7", "192.168.1.7", False),
        ("fd00::1", "[fd00::1]", True),
        ("[fd00::1]", "[FD00:0::1]", True),
        ("[fd00::1]:80", "[fd00::1]", True),
        ("[fd00::1]:81", "[fd00::1]", False),
        ("fd00::/8", "[fd12::1]", True),
        ("[fd00::]/8", "[fd12::1]", True),
        ("fe80::1%eth0", "[fe80::1]", True),
        ("10.0.0.0/8", "[::ffff:10.1.1.1]", True),
    ],
)  # fmt: skip
def test_who_is_asked_directly(entries: str, host: str, is_direct: bool) -> None:
    assert (chosen(f"http://{host}/", http_proxy=P, no_proxy=entries) is None) is is_direct
    assert chosen(f"http://{host}/", http_proxy=P, NO_PROXY="other.org", no_proxy=entries or "b.org") == chosen(
        f"http://{host}/", http_proxy=P, no_proxy=entries
    ), "no_proxy counts, and then NO_PROXY is not looked at"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ftp://p:1", "of the kind 'ftp://'"),
        ("socks4://p:1080", "of the kind 'socks4://'"),
        ("http://", "names no host"),
        ("http://:80", "names no host"),
        ("http://hunter2:hunter2@", "names no host"),
        ("http://a b:80", "names no host"),
        ("http://[::1", "names no host"),
        ("http://[hunter2]:80", "names no host"),
        ("p:http", "its port is no number"),
        ("p:0", "its port is no number"),
        ("p:65536", "its port is no number"),
        ("p:٨", "its port is no number"),
        ("http://alice:hunter2/x@p:80", "%2F"),
        ("http://alice:hunter2#@p:80", "%23"),
        ("hunter2!!://p", "names a proxy, and only http://, https:// and socks5:// are known"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_no_password_is_told(value: str, words: str) -> None:
    with pytest.raises(BadSetting) as bad:
        proxy_for("http://a.org/", {"http_proxy": value})
    assert (
        "the setting http_proxy cannot be used: " in str(bad.value)
        and words in str(bad.value)
        and "hunter2" not in str(bad.value)
    )
    assert proxy_for("http://a.org/", {"http_proxy": value, "no_proxy": "a.org"}) is None, "nobody would have used it"


def test_a_login_is_decoded_and_shown_nowhere() -> None:
    proxy = proxy_for("http://a.org/", {"http_proxy": "http://al%69ce:pa%3Ass:@p:80"})
    assert (
        proxy is not None and proxy.login == (b"alice", b"pa:ss:") and proxy.authorization == "Basic YWxpY2U6cGE6c3M6"
    )
    assert "pa:ss" not in f"{proxy!r} {proxy.shown}" and "alice" not in f"{proxy!r} {proxy.shown}"


@example("http://\udce9:80", "\udce9", "a")
@example("http://[::1]]", "[", "[::1")
@example("http://\x00", "\x00", "\x00")
@given(
    st.text(max_size=40) | st.from_regex(r"(https?://)?([a-z:%@\[\]0-9]*@)?[a-z0-9.:\[\]]*"),
    st.text(max_size=40),
    st.text(max_size=20),
)
def test_no_environment_is_too_odd(value: str, exempt: str, host: str) -> None:
    for url in ("http://a.org/", "https://10.1.1.1:8/", f"http://{host}/"):
        try:
            proxy_for(url, {"http_proxy": value, "https_proxy": value, "no_proxy": exempt})
        except ValueError:  # as BadSetting is, and what is said of a URL that is none
            pass


@pytest.mark.parametrize(
    ("variable", "content", "words"),
    [
        ("SSL_CERT_FILE", None, "there is no file"),
        ("SSL_CERT_FILE", "a pipe", "it names no ordinary file"),
        ("SSL_CERT_FILE", "", "holds no certificates (PEM)"),
        ("REQUESTS_CA_BUNDLE", "garbage", "holds no certificates (PEM)"),
        (
            "CURL_CA_BUNDLE",
            "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
            "holds no certificates (PEM)",
        ),
        ("SSL_CERT_FILE", "a folder", "is a folder, and it is to name a file; SSL_CERT_DIR names a folder"),
        ("REQUESTS_CA_BUNDLE", "a folder", "'openssl rehash "),
        ("SSL_CERT_DIR", "a folder", "'openssl rehash "),
        ("SSL_CERT_DIR", "a file", "cannot be read (Not a directory)"),
        ("SSL_CERT_DIR", None, "cannot be read (No such file or directory)"),
    ],
)
def test_certificates_that_cannot_be_used(tmp_path: Path, variable: str, content: str | None, words: str) -> None:
    path = tmp_path / "bundle"
    if content == "a folder":
        path.mkdir()
        (path / "own.pem").write_text("x")
    elif content == "a pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(BadSetting) as bad:
        tls_context({variable: str(path)})
    assert (
        f"the setting {variable} cannot be used" in str(bad.value)
        and words in str(bad.value)
        and str(path) in str(bad.value)
    )


def test_the_certificates_that_are_named_count_and_else_the_systems(tmp_path: Path) -> None:
    own = Authority(tmp_path).file
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        assert len(tls_context({variable: str(own)}).get_ca_certs()) == 1
    assert len(tls_context({"SSL_CERT_FILE": str(own), "CURL_CA_BUNDLE": "/nowhere"}).get_ca_certs()) == 1, (
        "the first counts"
    )
    assert (
        tls_context({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}).cert_store_stats() == tls_context({}).cert_store_stats()
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0a1b2c3d.0").symlink_to(own)
    tls_context({"SSL_CERT_DIR": f"/nowhere:{folder}"})


def test_what_is_set_is_described_without_passwords(tmp_path: Path) -> None:
    assert describe({}) == describe({"HTTP_PROXY": "x", "NO_PROXY": "a"}) == ""
    own = str(Authority(tmp_path).file)
    environ = {"all_proxy": "http://al:hunter2@p:8", "https_proxy": "q", "NO_PROXY": "*", "CURL_CA_BUNDLE": own}
    assert describe(environ) == (
        "http through http://p:8 (all_proxy); https through http://q:1080 (https_proxy); hosts of NO_PROXY directly; "
        "certificates of CURL_CA_BUNDLE"
    )
    for bad in ({"https_proxy": "x://", "no_proxy": "*"}, {"SSL_CERT_FILE": "/no\x1b[31m\udce9where"}):
        with pytest.raises(BadSetting) as refused:
            describe(bad)
        assert str(refused.value).isprintable()


def test_the_doctor_says_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Embedded(tmp_path)
    for value, ok in (("http://al:hunter2@p:8", True), ("http://al:hunter2@p:x", False)):
        monkeypatch.setenv("https_proxy", value)
        [check] = [check for check in room.mine.doctor() if check.name == "network"]
        assert check.ok is ok and "https_proxy" in check.detail and "hunter2" not in check.detail + check.hint
    room.close()
