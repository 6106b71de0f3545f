"""What a start prints: where the server listens, its certificate, how to try it.

Any thread, once per start. The invariant: what is printed is true and can be pasted. The ``curl``
line names a host that the certificate is for, and the file that makes ``curl`` trust it.
"""

from __future__ import annotations

import ipaddress
import shlex
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..config.config import Config
from ..log.logs import Log, named

if TYPE_CHECKING:
    from ..tls.context import TLSIdentity
    from ..tls.development import MadeCertificate

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address to connect to if a server listens on every address."""


class Endpoint(NamedTuple):
    """Where a server listens: ``https://localhost:8443/``, or ``unix:/run/app.sock``.

    ``address`` is an IP address of this server, if one is known.
    """

    url: str
    tls: bool
    address: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix domain socket."""
        return self.url.startswith("unix:")

    @property
    def shown(self) -> str:
        """The URL for people; if the server listens on every address, one that can be opened."""
        host = urlsplit(self.url).hostname or ""
        return self.url.replace(_bracketed(host), _bracketed(ANYWHERE.get(host, host)), 1)

    @property
    def protocol(self) -> str:
        """What is spoken here, and for which addresses."""
        how = "ALPN h2" if self.tls else "cleartext, prior knowledge"
        host = urlsplit(self.url).hostname or ""
        family = {"0.0.0.0": ", all IPv4", "::": ", all IPv6"}.get(host, "")
        return f"HTTP/2 only ({how}){family}"

    def reachable(self) -> Endpoint:
        """Return this endpoint with an IP address, which curl's ``--resolve`` needs."""
        if self.is_unix:
            return self
        host = urlsplit(self.url).hostname or ""
        host = ANYWHERE.get(host, host)
        if host == "localhost":
            return self._replace(address="127.0.0.1")
        with suppress(OSError, UnicodeError):
            return self._replace(address=str(socket.getaddrinfo(host, None)[0][4][0]))
        return self


def ready(
    log: Log,
    config: Config,
    *,
    target: str,
    version: str,
    endpoints: list[Endpoint],
    certificate: TLSIdentity | None,
    inspector: str = "",
    workers: int = 0,
    metrics: str = "",
) -> None:
    """Say that the server is ready, in one piece: several lines of text, or one of JSON.

    ``inspector`` is the URL of the inspector's page, ``metrics`` that of the metrics, if there are
    any; ``workers`` how many there are, if it is not one process that serves.
    """
    threads = f"up to {config.threads} threads"
    if workers:
        threads = f"{workers} workers, each with {threads}"
    lines = [f"h2wsgi {version} serves {target} with {threads}"]
    width = max((len(endpoint.shown) for endpoint in endpoints), default=0)
    for endpoint in endpoints:
        lines.append(f"  {endpoint.shown:<{width}}  {endpoint.protocol}")
    lines += [f"  {line}" for line in certificate_lines(certificate)]
    if endpoints:
        first = endpoints[0].reachable()
        lines.append(f"  Try:  {curl_line(first, certificate, path_of(target))}")
    if inspector:
        lines.append(f"  Inspector:  {inspector}")
    if metrics:
        lines.append(f"  Metrics:  {metrics}")
    lines.append("  Ctrl-C to stop")
    fields = {
        "version": version,
        "target": target,
        "threads": config.threads,
        "endpoints": [
            {"url": endpoint.url, "protocol": "h2" if endpoint.tls else "h2c"}
            for endpoint in endpoints
        ],
        "certificate": _certificate_fields(certificate),
    }
    if workers:
        fields["workers"] = workers
    if inspector:
        fields["inspector"] = inspector
    if metrics:
        fields["metrics"] = metrics
    log.events.info("ready", extra=named("ready", **fields) | {"lines": lines})


def path_of(target: str) -> str:
    """Return a path that the application is sure to have."""
    return "/get" if target.partition(":")[0] == "httpbin" else "/"


def certificate_lines(certificate: TLSIdentity | None) -> list[str]:
    """Return the lines about the certificate, in capitals if it is for development."""
    if certificate is None:
        return []
    lines = []
    for facts in (shown.facts for shown in certificate.certificates):
        if facts is not None:
            names = ", ".join(facts.names) or "no names, so clients refuse it"
            lines.append(f"Certificate:  {names}; until {facts.not_after:%Y-%m-%d}")
    if certificate.development:
        made = "MADE JUST NOW" if certificate.made else "made before"
        rest = "refused until clients trust its CA:"
        if certificate.trusted:
            rest = "trusted by this machine (--untrust):"
        lines += [
            f"DEVELOPMENT CERTIFICATE, {made}: {rest}",
            f"{certificate.ca_path}  (for localhost and IP addresses)",
        ]
        if not certificate.trusted:
            lines.append("Have browsers and this machine trust it:  h2wsgi --trust")
    return lines


def curl_line(endpoint: Endpoint, certificate: TLSIdentity | None, path: str) -> str:
    """Return a command that gets ``path`` from ``endpoint``, ready to be pasted."""
    words = ["curl", "--http2" if endpoint.tls else "--http2-prior-knowledge"]
    scheme = "https" if endpoint.tls else "http"
    trust, name = _trust(endpoint, certificate)
    words += trust
    if endpoint.is_unix:
        words += ["--unix-socket", endpoint.url.removeprefix("unix:")]
        authority = name or "localhost"
    else:
        url = urlsplit(endpoint.url)
        host = ANYWHERE.get(url.hostname or "", url.hostname or "")
        authority = f"{_bracketed(name or host)}:{url.port}"
        if name and name != host:
            there = _bracketed(endpoint.address or host)
            if _is_ip(name):  # curl looks up names only.
                words += ["--connect-to", f"{_bracketed(name)}:{url.port}:{there}:{url.port}"]
            else:
                words += ["--resolve", f"{name}:{url.port}:{there}"]
    return shlex.join([*words, f"{scheme}://{authority}{path}"])


def _trust(endpoint: Endpoint, certificate: TLSIdentity | None) -> tuple[list[str], str]:
    """Return curl's options to trust the certificate, and the host name to ask for, if any."""
    if not endpoint.tls or certificate is None:
        return [], ""
    trust = ["--cacert", certificate.ca_path] if certificate.ca_path else []
    names = certificate.facts.names if certificate.facts else ()
    host = "localhost" if endpoint.is_unix else urlsplit(endpoint.url).hostname or ""
    host = ANYWHERE.get(host, host)
    if not names or host in names:
        return trust, host
    if "localhost" in names and host.startswith(("127.", "::1")):
        return trust, "localhost"
    return trust, names[0].replace("*", "www")


def _is_ip(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _certificate_fields(certificate: TLSIdentity | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    first, *others = (
        {
            "path": shown.path,
            "names": list(shown.facts.names) if shown.facts else None,
            "not_after": shown.facts.not_after.isoformat() if shown.facts else None,
        }
        for shown in certificate.certificates
    )
    return first | {
        "others": others,
        "ca": certificate.ca_path,
        "development": certificate.development,
        "made": certificate.made,
        "trusted": certificate.trusted,
    }


def trust_guide(made: MadeCertificate) -> str:
    """Return how common clients are made to trust a certificate of --make-cert."""
    cert, key, ca = (shlex.quote(path) for path in (made.cert, made.key, made.ca))
    wanted = "localhost" if made.kind == "wrong-host" else made.names[0].replace("*", "www")
    url = f"https://{_bracketed(wanted)}:8443/"
    parts = [
        f"Wrote {cert}, {key} and {ca}",
        f"for {', '.join(made.names)}; until {made.not_after:%Y-%m-%d}.",
        _fate_of_the_ca(made),
        "",
        f"Serve    h2wsgi module:app --cert {cert} --key {key}",
        "",
        _verdict(made, ca),
        f"curl     {_guide_curl(wanted, ca, url)}",
        f"Python   context = ssl.create_default_context(cafile={made.ca!r})",
        f"         httpx.Client(http2=True, verify=context).get({url!r})",
        f"Node     NODE_EXTRA_CA_CERTS={ca} node client.js",
    ]
    if not _is_ip(wanted) and wanted != "localhost":
        parts.append(f"But for curl, the name must lead here: 127.0.0.1 {wanted} in /etc/hosts.")
    if made.kind == "valid":
        parts += _browsers(ca)
    secret = f"{key} or {shlex.quote(made.ca_key)}" if made.ca_key else key
    return "\n".join([*parts, f"Never commit {secret}.", ""])


def _fate_of_the_ca(made: MadeCertificate) -> str:
    """Return whether clients that trust the CA will trust the next certificate too."""
    kept = "Its key was not kept, so it signs nothing more."
    if made.ca_key:
        kept = f"Its key is kept in {shlex.quote(made.ca_key)}, for the next one made here."
    if made.replaced:
        return f"THE CA IS NEW, as {made.replaced}: clients have to trust it.\n{kept}"
    return f"The CA: {kept[0].lower()}{kept[1:]}"


def _verdict(made: MadeCertificate, ca: str) -> str:
    if made.kind == "expired":
        reason = f"because it expired on {made.not_after:%Y-%m-%d}:"
    elif made.kind == "wrong-host":
        reason = f"because it is for {made.names[0]} only:"
    else:
        return f"A client accepts it once it trusts {ca}:"
    return f"A client that trusts {ca} still refuses it,\n{reason}"


def _guide_curl(host: str, ca: str, url: str) -> str:
    is_named = not _is_ip(host) and host != "localhost"
    resolve = f"--resolve {host}:8443:127.0.0.1 " if is_named else ""
    return f"curl --http2 --cacert {ca} {resolve}{shlex.quote(url)}"


def _browsers(ca: str) -> list[str]:
    store = "certutil -d sql:$HOME/.pki/nssdb"
    return [
        "Chrome   Linux, with the certutil of libnss3-tools or nss-tools:",
        "           mkdir -p ~/.pki/nssdb",
        f"           [ -f ~/.pki/nssdb/cert9.db ] || {store} -N --empty-password",
        f"           {store} -D -n h2wsgi 2>/dev/null",
        f"           {store} -A -t C,, -n h2wsgi -i {ca}",
        f"           and to remove it: {store} -D -n h2wsgi",
        f"         macOS: security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {ca}",
        f"         Windows: certutil -user -addstore Root {ca}",
        "Firefox  Settings, Privacy & Security, View Certificates, Authorities, Import",
        "Remove it there again when you are done.",
    ]
