"""What is remembered of the fields that environ was made from."""

from __future__ import annotations

from h2wsgi.wsgi import environ


def test_long_field_names_are_not_remembered():
    environ.environ_key.cache_clear()
    fields = tuple((b"x" * 60_000 + b"%d" % n, b"") for n in range(10))
    environ._add_fields({}, fields, [])
    assert environ.environ_key.cache_info().currsize == 0


def test_names_with_an_underscore_are_given_back():
    dropped: list[bytes] = []
    made: dict[str, str] = {}
    fields = ((b"x_a", b"1"), (b"x-a", b"2"), (b"content-type", b"3"), (b"proxy", b"4"))
    environ._add_fields(made, fields, dropped)
    assert made == {"HTTP_X_A": "2", "CONTENT_TYPE": "3"}
    assert dropped == [b"x_a"]
