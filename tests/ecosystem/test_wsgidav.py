"""WsgiDAV with a WebDAV client, and with curl where the client does not go."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import httpx
import pytest
from webdav4.client import Client, ResourceConflict, ResourceNotFound

from support.clients import find, run

AUTH = ("eva", "a secret")
CONTENT = bytes(range(256)) * 4000
LOCK = """<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>
<D:locktype><D:write/></D:locktype><D:owner>eva</D:owner></D:lockinfo>"""
PROPERTIES = """<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:" xmlns:S="urn:shop">
<D:set><D:prop><S:shelf>seven</S:shelf></D:prop></D:set></D:propertyupdate>"""
WHICH = """<?xml version="1.0"?><D:propfind xmlns:D="DAV:" xmlns:S="urn:shop">
<D:prop><S:shelf/></D:prop></D:propfind>"""


@pytest.fixture(scope="module")
def site(serve):
    return serve("webdav_folder")


@pytest.fixture
def http(site):
    with site.client(auth=AUTH) as client:
        yield client


@pytest.fixture
def dav(site, http):
    return Client(site.url, http_client=http)


def test_files_and_folders_are_made_moved_copied_and_removed(site, dav):
    dav.mkdir("work")
    dav.upload_fileobj(io.BytesIO(CONTENT), "work/one.bin", size=len(CONTENT))
    assert (site.folder / "shared/work/one.bin").read_bytes() == CONTENT
    dav.move("work/one.bin", "work/two.bin")
    dav.copy("work/two.bin", "work/three.bin")
    assert sorted(dav.ls("work", detail=False)) == ["work/three.bin", "work/two.bin"]
    assert dav.content_length("work/two.bin") == len(CONTENT)
    assert dav.exists("work/two.bin")
    assert not dav.exists("work/one.bin")
    with pytest.raises(ResourceNotFound):
        dav.info("work/one.bin")
    with pytest.raises(ResourceConflict):
        dav.mkdir("nowhere/below")
    dav.remove("work")
    assert not dav.exists("work")
    assert not (site.folder / "shared/work").exists()


def test_a_file_is_read_from_the_middle(dav):
    dav.upload_fileobj(io.BytesIO(CONTENT), "read.bin", size=len(CONTENT))
    with dav.open("read.bin", mode="rb", chunk_size=10_000) as file:
        file.seek(500_000)
        assert file.read(100) == CONTENT[500_000:500_100]
        file.seek(5)
        assert file.read(7) == CONTENT[5:12]
    whole = io.BytesIO()
    dav.download_fileobj("read.bin", whole)
    assert whole.getvalue() == CONTENT


def test_ranges_are_answered_with_parts(http):
    http.put("/part.bin", content=CONTENT)
    part = http.get("/part.bin", headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(CONTENT)}"
    end = http.get("/part.bin", headers={"range": "bytes=-10"})
    assert (end.status_code, end.content) == (206, CONTENT[-10:])
    assert http.get("/part.bin", headers={"range": "bytes=9999999-"}).status_code == 416


@pytest.mark.parametrize("octets", [0, 10, 200_000, 3_000_000])
def test_an_upload_without_a_length_is_kept_whole(site, http, octets):
    content = (CONTENT * 3)[:octets]
    answer = http.put("/stream.bin", content=iter([content[:7], content[7:]]))
    assert answer.status_code in (201, 204)
    assert (site.folder / "shared/stream.bin").read_bytes() == content


@pytest.mark.client
def test_curl_uploads_what_comes_through_a_pipe(site):
    command = [find("curl"), "-sS", "--cacert", site.ca_file, "--user", ":".join(AUTH)]
    command += ["-T", "-", "-o", "/dev/null", "-w", "%{http_version} %{response_code}"]
    told = run([*command, f"{site.url}/piped.bin"], content=CONTENT)
    assert told in ("2 201", "2 204")
    assert (site.folder / "shared/piped.bin").read_bytes() == CONTENT


def test_a_lock_keeps_others_out_until_it_is_given_back(site, http):
    http.put("/locked.txt", content=b"one")
    granted = http.request("LOCK", "/locked.txt", content=LOCK, headers={"timeout": "Second-600"})
    assert granted.status_code == 200
    token = granted.headers["lock-token"]
    assert token.strip("<>") in granted.text
    assert http.put("/locked.txt", content=b"two").status_code == 423
    assert http.request("MOVE", "/locked.txt", headers={"destination": f"{site.url}/m"}).is_error
    allowed = http.put("/locked.txt", content=b"two", headers={"if": f"({token})"})
    assert allowed.status_code == 204
    again = {"if": f"({token})", "timeout": "Second-900"}
    assert http.request("LOCK", "/locked.txt", headers=again).status_code == 200
    freed = http.request("UNLOCK", "/locked.txt", headers={"lock-token": token})
    assert freed.status_code == 204
    assert http.put("/locked.txt", content=b"three").status_code == 204
    assert http.get("/locked.txt").text == "three"


def test_a_property_is_kept(http):
    http.put("/shelved.txt", content=b"one")
    changed = http.request("PROPPATCH", "/shelved.txt", content=PROPERTIES)
    assert changed.status_code == 207
    found = http.request("PROPFIND", "/shelved.txt", content=WHICH, headers={"depth": "0"})
    assert found.status_code == 207
    assert ElementTree.fromstring(found.content).findtext(".//{urn:shop}shelf") == "seven"
    http.request("MOVE", "/shelved.txt", headers={"destination": "/moved.txt", "overwrite": "T"})
    moved = http.request("PROPFIND", "/moved.txt", content=WHICH, headers={"depth": "0"})
    assert ElementTree.fromstring(moved.content).findtext(".//{urn:shop}shelf") == "seven"


def test_a_stranger_is_asked_for_a_password(site):
    with site.client() as client:
        assert client.put("/no.txt", content=CONTENT).status_code == 401
        digest = httpx.DigestAuth(*AUTH)
        assert client.put("/yes.txt", content=b"yes", auth=digest).status_code == 201


def test_a_folder_is_shown_to_a_browser(http):
    http.put("/ä b.txt", content=b"name")
    page = http.get("/", headers={"accept": "text/html"})
    (link,) = re.findall(r'href="([^"]*%20b\.txt)"', page.text)
    assert http.get(f"/{link}").text == "name"
