"""Where the inspector listens: ``auto``, a port, or ``HOST:PORT`` -> a socket on the loopback.

Called by the thread that starts the server. The invariant: never an address that another machine
could reach, as the page shows what clients sent.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from ...config.addresses import parse_host_port
from ...errors import ConfigurationError

DEFAULT_PORT = 8444
BACKLOG = 64
HINT = "For example --inspect, --inspect=8444, or --inspect=127.0.0.1:0 for a free port."


def open_socket(text: str) -> socket.socket:
    """Return a listening socket for the option ``inspect``.

    Raises:
        ConfigurationError: it is no loopback address, or cannot be used.
    """
    if text == "auto":
        try:
            return _listen("127.0.0.1", DEFAULT_PORT)
        except OSError:
            return _listen("127.0.0.1", 0)
    host, port = _parse(text)
    try:
        return _listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"The inspector's address {text} (--inspect) is in use.",
                "Stop what listens there, or write --inspect alone, which takes a free port.",
            ) from None
        raise ConfigurationError(
            f"The inspector's address {text} (--inspect) cannot be used: "
            f"{error.strerror or error}.",
            HINT,
        ) from None


def _parse(text: str) -> tuple[str, int]:
    try:
        host, port = parse_host_port(text if ":" in text else f"127.0.0.1:{text}")
    except ConfigurationError:
        raise ConfigurationError(
            f"The inspector's address {text} (--inspect) is neither PORT nor HOST:PORT.", HINT
        ) from None
    host = "127.0.0.1" if host == "localhost" else host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationError(
            f"The inspector's address {text} (--inspect) is not on the loopback, "
            "and the page shows what clients sent.",
            "Take 127.0.0.1, [::1] or localhost; to look from elsewhere, tunnel: ssh -L.",
        )
    return host, port


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def url_of(address: tuple[str, int]) -> str:
    """Return the origin of a socket's address, such as ``http://127.0.0.1:8444``."""
    return f"http://{host_of(address[0])}:{address[1]}"


def host_of(host: str) -> str:
    """Return an IP address as a URL has it."""
    return f"[{host}]" if ":" in host else host
