"""URLs of data: what is taken, what is refused and why, and that nothing secret is repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.dataurl import is_below, is_url, parse_url, url_problem

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("url", "scheme", "host", "path", "name"),
    [
        ("https://example.org/a/reads%201.fq.gz", "https", "example.org", "/a/reads%201.fq.gz", "reads_1.fq.gz"),
        ("http://127.0.0.1:8080/x?version=2", "http", "127.0.0.1:8080", "/x?version=2", "x"),
        ("https://example.org", "https", "example.org", "/", "data"),
        ("s3://bucket/deep/er/key", "s3", "bucket", "deep/er/key", "key"),
        ("s3://bucket/a%3Fb", "s3", "bucket", "a?b", "a_b"),
        ("shock://shock.example.org:7445/node/1f-2e", "shock", "shock.example.org:7445", "1f-2e", "1f-2e"),
        ("https://example.org/.hidden", "https", "example.org", "/.hidden", "hidden"),
        ("https://example.org/$(reboot)", "https", "example.org", "/$(reboot)", "__reboot_"),
    ],
)
def test_what_a_url_names(url: str, scheme: str, host: str, path: str, name: str) -> None:
    found = parse_url(url)
    assert (found.scheme, found.host, found.path, found.name) == (scheme, host, path, name)


def test_a_fragment_is_the_content_that_is_expected() -> None:
    found = parse_url(f"https://example.org/x#sha256={SHA.upper()}")
    assert (found.sha256, found.location) == (SHA, "https://example.org/x")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.org/x", "scheme that cannot be fetched"),
        ("https:///x", "names no host"),
        ("https://:80/x", "names no host"),
        ("s3:///key", "names no bucket"),
        ("s3://UPPER/key", "cannot be one"),
        ("s3://bucket", "names no object"),
        ("s3://bucket/folder/", "names no object"),
        ("s3://bucket/key?versionId=1", "which S3 does not have"),
        ("shock://host/ID", "names no node of Shock"),
        ("https://me:secret@example.org/x", "a name or a password"),
        ("s3://KEY:secret@bucket/x", "a name or a password"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=secret&X-Amz-Date=1", "carries a secret ('X-Amz-Signature')"),
        ("https://example.org/x?token=secret", "carries a secret ('token')"),
        ("https://example.org/a/../../secrets", "'..' in its path"),
        ("https://example.org/a/%2e%2e/b", "'..' in its path"),
        ("https://example.org/x#sha256=12", "fragment"),
        ("https://example.org/x#part", "fragment"),
        ("https://example.org/a b", "percent-encoded"),
        ("https://example.org/ä", "percent-encoded"),
        ("https://example.org:port/x", "cannot be read"),
        ("https://example.org/" + "x" * 2000, "the limit is 2,000"),
    ],
)
def test_what_is_refused_and_why(url: str, says: str) -> None:
    said = url_problem(url)
    assert said is not None and says in said
    assert "secret@" not in said and "=secret" not in said


def test_which_texts_are_urls_of_data() -> None:
    assert is_url("https://x/y") and is_url("S3://b/k") and is_url("gopher://x")
    assert not any(is_url(text) for text in ("/data/x", "x.fq", "file:///x", "task://a/b", "a:b", "", "://x", "1s://x"))


@pytest.mark.parametrize(
    ("url", "prefix", "is_it"),
    [
        ("s3://bucket/a/b", "s3://bucket/a", True),
        ("s3://bucket/a/b", "s3://bucket/a/", True),
        ("s3://bucket/ab", "s3://bucket/a", False),
        ("s3://bucket/a", "s3://bucket", True),
        ("s3://bucket2/a", "s3://bucket", False),
        ("https://example.org/a", "https://example.org/", True),
        ("https://example.org.evil.org/a", "https://example.org", False),
        ("http://example.org/a", "https://example.org", False),
        ("https://example.org:8443/a", "https://example.org", False),
        ("shock://host/node/1", "shock://host", True),
    ],
)
def test_what_lies_below_a_prefix(url: str, prefix: str, is_it: bool) -> None:
    assert is_below(url, prefix) is is_it


@given(st.text(max_size=200))
def test_any_text_is_a_url_or_a_problem_in_a_sentence(text: str) -> None:
    for url in (text, f"https://{text}", f"s3://{text}", f"shock://h/node/{text}"):
        said = url_problem(url)
        if said is None:
            found = parse_url(url)
            assert "/" not in found.name and not found.name.startswith((".", "-")) and 0 < len(found.name) <= 100
        else:
            assert said.endswith(".") and len(said) < 700


@given(st.text(alphabet=st.characters(whitelist_categories=("Ll", "Nd")), min_size=8, max_size=20))
def test_a_password_is_never_repeated(password: str) -> None:
    secret = f"q7{password}7q"  # no word of the sentence, as 'password' is
    for url in (f"https://me:{secret}@example.org/x", f"ftp://me:{secret}@h/x", f"https://h/x?access_token={secret}"):
        said = url_problem(url)
        assert said is not None and secret not in said
