"""Lines of requests in a format of the user's: gunicorn's atoms, and what may not break a line."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2wsgi.config.access_format import ATOMS
from h2wsgi.log.access_lines import line_maker
from h2wsgi.log.text import AccessRecord, printable
from h2wsgi.process.clock import clock

RECORD = AccessRecord(
    "GET",
    "/shop?a=1",
    200,
    "HTTP/2",
    5,
    1.234567,
    12345,
    "192.0.2.1:5000",
    authority=b"shop.test",
    fields=(
        (b"referer", b"https://a.test/"),
        (b"user-agent", b"curl/8"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"authorization", b"Basic " + base64.b64encode(b"ann b:secret")),
    ),
    response_fields=((b":status", b"200"), (b"content-type", b"text/plain")),
    variables={"SSL_PROTOCOL": "TLSv1.3"},
)


def line(form: str, record: AccessRecord = RECORD) -> str:
    made = line_maker(form)(record)
    assert made.endswith("\n")
    return made[:-1]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%(h)s", "192.0.2.1"),
        ("%(port)s", "5000"),
        ("%(l)s", "-"),
        ("%(u)s", "ann\\x20b"),
        ("%(r)s", "GET /shop?a=1 HTTP/2"),
        ("%(m)s %(U)s %(q)s %(H)s", "GET /shop a=1 HTTP/2"),
        ("%(s)s %(B)s %(b)s", "200 12345 12345"),
        ("%(f)s %(a)s", "https://a.test/ curl/8"),
        ("%(T)s %(M)s %(D)s %(L)s", "1 1234 1234567 1.234567"),
        ("%({X-A}i)s %({none}i)s %({host}i)s", "1,2 - shop.test"),
        ("%({Content-Type}o)s %({x}o)s", "text/plain -"),
        ("%({SSL_PROTOCOL}e)s %({HOME}e)s", "TLSv1.3 -"),
        ("%(stream)s %(outcome)s", "5 complete"),
    ],
)
def test_an_atom_is_what_gunicorn_writes(form, expected):
    assert line(form) == expected


def test_combined_is_what_programs_for_logs_read():
    pattern = (
        r"192\.0\.2\.1 - ann\\x20b \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /shop\?a=1 HTTP/2" 200 12345 "https://a\.test/" "curl/8"'
    )
    assert re.fullmatch(pattern, line("combined"))


def test_what_there_is_not_is_a_hyphen():
    bare = AccessRecord(
        "GET", "/", 0, "HTTP/2", 0, 0.0, 0, "unix socket", "reset by client: CANCEL"
    )
    assert line("%(h)s %(port)s %(u)s %(q)s %(s)s %(b)s %(f)s %(a)s %(stream)s", bare) == " ".join(
        "-" * 9
    )
    assert line("%(outcome)s", bare) == "reset by client: CANCEL"
    for credentials in (b"Basic !", b"Basic", b"Bearer YQ==", b"Basic \xff"):
        given = bare._replace(fields=((b"authorization", credentials),))
        assert line("%(u)s", given) == "-"
    for remote, shown in (
        ("[::1]:80", "::1 80"),
        ("192.0.2.1", "192.0.2.1 -"),
        ("2001:db8::1", "2001:db8::1 -"),
        ("[2001:db8::1]", "2001:db8::1 -"),
        ("_hidden", "- -"),
        ("192.0.2.1:http", "192.0.2.1 -"),
    ):
        assert line("%(h)s %(port)s", bare._replace(remote=remote)) == shown


@pytest.mark.parametrize("offset", [-34200, 0, 3600])
def test_the_date_is_local_time_with_its_zone(monkeypatch, offset):
    monkeypatch.setattr("h2wsgi.log.access_lines.UTC_OFFSET", offset)
    monkeypatch.setattr(clock, "time", lambda: 1_700_000_000.5)
    assert (
        line("%(t)s")
        == {
            -34200: "[14/Nov/2023:12:43:20 -0930]",
            0: "[14/Nov/2023:22:13:20 +0000]",
            3600: "[14/Nov/2023:23:13:20 +0100]",
        }[offset]
    )


@given(st.binary(max_size=50))
def test_nothing_that_a_client_sends_ends_a_value_early(octets):
    text = octets.decode("latin-1")
    record = RECORD._replace(
        method=text,
        path=text,
        authority=octets,
        fields=tuple((name, octets) for name in (b"referer", b"user-agent", b"x")),
        response_fields=((b"x", octets),),
    )
    for atom in (*ATOMS, "{x}i", "{host}i", "{x}o"):
        made = line(f'"%({atom})s"', record)
        assert printable(made) == made
        assert made.count('"') == 2
        assert not re.search(r"\\(?!x[0-9a-f]{2})", made)


def test_a_value_is_cut():
    record = RECORD._replace(path="/" + "a" * 70_000, method="M" * 1_000)
    assert len(line("%(r)s", record)) < 2_200
    assert len(line("%({x-a}i)s", RECORD._replace(fields=((b"x-a", b"b" * 70_000),)))) < 2_100
