"""Addresses as people write them, and what was meant by those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.config import addresses
from h2wsgi.config.addresses import parse_host_port
from h2wsgi.errors import ConfigurationError

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""


@patient
@given(st.from_regex(r"[a-z0-9.-]{0,20}", fullmatch=True), st.integers(0, 65_535))
def test_a_host_and_port_are_split(host: str, port: int) -> None:
    assert parse_host_port(f"{host}:{port}") == (host, port)


@patient
@given(st.ip_addresses(v=6), st.integers(0, 65_535))
def test_brackets_come_off_an_ipv6_address(host: object, port: int) -> None:
    assert parse_host_port(f"[{host}]:{port}") == (str(host), port)


def test_a_port_alone_gets_a_better_suggestion() -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_host_port("8443")
    assert raised.value.hint == "Did you mean localhost:8443?"


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("localhost", "Did you mean localhost:8443?"),
        ("127.0.0.1", "Did you mean 127.0.0.1:8443?"),
        ("::1", "Did you mean [::1]:8443?"),
        ("[::1", "Did you mean [::1]:8443?"),
        ("http://localhost:80", "Leave out the scheme: localhost:80."),
        ("https://localhost/x", "Leave out the scheme: localhost:8443."),
        ("8443x", "For example localhost:8443"),
        ("", "For example localhost:8443"),
        ("[::g]:80", "::g is no IPv6 address."),
        ("fd://x", "fd:// takes the number of a listening socket"),
        ("fd:3", "Did you mean fd://3?"),
        ("localhost:99999", "Ports go up to 65535; 0 takes a free one."),
        ("localhost:" + "9" * 5000, "Ports go up to 65535; 0 takes a free one."),
        ("localhost:", "Did you mean localhost:8443?"),
        ("localhost:https", "Did you mean localhost:443?"),
        ("localhost:name", "For example localhost:8443"),
        ("localhost 8443", "Did you mean localhost:8443?"),
        ("localhost: 8443", "Did you mean localhost:8443?"),
        ("localhost:8443/", "Did you mean localhost:8443?"),
        ("::1:8443", "Did you mean [::1]:8443?"),
        ("2001:db8::1:443", "Did you mean [2001:db8::1]:443?"),
        ("2001:db8::1", "Did you mean [2001:db8::1]:8443?"),
        ("/run/h2wsgi.sock", "Did you mean unix:/run/h2wsgi.sock?"),
        ("./app", "Did you mean unix:./app?"),
        ("app.sock", "Did you mean unix:app.sock?"),
    ],
)
def test_what_was_meant_by_no_address_is_guessed(address: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        addresses.check_addresses(("localhost:1", address))
    assert raised.value.hint.startswith(hint)


def test_an_address_given_twice_is_refused_unless_its_port_is_free() -> None:
    for address in ("localhost:8443", "unix:/run/x", "fd://3"):
        with pytest.raises(ConfigurationError, match="is given twice"):
            addresses.check_addresses((address, "[::1]:1", address))
    with pytest.raises(ConfigurationError, match="is given twice"):
        addresses.check_addresses(("localhost:1", "LOCALHOST:1"))
    for twice in (("fd://3", "fd://03"), ("fd://", "fd://3"), ("fd://4", "fd://")):
        with pytest.raises(ConfigurationError, match="is given twice"):
            addresses.check_addresses(twice)
    addresses.check_addresses(("localhost:0", "localhost:0", "localhost:1", "unix:a", "fd://3"))


def test_hosts_are_resolved_where_there_are_some() -> None:
    for address in ("unix:/run/x", "fd://3", "127.0.0.1:1", "*:1", ":1"):
        addresses.check_host(address)
    with pytest.raises(ConfigurationError, match="cannot be resolved"):
        addresses.check_host("x" * 70 + ".invalid:1")


def test_a_star_is_every_address() -> None:
    assert parse_host_port("*:8447") == ("", 8447)
