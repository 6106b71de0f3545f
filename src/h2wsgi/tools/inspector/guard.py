"""Who may see the inspector: its own page and people who were given its URL. Pure.

A request must pass three checks. Its Host is the loopback with our port: another name may have been
made to lead here (DNS rebinding). No other site's page sent it. It has the token, which another
user of this machine does not know. No answer may be read by other origins.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from .address import host_of

SAFE_SITES = ("same-origin", "none")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Fields of every answer."""


class Guard:
    """Lets requests pass, or refuses them with a status."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.token = secrets.token_urlsafe(16)
        """The first folder of the page's URL. No cookie, which would go to other ports too."""
        host, port = address
        names = ("localhost", "127.0.0.1", "[::1]", host_of(host))
        self._hosts = frozenset(f"{name}:{port}" for name in names)
        if port == 80:  # browsers leave it out
            self._hosts |= set(names)

    def refusal(
        self, path: str, hosts: list[str], headers: Mapping[str, str]
    ) -> tuple[HTTPStatus, str] | None:
        """Return None if the client may see ``path``, else a status and a sentence."""
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST, "The inspector has no such host."
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{hosts[0].lower()}":
            return HTTPStatus.FORBIDDEN, "Other origins may not use the inspector."
        if headers.get("Sec-Fetch-Site", "none") not in SAFE_SITES:
            return HTTPStatus.FORBIDDEN, "Open the inspector's URL itself, not a link to it."
        token = path.split("/")[1] if path.startswith("/") else ""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return HTTPStatus.NOT_FOUND, "Open the URL that h2wsgi printed when it started."
        return None


def content_policy(nonce: str) -> str:
    """Return the page's Content-Security-Policy: its own script and style, its own origin."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
