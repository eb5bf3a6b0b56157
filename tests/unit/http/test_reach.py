"""Which addresses are inside: a table."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.agent.background.network import is_inside, names_inside
from packhorse.engine.requests.filerules import FileRules
from packhorse.http.reach import Reach

INSIDE = [
    "127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
    "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:db8::1",
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::",
]


@pytest.mark.parametrize("address", INSIDE)
def test_inside(address: str) -> None:
    assert is_inside(address, ())
    assert names_inside(f"[{address}]" if ":" in address else address, ())


@pytest.mark.parametrize("address", OUTSIDE)
def test_outside(address: str) -> None:
    assert not is_inside(address, ())
    assert not names_inside(address, ())


def test_what_the_configuration_opens() -> None:
    assert not is_inside("10.1.2.3", ["10.1.0.0/16"]) and is_inside("10.2.0.1", ["10.1.0.0/16", "fd00::/8"])
    assert not is_inside("fd00::1", ["10.1.0.0/16", "fd00::/8"])
    assert not is_inside("::ffff:10.1.2.3", ["10.1.0.0/16"])
    assert not any(is_inside(address, ["0.0.0.0/0", "::/0"]) for address in INSIDE)


@given(st.ip_addresses(v=4))
def test_an_address_of_ipv6_counts_as_the_one_of_ipv4_that_it_stands_for(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    translated = ipaddress.IPv6Address((0x64FF9B << 96) | number)
    tunnelled = ipaddress.IPv6Address((0x2002 << 112) | (number << 80))
    assert {is_inside(str(one), ()) for one in (mapped, translated, tunnelled)} == {is_inside(str(address), ())}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.1", "0x7f.1", "2130706433", "017700000001"]
)
def test_other_ways_to_write_loopback(host: str) -> None:
    assert names_inside(host, ()) and not names_inside(host, ["127.0.0.0/8"])


@pytest.mark.parametrize(
    "host", ["", "example.org", "10.0.0.1.example.org", "x" * 300, "localhost.example.org", "1.2.3.4.5"]
)
def test_other_names_are_not_known(host: str) -> None:
    assert not names_inside(host, ())


def test_a_url_that_is_seen_to_lead_inside_is_refused_at_once() -> None:
    rules = FileRules(reach=Reach())
    for url in ("http://127.0.0.1/x", "https://[::1]:8/x", "http://localhost/x", "HTTP://10.0.0.1/x"):
        assert "own network" in (rules.problem(url) or ""), url
    assert rules.problem("http://example.org/x") is None and rules.problem("s3://bucket/x") is None
    assert FileRules().problem("http://127.0.0.1/x") is None
