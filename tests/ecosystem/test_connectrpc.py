"""A service of connectrpc's, called by its own client in three protocols, and by grpcio."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from connectrpc.client import ConnectClientSync, ResponseMetadata
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from google.protobuf.wrappers_pb2 import StringValue
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

from ecosystem.applications.rpc_service import (
    BREAK,
    COUNT,
    ENDLESS,
    JOIN,
    REFUSE,
    SAY,
    SERVICE,
    UPPER,
    Text,
)
from support.settled import eventually

PATIENCE = 20
WORDS = [f"{number}-" + "x" * 20_000 for number in range(50)]
"""A megabyte: more than a window."""


@pytest.fixture(scope="module")
def site(serve):
    return serve("rpc_service")


# ----------------------------------------------------------------------- connectrpc's client


@pytest.fixture(scope="module")
def http(site):
    transport = SyncHTTPTransport(
        tls_ca_cert=Path(site.ca_file).read_bytes(), http_version=HTTPVersion.HTTP2
    )
    with transport:
        client = SyncClient(transport)
        client.get(site.url)  # so that what the client keeps for good is there before any test
        yield client


@pytest.fixture(params=ProtocolType, ids=lambda kind: kind.name.lower())
def client(site, http, request):
    with ConnectClientSync(site.url, http_client=http, protocol=request.param) as client:
        yield client


def test_a_call_is_answered_with_its_header_and_trailer(client):
    with ResponseMetadata() as metadata:
        answer = client.execute_unary(request=Text(value="you"), method=SAY)
    assert answer.value == "hello you"
    assert metadata.headers["x-shop"] == "open"
    assert metadata.trailers["x-said"] == "once"


def test_a_call_without_effects_may_be_a_get(site, http):
    client = ConnectClientSync(site.url, http_client=http)
    answer = client.execute_unary(request=Text(value="é"), method=SAY, use_get=True)
    assert answer.value == "hello é"


def test_an_error_has_its_code_and_text(client):
    with pytest.raises(ConnectError) as caught:
        client.execute_unary(request=Text(value="you"), method=REFUSE)
    assert (caught.value.code, caught.value.message) == (Code.PERMISSION_DENIED, "not to you")


def test_a_stream_of_answers_comes_whole(client):
    with ResponseMetadata() as metadata:
        answers = client.execute_server_stream(request=Text(value="1000"), method=COUNT)
        assert [answer.value for answer in answers] == [str(n) for n in range(1000)]
    assert metadata.trailers["x-counted"] == "1000"


def test_a_stream_that_breaks_is_no_whole_one(client):
    answers = client.execute_server_stream(request=Text(value=""), method=BREAK)
    assert next(answers).value == "one"
    with pytest.raises(ConnectError) as caught:
        next(answers)
    assert (caught.value.code, caught.value.message) == (Code.DATA_LOSS, "no second one")


def test_a_stream_of_requests_arrives_whole(client):
    sent = (Text(value=word) for word in WORDS)
    answer = client.execute_client_stream(request=sent, method=JOIN)
    assert answer.value == " ".join(WORDS)


def test_streams_both_ways_come_whole(client):
    sent = (Text(value=word) for word in WORDS)
    answers = client.execute_bidi_stream(request=sent, method=UPPER)
    assert [answer.value for answer in answers] == [word.upper() for word in WORDS]


def test_a_client_that_has_enough_ends_the_stream(site, client):
    word = str(client._protocol)
    answers = client.execute_server_stream(request=Text(value=word), method=ENDLESS)
    assert len(next(answers).value) == 10_000
    answers.close()
    ended = site.folder / "ended"
    eventually(lambda: ended.exists() and ended.read_text() == word, "the generator to end")


# -------------------------------------------------------------------------------------- gRPC


@pytest.fixture
def channel(site):
    trust = grpc.ssl_channel_credentials(Path(site.ca_file).read_bytes())
    with grpc.secure_channel(site.url.removeprefix("https://"), trust) as channel:
        yield channel


def call(channel, kind: str, name: str):
    """Return a method as generated code would."""
    return getattr(channel, kind)(
        f"/{SERVICE}/{name}", StringValue.SerializeToString, StringValue.FromString
    )


def test_grpc_unary(channel):
    say = call(channel, "unary_unary", "Say")
    answer, state = say.with_call(StringValue(value="you"), timeout=PATIENCE)
    assert answer.value == "hello you"
    assert state.code() is grpc.StatusCode.OK
    assert ("x-shop", "open") in state.initial_metadata()
    assert ("x-said", "once") in state.trailing_metadata()


def test_grpc_error(channel):
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "unary_unary", "Refuse")(StringValue(value="you"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.details() == "not to you"
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "unary_unary", "Nothing")(StringValue(value="you"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_stream_of_answers(channel):
    answers = call(channel, "unary_stream", "Count")(StringValue(value="1000"), timeout=PATIENCE)
    assert [answer.value for answer in answers] == [str(number) for number in range(1000)]
    assert ("x-counted", "1000") in answers.trailing_metadata()


def test_grpc_stream_that_breaks(channel):
    answers = call(channel, "unary_stream", "Break")(StringValue(), timeout=PATIENCE)
    assert next(answers).value == "one"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS


def test_grpc_stream_of_requests(channel):
    sent = (StringValue(value=word) for word in WORDS)
    answer = call(channel, "stream_unary", "Join")(sent, timeout=PATIENCE)
    assert answer.value == " ".join(WORDS)


def test_grpc_streams_both_ways(channel):
    sent = (StringValue(value=word) for word in WORDS)
    answers = call(channel, "stream_stream", "Upper")(sent, timeout=PATIENCE)
    assert [answer.value for answer in answers] == [word.upper() for word in WORDS]


def test_grpc_many_calls_at_once(channel):
    say = call(channel, "unary_unary", "Say")
    futures = [say.future(StringValue(value=str(n)), timeout=PATIENCE) for n in range(200)]
    assert [future.result().value for future in futures] == [f"hello {n}" for n in range(200)]


def test_grpc_cancel_ends_the_stream(site, channel):
    answers = call(channel, "unary_stream", "Endless")(StringValue(value="g"), timeout=PATIENCE)
    assert len(next(answers).value) == 10_000
    answers.cancel()
    with pytest.raises(grpc.RpcError):
        list(answers)
    ended = site.folder / "ended"
    eventually(lambda: ended.exists() and ended.read_text() == "g", "the generator to end")


def test_grpc_deadline(site, channel):
    answers = call(channel, "unary_stream", "Endless")(StringValue(value="d"), timeout=4)
    assert len(next(answers).value) == 10_000
    eventually(lambda: not answers.is_active(), "the deadline")
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    ended = site.folder / "ended"
    eventually(lambda: ended.exists() and ended.read_text() == "d", "the generator to end")


def test_grpc_names_the_version_that_it_speaks(site, channel):
    call(channel, "unary_unary", "Say")(StringValue(), timeout=PATIENCE)
    eventually(site.accesses, "the line of the call")
    assert {line["protocol"] for line in site.accesses()} == {"HTTP/2"}
