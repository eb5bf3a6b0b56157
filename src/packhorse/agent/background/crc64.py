"""CRC-64/NVME, as S3 gives it for objects: reflected polynomial 0x9A6C9329AC4BC9B5, all ones before and after."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

_POLYNOMIAL = 0x9A6C9329AC4BC9B5
_ONES = 0xFFFFFFFFFFFFFFFF
_WIDTH = 8  # tables: so many bytes at a time


def _tables() -> "List[List[int]]":
    first = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        first.append(value)
    tables = [first]
    for _ in range(_WIDTH - 1):
        last = tables[-1]
        tables.append([first[value & 0xFF] ^ value >> 8 for value in last])
    return tables


_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7 = _tables()


def crc64nvme(data: bytes, crc: int = 0) -> int:
    """The CRC of `data` behind what `crc` is of."""
    value = crc ^ _ONES
    whole = len(data) // _WIDTH * _WIDTH
    for at in range(0, whole, _WIDTH):
        value ^= int.from_bytes(data[at : at + _WIDTH], "little")
        value = (
            _T7[value & 0xFF]
            ^ _T6[value >> 8 & 0xFF]
            ^ _T5[value >> 16 & 0xFF]
            ^ _T4[value >> 24 & 0xFF]
            ^ _T3[value >> 32 & 0xFF]
            ^ _T2[value >> 40 & 0xFF]
            ^ _T1[value >> 48 & 0xFF]
            ^ _T0[value >> 56]
        )
    for byte in data[whole:]:
        value = _T0[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ _ONES
