"""Making X.509 certificates that OpenSSL's strict checks, BoringSSL, browsers and Node accept.

The only module that imports ``cryptography`` at its top: import it lazily. Runs on the thread that
starts the server. The invariant: every certificate has the key identifiers, key usage and critical
constraints that RFC 5280 asks for, which Python 3.13 verifies (``VERIFY_X509_STRICT``).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import CertificateError
from ..process.clock import clock

UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound)
"""Exceptions raised by reading or checking a broken file."""

ORGANIZATION = "h2wsgi, for development only"
DEVELOPMENT_CA = "h2wsgi development CA"
"""How the common name of each development CA begins."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Pair:
        """Read a pair and check that it is one.

        Raises:
            ValueError: or another of ``UNREADABLE``.
        """
        read = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise TypeError("not a key of ours")
        if private.public_key() != read.public_key():
            raise ValueError("the key belongs to another certificate")
        return cls(read, private)

    def certificate_pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the private key as PEM, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def is_authority_until(self, end: datetime) -> bool:
        """Return whether this is a CA as they are made here now, good until ``end``."""
        constraints = self.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        return (
            constraints.value.ca
            and self.is_ours()
            and self._lasts_until(end)
            and not self.constrains_addresses()
        )

    def constrains_addresses(self) -> bool:
        """Return whether this is a CA with a constraint that BoringSSL does not know."""
        found = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        return any(
            isinstance(name, x509.IPAddress) for name in found.value.permitted_subtrees or ()
        )

    def permits(self, names: tuple[str, ...]) -> bool:
        """Return whether this CA may sign for ``names``."""
        found = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        allowed = [n.value for n in found.value.permitted_subtrees or ()]
        return all(
            any(f".{host.value}".endswith(f".{name}") for name in allowed) for host in _hosts(names)
        )

    def fits(self, issuer: Pair, names: tuple[str, ...], end: datetime) -> bool:
        """Return whether ``issuer`` signed this leaf for ``names``, good until ``end``."""
        self.certificate.verify_directly_issued_by(issuer.certificate)
        found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return list(found.value) == [_general_name(name) for name in names] and self._lasts_until(
            end
        )

    def is_ours(self) -> bool:
        """Return whether the issuer's name is that of a CA made here."""
        names = self.certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return [name.value for name in names] == [ORGANIZATION]

    def is_issued_by_pem(self, ca: bytes) -> bool:
        """Return whether the certificate in ``ca`` signed this one."""
        try:
            self.certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
        except UNREADABLE:
            return False
        return True

    def _lasts_until(self, end: datetime) -> bool:
        begins = self.certificate.not_valid_before_utc
        return begins <= clock.now() and self.certificate.not_valid_after_utc >= end


def development_ca_name(pem: bytes) -> str:
    """Return the common name of the development CA in ``pem``; nothing if it is no such thing."""
    try:
        subject = x509.load_pem_x509_certificate(pem).subject
    except UNREADABLE:
        return ""
    values = {attribute.oid: str(attribute.value) for attribute in subject}
    name = values.get(NameOID.COMMON_NAME, "")
    is_ours = values.get(NameOID.ORGANIZATION_NAME) == ORGANIZATION
    return name if is_ours and name.startswith(f"{DEVELOPMENT_CA} ") else ""


def checked_name(name: str) -> str:
    """Return a host name in ASCII, or an IP address, as it goes into a certificate.

    Raises:
        CertificateError: the text is neither.
    """
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        # Python's codec has the older IDNA, which differs only for names that no test would use.
        ascii_name = name.encode("ascii" if name.isascii() else "idna").decode().lower()
    except UnicodeError:
        ascii_name = ""
    labels = ascii_name.removeprefix("*.").split(".")
    if len(ascii_name) > 253 or not all(_is_label(label) for label in labels):
        raise CertificateError(
            f"The name {name!r} (--name) is neither a host name nor an IP address.",
            "For example --name example.test --name 192.0.2.1, without scheme and port.",
        )
    return ascii_name


def _is_label(label: str) -> bool:
    return 0 < len(label) < 64 and label.replace("-", "a").replace("_", "a").isalnum()


def authority(name: str, names: tuple[str, ...], begins: datetime, ends: datetime) -> Pair:
    """Make a CA that can sign for the host names among ``names``, and for any IP address."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Digits of the serial number keep two CAs apart in a trust store.
    serial = x509.random_serial_number()
    subject = _subject(f"{name} {serial % 0x1000000:06x}")
    builder = (
        _builder(subject, subject, key.public_key(), begins, ends)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.NameConstraints(_permitted(names), None), critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def leaf(issuer: Pair, names: tuple[str, ...], begins: datetime, ends: datetime) -> Pair:
    """Make a server's certificate for ``names``, signed by ``issuer``."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    authority_identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        identifier.value
    )
    general_names = [_general_name(name) for name in names]
    builder = (
        _builder(
            _subject("h2wsgi server"), issuer.certificate.subject, key.public_key(), begins, ends
        )
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(general_names), critical=False)
        .add_extension(authority_identifier, critical=False)
    )
    return Pair(builder.sign(issuer.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _permitted(names: tuple[str, ...]) -> list[x509.GeneralName]:
    """Return what a CA may sign for: host names, with all names below them.

    If a kind of name is not mentioned, all names of that kind are permitted. IP addresses are not
    mentioned, as BoringSSL refuses every certificate below a CA with a constraint on them.
    """
    return list(_hosts(names) or [x509.DNSName("none.invalid")])


def _hosts(names: tuple[str, ...]) -> list[x509.DNSName]:
    named = [_general_name(name.removeprefix("*.")) for name in names]
    return [name for name in dict.fromkeys(named) if isinstance(name, x509.DNSName)]
