"""Who is believed what they say of their clients."""

from __future__ import annotations

import pytest

from h2wsgi.config.config import Config
from h2wsgi.config.trusted_peers import TrustedPeers
from h2wsgi.errors import ConfigurationError


@pytest.mark.parametrize(
    ("items", "believed", "others"),
    [
        ((), [], ["127.0.0.1", "::1", ""]),
        (("127.0.0.1",), ["127.0.0.1", "::ffff:127.0.0.1"], ["127.0.0.2", "::1", ""]),
        (("10.0.0.0/8",), ["10.255.255.255", "::ffff:10.1.2.3"], ["11.0.0.0", "nonsense"]),
        (("2001:db8::/32",), ["2001:db8::7"], ["2001:db9::", "10.0.0.1"]),
        (("fe80::/10",), ["fe80::1%eth0"], []),
        (("::ffff:10.0.0.0/104",), ["10.9.9.9"], ["11.0.0.1"]),
        (("[::1]", "unix:"), ["::1", ""], ["127.0.0.1"]),
        (("127.0.0.1, 10.0.0.0/8",), ["127.0.0.1", "10.0.0.1"], [""]),
        (("*",), ["127.0.0.1", "2001:db8::1", ""], []),
    ],
)
def test_who_is_believed(items: tuple[str, ...], believed: list[str], others: list[str]) -> None:
    trusted = TrustedPeers.of(items)
    assert [address for address in believed + others if trusted.include(address)] == believed
    assert bool(trusted) == bool(items)


@pytest.mark.parametrize("item", ["localhost", "10.0.0.0/33", "10.0.0", "unix", "::1/x"])
def test_what_is_neither_address_nor_network_is_refused(item: str) -> None:
    with pytest.raises(ConfigurationError, match="no address and no network"):
        Config(forwarded_allow_ips=(item,))


def test_a_network_with_a_host_in_it_is_refused_with_both_that_it_may_mean() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Config(forwarded_allow_ips=("10.0.0.7/8",))
    assert refused.value.hint == "Did you mean 10.0.0.0/8, or 10.0.0.7 alone?"


def test_a_proxy_header_from_nobody_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="none is named"):
        Config(proxy_protocol="optional")
    with pytest.raises(ConfigurationError, match="none is named"):
        Config(proxy_protocol="required", forwarded_allow_ips=(" ",))
