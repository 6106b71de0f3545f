"""The PROXY protocol's header: what it says, and that exactly it is taken off the socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.server import proxy_header
from h2wsgi.server.proxy_header import BadHeader, Came, HeaderReader, ProxyHeader, parse
from support import proxying
from support.proxying import (
    DESTINATION,
    LOCAL,
    SOURCE,
    TCP4,
    TCP6,
    UNIX,
    extension,
    tls,
    version_2,
)

BEHIND = b"\x16\x03\x01 and what follows"
V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
V1_OF_IPV6 = b"PROXY TCP6 2001:db8::9 ::ffff:198.51.100.1 4711 443\r\n"
TEXT = (SOURCE[0], str(SOURCE[1])), (DESTINATION[0], str(DESTINATION[1]))

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return the proxy's end, and ours, which never waits."""
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        yield theirs, ours


def left_on(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100_000)
    except BlockingIOError:
        return b""


# -------------------------------------------------------------------------- what it says


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (V1, *TEXT),
        (V1_OF_IPV6, ("2001:db8::9", "4711"), ("198.51.100.1", "443")),
        (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
         (":".join(["ffff"] * 8), "65535"), (":".join(["ffff"] * 8), "65535")),
        (b"PROXY UNKNOWN\r\n", None, ("", "")),
        (b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff whatever else 1 2\r\n", None, ("", "")),
    ],
)  # fmt: skip
def test_version_1(
    line: bytes, source: tuple[str, str] | None, destination: tuple[str, str]
) -> None:
    assert parse(line) == ProxyHeader(source, destination)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY \r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4\r\n",
        b"PROXY UDP4 203.0.113.9 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4  203.0.113.9 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443 \r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 65536\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 04711 443\r\n",
        b"PROXY TCP4 203.0.113.9 198.51.100.1 -1 443\r\n",
        b"PROXY TCP4 203.0.113.999 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.09 198.51.100.1 4711 443\r\n",
        b"PROXY TCP4 2001:db8::9 198.51.100.1 4711 443\r\n",
        b"PROXY TCP6 203.0.113.9 198.51.100.1 4711 443\r\n",
        b"PROXY TCP6 2001:db8:::9 ::1 4711 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
    ],
)
def test_a_line_that_is_none_is_shown(line: bytes) -> None:
    with pytest.raises(BadHeader) as bad:
        parse(line)
    assert repr(line[:40])[:-1] in str(bad.value)


def test_version_2() -> None:
    assert parse(version_2()) == ProxyHeader(*TEXT)
    six = proxying.addresses(("2001:db8::9", 1), ("::ffff:198.51.100.1", 2))
    expected = ProxyHeader(("2001:db8::9", "1"), ("198.51.100.1", "2"))
    assert parse(version_2(six, family=TCP6)) == expected
    assert parse(version_2(bytes(216), family=UNIX)) == ProxyHeader(("", ""))
    # The proxy's own connection, as of a health check, and one of which it knows nothing.
    assert parse(version_2(command=LOCAL)) == ProxyHeader(is_local=True)
    whatever = version_2(b"whatever it says", command=LOCAL, family=0)
    assert parse(whatever) == ProxyHeader(is_local=True)
    assert parse(version_2(b"", family=0)) == ProxyHeader()
    assert parse(version_2(extension(0x02, b"a.example"), family=0)).server_name == "a.example"


def test_the_extensions_of_version_2() -> None:
    header = parse(
        version_2(
            proxying.addresses()
            + extension(0x04, b"nothing")
            + extension(0x02, b"example.com")
            + extension(0x01, b"h2")
            + extension(0x05, b"4711-\xff")
            + extension(0xEA, b"somebody's own")
            + tls((0x21, b"TLSv1.3"), (0x23, b"TLS_AES_128_GCM_SHA256"), (0x22, b"nobody"))
        )
    )
    assert header.told == {"authority": "example.com", "alpn": "h2", "unique_id": "4711-\xff"}
    assert header.server_name == "example.com"
    assert header.tls == {
        "HTTPS": "on",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_128_GCM_SHA256",
        "SSL_CLIENT_VERIFY": "NONE",
    }
    odd = parse(version_2(proxying.addresses() + extension(0x02, b"no host\n")))
    assert odd.server_name == DESTINATION[0]


@pytest.mark.parametrize(
    ("did", "unverified", "verify", "name"),
    [
        (0x01, 0, "NONE", None),
        (0x03, 0, "SUCCESS", "Ada"),
        (0x05, 0, "SUCCESS", "Ada"),
        (0x03, 18, "FAILED:18", None),
    ],
)
def test_a_clients_certificate_counts_where_the_proxy_has_verified_it(
    did: int, unverified: int, verify: str, name: str | None
) -> None:
    told = tls((0x22, b"Ada"), did=did, unverified=unverified)
    variables = parse(version_2(proxying.addresses() + told)).tls
    assert variables is not None
    assert variables["SSL_CLIENT_VERIFY"] == verify
    assert variables.get("SSL_CLIENT_S_DN_CN") == name


def test_a_client_without_tls_is_told_too() -> None:
    assert parse(version_2(proxying.addresses() + tls(did=0))).tls == {}
    assert parse(version_2()).tls is None


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (version_2(b"short"), "too short for its addresses"),
        (version_2(b"short", family=TCP6), "too short for its addresses"),
        (version_2(b"short", family=UNIX), "too short for its addresses"),
        (version_2(family=0x12), "address family 0x12"),
        (version_2(family=0xFF), "address family 0xff"),
        (version_2(proxying.addresses() + b"\x04"), "beyond its end"),
        (version_2(proxying.addresses() + b"\x04\xff\xff"), "beyond its end"),
        (version_2(proxying.addresses() + extension(0x20, b"1234")), "too short"),
        (version_2(proxying.addresses() + extension(0x20, b"\1\0\0\0\0\x21\0\x09")), "beyond"),
        (version_2(proxying.addresses() + extension(0x03, b"1234")), "wrong checksum"),
        (version_2(proxying.addresses() + extension(0x03, b"")), "wrong checksum"),
    ],
)
def test_a_header_that_is_none_says_why(header: bytes, said: str) -> None:
    with pytest.raises(BadHeader, match=said):
        parse(header)


def test_the_checksum_is_that_of_the_header_without_it() -> None:
    assert proxy_header.crc32c(b"123456789") == 0xE3069283
    blank = version_2(proxying.addresses() + extension(0x03, bytes(4)) + extension(0x04, b"x"))
    crc = proxy_header.crc32c(blank).to_bytes(4, "big")
    right = version_2(proxying.addresses() + extension(0x03, crc) + extension(0x04, b"x"))
    assert parse(right) == ProxyHeader(*TEXT)


@given(st.binary(max_size=300), st.sampled_from([0, TCP4, TCP6, UNIX]))
def test_whatever_is_in_a_header_is_read_or_refused(rest: bytes, family: int) -> None:
    try:
        parse(version_2(rest, family=family))
    except BadHeader:
        return


# ------------------------------------------------------------------- off the socket, exactly


@pytest.mark.parametrize(
    "header",
    [V1, b"PROXY UNKNOWN\r\n", version_2(), version_2(b"", command=LOCAL, family=0)],
    ids=["v1", "unknown", "v2", "local"],
)
def test_exactly_the_header_is_taken_wherever_it_is_cut(header: bytes, pair: Pair) -> None:
    theirs, ours = pair
    for cut in range(1, len(header)):
        reader = HeaderReader()
        theirs.sendall(header[:cut])
        assert reader.read(ours) is Came.PART
        # An incomplete header must not lie there: the loop would spin.
        with pytest.raises(BlockingIOError):
            ours.recv(1, socket.MSG_PEEK)
        theirs.sendall(header[cut:] + BEHIND)
        assert reader.read(ours) == parse(header)
        assert left_on(ours) == BEHIND


def test_a_header_may_come_by_single_octets(pair: Pair) -> None:
    theirs, ours = pair
    header = version_2(proxying.addresses() + extension(0x04, bytes(2_000)))
    reader = HeaderReader()
    for octet in header:
        assert reader.taken != header
        theirs.sendall(bytes((octet,)))
        found = reader.read(ours)
    assert found == ProxyHeader(*TEXT)
    assert left_on(ours) == b""


HEADERS = st.one_of(
    st.sampled_from(
        [V1, V1_OF_IPV6, b"PROXY UNKNOWN\r\n", version_2(b"", command=LOCAL, family=0)]
    ),
    st.lists(st.binary(max_size=30), max_size=4).map(
        lambda values: version_2(
            proxying.addresses() + b"".join(extension(0xE0, value) for value in values)
        )
    ),
)


@given(HEADERS, st.binary(max_size=40), st.lists(st.integers(1, 300), max_size=6))
def test_however_it_comes_the_header_is_taken_and_nothing_behind_it(
    header: bytes, behind: bytes, cuts: list[int]
) -> None:
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    octets = header + behind
    places = sorted({cut for cut in cuts if cut < len(octets)})
    reader = HeaderReader()
    found: ProxyHeader | Came = Came.PART
    with theirs, ours:
        for start, end in pairwise([0, *places, len(octets)]):
            theirs.sendall(octets[start:end])
            if found is Came.PART:
                found = reader.read(ours)
                assert (found is Came.PART) == (end < len(header))
        assert found == parse(header)
        assert left_on(ours) == behind


@pytest.mark.parametrize(
    ("octets", "taken"),
    [(b"\x16\x03\x01", b""), (b"PRI * HTTP/2.0", b""), (b"GET / HTTP/1.1", b""), (b"\0", b"")],
)
def test_what_is_no_header_is_left(octets: bytes, taken: bytes, pair: Pair) -> None:
    theirs, ours = pair
    reader = HeaderReader()
    theirs.sendall(octets)
    assert reader.read(ours) is Came.OTHER
    assert (bytes(reader.taken), left_on(ours)) == (taken, octets)


def test_what_was_taken_before_it_was_known_is_kept(pair: Pair) -> None:
    theirs, ours = pair
    reader = HeaderReader()
    theirs.sendall(b"P")
    assert reader.read(ours) is Came.PART
    theirs.sendall(b"R")
    assert reader.read(ours) is Came.PART
    theirs.sendall(b"I * HTTP/2.0")
    assert reader.read(ours) is Came.OTHER
    assert bytes(reader.taken) + left_on(ours) == b"PRI * HTTP/2.0"


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"PROXY TCP4 " + b"1" * 10_000, "without an end in 107 octets"),
        (version_2(b"", length=65_535), "65,551 octets"),
        (proxying.SIGNATURE + b"\x31\x11\0\0", "0x31"),
        (proxying.SIGNATURE + b"\x22\x11\0\0", "0x22"),
    ],
)
def test_what_cannot_become_a_header_is_refused_before_it_is_whole(
    octets: bytes, said: str, pair: Pair
) -> None:
    theirs, ours = pair
    theirs.sendall(octets)
    with pytest.raises(BadHeader, match=said):
        HeaderReader().read(ours)


def test_an_end_within_the_header_is_told_from_one_without_a_word(pair: Pair) -> None:
    theirs, ours = pair
    theirs.sendall(b"PROXY TCP4")
    reader = HeaderReader()
    assert reader.read(ours) is Came.PART
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BadHeader, match="the end behind b'PROXY TCP4'"):
        reader.read(ours)
    with pytest.raises(ConnectionResetError):
        HeaderReader().read(ours)
