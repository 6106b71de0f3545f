"""What is read of a certificate, and that damaged octets raise nothing but ValueError."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.tls.certificate import read_certificate
from h2wsgi.tls.context import describe
from support.certificates import self_signed


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
