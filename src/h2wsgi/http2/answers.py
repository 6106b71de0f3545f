"""What the server says in place of an application that was not called, or is not waited for.

Pure.
"""

from __future__ import annotations

from ..handover import Head
from ..request import RequestFields

_REASONS = {
    413: b"Content Too Large\n",
    431: b"Request Header Fields Too Large\n",
    501: b"Not Implemented\n",
    503: b"Service Unavailable\n",
}


def short_answer(status: int, method: str) -> tuple[Head, bytes]:
    """Return head and content of a response that says what the status means."""
    text = _REASONS[status]
    head = Head(
        status,
        [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
        ],
    )
    return head, b"" if method == "HEAD" else text


def unreadable_request(head: bool) -> RequestFields:
    """Return what stands for a request whose fields are not kept; ``head`` if it was HEAD."""
    method = "HEAD" if head else "GET"
    return RequestFields(method, b"", None, b"/", (), None, expects_continue=False)
