"""Every exception h2wsgi raises, by whose mistake it is.

    H2WSGIError
    ├── ConfigurationError      the user's: one sentence, one hint
    │   ├── LoadError           the application could not be loaded
    │   └── CertificateError    a certificate or key is missing or wrong
    ├── ApplicationError        the application broke a rule of PEP 3333
    ├── ClientDisconnected      the peer is gone (also an OSError): raised into the application
    │   ├── BodyTooLarge        the request's content is over max_body
    │   ├── ReadTimeout         the client sent nothing for read_timeout seconds
    │   ├── RequestTimeout      the answer was not whole within request_timeout seconds
    │   ├── StreamGivenUp       the application itself has reset or abandoned the stream
    │   └── StreamBroken        something was raised in the middle of a hand-over
    ├── WouldBlock              a finalizer wanted to wait where nobody may
    └── PeerError               the peer broke a rule of RFC 9113 (loop thread only)
        ├── ConnectionFailed    ... and the connection ends with GOAWAY
        ├── MalformedRequest    ... and is answered with a 400, then RST_STREAM
        └── UnacceptableRequest ... or is answered with a 4xx or 5xx status

Anything else that leaves a function of ours is a bug of ours.
"""

from __future__ import annotations


class H2WSGIError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(H2WSGIError):
    """What the user asked for cannot be done.

    ``str()`` is one sentence that names the file, flag or key; ``hint`` says what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LoadError(ConfigurationError):
    """The application named by a target such as ``module:app`` could not be loaded."""


class CertificateError(ConfigurationError):
    """A certificate or private key is missing, unreadable or does not fit."""


class ApplicationError(H2WSGIError):
    """The application broke a rule of PEP 3333 (a bad status, a second start_response, ...)."""


class ClientDisconnected(H2WSGIError, OSError):
    """The stream or its connection ended while the application was reading or writing.

    Raised by ``wsgi.input`` and ``write()``; an application may catch it to clean up, but nothing
    it sends afterwards reaches anyone.
    """


class BodyTooLarge(ClientDisconnected):
    """The request's content is larger than ``max_body``; the response becomes a 413."""


class ReadTimeout(ClientDisconnected):
    """The client kept the application's read waiting too long; the response becomes a 408."""


class RequestTimeout(ClientDisconnected):
    """The application took too long: the client has got a 503, or a reset, in place of the answer.

    The client is there, but lost to this request all the same: nothing reaches it any more.
    """


class StreamGivenUp(ClientDisconnected):
    """The application has ended the stream with ``reset`` or ``abandon``, and reads or writes on.

    The connection is still there: what StreamControl does to it is not refused.
    """


class StreamBroken(ClientDisconnected):
    """An exception was raised while the stream handed something over: nobody knows how much.

    By another thread (``PyThreadState_SetAsyncExc``) or for want of memory. The stream ends with
    RST_STREAM(INTERNAL_ERROR); its connection goes on.
    """


class WouldBlock(H2WSGIError, RuntimeError):
    """A call that would have to wait was made where nobody may wait.

    That is the event loop's thread, or any thread in the middle of the server's own work: a
    finalizer (``__del__``) runs wherever the garbage collector happens to start.
    """


class PeerError(H2WSGIError):
    """The peer broke a rule of RFC 9113 or a limit of ours."""


class ConnectionFailed(PeerError):
    """A connection error (RFC 9113 section 5.4.1): GOAWAY with ``code``, then close.

    ``limit`` is the option whose limit the peer went over, if it was one.
    """

    def __init__(self, code: int, message: str, *, limit: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.limit = limit


class MalformedRequest(PeerError):
    """A malformed message (RFC 9113 section 8.1.1): RST_STREAM(PROTOCOL_ERROR).

    A request is answered with ``status`` before that, in which ``str()`` tells its client why.
    """

    status = 400
    limit = ""


class UnacceptableRequest(PeerError):
    """A well-formed request that this server answers itself, with ``status``.

    ``limit`` is the option whose limit it went over, if it was one.
    """

    def __init__(self, status: int, message: str, *, limit: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.limit = limit
