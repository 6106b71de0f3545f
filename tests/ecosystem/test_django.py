"""Django: its admin, logged into as a browser does, forms, streams, and static files."""

from __future__ import annotations

import re
import sqlite3

import pytest


@pytest.fixture(scope="module")
def site(serve):
    return serve("django_shop")


def token(page: str) -> str:
    """Return what a form of Django's has to be sent with."""
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert found is not None, page
    return found[1]


def submit(client, path: str, **fields: str):
    """Fill the form at ``path`` and send it as a browser would."""
    page = client.get(path)
    assert page.status_code == 200, page.text
    fields["csrfmiddlewaretoken"] = token(page.text)
    return client.post(path, data=fields, headers={"referer": str(page.url)})


def test_the_admin_is_worked_with(site):
    with site.client(follow_redirects=True) as client:
        refused = submit(client, "/admin/login/?next=/admin/", username="admin", password="wrong")
        assert "Please enter the correct username and password" in refused.text
        page = submit(client, "/admin/login/?next=/admin/", username="admin", password="a secret")
        assert "Site administration" in page.text
        password = {"password1": "long enough 7", "password2": "long enough 7"}
        added = submit(client, "/admin/auth/user/add/", username="eva", **password)
        assert "was added successfully" in added.text
        assert "eva" in client.get("/admin/auth/user/?q=eva").text
        deleted = submit(client, "/admin/auth/user/2/delete/", post="yes")
        assert "was deleted successfully" in deleted.text
        assert client.get("/admin/auth/user/2/change/").url.path == "/admin/"
    with sqlite3.connect(site.folder / "db.sqlite3") as database:
        assert database.execute("SELECT username FROM auth_user").fetchall() == [("admin",)]


def test_a_form_without_its_token_is_refused(site):
    with site.client() as client:
        answer = client.post("/admin/login/", data={"username": "admin", "password": "a secret"})
    assert answer.status_code == 403
    assert "CSRF" in answer.text


def test_addresses_are_those_of_the_client(site):
    with site.client() as client:
        assert client.get("/where").text == f"{site.url}/somewhere?x=1"
        assert client.get("/where", headers={"host": "elsewhere.test"}).status_code == 400


@pytest.mark.parametrize("octets", [10, 300_000, 5_000_000])
def test_uploads_arrive_whole(site, octets):
    with site.client() as client:
        answer = client.post("/upload", files={"file": ("file", b"x" * octets)})
        assert answer.json() == {"octets": octets}


def test_content_without_a_length_is_read(site):
    with site.client() as client:
        answer = client.post("/upload", content=iter([b"one", b"two" * 50_000]))
        assert answer.json() == {"octets": 150_003}


def test_a_file_and_a_stream_are_sent_whole(site):
    with site.client() as client:
        file = client.get("/download", headers={"accept-encoding": "identity"})
        assert file.content == (site.folder / "db.sqlite3").read_bytes()
        assert int(file.headers["content-length"]) == len(file.content)
        rows = client.get("/rows")
        assert rows.headers["content-encoding"] == "gzip"
        assert rows.text == "".join(f"{number}\n" for number in range(1000))


def test_whitenoise_serves_what_a_page_refers_to(site):
    with site.client() as client:
        page = client.get("/admin/login/").text
        (style, *_) = re.findall(r'href="(/static/admin/css/base\.[0-9a-f]+\.css)"', page)
        compressed = client.get(style)
        assert compressed.headers["content-encoding"] == "gzip"
        assert "immutable" in compressed.headers["cache-control"]
        plain = client.get(style, headers={"accept-encoding": "identity"})
        assert plain.text == compressed.text
        part = client.get(style, headers={"accept-encoding": "identity", "range": "bytes=5-24"})
        assert (part.status_code, part.content) == (206, plain.content[5:25])
        known = {"if-modified-since": plain.headers["last-modified"]}
        assert client.get(style, headers=known).status_code == 304
        head = client.head(style, headers={"accept-encoding": "identity"})
        assert head.headers["content-length"] == str(len(plain.content))
        assert client.get("/static/admin/nothing.css").status_code == 404


def test_under_debug_the_static_files_handler_serves(serve, monkeypatch):
    monkeypatch.setenv("DJANGO_DEBUG", "1")
    with serve("django_shop").client() as client:
        page = client.get("/admin/login/").text
        assert 'href="/static/admin/css/base.css"' in page
        style = client.get("/static/admin/css/base.css")
        assert (style.status_code, style.headers["content-type"]) == (200, "text/css")
        assert client.get("/nowhere").status_code == 404
