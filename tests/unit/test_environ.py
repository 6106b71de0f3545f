"""What is remembered of the fields that environ was made from."""

from __future__ import annotations

from h2wsgi.wsgi import environ


def test_long_field_names_are_not_remembered():
    environ.environ_key.cache_clear()
    fields = tuple((b"x" * 60_000 + b"%d" % n, b"") for n in range(10))
    environ._add_fields({}, fields)
    assert environ.environ_key.cache_info().currsize == 0
