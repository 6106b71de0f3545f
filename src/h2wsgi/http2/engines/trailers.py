"""What is wrong with a request's trailer section (RFC 9113 section 8.1). Pure."""

from __future__ import annotations

from ...codes import ErrorCode
from ...errors import MalformedRequest, UnacceptableRequest
from ..fields import FieldList, check_size, check_trailers
from .stream_table import OpenStream


def trailers_error(
    stream: OpenStream, fields: FieldList, ended: bool, *, max_octets: int, max_fields: int
) -> tuple[ErrorCode, str] | None:
    """Return the code and reason of the stream error that a trailer section is, if any."""
    if stream.request_ended:
        return ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM"
    if not ended:
        return ErrorCode.PROTOCOL_ERROR, "trailers do not end the stream"
    if stream.content_left:
        return ErrorCode.PROTOCOL_ERROR, "content-length does not fit"
    try:
        check_trailers(fields)
        check_size(fields, max_octets=max_octets, max_fields=max_fields)
    except MalformedRequest as error:
        return ErrorCode.PROTOCOL_ERROR, str(error)
    except UnacceptableRequest as error:
        # Too late for a 431: the application may have answered already.
        return ErrorCode.ENHANCE_YOUR_CALM, str(error)
    return None
