"""The code of strings in HPACK, against hpack's (RFC 7541 section 5.2)."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.hpack import (
    huffman_decode,
    huffman_encode,
)
from unit.test_hpack import COMPRESSION_ERROR, both, huffman, patient, reference_huffman_encode


def huffman_outcome(code: bytes) -> object:
    try:
        return huffman_decode(code)
    except ConnectionFailed as error:
        return error.code


def reference_outcome(code: bytes) -> object:
    try:
        return decode_huffman(code)
    except hpack.HPACKDecodingError:
        return COMPRESSION_ERROR


CODES = [
    f"{code:0{length}b}" for code, length in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
]
EOS = CODES[256]


def from_digits(digits: str) -> bytes:
    assert len(digits) % 8 == 0
    return bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))


def test_every_octet_goes_through_the_huffman_code_and_back() -> None:
    for octet in range(256):
        string = bytes([octet])
        assert huffman_encode(string) == reference_huffman_encode(string)
        assert huffman_decode(huffman_encode(string)) == string


@patient
@given(st.binary(max_size=200))
def test_any_string_goes_through_the_huffman_code_and_back(string: bytes) -> None:
    assert huffman_encode(string) == reference_huffman_encode(string)
    assert huffman_decode(huffman_encode(string)) == string


@patient
@given(st.binary(max_size=30))
def test_both_agree_on_any_huffman_code(code: bytes) -> None:
    assert huffman_outcome(code) == reference_outcome(code)


def test_both_agree_on_any_octet_in_the_middle_of_any_code() -> None:
    unfinished = sorted({code[:length] for code in CODES for length in range(len(code))})
    assert len(unfinished) == 256
    for digits in unfinished:
        # As many zeros, each of five, as it takes to end with the octet.
        while len(digits) % 8:
            digits = CODES[ord("0")] + digits
        start = from_digits(digits)
        for octet in range(256):
            code = start + bytes([octet])
            assert huffman_outcome(code) == reference_outcome(code)


PADDINGS: dict[str, tuple[str, object]] = {
    "no padding": (CODES[ord("&")], b"&"),
    "seven ones": (CODES[ord("0")] * 5 + "1" * 7, b"00000"),
    "eight ones": (CODES[ord("&")] + "1" * 8, COMPRESSION_ERROR),
    "nine ones": (CODES[ord("0")] * 3 + "1" * 9, COMPRESSION_ERROR),
    "sixteen ones": ("1" * 16, COMPRESSION_ERROR),
    "only padding": ("1" * 8, COMPRESSION_ERROR),
    "a zero among the ones": (CODES[ord("0")] + "110", COMPRESSION_ERROR),
    "zeros": (CODES[ord("0")] + "000", COMPRESSION_ERROR),
    "EOS at the beginning": (EOS + "11", COMPRESSION_ERROR),
    "EOS inside": (CODES[ord("&")] + EOS + CODES[ord("&")] + "11", COMPRESSION_ERROR),
    "EOS at the end": (CODES[ord("0")] * 2 + EOS, COMPRESSION_ERROR),
    "all but the last bit of EOS": (CODES[ord("0")] * 2 + EOS[:-1] + "0", None),
}


@pytest.mark.parametrize("case", PADDINGS)
def test_a_huffman_string_ends_with_at_most_seven_ones(case: str) -> None:
    digits, expected = PADDINGS[case]
    digits += "1" * (-len(digits) % 8) if case == "no padding" else ""
    digits = digits[: len(digits) // 8 * 8]
    code = from_digits(digits)
    assert huffman_outcome(code) == reference_outcome(code)
    assert expected is None or huffman_outcome(code) == expected
    both([b"\x04" + huffman(code)])
