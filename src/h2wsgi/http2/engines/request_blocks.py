"""Field blocks -> requests, those seen before at the price of a look-up. Loop thread only.

Clients ask for much the same over and over, and say it in a few octets which refer to the HPACK
tables. While the dynamic table stays as it is, the same octets mean the same request, already
checked. ``:path`` alone differs from request to request, as a literal which most encoders keep
out of the table: a block is remembered without it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ...config.config import Config
from ...errors import MalformedRequest
from ...seam.request import RequestFields
from ..fields import LARGE_SECTION, FieldList, check_path, check_request, check_size
from .hpack import Decoder, huffman_decode

REMEMBERED_OCTETS = 8_192
"""Decoded octets of all the blocks that a connection remembers; it then begins anew."""
RECENT_PATHS = 8
"""Requests remembered with their ``:path``, which is of up to 126 octets as it was sent."""
REMEMBERED_PATHS = 4_096
"""Paths remembered as they were sent and as they read, for all connections: 2 MB at most.

Clients ask for the same paths, mostly. (Reading one of 46 octets from its Huffman code takes 2.1
us, remembering one read before 0.1; half of a request with a path of its own.)
"""
RECENT_BLOCK = 1_024
"""Octets of the longest block that is remembered with its ``:path``."""

# 0x81 to 0xfe are fields by their index, an octet each (RFC 7541 section 6.1). ":path" has the
# indexes 4 and 5 of the static table. As the name of a literal that enters no table, they stand in
# four bits: plain (0x0.) or never to be indexed (0x1.; section 6.2).
_up_to_path = re.compile(rb"[\x81-\xfe]*+[\x04\x05\x14\x15]").match

Known = dict[bytes, tuple[RequestFields, int]]


class RequestBlocks:
    """The field blocks of one connection: its HPACK decoder and what it decoded lately."""

    def __init__(self, config: Config) -> None:
        self._max_octets = config.max_field_section
        self._max_fields = config.max_fields
        self._decoder = Decoder(4 * config.max_field_section)
        # By END_STREAM, then by block: the request, and the size of its section without ":path".
        self._whole: tuple[Known, Known] = ({}, {})
        self._without_path: tuple[Known, Known] = ({}, {})
        self._recent: tuple[dict[bytes, RequestFields], dict[bytes, RequestFields]] = ({}, {})
        """The last requests by END_STREAM, then by block, ``:path`` included."""
        self._octets = 0
        self._is_stable = False
        """Whether the block decoded last left the dynamic table as it was."""

    def limit(self, max_octets: int) -> None:
        """Read no request whose decoded fields are larger than that."""
        if max_octets != self._max_octets:
            self._max_octets = max_octets
            self._forget()

    def decode(self, block: bytes) -> FieldList:
        """Return the fields of a block, whatever it is for: the table is the connection's.

        Raises:
            ConnectionFailed: COMPRESSION_ERROR or ENHANCE_YOUR_CALM.
        """
        generation = self._decoder.generation
        fields = self._decoder.decode(block)
        self._is_stable = self._decoder.generation == generation
        if not self._is_stable:
            self._forget()
        return fields

    def recall(self, block: bytes, end_stream: bool) -> RequestFields | None:
        """Return the request of a block that was seen before, ``:path`` aside, or None.

        None as well if ``:path`` is not one: :meth:`read` says what is wrong.

        Raises:
            ConnectionFailed: COMPRESSION_ERROR.
        """
        recent = self._recent[end_stream]
        if (request := recent.get(block)) is not None:
            request.repeated = True
            return request
        if (found := self._whole[end_stream].get(block)) is not None:
            return found[0]
        if (cut := _cut_path(block)) is None:
            return None
        rest, path, huffman_coded = cut
        if (found := self._without_path[end_stream].get(rest)) is None:
            return None
        like, size = found
        try:
            path = _read_path(path, huffman_coded, "OPTIONS" if like.method == "OPTIONS" else "")
        except MalformedRequest:
            return None
        if size + len(path) > self._max_octets:
            return None
        request = like.with_path(path)
        if size > LARGE_SECTION:
            request.large = size
        if len(block) <= RECENT_BLOCK:
            if len(recent) >= RECENT_PATHS:
                recent.clear()
            recent[block] = request
        return request

    def read(self, fields: FieldList, block: bytes, end_stream: bool) -> RequestFields:
        """Return the request that ``fields`` describe, which ``block`` was just decoded to.

        Raises:
            MalformedRequest, UnacceptableRequest: as check_request and check_size.
        """
        request = check_request(fields, end_stream=end_stream)
        size = check_size(fields, max_octets=self._max_octets, max_fields=self._max_fields)
        if size > LARGE_SECTION:
            request.large = size
        if self._is_stable and size <= REMEMBERED_OCTETS:
            self._remember(request, size, block, end_stream)
        return request

    def _remember(self, request: RequestFields, size: int, block: bytes, end_stream: bool) -> None:
        self._octets += size
        if self._octets > REMEMBERED_OCTETS:
            self._forget()
            self._octets = size
        if (cut := _cut_path(block)) is not None:
            self._without_path[end_stream][cut[0]] = (request, size - len(request.path))
        else:
            self._whole[end_stream][block] = (request, size)

    def _forget(self) -> None:
        for known in (*self._whole, *self._without_path, *self._recent):
            known.clear()
        self._octets = 0


@lru_cache(REMEMBERED_PATHS)
def _read_path(literal: bytes, huffman_coded: bool, method: str) -> bytes:
    """Return the ``:path`` of a literal's value, checked.

    ``method`` is OPTIONS or empty: no other matters here, and clients may make them up, of any
    length.

    Raises:
        ConnectionFailed: COMPRESSION_ERROR.
        MalformedRequest: it is not a path.
    """
    return check_path(huffman_decode(literal) if huffman_coded else literal, method)


def _cut_path(block: bytes) -> tuple[bytes, bytes, bool] | None:
    """Take a literal ``:path`` out of a block where only indexed fields precede it.

    Returns the block without the literal's value, that value, and whether it is Huffman-coded;
    None where the block does not look like that.
    """
    if (found := _up_to_path(block)) is None or (position := found.end()) == len(block):
        return None
    octet = block[position]
    length = octet & 0x7F
    end = position + 1 + length
    if length == 0x7F or end > len(block):
        return None  # a length of several octets, or a broken block
    return block[:position] + block[end:], block[position + 1 : end], octet > 0x7F
