"""CRC-32C, the checksum of TFRecord files, of tens of megabytes in a moment."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import UInt32

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest bit first


def masked_crc32c(data: bytes | memoryview) -> int:
    """Return the checksum as TFRecord files store it: turned by 15 bits and shifted, so that a checksum of checksums is no trivial one."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes | memoryview) -> int:
    """Return the CRC-32C of some bytes.

    The checksum is linear: of bytes that are cut in equal lanes, all lanes' checksums are taken at once, then joined two and two.
    """
    left = np.frombuffer(data, np.uint8)
    crc = 0xFFFFFFFF
    for lanes in (4096, 64):
        taken = left.size // (4 * lanes) * 4 * lanes
        if taken:
            crc = int(_shifted(np.array([crc], np.uint32), _zeros(taken))[0]) ^ _of_lanes(left[:taken], lanes)
            left = left[taken:]
    table = _byte_table()
    for byte in left.tolist():
        crc = int(table[(crc ^ byte) & 0xFF]) ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _of_lanes(data: np.ndarray, lanes: int) -> int:
    """Return the register after these bytes, from zero."""
    low, high = _pair_tables()
    words = np.ascontiguousarray(data.view("<u4").reshape(lanes, -1).T)
    crc = np.zeros(lanes, np.uint32)
    for word in words:
        crc ^= word
        crc = low[crc & 0xFFFF] ^ high[crc >> 16]
    shift = _zeros(data.size // lanes)
    while crc.size > 1:
        crc = _shifted(crc[0::2], shift) ^ crc[1::2]
        shift = _shifted(shift, shift)
    return int(crc[0])


@lru_cache(maxsize=1)
def _byte_table() -> UInt32[np.ndarray, "256"]:
    """Return what a byte makes of an empty register."""
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ (table & 1) * np.uint32(_POLYNOMIAL)
    return table


@lru_cache(maxsize=1)
def _pair_tables() -> tuple[UInt32[np.ndarray, "65536"], UInt32[np.ndarray, "65536"]]:
    """Return what the lower and the upper two bytes of a word make of an empty register."""
    table = _byte_table()
    high = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(2):
        high = table[high & 0xFF] ^ high >> 8
    low: np.ndarray = high.copy()
    for _ in range(2):
        low = table[low & 0xFF] ^ low >> 8
    return low, high


@lru_cache(maxsize=256)
def _zeros(count: int) -> UInt32[np.ndarray, "32"]:
    """Return what `count` bytes of zero make of a register: the image of each of its bits."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    table = _byte_table()
    result, square = bits, table[bits & 0xFF] ^ bits >> 8
    while count:
        if count & 1:
            result = _shifted(result, square)
        square = _shifted(square, square)
        count >>= 1
    return result


def _shifted(registers: UInt32[np.ndarray, " k"], images: UInt32[np.ndarray, "32"]) -> UInt32[np.ndarray, " k"]:
    """Apply a linear map, given as the images of the 32 bits, to registers."""
    result = np.zeros_like(registers)
    for bit, image in enumerate(images):
        result ^= np.where(registers >> np.uint32(bit) & 1, image, np.uint32(0))
    return result
