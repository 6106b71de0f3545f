"""What is read of a certificate, and that damaged octets raise nothing but ValueError."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.tls.certificate import CertificateFacts, covers, end_of_list, read_certificate
from h2wsgi.tls.context import describe
from support.certificates import Authority, self_signed


def test_the_facts_of_a_certificate_are_what_cryptography_says(made, rsa_files, tmp_path):
    facts = describe(made.cert)
    read = x509.load_pem_x509_certificate(Path(made.cert).read_bytes())
    assert facts.names == ("localhost", "127.0.0.1", "::1")
    assert facts.not_after == read.not_valid_after_utc
    assert (facts.subject, facts.issuer) == (
        read.subject.public_bytes()[2:],
        read.issuer.public_bytes()[2:],
    )
    assert (facts.expired, facts.self_signed) == (False, False)
    old = describe(str(rsa_files / "self.crt"))
    assert (old.names, old.self_signed) == ((), True)


@pytest.mark.parametrize("year", [1975, 2030, 2080])
def test_both_forms_of_time_are_read(tmp_path, year):
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "c.crt").write_bytes(self_signed(key, datetime(year, 5, 6, 7, 8, 9, tzinfo=UTC)))
    facts = describe(str(tmp_path / "c.crt"))
    assert facts.not_after == datetime(year, 5, 8, 7, 8, 9, tzinfo=UTC)
    assert facts.expired is (year == 1975)


def test_facts_of_what_is_no_certificate_are_none(tmp_path):
    assert describe(str(tmp_path)) is None
    (tmp_path / "x").write_text("hello")
    assert describe(str(tmp_path / "x")) is None


@given(at=st.integers(0, 600), octet=st.integers(0, 255), cut=st.integers(0, 700))
def test_damaged_octets_raise_value_error_and_nothing_else(made, at, octet, cut):
    der = bytearray(ssl.PEM_cert_to_DER_cert(Path(made.cert).read_text()))
    der[at % len(der)] = octet
    for damaged in (bytes(der), bytes(der[:cut])):
        try:
            read_certificate(damaged)
        except ValueError:
            continue


FIELDS = ("020101", "3000", "3000", "3000", "3000", "3000")


@pytest.mark.parametrize(
    "der",
    [
        "",
        "30",
        "3000",
        "30023000",
        "300a3008" + "".join(FIELDS[1:5]),
        "300f300d" + "".join(FIELDS),
        "3011300f" + "".join((*FIELDS[:3], "30020500", *FIELDS[4:])),
    ],
)
def test_octets_with_too_few_fields_raise_value_error(der):
    with pytest.raises(ValueError):
        read_certificate(bytes.fromhex(der))


def test_names_that_are_neither_hosts_nor_addresses_are_left_out(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.RFC822Name("me@web.test"), x509.DNSName("web.test")]
    (tmp_path / "c.crt").write_bytes(self_signed(key, names=names))
    assert describe(str(tmp_path / "c.crt")).names == ("web.test",)


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (["shop.test"], "shop.test", True),
        (["Shop.test"], "sHop.test.", True),
        (["shop.test"], "www.shop.test", False),
        (["*.shop.test"], "www.shop.test", True),
        (["*.shop.test"], "a.www.shop.test", False),
        (["*.shop.test"], "shop.test", False),
        (["*.shop.test"], ".shop.test", False),
        (["*"], "test", False),
        (["*.test"], "*.test", True),
        (["127.0.0.1"], "127.0.0.1", True),
        (["::1"], "[0:0::1]", True),
        (["*.0.0.1"], "127.0.0.1", False),
        ([], "shop.test", False),
        (["shop.test"], "", False),
    ],
)
def test_a_certificate_covers_what_its_names_say(names, host, expected):
    assert covers(names, host) is expected


@pytest.mark.parametrize(
    ("life", "left", "expected"), [(90, 15, False), (90, 13, True), (6, 3, False), (6, 1, True)]
)
def test_a_certificate_ends_soon_by_how_long_it_is_good(life, left, expected):
    now = datetime.now(UTC)
    ends = now + timedelta(days=left)
    facts = CertificateFacts((), ends - timedelta(days=life), ends, b"", b"")
    assert facts.ends_soon is expected


def test_the_end_of_a_revocation_list_is_read():
    der = ssl.PEM_cert_to_DER_cert(
        Authority().revocations().decode().replace("X509 CRL", "CERTIFICATE")
    )
    left = end_of_list(der) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)
    with pytest.raises(ValueError):
        end_of_list(der[:-1])
    with pytest.raises(ValueError):
        end_of_list(bytes.fromhex("3004300202 00".replace(" ", "")))
