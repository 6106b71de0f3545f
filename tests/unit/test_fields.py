"""What a field section must be (RFC 9113 sections 8.1.1 to 8.3): the rules as functions."""

from __future__ import annotations

import contextlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.errors import MalformedRequest, UnacceptableRequest
from h2wsgi.http2.fields import (
    FIELD_OVERHEAD,
    FieldList,
    check_request,
    check_size,
    check_trailers,
)

PSEUDO = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"localhost"),
    (b":path", b"/"),
]
TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_lowercase
CONNECTION_SPECIFIC = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
]
RULED = {*CONNECTION_SPECIFIC, "te", "host", "content-type", "content-length"}
"""Names whose values or number have rules of their own."""
patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""

tokens = st.text(TOKEN, min_size=1, max_size=20).map(str.encode)
ordinary_names = tokens.filter(lambda name: name.decode() not in RULED)
legal_octets = bytes(set(range(0x20, 0x100)) - {0x7F} | {0x09})
values = st.lists(st.sampled_from(legal_octets), max_size=40).map(
    lambda octets: bytes(octets).strip(b" \t")
)
field_lists = st.lists(st.tuples(ordinary_names, values), max_size=10)
lists_with_crumbs = st.lists(st.tuples(ordinary_names | st.just(b"cookie"), values), max_size=14)


def with_pseudo(**changes: bytes | None) -> FieldList:
    """Return the pseudo-header fields with some replaced, or with None left out."""
    wanted = dict(PSEUDO) | {b":" + name.encode(): value for name, value in changes.items()}
    return [(name, value) for name, value in wanted.items() if value is not None]


@patient
@given(field_lists)
def test_legal_fields_are_kept_as_they_were_in_their_order(fields: FieldList) -> None:
    request = check_request(PSEUDO + fields, end_stream=True)
    assert request.fields == tuple(fields)
    assert (request.method, request.scheme, request.path) == ("GET", b"https", b"/")
    assert request.authority == b"localhost"
    assert check_trailers(fields) == fields


@patient
@given(st.binary(max_size=12).filter(lambda name: name.decode("latin-1") not in RULED), field_lists)
def test_a_name_is_taken_exactly_if_it_is_a_lower_case_token(name: bytes, rest: FieldList) -> None:
    fields = [*PSEUDO, (name, b"value"), *rest]
    legal = bool(name) and all(chr(octet) in TOKEN for octet in name)
    if legal:
        check_request(fields, end_stream=True)
        return
    with pytest.raises(MalformedRequest):
        check_request(fields, end_stream=True)


@patient
@given(values, st.sampled_from([o for o in range(256) if o not in legal_octets]), values)
def test_a_control_octet_in_any_value_is_malformed(head: bytes, octet: int, tail: bytes) -> None:
    value = head + bytes([octet]) + tail
    for fields in ([*PSEUDO, (b"x-a", value)], with_pseudo(path=b"/" + value)):
        with pytest.raises(MalformedRequest):
            check_request(fields, end_stream=True)
    with pytest.raises(MalformedRequest):
        check_trailers([(b"x-a", value)])


@patient
@given(st.binary(max_size=12))
def test_a_path_is_taken_exactly_if_it_holds_no_control_no_space_and_no_fragment(
    rest: bytes,
) -> None:
    fields = with_pseudo(path=b"/" + rest)
    if all(octet > 0x20 and octet not in b"#\x7f" for octet in rest):
        assert check_request(fields, end_stream=True).path == b"/" + rest
        return
    with pytest.raises(MalformedRequest):
        check_request(fields, end_stream=True)


@patient
@given(st.lists(st.sampled_from(["5", "05", "6", "-5", "+5", "", "5,5", "0x5", "5 5"]), max_size=3))
def test_content_lengths_must_be_numbers_and_agree(texts: list[str]) -> None:
    fields = PSEUDO + [(b"content-length", text.encode()) for text in texts]
    numbers = {int(text) for text in texts if text.isdigit()}
    if all(text.isdigit() for text in texts) and len(numbers) <= 1:
        expected = next(iter(numbers), None)
        assert check_request(fields, end_stream=False).content_length == expected
        return
    with pytest.raises(MalformedRequest):
        check_request(fields, end_stream=False)


@patient
@given(lists_with_crumbs, st.integers(0, 700), st.integers(0, 12))
def test_a_section_is_too_large_exactly_beyond_either_limit(
    fields: FieldList, max_octets: int, max_fields: int
) -> None:
    size = sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in fields)
    crumbs = [name for name, _ in fields].count(b"cookie")
    if size <= max_octets and len(fields) - crumbs + bool(crumbs) <= max_fields:
        check_size(fields, max_octets=max_octets, max_fields=max_fields)
        return
    with pytest.raises(UnacceptableRequest) as raised:
        check_size(fields, max_octets=max_octets, max_fields=max_fields)
    assert raised.value.status == 431


@patient
@given(st.lists(st.tuples(st.binary(max_size=10), st.binary(max_size=10)), max_size=6))
def test_any_field_list_is_a_request_or_an_error_of_the_peer(fields: FieldList) -> None:
    for candidate in (fields, PSEUDO + fields):
        with contextlib.suppress(MalformedRequest, UnacceptableRequest):
            check_request(candidate, end_stream=True)


@pytest.mark.parametrize("method", [b"GET", b"get", b"M-SEARCH", b"X!"])
def test_a_method_is_any_token_as_it_was_sent(method: bytes) -> None:
    assert check_request(with_pseudo(method=method), end_stream=True).method == method.decode()


@pytest.mark.parametrize(
    "authority",
    [b"a", b"a.example:8443", b"[::1]:8443", b"127.0.0.1", b"xn--bcher-kva.example", b"a_b"],
)
def test_authorities_are_taken(authority: bytes) -> None:
    assert check_request(with_pseudo(authority=authority), end_stream=True).authority == authority


def test_host_stands_in_for_authority_and_may_repeat_it() -> None:
    host = [(b"host", b"Example")]
    alone = check_request(with_pseudo(authority=None) + host, end_stream=True)
    assert alone.authority == b"Example"
    both = check_request(with_pseudo(authority=b"example") + host, end_stream=True)
    assert both.authority == b"example"
    assert check_request(with_pseudo(authority=None), end_stream=True).authority is None


@pytest.mark.parametrize(
    ("value", "end_stream", "expected"),
    [
        (b"100-continue", False, True),
        (b"100-Continue", False, True),
        (b"100-continue", True, False),
        (b"200-ok", False, False),
    ],
)
def test_expectations_count_where_content_may_follow(
    value: bytes, end_stream: bool, expected: bool
) -> None:
    request = check_request([*PSEUDO, (b"expect", value)], end_stream=end_stream)
    assert request.expects_continue is expected
