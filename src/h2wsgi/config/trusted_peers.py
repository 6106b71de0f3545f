"""``--forwarded-allow-ips``: the peers that are believed what they say of their clients. Pure.

An IPv4 address within IPv6 (``::ffff:10.0.0.1``) counts as the IPv4 address, in the option and on a
socket that takes both.
"""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass

from ..errors import ConfigurationError

ANYBODY = "*"
UNIX = "unix:"
UNIX_PEER = ""
"""Stands for the address of a peer on a Unix socket, which has none."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class TrustedPeers:
    """The peers that are believed. Falsy if there are none."""

    networks: tuple[Network, ...] = ()
    unix: bool = False
    anybody: bool = False

    @classmethod
    def of(cls, items: tuple[str, ...]) -> TrustedPeers:
        """Return the peers that the option names.

        Raises:
            ConfigurationError: something is neither an address nor a network.
        """
        named = {part.strip().lower() for item in items for part in item.split(",")}
        others = sorted(named - {ANYBODY, UNIX, ""})
        return cls(tuple(map(_network, others)), UNIX in named, ANYBODY in named)

    def __bool__(self) -> bool:
        return bool(self.networks or self.unix or self.anybody)

    def include(self, address: str) -> bool:
        """Return whether a peer is believed; ``address`` is empty for one on a Unix socket."""
        if self.anybody:
            return True
        if address == UNIX_PEER:
            return self.unix
        return (parsed := parse_address(address)) is not None and any(
            parsed in network for network in self.networks
        )


@functools.lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """Return the IP address that ``text`` is, without its zone, or None."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _network(text: str) -> Network:
    bare = text.removeprefix("[").removesuffix("]")
    try:
        network = ipaddress.ip_network(bare, strict=False)
    except ValueError:
        hint = "For example 127.0.0.1, 10.0.0.0/8, ::1, unix: or * for everybody."
        raise ConfigurationError(
            f"{text} (--forwarded-allow-ips) is no address and no network.", hint
        ) from None
    if "/" in bare and network.network_address != ipaddress.ip_address(bare.partition("/")[0]):
        raise ConfigurationError(
            f"The network {text} (--forwarded-allow-ips) has a host in it.",
            f"Did you mean {network}, or {bare.partition('/')[0]} alone?",
        )
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network
