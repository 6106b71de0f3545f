"""Certificates signed: for which names an authority may vouch, and what is no name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from h2wsgi.errors import CertificateError
from h2wsgi.tls.development import (
    make_certificates,
)


@pytest.mark.parametrize("name", ["192.0.2.7", "web.test"])
def test_an_authority_for_one_kind_of_name_permits_no_other_kind(name):
    from cryptography import x509

    from h2wsgi.tls.issuing import authority

    now = datetime.now(UTC)
    certificate = authority("x", (name,), now, now + timedelta(days=1)).certificate
    found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    kinds = {type(permitted) for permitted in found.value.permitted_subtrees}
    assert found.critical
    assert kinds == {x509.DNSName, x509.IPAddress}


@pytest.mark.parametrize("name", ["", "a b", "https://x", "x:1", "-é-" * 99, "a..b", "x" * 64])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(CertificateError, match=r"\(--name\) is neither"):
        make_certificates(tmp_path, (name,))
