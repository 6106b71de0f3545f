"""moto's S3: objects whole and in parts, with curl's signatures and botocore's."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.clients import find, run

REGION = "us-east-1"
CONTENT = bytes(range(256)) * 20_000
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


class Store:
    """A bucket and somebody who may use it."""

    def __init__(self, site) -> None:
        self.site = site
        with site.client() as client:
            self._ask(client, "CreateUser", UserName="eva")
            text = self._ask(client, "CreateAccessKey", UserName="eva")
            policy = {"PolicyName": "all", "PolicyDocument": json.dumps(POLICY)}
            self._ask(client, "PutUserPolicy", UserName="eva", **policy)
        key, secret = (
            re.search(f"<{name}>(.*?)</{name}>", text)[1]
            for name in ("AccessKeyId", "SecretAccessKey")
        )
        self.credentials = Credentials(key, secret)

    def _ask(self, client: httpx.Client, action: str, **fields: str) -> str:
        form = {"Action": action, "Version": "2010-05-08", **fields}
        scope = f"Credential=none/20310501/{REGION}/iam/aws4_request"
        answer = client.post("/", data=form, headers={"authorization": f"AWS4-HMAC-SHA256 {scope}"})
        assert answer.status_code == 200, answer.text
        return answer.text

    def signed(self, method: str, path: str, content: bytes = b"", **options) -> httpx.Request:
        """Return a request as botocore signs it."""
        request = AWSRequest(method, f"{self.site.url}{path}", data=content, **options)
        S3SigV4Auth(self.credentials, "s3", REGION).add_auth(request)
        prepared = request.prepare()
        return httpx.Request(method, prepared.url, headers=dict(prepared.headers), content=content)


@pytest.fixture(scope="module")
def store(serve):
    store = Store(serve("s3"))
    with store.site.client() as client:
        assert client.send(store.signed("PUT", "/shop")).status_code == 200
    return store


@pytest.fixture
def client(store):
    with store.site.client() as client:
        yield client


def test_a_signed_object_is_kept_listed_and_read_in_parts(store, client):
    put = client.send(store.signed("PUT", "/shop/a%20b.bin", CONTENT))
    assert (put.status_code, put.http_version) == (200, "HTTP/2")
    got = client.send(store.signed("GET", "/shop/a%20b.bin"))
    assert got.content == CONTENT
    assert got.headers["etag"] == put.headers["etag"]
    part = client.send(store.signed("GET", "/shop/a%20b.bin", headers={"range": "bytes=1000-1999"}))
    assert (part.status_code, part.content) == (206, CONTENT[1000:2000])
    head = client.send(store.signed("HEAD", "/shop/a%20b.bin"))
    assert (head.headers["content-length"], head.content) == (str(len(CONTENT)), b"")
    listed = client.send(store.signed("GET", "/shop?list-type=2&prefix=a"))
    assert "<Key>a b.bin</Key>" in listed.text
    assert client.send(store.signed("DELETE", "/shop/a%20b.bin")).status_code == 204
    assert client.send(store.signed("GET", "/shop/a%20b.bin")).status_code == 404


def test_an_object_in_parts_becomes_whole(store, client):
    begun = client.send(store.signed("POST", "/shop/parts?uploads="))
    number = re.search("<UploadId>(.*)</UploadId>", begun.text)[1]
    told = "<CompleteMultipartUpload>"
    blocks = [b"a" * (5 << 20), b"b" * 1000]
    for place, block in enumerate(blocks, 1):
        path = f"/shop/parts?partNumber={place}&uploadId={number}"
        answer = client.send(store.signed("PUT", path, block))
        assert answer.status_code == 200, answer.text
        told += f"<Part><PartNumber>{place}</PartNumber>"
        told += f"<ETag>{answer.headers['etag']}</ETag></Part>"
    told += "</CompleteMultipartUpload>"
    done = client.send(store.signed("POST", f"/shop/parts?uploadId={number}", told.encode()))
    assert done.status_code == 200, done.text
    assert client.send(store.signed("GET", "/shop/parts")).content == b"".join(blocks)


def test_a_wrong_signature_is_refused(store, client):
    request = store.signed("PUT", "/shop/wrong", b"one")
    request.headers["authorization"] = request.headers["authorization"][:-4] + "0000"
    refused = client.send(request)
    assert (refused.status_code, "SignatureDoesNotMatch" in refused.text) == (403, True)
    assert client.send(store.signed("GET", "/shop/wrong")).status_code == 404


@pytest.mark.client
def test_curl_signs_an_upload(store, client, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    key = f"{store.credentials.access_key}:{store.credentials.secret_key}"
    told = run(
        [find("curl"), "-sS", "--cacert", store.site.ca_file, "--aws-sigv4",
         f"aws:amz:{REGION}:s3", "--user", key, "--upload-file", str(file), "-o", "/dev/null",
         "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-w", "%{http_version} %{response_code}",
         f"{store.site.url}/shop/curl.bin"],
    )  # fmt: skip
    assert told == "2 200"
    assert client.send(store.signed("GET", "/shop/curl.bin")).content == CONTENT
