"""Certificates signed: for which names an authority may vouch, and what is no name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from h2wsgi.errors import CertificateError
from h2wsgi.tls.development import (
    make_certificates,
)


@pytest.mark.parametrize(
    ("names", "permitted"),
    [
        (("web.test", "*.web.test", "192.0.2.7", "::1"), ["web.test"]),
        (("192.0.2.7",), ["none.invalid"]),
    ],
)
def test_an_authority_is_bound_to_its_host_names_and_has_no_constraint_on_addresses(
    names, permitted
):
    from cryptography import x509

    from h2wsgi.tls.issuing import authority

    now = datetime.now(UTC)
    certificate = authority("x", names, now, now + timedelta(days=1)).certificate
    found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert found.critical
    assert found.value.permitted_subtrees == [x509.DNSName(name) for name in permitted]
    assert found.value.excluded_subtrees is None


@pytest.mark.parametrize("name", ["", "a b", "https://x", "x:1", "-é-" * 99, "a..b", "x" * 64])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(CertificateError, match=r"\(--name\) is neither"):
        make_certificates(tmp_path, (name,))
