"""CherryPy, which reads digits of SERVER_PROTOCOL and refuses content without a length."""

from __future__ import annotations

import pytest

STATIC = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def site(serve):
    return serve("cherrypy_site")


@pytest.fixture
def client(site):
    with site.client() as client:
        yield client


def test_pages_forms_and_json_are_answered(client):
    assert client.get("/", params={"name": "é"}).text == "hello é over HTTP/2.0"
    answer = client.post(
        "/upload", data={"title": "notes"}, files={"file": ("notes", b"x" * 300_000)}
    )
    assert answer.text == "notes: 300000"
    assert client.post("/sum", json=[1, 2, 3]).json() == {"sum": 6}
    assert client.post("/sum", content=b"no json").status_code == 415
    assert client.get("/nowhere").status_code == 404


def test_content_without_a_length_is_read(client):
    parts = iter([b"[1, ", b"2]"])
    answer = client.post("/sum", content=parts, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, {"sum": 3})


def test_a_session_goes_on_and_a_redirect_is_followed(client):
    assert [client.get("/visits").text for _ in range(3)] == ["1", "2", "3"]
    answer = client.get("/moved", follow_redirects=True)
    assert (answer.text, answer.http_version) == ("4", "HTTP/2")


def test_a_generator_is_streamed(client):
    answer = client.get("/rows")
    assert answer.text == "".join(f"{number}\n" for number in range(1000))
    assert "content-length" not in answer.headers


def test_a_failure_is_a_500(client):
    answer = client.get("/fail")
    assert answer.status_code == 500
    assert "no such sum" not in answer.text


def test_static_files_have_ranges_and_dates(client):
    answer = client.get("/static.txt")
    assert answer.content == STATIC
    part = client.get("/static.txt", headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, STATIC[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(STATIC)}"
    parts = client.get("/static.txt", headers={"range": "bytes=0-9,20-29"})
    assert parts.status_code == 206
    assert parts.headers["content-type"].startswith("multipart/byteranges")
    assert STATIC[20:30] in parts.content
    since = {"if-modified-since": answer.headers["last-modified"]}
    assert client.get("/static.txt", headers=since).status_code == 304
    assert client.get("/static.txt", headers={"range": "bytes=999999-"}).status_code == 416
