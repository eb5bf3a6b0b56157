"""Small decisions of the HTTP client, without a network."""

from __future__ import annotations

import logging
import time
from email.utils import formatdate

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packhorse.http.client import MAX_AFTER_S, Http, lines, retry_after
from packhorse.http.errors import Fault, NotReached


def told(text: str, status: int = 503) -> float | None:
    return retry_after(httpx2.Response(status, headers={"Retry-After": text.encode("utf-8", "replace")}))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 30 ", 30.0),
        ("99999", MAX_AFTER_S),
        ("9" * 400, MAX_AFTER_S),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("1e3", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_AFTER_S),
        ("Sun, 06 Nov 1994", None),
        ("Mon, 99 Foo 2030 00:00:00 GMT", None),
    ],
)
def test_when_a_server_wants_to_be_asked_again(text: str, seconds: float | None) -> None:
    assert told(text) == told(text, 429) == seconds
    assert told(text, 500) is None and told(text, 200) is None


def test_a_date_is_from_now_on() -> None:
    assert 50 < (told(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60


@example("Mon, 01 Jan 0000 00:00:00 +9999999999")
@given(st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"])))
def test_no_retry_after_is_too_odd(text: str) -> None:
    found = told(text)
    assert found is None or 0 <= found <= MAX_AFTER_S


@given(st.lists(st.binary(max_size=20), max_size=10), st.integers(1, 7))
def test_lines_are_what_lf_ends_however_they_arrive(parts: list[bytes], size: int) -> None:
    body = b"\n".join(parts)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    found = list(lines(httpx2.Response(200, content=iter(pieces), request=httpx2.Request("GET", "http://h/"))))
    wanted = body.split(b"\n")
    assert found == (wanted if wanted[-1] else wanted[:-1])


def test_no_cookie_is_kept_and_no_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        heard.append(request.headers)
        return httpx2.Response(200, headers={"Set-Cookie": "session=1; Path=/"})

    http = Http(transport=httpx2.MockTransport(answer))
    for _ in range(2):
        http.ask("GET", "http://h/")
    assert len(heard) == 2 and not any("Cookie" in headers for headers in heard)
    assert heard[0]["Accept-Encoding"] == "identity", "nothing comes packed that was not asked for so"


@pytest.mark.parametrize(
    "url", ["", "h", "/x", "ftp://h/", "http://", "http://[/", "http://h:99999/", "http://\x00/", "x" * 70_000]
)
def test_what_is_no_url_of_the_web(url: str) -> None:
    with pytest.raises(NotReached) as failed:
        Http(environ={}).ask("GET", url)
    assert failed.value.fault in (Fault.URL, Fault.NAME) and not failed.value.sent


def test_no_url_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Http(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))).ask(
            "GET", "http://h/x?X-Amz-Signature=hunter2"
        )
        with pytest.raises(NotReached):
            Http(environ={"http_proxy": "http://al:hunter2@127.0.0.1:1"}).ask("GET", "http://h/")
    assert "hunter2" not in caplog.text
