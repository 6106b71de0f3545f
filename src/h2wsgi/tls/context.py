"""TLS for HTTP/2: the server's contexts, and every way in which a certificate can be wrong.

Runs on the thread that starts the server, and later on the one that looks for changed files. The
invariant: a context from here speaks TLS 1.2 or newer, offers exactly ``h2`` by ALPN, and only
cipher suites that RFC 9113 section 9.2.2 allows. Making a context never asks anything on the
terminal.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from weakref import WeakKeyDictionary

from ..config.addresses import check_addresses, check_host
from ..config.config import Config
from ..config.options import absolute
from ..errors import CertificateError, ConfigurationError
from ..process.clock import clock
from .certificate import CertificateFacts, covers, end_of_list, read_certificate
from .handed import place_of

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)
REVOCATIONS = re.compile(
    r"-----BEGIN X509 CRL-----(\s.*?)-----END X509 CRL-----", re.DOTALL | re.ASCII
)
KEY_LOG = "SSLKEYLOGFILE"
"""The variable that names the file for TLS secrets, as in browsers and curl."""
KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----", re.ASCII)

# The last reason is what OpenSSL gives if the key is of another kind.
MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
# OpenSSL's reasons to refuse a certificate that it could read, in plain words.
REFUSALS = {
    "EE_KEY_TOO_SMALL": "its key is too short for OpenSSL's security level",
    "CA_KEY_TOO_SMALL": "a key in its chain is too short for OpenSSL's security level",
    "CA_MD_TOO_WEAK": "it is signed with a digest that is too weak",
    "UNKNOWN_CERTIFICATE_TYPE": "its kind of key is not supported",
}


_facts: WeakKeyDictionary[ssl.SSLContext, CertificateFacts] = WeakKeyDictionary()
"""The facts of each context's certificate. SSLContext is not subclassed, as gevent replaces it."""


def facts_of(context: ssl.SSLContext) -> CertificateFacts | None:
    """Return what the certificate of a server's context says; None if that cannot be read."""
    return _facts.get(context)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One of the certificates that a server shows: the file, and what is known of it."""

    path: str
    facts: CertificateFacts | None

    def warning(self) -> str:
        """Return why clients will refuse it, now or soon, as a sentence; empty if they will not."""
        if self.facts is None or not self.facts.ends_soon:
            return ""
        ends = self.facts.not_after
        if self.facts.expired:
            return f"The certificate {self.path} expired on {ends:%Y-%m-%d}."
        days = (ends - clock.now()).days
        when = "today or tomorrow" if days < 1 else f"in {days} {'day' if days == 1 else 'days'}"
        return f"The certificate {self.path} expires on {ends:%Y-%m-%d}, {when}: renew it."


@dataclass(frozen=True, slots=True)
class TLSIdentity:
    """The certificates a server shows, ready for use.

    ``context`` is what connections begin with; the first of ``certificates`` is shown to clients
    that ask for a name in none of them. ``ca_path`` is the file that clients have to trust, if it
    is known. ``development`` says that the certificate is the one of :mod:`h2wsgi.tls.development`,
    ``made`` that it was made just now, ``replaced`` why its CA is a new one, ``trusted`` that
    ``h2wsgi --trust`` was called for it.
    """

    context: ssl.SSLContext
    certificates: tuple[Certificate, ...]
    ca_path: str | None
    development: bool = False
    made: bool = False
    replaced: str = ""
    trusted: bool = False
    revocations: Revocations | None = None
    files: tuple[str, ...] = ()
    """All files that it was read from."""

    @property
    def cert_path(self) -> str:
        """The file of the first certificate."""
        return self.certificates[0].path

    @property
    def facts(self) -> CertificateFacts | None:
        """What is known of the first certificate."""
        return self.certificates[0].facts

    def warnings(self) -> list[str]:
        """Return why clients will be refused, or refuse, as sentences."""
        found = []
        if self.replaced:
            found.append(
                f"The development CA {self.ca_path} is new, as {self.replaced}: have your clients "
                "trust it, and forget the old one (h2wsgi --trust does both)."
            )
        found += [certificate.warning() for certificate in self.certificates]
        if self.revocations is not None:
            found.append(self.revocations.warning())
        return [warning for warning in found if warning]


@dataclass(frozen=True, slots=True)
class Revocations:
    """The list of revoked client certificates; from ``ends`` on a newer list is needed."""

    path: str
    ends: datetime | None

    def warning(self) -> str:
        """Return a sentence if the list has ended, so that no client can be let in any more."""
        if self.ends is None or self.ends > clock.now():
            return ""
        return (
            f"The revocation list {self.path} (--client-crl) ended on {self.ends:%Y-%m-%d}: until "
            "there is a newer one, every client certificate is refused."
        )


def resolve(config: Config) -> TLSIdentity | None:
    """Return the certificates that ``config`` asks for, or None if nothing is served over TLS.

    If ``config`` names no certificate, addresses that only this machine can reach get the
    development certificate.

    Raises:
        CertificateError: a certificate is missing or cannot be used.
        ConfigurationError: an address is malformed or given twice; the file for TLS secrets
            cannot be written.
    """
    check_addresses((*config.tls_binds, *config.h2c_binds))
    pairs = _pairs(config)
    if not config.tls_binds:
        return None
    if pairs:
        return _identity(config, pairs, config.key_password)
    for address in config.tls_binds:
        if not is_local(address):
            check_host(address)
            raise CertificateError(
                f"The address {address} (--bind) can be reached from outside, which needs a "
                "certificate.",
                "Give one with --cert and --key, or serve cleartext with --h2c behind a proxy.",
            )
    from .development import ensure_development_certificate

    made = ensure_development_certificate()
    identity = _identity(config, [(made.cert, made.key)], "")
    return replace(
        identity,
        ca_path=made.ca,
        development=True,
        made=made.made,
        replaced=made.replaced,
        trusted=made.trusted,
    )


def read_again(config: Config, identity: TLSIdentity) -> TLSIdentity:
    """Return the identity that the files of ``identity`` give now.

    Session tickets of the old one are no longer valid: a client that resumes is not verified again.

    Raises:
        CertificateError: one of them is missing or cannot be used.
    """
    if not identity.development:
        return _identity(config, _pairs(config), config.key_password)
    cert, key = identity.files[:2]
    again = _identity(config, [(cert, key)], "")
    return replace(again, ca_path=identity.ca_path, development=True, trusted=identity.trusted)


def _pairs(config: Config) -> list[tuple[str, str | None]]:
    """Return the files of each certificate and of its key, None for a key in the same file."""
    certs, keys = config.cert, config.key
    if keys and not certs:
        raise CertificateError(
            f"The private key {keys[0]} (--key) has no certificate.",
            "Give its certificate with --cert.",
        )
    if keys and len(keys) != len(certs):
        raise CertificateError(
            f"There are {_counted(len(certs), 'certificate')} (--cert), but "
            f"{_counted(len(keys), 'private key')} (--key).",
            "Give the key of each certificate, in the same order; or none, where each file of "
            "--cert holds its key.",
        )
    return list(zip(certs, keys or [None] * len(certs), strict=True))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _identity(config: Config, pairs: list[tuple[str, str | None]], password: str) -> TLSIdentity:
    contexts, certificates = [], []
    for cert, key in pairs:
        context = server_context(
            cert, key, password or None, tls_min=config.tls_min, ciphers=config.ciphers
        )
        if (facts := describe(cert)) is not None:
            _facts[context] = facts
        contexts.append(context)
        certificates.append(Certificate(cert, facts))
    revocations = _ask_for_client_certificates(contexts, config) if config.client_ca else None
    if (key_log := os.environ.get(KEY_LOG)) and not sys.flags.ignore_environment:
        for context in contexts:
            _write_secrets(context, key_log)
    if len(contexts) > 1:
        _choose_by_name(contexts)
    named = [name for pair in pairs for name in pair] + [config.client_ca, config.client_crl]
    first = certificates[0]
    return TLSIdentity(
        contexts[0],
        tuple(certificates),
        _find_ca(first.path, first.facts),
        revocations=revocations,
        files=tuple(dict.fromkeys(name for name in named if name)),
    )


def _choose_by_name(contexts: list[ssl.SSLContext]) -> None:
    """Have each client shown the certificate that fits the name it asks for (SNI).

    The name itself comes before a wildcard, and an earlier certificate before a later one. The
    first is for clients that ask for no name, or for one in no certificate.
    """

    named = [
        (context, [name.lower() for name in facts.names])
        for context in contexts
        if (facts := facts_of(context)) is not None
    ]

    def choose(tls: ssl.SSLObject, wanted: str | None, _: ssl.SSLContext) -> None:
        host = (wanted or "").lower().removesuffix(".")
        fitting = [context for context, names in named if covers(names, host)]
        own = [context for context, names in named if host in names]
        if found := own or fitting:
            tls.context = found[0]

    contexts[0].sni_callback = choose


def settle_key_log() -> None:
    """Make the path of the file for TLS secrets absolute, as an application may change folders."""
    if named := os.environ.get(KEY_LOG):
        os.environ[KEY_LOG] = absolute(named, KEY_LOG)


def _write_secrets(context: ssl.SSLContext, path: str) -> None:
    """Have the secrets of every connection written to a file, as Wireshark reads them."""
    try:
        # OpenSSL would make the file readable by everybody.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
        context.keylog_filename = path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"The file of {KEY_LOG}, {path}, cannot be written: {reason}.",
            f"Name a file in a folder that exists and can be written, or unset {KEY_LOG}.",
        ) from None


def is_local(address: str) -> bool:
    """Return whether only this machine can reach ``address``, a value of ``--bind``."""
    if address.startswith("unix:"):
        return True
    if address.startswith("fd:"):
        return False
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def describe(cert_path: str) -> CertificateFacts | None:
    """Return the facts of a PEM file's first certificate, or None if that cannot be read."""
    with suppress(OSError, ValueError):
        if found := CERTIFICATE.search(Path(place_of(cert_path)).read_text("latin-1")):
            return read_certificate(ssl.PEM_cert_to_DER_cert(found[0]))
    return None


def _find_ca(cert_path: str, facts: CertificateFacts | None) -> str | None:
    """Return the file that clients have to trust: the certificate, or the ca.crt beside it."""
    if facts is None:
        return None
    if facts.self_signed:
        return cert_path
    beside = Path(cert_path).with_name("ca.crt")
    ca = describe(str(beside))
    return str(beside) if ca is not None and ca.subject == facts.issuer else None


def server_context(
    cert: str, key: str | None, password: str | None, *, tls_min: str = "1.2", ciphers: str = ""
) -> ssl.SSLContext:
    """Return the context of a server that speaks nothing but HTTP/2.

    ``cert`` is a PEM file with the chain, and with the key too if ``key`` is None.

    Raises:
        CertificateError: a sentence that names the file and what is wrong with it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = TLS_VERSIONS[tls_min]
    context.set_alpn_protocols(["h2"])
    # RFC 9113 section 9.2.1 forbids compression and renegotiation in TLS 1.2.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # All suites offered are good, and the client knows which ones its hardware is quick at. (In our
    # own order OpenSSL would always take AES-256: a sixth more work than AES-128.)
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # HTTP/2 clients open one connection: a second TLS 1.3 ticket would be of no use.
    # Without any ticket every handshake would be a full one.
    context.num_tickets = 1
    _choose_ciphers(context, tls_min, ciphers)
    _load_chain(context, cert, key, password)
    return context


def _choose_ciphers(context: ssl.SSLContext, tls_min: str, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers or CIPHERS)
    except ssl.SSLError:
        raise CertificateError(
            f"The cipher list {ciphers!r} (--ciphers) holds nothing that OpenSSL knows.",
            f"For example {CIPHERS}; the suites of TLS 1.3 need not be named.",
        ) from None
    if not ciphers:
        return
    # RFC 9113 appendix A allows only ephemeral key exchange with authenticated encryption.
    # This server has no DH parameters and no pre-shared keys.
    chosen = [cipher["name"] for cipher in context.get_ciphers()]
    allowed = [name for name in chosen if _is_allowed(name)]
    if allowed:
        context.set_ciphers(":".join(allowed))
    elif tls_min == "1.2":
        raise CertificateError(
            f"The cipher list {ciphers!r} (--ciphers) holds nothing that HTTP/2 allows with "
            "TLS 1.2.",
            f"For example {CIPHERS}, or serve TLS 1.3 only with --tls-min 1.3.",
        )


def _is_allowed(cipher: str) -> bool:
    return cipher.startswith(("ECDHE-ECDSA-", "ECDHE-RSA-")) and (
        "GCM" in cipher or "CHACHA20" in cipher
    )


def _load_chain(context: ssl.SSLContext, cert: str, key: str | None, password: str | None) -> None:
    cert_text = _read(cert, "certificate", "--cert")
    key_text = _read(key, "private key", "--key") if key else cert_text
    _check_contents(cert, cert_text, key, key_text)
    asked = False

    def answer() -> str:
        # OpenSSL asks on the terminal unless it is given a function.
        nonlocal asked
        asked = True
        return password or ""

    try:
        context.load_cert_chain(place_of(cert), place_of(key) if key else None, answer)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise _chain_error(error, cert, key, asked=asked, password=password) from None


def _ask_for_client_certificates(
    contexts: list[ssl.SSLContext], config: Config
) -> Revocations | None:
    """Verify clients in all contexts: the chosen one's CA counts, and the mode of the first."""
    text = _read(config.client_ca, "client CA", "--client-ca")
    revocations = _read_revocations(config.client_crl) if config.client_crl else None
    required = config.client_cert == "required"
    for context in contexts:
        try:
            context.load_verify_locations(cadata=text)
        except ssl.SSLError:
            raise CertificateError(
                f"The client CA {config.client_ca} (--client-ca) holds no PEM certificate.",
                "It must hold a block that begins with -----BEGIN CERTIFICATE-----.",
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        if revocations is not None:
            try:
                # From the file: `cadata` takes no lists.
                context.load_verify_locations(cafile=revocations.path)
            except (ssl.SSLError, OSError):
                raise _no_list(revocations.path) from None
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return revocations


def _read_revocations(path: str) -> Revocations:
    text = _read(path, "revocation list", "--client-crl")
    try:
        lists = [base64.b64decode(found[1]) for found in REVOCATIONS.finditer(text)]
        ends = [end for der in lists if (end := end_of_list(der)) is not None]
    except ValueError:
        lists, ends = [], []
    if not lists:
        raise _no_list(path)
    return Revocations(path, min(ends, default=None))


def _no_list(path: str) -> CertificateError:
    return CertificateError(
        f"The file {path} (--client-crl) holds no PEM revocation list.",
        "It must hold a block that begins with -----BEGIN X509 CRL-----.",
    )


def _read(path: str, what: str, flag: str) -> str:
    try:
        return Path(place_of(path)).read_text("latin-1")
    except FileNotFoundError:
        problem, hint = (
            "does not exist",
            "Check the path; a relative one starts at the current folder.",
        )
    except IsADirectoryError:
        problem, hint = "is a folder", "Name the PEM file in it."
    except PermissionError:
        problem, hint = "may not be read", "Check its owner and mode, and who runs h2wsgi."
        if Path(path).is_dir():  # Windows reports a folder like this.
            problem, hint = "is a folder", "Name the PEM file in it."
    except (OSError, ValueError) as error:
        problem, hint = f"cannot be read: {error}", "Check the path."
    raise CertificateError(f"The {what} {path} ({flag}) {problem}.", hint)


def _check_contents(cert: str, cert_text: str, key: str | None, key_text: str) -> None:
    if not CERTIFICATE.search(cert_text):
        hint = "It must hold a block that begins with -----BEGIN CERTIFICATE-----."
        if cert_text.startswith("0"):  # A DER sequence: .der, .cer, .p12, .pfx.
            hint = f"It looks like DER; try: openssl x509 -inform der -in {cert} -out cert.crt"
        elif KEY.search(cert_text):
            hint = "It holds a private key; are --cert and --key swapped?"
        raise CertificateError(f"The file {cert} (--cert) holds no PEM certificate.", hint)
    if KEY.search(key_text):
        return
    if key is None:
        raise CertificateError(
            f"The certificate {cert} (--cert) has no private key.",
            "Give the key with --key, or put it into the same file.",
        )
    hint = "It must hold a block that begins with -----BEGIN PRIVATE KEY-----."
    if CERTIFICATE.search(key_text):
        hint = "It holds a certificate; are --cert and --key swapped?"
    raise CertificateError(f"The file {key} (--key) holds no PEM private key.", hint)


def _chain_error(
    error: Exception, cert: str, key: str | None, *, asked: bool, password: str | None
) -> CertificateError:
    """Return what a refusal by OpenSSL means, in plain words."""
    holder = f"{key} (--key)" if key else f"{cert} (--cert)"
    reason = getattr(error, "reason", None) or ""
    if reason in MISMATCHES:
        return CertificateError(
            f"The private key in {holder} does not belong to the certificate {cert}.",
            "The first certificate in the file must be the server's own, its chain after it.",
        )
    if asked and not password:
        return CertificateError(
            f"The private key in {holder} is encrypted.",
            "Give its password as H2WSGI_KEY_PASSWORD or with --key-password.",
        )
    if asked:
        return CertificateError(
            f"The password of the private key in {holder} is wrong.",
            "See H2WSGI_KEY_PASSWORD or --key-password.",
        )
    if reason in REFUSALS:
        return CertificateError(
            f"The certificate {cert} (--cert) cannot be used: {REFUSALS[reason]}.",
            "Make a new one with an ECDSA key on P-256, or with 2048 bits of RSA.",
        )
    return CertificateError(
        f"OpenSSL cannot use {holder} with the certificate {cert}: {reason or error}.",
        "Check that both files are whole PEM files.",
    )
