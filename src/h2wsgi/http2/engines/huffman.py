"""The Huffman code of HPACK strings (RFC 7541 section 5.2 and Appendix B). Pure; any thread.

Decoding goes an octet at a time. Between two octets, all that matters is which bits of an
unfinished code were read: one of the 256 inner nodes of the code's tree. What an octet does at a
node, which octets are decoded and which node comes next, is worked out bit by bit when it is first
met, and remembered. Nothing of the strings themselves is.
"""

from __future__ import annotations

from typing import Any

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from ...codes import ErrorCode
from ...errors import ConnectionFailed

_EOS = 256

_ROOT = 1
"""A node is written as a 1 and the bits that lead to it, so that leading zeros count."""

_LEAVES = {
    _ROOT << length | code: symbol
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
}

_CODES = [
    f"{code:0{length}b}" for code, length in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
]
"""Of each octet, in binary digits."""


_BITS = 256
"""Where a row has its node; the steps that octets make from there stand before it."""


def _row(bits: int) -> list[Any]:
    return [*[None] * 256, bits]


_root = _row(_ROOT)

_rows = {_ROOT: _root}
"""By their nodes, as they are met; 256 in the end, which with all their steps take 6 MB."""


def _learn(row: list[Any], octet: int) -> tuple[bytes, list[Any]]:
    """Return the step that ``octet`` makes, and keep it: what it decodes to, and the next row."""
    decoded = bytearray()
    bits = row[_BITS]
    for shift in range(7, -1, -1):
        bits = bits << 1 | octet >> shift & 1
        if (symbol := _LEAVES.get(bits)) is None:
            continue
        if symbol == _EOS:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, "EOS in a Huffman string") from None
        decoded.append(symbol)
        bits = _ROOT
    if (following := _rows.get(bits)) is None:
        following = _rows[bits] = _row(bits)
    step = row[octet] = (bytes(decoded), following)
    return step


def huffman_decode(data: bytes) -> bytes:
    """Return the string that ``data`` encodes.

    Raises:
        ConnectionFailed: COMPRESSION_ERROR, EOS in it or an end that is not padding.
    """
    row = _root
    decoded: list[bytes] = []
    append = decoded.append
    octets = iter(data)
    while True:
        try:
            for octet in octets:
                step, row = row[octet]
                append(step)
            break
        except TypeError:
            # The step is None, so new. A check before each step would take a seventh of the time.
            step, row = _learn(row, octet)
            append(step)
    bits = row[_BITS]
    # What is left must be padding: less than an octet, and all ones.
    if bits >= 0x100 or bits & (bits + 1):
        raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, "a Huffman string ends in mid-code")
    return b"".join(decoded)


def huffman_encode(data: bytes) -> bytes:
    """Return ``data`` encoded, padded with ones (the beginning of EOS)."""
    # Digits, because joining them and reading a power of two takes time in proportion to the
    # length; shifting one great number once for each octet would take its square.
    digits = "".join([_CODES[octet] for octet in data])
    digits += "1" * (-len(digits) % 8)
    return int(digits or "0", 2).to_bytes(len(digits) // 8, "big")
