"""The Huffman code of HPACK strings (RFC 7541 section 5.2 and Appendix B). Pure; any thread.

Decoding goes an octet at a time. Between two octets, all that matters is which bits of an
unfinished code were read: one of the 256 inner nodes of the code's tree. What an octet does at a
node, which octets are decoded and which node comes next, is worked out bit by bit when it is first
met, and remembered. Nothing of the strings themselves is.
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

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


class _Node:
    """An inner node of the tree, between two octets of a string."""

    __slots__ = ("bits", "may_end", "steps")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.may_end = bits < 0x100 and bits & (bits + 1) == 0
        """What is left is padding: less than an octet, and all ones."""
        self.steps: list[tuple[bytes, _Node] | None] = [None] * 256
        """For each octet: the octets it decodes to here, and the node it leads to."""

    def learn(self, octet: int) -> tuple[bytes, _Node]:
        """Return the step that ``octet`` makes from here, and keep it."""
        decoded = bytearray()
        bits = self.bits
        for shift in range(7, -1, -1):
            bits = bits << 1 | octet >> shift & 1
            if (symbol := _LEAVES.get(bits)) is None:
                continue
            if symbol == _EOS:
                raise ConnectionFailed(ErrorCodes.COMPRESSION_ERROR, "EOS in a Huffman string")
            decoded.append(symbol)
            bits = _ROOT
        if (node := _nodes.get(bits)) is None:
            node = _nodes[bits] = _Node(bits)
        step = self.steps[octet] = (bytes(decoded), node)
        return step


_root = _Node(_ROOT)

_nodes = {_ROOT: _root}
"""By their bits, as they are met; 256 in the end, which with all their steps take 6 MB."""


def huffman_decode(data: bytes) -> bytes:
    """Return the string that ``data`` encodes.

    Raises:
        ConnectionFailed: COMPRESSION_ERROR, EOS in it or an end that is not padding.
    """
    node = _root
    decoded: list[bytes] = []
    append = decoded.append
    for octet in data:
        if (step := node.steps[octet]) is None:
            step = node.learn(octet)
        octets, node = step
        append(octets)
    if not node.may_end:
        raise ConnectionFailed(ErrorCodes.COMPRESSION_ERROR, "a Huffman string ends in mid-code")
    return b"".join(decoded)


def huffman_encode(data: bytes) -> bytes:
    """Return ``data`` encoded, padded with ones (the beginning of EOS)."""
    # Digits, because joining them and reading a power of two takes time in proportion to the
    # length; shifting one great number once for each octet would take its square.
    digits = "".join([_CODES[octet] for octet in data])
    digits += "1" * (-len(digits) % 8)
    return int(digits or "0", 2).to_bytes(len(digits) // 8, "big")
