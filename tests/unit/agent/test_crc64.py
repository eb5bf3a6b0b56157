"""CRC-64/NVME against its published check value, and against another implementation."""

from __future__ import annotations

from awscrt import checksums
from hypothesis import given
from hypothesis import strategies as st

from packhorse.agent.background.crc64 import crc64nvme


def test_the_check_value() -> None:
    """Of the CRC catalogue: https://reveng.sourceforge.io/crc-catalogue/all.htm#crc.cat.crc-64-nvme."""
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_in_pieces_it_is_that_of_the_whole_and_of_everybody(first: bytes, second: bytes) -> None:
    assert crc64nvme(second, crc64nvme(first)) == crc64nvme(first + second) == checksums.crc64nvme(first + second, 0)
