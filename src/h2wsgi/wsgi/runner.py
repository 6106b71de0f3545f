"""One application call, from environ to ``close()``, on a thread of the pool.

Every way it can end is handled here: a whole response, an error before or after the head, a
client that went away, an application that breaks the rules. ``close()`` of the iterable runs
exactly once, always (invariant 7), and nothing an application raises ends its thread.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn

from ..errors import BodyTooLarge, ClientDisconnected, ReadTimeout
from ..log.logs import ErrorStream, Log, named
from ..log.text import name_of_type, shown
from ..process.clock import clock
from ..process.forking import end_child
from ..seam.guards import application_thread, kernel
from ..seam.handover import ABORT
from ..seam.request import ConnectionFacts
from ..seam.stream import ClientWait, Stream
from .environ import build_environ, connection_template
from .head import HeadMemory
from .input import EmptyInput, Input
from .response import FileWrapper, Response

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_STATUS_OF: dict[type, str] = {
    BodyTooLarge: "413 Content Too Large",
    ReadTimeout: "408 Request Timeout",
}

MOST_DROPPED = 16
"""How many names of dropped fields are logged: clients may make up any number."""
MAX_NAME = 64
"""Characters of such a name that are logged."""
_traceback_of = vars(BaseException)["__traceback__"].__get__
_cause_of = vars(BaseException)["__cause__"].__get__
_context_of = vars(BaseException)["__context__"].__get__
"""An exception's own attributes, whatever its class has under their names."""
_BEFORE_IT = ("h2wsgi.wsgi.", "h2wsgi.tools.faults", "h2wsgi.tools.inspector.")
"""How the names of the modules begin that come before the application in a traceback."""


class Runner:
    """Calls one application; safe to use from many threads at once.

    ``multithread`` says whether it will be used so. ``record`` returns what is recorded of a
    connection, given its number; it is None if nothing is recorded.
    """

    def __init__(
        self,
        app: WSGIApplication,
        log: Log,
        *,
        root_path: str,
        multithread: bool,
        multiprocess: bool = False,
        record: Callable[[int], object] | None = None,
    ) -> None:
        self.app = app
        """The application; any thread may put another in its place, for the next request."""
        self._log = log
        self._root_path = root_path
        self._multithread = multithread
        self._multiprocess = multiprocess
        self._record = record
        self._errors = ErrorStream(log)
        self._heads = HeadMemory()
        self._noted: set[str] = set()
        self._noted_lock = threading.Lock()
        self._dropped: set[bytes] = set()
        """Names of dropped fields that were logged."""
        self._in_child = False
        """Whether this is a forked child, which ends when the application comes back."""

    def forked(self) -> None:
        """See Forkable."""
        self._noted_lock = threading.Lock()
        self._in_child = True

    @application_thread
    def failed(self, stream: Stream, client_wait: ClientWait) -> None:
        """End a request after an exception that :meth:`run` did not handle, or that came before."""
        if not stream.has_begun:
            self.run(stream, client_wait)
        elif not stream.output_ended:
            with contextlib.suppress(ClientDisconnected):
                stream.send(None, b"", ABORT)
        stream.finished()

    @application_thread
    def run(self, stream: Stream, client_wait: ClientWait) -> None:
        """Answer the request of ``stream`` on the thread of ``client_wait``."""
        content = stream.begin(client_wait)
        response = Response(stream, self._heads)
        try:
            request = stream.request
            if (known := request.environ) is not None:
                environ = known.copy()  # as build_environ does, for most requests
            else:
                connection = stream.connection
                if connection.environ_template is None:
                    self._make_template(connection)
                dropped: list[bytes] = []
                environ = build_environ(request, connection, dropped)
                if dropped:
                    self._say_dropped(stream, dropped, client_wait)
            environ["wsgi.input"] = (
                _content(stream, environ, content) if stream.has_content else EmptyInput()
            )
            # The template has these keys already, as new ones would make the dict grow.
            environ["h2wsgi.stream"] = environ["wsgi.early_hints"] = stream
            environ["wsgi.ext.http.send_trailers"] = response
            app = self.app  # a call of an attribute takes twice as long, 0.04 us
            iterable = response.unclosed = app(environ, response.start_response)
            if type(iterable) is list:  # which has no close()
                response.send_complete(iterable)
            else:
                response.send_iterable(iterable)
                self._close(response, stream)
        except BaseException as error:
            _wake(client_wait)
            if response.unclosed is not None:
                self._close(response, stream, error)
            self._handle(error, stream, response)
        finally:
            stream.finished()
            if self._errors.unfinished_in or not response.clean:
                # Logging runs the application's handlers, which may block and raise.
                _wake(client_wait)
                self._errors.flush()
                self._log_notes(stream, response.notes())

    def _say_dropped(self, stream: Stream, names: list[bytes], client_wait: ClientWait) -> None:
        """Log the names of the fields that were dropped, each once, and no more than a few."""
        _wake(client_wait)  # logging runs the application's handlers
        with self._noted_lock:
            new = [name for name in dict.fromkeys(names) if name not in self._dropped]
            new = new[: MOST_DROPPED - len(self._dropped)]
            self._dropped.update(new)
        with contextlib.suppress(Exception):  # it is no reason to fail the request
            for name in new:
                self._log.events.warning(
                    "%s: the field %s is dropped, as with its underscore it would pass for %s; "
                    "have its sender write hyphens. Said once",
                    stream.name,
                    shown(name.decode("latin-1"), MAX_NAME),
                    shown(name.decode("latin-1").replace("_", "-"), MAX_NAME),
                    extra=named("field_dropped"),
                )

    def _make_template(self, connection: ConnectionFacts) -> None:
        """Make what the environs of a connection share, and keep it there."""
        template = connection_template(
            connection,
            root_path=self._root_path,
            multithread=self._multithread,
            multiprocess=self._multiprocess,
            errors=self._errors,
            file_wrapper=FileWrapper,
        )
        if self._record is not None:
            template["h2wsgi.record"] = functools.partial(self._record, connection.number)
        connection.environ_template = template

    @kernel
    def _close(
        self, response: Response, stream: Stream, handled: BaseException | None = None
    ) -> None:
        """Call ``close()`` of what was returned, perhaps while ``handled`` is being handled."""
        try:
            close = getattr(response.unclosed, "close", None)
            # One line, so that nothing strikes between the call and the note that it was made.
            response.unclosed = (close is None or close(), None)[1]
        except BaseException as error:
            response.unclosed = None
            if self._in_child:
                self._end_child(error, stream)
            # The context of what close() raises is `handled`, if nothing nearer.
            lost = _disconnect_in(error)
            if lost is None or (error is not handled and lost is _disconnect_in(handled)):
                self._log_exception("close() of the response failed", error, stream)

    def _handle(self, error: BaseException, stream: Stream, response: Response) -> None:
        """Make the response say that it failed, and log why."""
        if self._in_child:
            self._end_child(error, stream)
        lost = _disconnect_in(error)
        try:
            if response.ended:
                if lost is None:
                    self._log_exception("failed after its response", error, stream)
            elif lost is not None:
                try:
                    _give_up(response, _STATUS_OF.get(type(lost), ""))
                finally:
                    self._log.events.debug("%s: %s", stream.name, lost, extra=named("client_lost"))
            else:
                try:
                    # Before the log, whose handlers are the application's and may fail as well.
                    _give_up(response, "500 Internal Server Error")
                finally:
                    self._log_exception("failed", error, stream)
        except ClientDisconnected:
            return  # nobody is there to be told

    def _end_child(self, error: BaseException, stream: Stream) -> NoReturn:
        """End a forked child in which the application raised, as a program that raises ends.

        A ClientDisconnected means that the application returned: a child can send nothing.
        """
        code: object = 1
        if isinstance(error, SystemExit):
            code = error.code
        elif isinstance(error, KeyboardInterrupt):
            code = 128 + signal.SIGINT
        elif _disconnect_in(error) is not None:
            code = None
        else:
            self._log_exception("failed in a forked child", error, stream)
        self._errors.flush()
        # Or files that only its frames hold open would lose what they have buffered.
        traceback.clear_frames(_traceback_of(error))
        end_child(code)

    def _log_exception(self, what: str, error: BaseException, stream: Stream) -> None:
        raised = (type(error), error, _of_the_application(_traceback_of(error)))
        BaseException.with_traceback(error, raised[2])
        # All three, as logging would ask an exception alone whether it is true.
        self._log.events.error(
            "%s: the application %s: %s",
            stream.name,
            what,
            name_of_type(raised[0]),
            exc_info=raised,
            extra=named("application_failed", seconds=clock.monotonic() - stream.started_at),
        )

    def _log_notes(self, stream: Stream, notes: list[str]) -> None:
        for note in notes:
            with self._noted_lock:
                # Said once: an application that does this does it on every request.
                if note in self._noted or len(self._noted) >= 1000:
                    continue
                self._noted.add(note)
            extra = named("application_breaks_rule")
            self._log.events.warning("%s: %s", stream.name, note, extra=extra)


def _content(stream: Stream, environ: dict[str, Any], content: bytes | None) -> Input:
    """Return a request's content, and say in environ what else is known of it.

    ``content`` is all of it, if that came before the application began.
    """
    if (gathered := stream.gathered) is not None:
        environ["CONTENT_LENGTH"] = str(gathered.octets)
        environ["h2wsgi.trailers"] = stream.request_trailers
        if gathered.spooled is not None:
            return Input(b"", gathered.spooled)
    elif content is None:
        content = stream.take_whole()
        environ["h2wsgi.trailers"] = stream.request_trailers
    if content is not None:
        return Input(content)  # as for most requests: nothing has to wait
    return Input(b"", stream, stream.send_continue if stream.request.expects_continue else None)


def _wake(thread: ClientWait) -> None:
    """Wake the loop now, if that is still to be done: what comes next may take time."""
    if thread.unwoken is not None:
        thread.unwoken.wake()
        thread.unwoken = None


def _give_up(response: Response, status: str) -> None:
    """Answer with ``status`` if the head has not left, and reset the stream otherwise."""
    if response.head_sent or not status:
        response.abort()
    else:
        text = status[4:].encode("ascii") + b"\n"
        response.replace(status, [("content-type", "text/plain; charset=utf-8")], text)


def _disconnect_in(error: BaseException | None) -> ClientDisconnected | None:
    """Return the ClientDisconnected that ``error`` is, or that it was raised while handling."""
    current = error
    for _ in range(20):
        # By its type, as isinstance() would also ask the exception for its __class__.
        if current is None or issubclass(type(current), ClientDisconnected):
            return current  # type: ignore[return-value]
        cause = _cause_of(current)  # may be an exception that is false
        current = cause if cause is not None else _context_of(current)
    return None


def _of_the_application(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins at the application's first frame.

    The whole traceback if there is none: code in C has no frames, and fails in one of ours.
    """
    part = traceback
    while part is not None:
        if not str(part.tb_frame.f_globals.get("__name__")).startswith(_BEFORE_IT):
            return part
        part = part.tb_next
    return traceback
