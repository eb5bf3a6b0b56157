"""S3 by boto3, through the proxy and with the certificates that the environment names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.domain.config import DataConfig
from packhorse.staging.data import NotFetched
from packhorse.staging.s3 import S3
from tests.fixtures.oddserver import Authority, odd_server, reply
from tests.fixtures.proxy import ForwardProxy, forward_proxy

HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nETag: "e"\r\nConnection: close\r\n\r\n'
SECRET = "hunter2"


def config(endpoint: str) -> DataConfig:
    return DataConfig(s3_endpoint=endpoint, s3_region="us-east-1")


def look(endpoint: str) -> int:
    return S3(config(endpoint)).look("bucket", "key").size


def why(endpoint: str) -> str:
    with pytest.raises(NotFetched) as failed:
        look(endpoint)
    assert SECRET not in failed.value.message
    return failed.value.message


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nobody's settings and credentials."""
    names = (
        "http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY SSL_CERT_FILE SSL_CERT_DIR"
        " REQUESTS_CA_BUNDLE"
    )
    for name in f"{names} CURL_CA_BUNDLE AWS_CA_BUNDLE AWS_PROFILE AWS_ACCESS_KEY_ID".split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def server() -> Iterator[str]:
    with odd_server(reply(HEAD)) as address:
        yield address


@pytest.fixture
def proxy(server: str) -> Iterator[ForwardProxy]:
    with forward_proxy({"s3.test:80": server}, f"al:{SECRET}:@") as one:
        yield one


def test_through_a_proxy_and_loopback_never(server: str, proxy: ForwardProxy, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # which is not heeded
    environment.setenv("http_proxy", f"http://al:{SECRET}%3A%40@{proxy.address}")
    assert look("http://s3.test") == 7 and proxy.asked == ["HEAD http://s3.test/bucket/key"]
    assert look(f"http://{server}") == 7 and len(proxy.asked) == 1
    environment.setenv("http_proxy", f"http://al:{SECRET}@{proxy.address}")
    assert f"the proxy http://{proxy.address}, which http_proxy names, wants a name and a password" in why(
        "http://s3.test"
    )
    environment.setenv("http_proxy", f"http://al:{SECRET}@127.0.0.1:1")
    assert "the proxy http://127.0.0.1:1, which http_proxy names, does not work" in why("http://s3.test")
    environment.setenv("no_proxy", "test:80")
    assert "does not answer" in why("http://s3.test")
    environment.setenv("no_proxy", "")
    environment.setenv("http_proxy", f"socks5://al:{SECRET}@127.0.0.1:1")
    assert "the setting http_proxy cannot be used: it names a SOCKS proxy" in why("http://s3.test")


def test_with_the_certificates_that_are_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with odd_server(reply(HEAD), authority.server("127.0.0.1")) as address:
        assert "name its certificates in SSL_CERT_FILE" in why(f"https://{address}")
        environment.setenv("SSL_CERT_FILE", str(authority.file))
        assert look(f"https://{address}") == 7
        environment.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
        assert "the setting SSL_CERT_FILE cannot be used: there is no file" in why(f"https://{address}")
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "0a1b2c3d.0").symlink_to(authority.file)
    environment.setenv("SSL_CERT_FILE", "")
    environment.setenv("SSL_CERT_DIR", str(folder))
    assert "S3 takes its certificates from a file" in why("https://127.0.0.1:1")
