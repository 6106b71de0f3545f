"""A service of connectrpc's: every kind of call, with errors and trailers, on text alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectWSGIApplication, EndpointSync
from protobuf.wkt.google.protobuf.wrappers_pb import StringValue as Text

SERVICE = "shop.Words"


def method(name: str, kind: StreamType, **options: Any) -> MethodInfo[Text, Text]:
    options.setdefault("idempotency_level", IdempotencyLevel.UNKNOWN)
    return MethodInfo(
        name=name, service_name=SERVICE, input=Text, output=Text, stream_type=kind, **options
    )


SAY = method("Say", StreamType.UNARY, idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS)
REFUSE = method("Refuse", StreamType.UNARY)
COUNT = method("Count", StreamType.SERVER_STREAM)
ENDLESS = method("Endless", StreamType.SERVER_STREAM)
BREAK = method("Break", StreamType.SERVER_STREAM)
JOIN = method("Join", StreamType.CLIENT_STREAM)
UPPER = method("Upper", StreamType.BIDI_STREAM)


def say(request: Text, context: Any) -> Text:
    context.response_headers["x-shop"] = "open"
    context.response_trailers["x-said"] = "once"
    return Text(value=f"hello {request.value}")


def refuse(request: Text, context: Any) -> Text:
    raise ConnectError(Code.PERMISSION_DENIED, f"not to {request.value}")


def count(request: Text, context: Any) -> Iterator[Text]:
    for number in range(int(request.value)):
        yield Text(value=str(number))
    context.response_trailers["x-counted"] = request.value


def endless(request: Text, context: Any) -> Iterator[Text]:
    try:
        while True:
            yield Text(value="x" * 10_000)
    finally:
        Path("ended").write_text(request.value)


def broken(request: Text, context: Any) -> Iterator[Text]:
    yield Text(value="one")
    raise ConnectError(Code.DATA_LOSS, "no second one")


def join(requests: Iterator[Text], context: Any) -> Text:
    return Text(value=" ".join(request.value for request in requests))


def upper(requests: Iterator[Text], context: Any) -> Iterator[Text]:
    for request in requests:
        yield Text(value=request.value.upper())


class Words(ConnectWSGIApplication):
    """What protoc would make of the service's description."""

    def __init__(self) -> None:
        endpoints = [
            EndpointSync.unary(method=SAY, function=say),
            EndpointSync.unary(method=REFUSE, function=refuse),
            EndpointSync.server_stream(method=COUNT, function=count),
            EndpointSync.server_stream(method=ENDLESS, function=endless),
            EndpointSync.server_stream(method=BREAK, function=broken),
            EndpointSync.client_stream(method=JOIN, function=join),
            EndpointSync.bidi_stream(method=UPPER, function=upper),
        ]
        super().__init__(endpoints={f"/{SERVICE}/{e.method.name}": e for e in endpoints})

    @property
    def path(self) -> str:
        return f"/{SERVICE}"


app = Words()
