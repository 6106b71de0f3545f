"""X-Forwarded-* and Forwarded -> what is known of the client."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.config.trusted_peers import TrustedPeers
from h2wsgi.seam.forwarded import (
    MAX_HOPS,
    NAMES,
    NOTHING,
    Forwarded,
    ForwardedReader,
    read,
    split_host,
)

PROXIES = TrustedPeers.of(("10.0.0.0/8", "fd00::/8"))
CLIENT = "203.0.113.9"


def told(*fields: tuple[str, str], trusted: TrustedPeers = PROXIES) -> Forwarded:
    return read(tuple((n.encode(), v.encode("latin-1")) for n, v in fields), trusted)


def of_x(name: str, *values: str) -> Forwarded:
    return told(*((f"x-forwarded-{name}", value) for value in values))


@pytest.mark.parametrize(
    ("values", "address", "port"),
    [
        ((CLIENT,), CLIENT, ""),
        ((f"{CLIENT}:4711",), CLIENT, "4711"),
        (("2001:db8::7",), "2001:db8::7", ""),
        (("[2001:DB8::7]:99",), "2001:db8::7", "99"),
        (("::ffff:203.0.113.9",), CLIENT, ""),
        # Our own proxies are passed, what is left of the client is not looked at.
        ((f"{CLIENT}, 10.0.0.1",), CLIENT, ""),
        ((f"127.0.0.1, {CLIENT}, 10.0.0.1, 10.9.9.9",), CLIENT, ""),
        ((f"nonsense, 1.2.3.4.5, {CLIENT}",), CLIENT, ""),
        (("10.0.0.5, 10.0.0.1",), "10.0.0.5", ""),
        # Several fields are one list; empty entries are none.
        (("6.6.6.6", f"{CLIENT},", "10.0.0.1"), CLIENT, ""),
        # What does not tell stops the walk at the last that is known.
        (("unknown, 10.0.0.1",), "10.0.0.1", ""),
        (("_hidden, fd00::1",), "fd00::1", ""),
        (("unknown",), None, None),
        # What is malformed where it counts was not sent.
        (("nonsense, 10.0.0.1",), None, None),
        ((f"{CLIENT}:99999",), None, None),
        (("[::1",), None, None),
        (("",), None, None),
        ((f"{CLIENT}\t\x01",), None, None),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    values: tuple[str, ...], address: str | None, port: str | None
) -> None:
    found = of_x("for", *values)
    assert (found.address, found.port) == (address, port)


def test_with_everybody_believed_the_client_is_the_first_of_all() -> None:
    found = told(("x-forwarded-for", f"{CLIENT}, 8.8.8.8"), trusted=TrustedPeers.of(("*",)))
    assert found.address == CLIENT


def test_a_chain_without_an_end_is_not_walked() -> None:
    chain = ", ".join([CLIENT, *["10.0.0.1"] * (MAX_HOPS - 1)])
    assert of_x("for", chain).address == CLIENT
    assert of_x("for", f"{chain}, 10.0.0.1").address is None


@pytest.mark.parametrize(
    ("chain", "values", "scheme"),
    [
        ("", "https", "https"),
        ("", "HTTPS", "https"),
        ("", "gopher", None),
        ("", "https\x00", None),
        (CLIENT, "https", "https"),
        # One value is the outermost proxy's, passed on; several have the chain's places.
        (f"{CLIENT}, 10.0.0.1", "https", "https"),
        (f"{CLIENT}, 10.0.0.1", "https, http", "https"),
        (f"6.6.6.6, {CLIENT}, 10.0.0.1", "gopher, https, http", "https"),
        # What a client has sent itself stands left of what the proxy appends.
        (CLIENT, "https, http", "http"),
        (f"{CLIENT}, 10.0.0.1, 10.0.0.2", "https, http", None),
    ],
)
def test_other_fields_are_read_at_the_clients_place(
    chain: str, values: str, scheme: str | None
) -> None:
    found = told(("x-forwarded-for", chain), ("x-forwarded-proto", values))
    assert found.scheme == scheme


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", "example.com"),
        ("example.com:8443", "example.com:8443"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        *((wrong, None) for wrong in ("user@example.com", "a b", "a/b", "a:0", "a:99999", "[a]")),
    ],
)
def test_a_host_is_a_host_and_perhaps_a_port(host: str, expected: str | None) -> None:
    assert of_x("host", host).host == expected
    assert told(("forwarded", f'host="{host}"')).host == expected


def test_ports() -> None:
    assert [of_x("port", text).server_port for text in ("8443", "0", "08", "65536", "x", "+1")] == [
        "8443", None, None, None, None, None,
    ]  # fmt: skip


def test_a_port_that_is_not_the_hosts_takes_both_away() -> None:
    host = ("x-forwarded-host", "example.com:8443")
    assert told(host, ("x-forwarded-port", "8443"))[3:5] == ("example.com:8443", "8443")
    assert told(host, ("x-forwarded-port", "443"))[3:5] == (None, None)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/", ""),
        ("/a%20b/c", "/a b/c"),
        ("/%C3%A4", "/\xc3\xa4"),
        # Two slashes at the beginning name another host, for browsers two of whatever kind.
        *((wrong, None) for wrong in ("//evil.example", "/%2fevil.example", "/\\evil", "/%5cevil")),
        *((wrong, None) for wrong in ("api", "/a/../b", "/.", "/a?b", "/a#b", "/a%0d%0a", "/a b")),
    ],
)
def test_a_prefix_is_a_plain_path(text: str, prefix: str | None) -> None:
    assert of_x("prefix", text).prefix == prefix


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"for={CLIENT}", Forwarded(CLIENT, "")),
        (f'For="{CLIENT}:47011";Proto=HTTPS', Forwarded(CLIENT, "47011", "https")),
        ('for="[2001:db8:cafe::17]:4711"', Forwarded("2001:db8:cafe::17", "4711")),
        (f"for={CLIENT}; host=a.example:1 ;by=_p", Forwarded(CLIENT, "", None, "a.example:1")),
        (f"for={CLIENT};proto=https, for=10.0.0.1;proto=http", Forwarded(CLIENT, "", "https")),
        (f"for=6.6.6.6;host=evil, for={CLIENT}", Forwarded(CLIENT, "")),
        ('for="10.0.0.2", for=unknown;proto=https', Forwarded(None, None, "https")),
        (f'for="_a, b", for={CLIENT}', Forwarded(CLIENT, "")),
        (r'for="203.0.113\.9"', Forwarded(CLIENT, "")),
        ("proto=https", Forwarded(scheme="https")),
        (f"for={CLIENT};for={CLIENT}", NOTHING),
        (f'for="{CLIENT}', NOTHING),
        (f"for = {CLIENT}", NOTHING),
        ("for=nonsense", NOTHING),
        ("", NOTHING),
    ],
)  # fmt: skip
def test_the_field_of_rfc_7239(value: str, expected: Forwarded) -> None:
    assert told(("forwarded", value)) == expected


def test_what_a_client_breaks_in_a_field_of_its_own_does_not_hide_it() -> None:
    assert told(("forwarded", 'for="'), ("forwarded", f"for={CLIENT}")).address == CLIENT


@pytest.mark.parametrize("long", [" " * 60_000 + "x", ";" * 60_000, "," * 60_000, '"' + "\\" * 999])
def test_a_long_field_costs_no_long_time(long: str) -> None:
    """Tried in all ways to divide it, such white space took minutes of the whole process."""
    began = time.process_time()
    found = read(((b"forwarded", b"for=192.0.2.1;" + long.encode()),), TrustedPeers.of(("*",)))
    assert found == Forwarded()
    assert time.process_time() - began < 5


def test_of_both_kinds_what_they_say_alike_counts() -> None:
    usual = (("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https"))
    same = told(*usual, ("forwarded", f"for={CLIENT};proto=https;host=evil.example"))
    assert same == Forwarded(CLIENT, "", "https")
    assert told(*usual, ("forwarded", "for=6.6.6.6;proto=https")).address is None
    # What is no Forwarded at all was not sent.
    assert told(*usual, ("forwarded", "for=")).address == CLIENT
    assert told(("x-forwarded-for", "?"), ("forwarded", f"for={CLIENT}")).address == CLIENT


def test_the_same_fields_are_read_once() -> None:
    fields = ((b"x-forwarded-for", CLIENT.encode()),)
    reader = ForwardedReader(PROXIES)
    assert reader.read(fields) is reader.read(fields)
    assert reader.read(()) == NOTHING
    assert reader.read(fields).peer == CLIENT
    assert Forwarded("::1", "5").peer == "[::1]:5"
    assert NOTHING.peer == ""


def test_a_host_is_split() -> None:
    assert [split_host(host) for host in ("a", "a:1", "[::1]:1", "a@b", "")] == [
        ("a", ""), ("a", "1"), ("::1", "1"), ("", ""), ("", ""),
    ]  # fmt: skip


NODES = st.sampled_from([CLIENT, "10.0.0.1", "unknown", "_x", "[::1]:5", "?", "", '"', "for="])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(NAMES)),
            st.one_of(
                st.lists(NODES).map(", ".join), st.text(st.characters(max_codepoint=255))
            ).map(lambda text: text.encode("latin-1")),
        )
    )
)
def test_whatever_comes_is_read_without_an_error(fields: list[tuple[bytes, bytes]]) -> None:
    found = read(tuple(fields), PROXIES)
    assert found.scheme in (None, "http", "https")
    assert found.host is None or found.host.isascii()
