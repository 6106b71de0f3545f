"""start_response, write() and what a response may look like (PEP 3333, RFC 9110).

One Response per request, on the application's thread. It decides when the head leaves, counts
content against Content-Length and hands over a complete response in one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, Any, cast

from ..errors import ApplicationError
from ..seam.handover import ABORT, END, MORE, TRAILERS, Head, Kind
from ..seam.response_fields import Fields, trailer_fields
from ..seam.stream import Stream
from .head import CheckedHead, HeadMemory

ExcTriple = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
ExcInfo = ExcTriple | None

BLOCK = 65_536
"""Octets that FileWrapper reads at a time unless told otherwise."""


class FileWrapper:
    """``wsgi.file_wrapper``: iterates over a file-like object in blocks, and closes it.

    From a pipe or a socket a block is what is there: nothing waits until it is full.
    """

    def __init__(self, file: IO[bytes], block_size: int | None = BLOCK) -> None:
        self._file = file
        self._block_size = -1 if block_size is None else block_size
        self._has_read1 = _reads_what_is_there(file)
        self.most = -1
        """Octets still wanted, all if negative: reading more might wait for ever, on a socket."""

    def __iter__(self) -> Iterator[bytes]:
        # Not a generator: some callers keep and close only the iterator (Werkzeug's ranges).
        return self

    def __next__(self) -> bytes:
        size = self._block_size
        if self.most >= 0 and not 0 <= size <= self.most:
            size = self.most
        if self._has_read1 and (block := self._file.read1(size)):  # type: ignore[attr-defined]
            return block  # type: ignore[no-any-return]
        # Not the end yet: read1 also returns nothing if a non-blocking file has nothing now.
        block = self._file.read(size)
        if block is None:
            raise BlockingIOError("the file has nothing now and does not wait for more")
        if block:
            return block
        raise StopIteration

    def seekable(self) -> bool:
        """Return whether the file can seek."""
        seekable = getattr(self._file, "seekable", None)
        return bool(seekable()) if seekable is not None else hasattr(self._file, "seek")

    def seek(self, *position: int) -> int:
        """Seek in the file, as Werkzeug does to answer Range."""
        return self._file.seek(*position)

    def tell(self) -> int:
        """Return the position in the file."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self._file, "close", None)
        if close is not None:
            close()


class Response:
    """One response, from ``start_response`` to the last octet.

    Only the stream knows how far it got: a second count would be wrong once an exception strikes
    between the two.
    """

    __slots__ = ("_checked", "_excess", "_heads", "_length", "_missing", "_stream", "_trailers",
                 "_without_content", "clean", "unclosed")  # fmt: skip

    def __init__(self, stream: Stream, heads: HeadMemory) -> None:
        self._stream = stream
        self._heads = heads
        self._checked: CheckedHead | None = None
        self._length = -1
        """Octets of content that were declared; -1 if none were."""
        self._without_content = False
        self._trailers: Fields | None = None
        """What follows the content; None if nothing does: its last octets end the response."""
        self._excess = 0
        self._missing = 0
        self.unclosed: object = None
        """What the application returned, if its ``close()`` is still to be called."""
        self.clean = False
        """True once it is known that there are no notes."""

    def notes(self) -> list[str]:
        """Return what the application did wrong that did not stop the response."""
        notes = list(self._checked.notes) if self._checked is not None else []
        if self._missing:
            notes.append(f"{self._missing} octets are missing from the declared Content-Length")
        if self._excess and not self._without_content:
            notes.append(f"{self._excess} octets beyond Content-Length were left out")
        return notes

    @property
    def head_sent(self) -> bool:
        """True once the head was handed over: the status can no longer change."""
        return self._stream.head_left

    @property
    def ended(self) -> bool:
        """True once the end was handed over, good or bad: nothing more can be sent."""
        return self._stream.output_ended

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None
    ) -> Any:
        """PEP 3333's start_response; returns ``write``.

        Raises:
            ApplicationError: a second call without ``exc_info``, or an illegal status or header.
            TypeError: something is not a str, a list or a pair, or ``exc_info`` is no triple.
            BaseException: the one in ``exc_info``, once the head has left.
        """
        if exc_info is not None:
            if not isinstance(exc_info, tuple) or len(exc_info) != 3:
                raise TypeError(f"exc_info must be what sys.exc_info() returns, not {exc_info!r}")
            try:
                if self._stream.head_left:
                    raise _error_in(exc_info)
            finally:
                exc_info = None  # breaks the reference cycle through this frame
            checked = self._heads.checked(status, headers)  # what is refused replaces nothing
            # The new response does not get the trailers of the one that it replaces.
            self._trailers = None
        else:
            if self._checked is not None:
                raise ApplicationError("start_response was called twice without exc_info")
            checked = self._heads.checked(status, headers)
        self._checked = checked
        self._length = -1 if checked.length is None else checked.length
        self._without_content = checked.without_content or self._stream.request.method == "HEAD"
        if checked.announces_trailers and self._trailers is None:
            self._trailers = []
        return self.write

    def __call__(self, headers: Iterable[tuple[str, str]]) -> None:
        """``wsgi.ext.http.send_trailers``: send these fields behind the content.

        May be called more than once, until the response ends. The last octet of a declared
        Content-Length does not end it if there were trailers before, or a Trailer field.

        Raises:
            ApplicationError: the response has ended, or a field has no place in trailers.
            TypeError: ``headers`` is no list of pairs of str.
        """
        fields = trailer_fields(headers)
        if self.ended:
            raise ApplicationError(
                "trailers behind the end of the response: announce them by a Trailer field, or "
                "send them before the last octet of Content-Length"
            )
        self._trailers = (self._trailers or []) + fields

    def write(self, data: bytes) -> None:
        """Send ``data``, the head before it; returns when the stream's buffer has room again.

        Raises:
            ApplicationError: start_response was not called.
            TypeError: ``data`` is not bytes.
            ClientDisconnected: the client is gone.
        """
        if type(data) is not bytes:
            data = _as_bytes(data)
        stream = self._stream
        if data and stream.head_left and self._length < 0 and not stream.output_ended:
            stream.send(None, data)
            return
        if not data:
            # Some applications poll like this: for ever, if not told that the client is gone.
            stream.require_client()
            return
        if self._checked is None:
            raise ApplicationError("the application sent content before start_response")
        if stream.output_ended:
            self._excess += len(data)
        elif self._without_content:
            self._hand_over(b"", END)
        elif self._length < 0:
            self._hand_over(data, MORE)
        else:
            self._write_declared(data)

    def _write_declared(self, data: bytes) -> None:
        """Send ``data`` as far as Content-Length allows; the last of it ends the response."""
        remaining = self._length - self._stream.handed_over
        if len(data) > remaining:
            self._excess += len(data) - remaining
            data = data[:remaining]
        if data or not self._stream.head_left:
            ends = len(data) == remaining and self._trailers is None
            self._hand_over(data, END if ends else MORE)

    def send_iterable(self, iterable: Iterable[bytes]) -> None:
        """Send what the application returned, if it is not a list. Does not close it.

        Raises: as :meth:`write`, and whatever the iterable raises.
        """
        if type(iterable) is tuple:
            self.send_complete(iterable)
            return
        if issubclass(type(iterable), FileWrapper):  # isinstance would ask a proxy
            self._send_file(cast(FileWrapper, iterable))
            return
        try:
            chunks = iter(iterable)
        except TypeError:
            _require_iterable(iterable)
            raise
        single = hasattr(type(iterable), "__len__") and _has_one(iterable)
        for chunk in chunks:
            if single:
                chunk = _as_bytes(chunk)
                self._declare_single(chunk)
            self.write(chunk)
            # Iteration goes on after the declared length, as the application may have work to do
            # behind its last chunk, but not where all that follows would be dropped.
            if self.ended and (self._excess or self._without_content):
                break
        self.end()

    def send_complete(self, chunks: list[bytes] | tuple[bytes, ...]) -> None:
        """Send a response whose content is all there, in one piece where that can be.

        Raises: as :meth:`write`.
        """
        if len(chunks) == 1 and type(chunks[0]) is bytes:
            content = chunks[0]
        else:
            content = b"".join([c if type(c) is bytes else _as_bytes(c) for c in chunks])
        if self._length < 0:
            self._declare_single(content)
        checked = self._checked
        if (
            checked is None
            or self._stream.head_left
            or self._without_content
            or self._trailers is not None
            or len(content) != self._length
        ):
            self.write(content)
            self.end()
            return
        self.clean = not checked.notes
        self._stream.send_whole(checked.head, content)

    def _send_file(self, file: FileWrapper) -> None:
        """Send a file up to Content-Length: that is how PEP 3333 has a part of one sent.

        Nothing is read if nothing is to be sent: the file may be a pipe that has nothing yet.
        """
        if not self._without_content:
            left = file.most = self._length - self._stream.handed_over
            for block in file:
                self.write(block[:left] if self._length >= 0 else block)
                left = file.most = self._length - self._stream.handed_over
                if self.ended or not left:
                    break
        self.end()

    def _declare_single(self, content: bytes) -> None:
        """Give a response whose whole content is known its Content-Length."""
        checked = self._checked
        if checked is None or self._stream.head_left or checked.length is not None:
            return
        length = len(content)
        # An empty answer to HEAD says nothing about the length that GET would have.
        if checked.without_content or (self._without_content and not length):
            return
        self._checked = checked.with_length(length)
        self._length = length

    def end(self) -> None:
        """End the response, or reset the stream where content is missing (invariant 5).

        Raises:
            ApplicationError: start_response was never called.
            ClientDisconnected: the client is gone.
        """
        if self.ended:
            return
        if self._checked is None:
            raise ApplicationError("the application never called start_response")
        missing = self._length - self._stream.handed_over
        if missing > 0 and not self._without_content:
            self._missing = missing
            self.abort()
            return
        if not self._trailers or self._without_content:
            self._hand_over(b"", END)
            return
        if not self.head_sent:
            self._hand_over(b"", MORE)
        self._stream.send(Head(0, self._trailers), b"", TRAILERS)

    def abort(self) -> None:
        """Reset the stream: what was sent must not be taken for a whole response.

        Raises:
            ClientDisconnected: the client is gone already.
        """
        self._stream.send(None, b"", ABORT)

    def replace(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
        """Send a whole response of the server's own in place of one whose head has not left."""
        self.start_response(status, headers, (None, None, None))
        self._declare_single(content)
        self.write(content)  # which wakes the loop at once: what follows may take time
        self.end()

    def _hand_over(self, data: bytes, kind: Kind) -> None:
        self._stream.send(None if self._checked is None else self._checked.head, data, kind)


def _error_in(exc_info: ExcTriple) -> BaseException:
    """Return what to raise for ``exc_info`` now that the head has left."""
    _, error, traceback = exc_info
    if error is None:
        return ApplicationError("start_response was called again after the head was sent")
    return error.with_traceback(traceback)


def _require_iterable(returned: object) -> None:
    """Raise if the application returned no iterable, such as None for a forgotten return."""
    if not isinstance(returned, Iterable) and not hasattr(type(returned), "__getitem__"):
        what = type(returned).__name__
        raise TypeError(f"the application returned {what}, not an iterable of bytes")


def _reads_what_is_there(file: object) -> bool:
    """Return whether a file has a ``read1`` that reads what its ``read`` does.

    That is so if one class defines both. A subclass that replaces ``read``, to count or to decode,
    may not know of ``read1``.
    """
    for kind in type(file).__mro__:
        names = {"read", "read1"} & vars(kind).keys()
        if names:
            return len(names) == 2
    return False


def _has_one(iterable: object) -> bool:
    """Return whether an iterable has one element and can say so (PEP 3333).

    A proxy has a ``__len__`` even if what it stands for has no length.
    """
    try:
        return len(iterable) == 1  # type: ignore[arg-type]
    except Exception:
        return False


def _as_bytes(chunk: object) -> bytes:
    if not isinstance(chunk, bytes):
        raise TypeError(f"response content must be bytes, not {type(chunk).__name__}")
    # Joined into plain bytes: bytes() may return a subclass, whose len() may be wrong.
    return b"".join((bytes(chunk),))
