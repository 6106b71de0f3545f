"""What must hold behind a run, whatever was raised in it."""

from __future__ import annotations

from raising.notes import Notes
from raising.talk import Talk
from support.peer import Response, TimedOut


def streams_have_ended(talk: Talk) -> list[str]:
    """Every stream has ended for its client: by END_STREAM, RST_STREAM or with its connection."""
    if talk.left:
        return []
    wrong = []
    for stream in talk.streams:
        try:
            talk.end_of(stream)
        except TimedOut:
            response = talk.peer.responses.get(stream, Response(stream))
            wrong.append(
                f"stream {stream} did not end: status {response.status}, "
                f"{response.received} octets came"
            )
    return wrong


def responses_are_true(talk: Talk) -> list[str]:
    """Nothing that was cut off looks whole."""
    responses = [talk.peer.responses.get(stream) for stream in talk.streams]
    found = [_wrong(response, talk.notes) for response in responses if response is not None]
    return [wrong for wrong in found if wrong]


def _wrong(response: Response, notes: Notes) -> str:
    if not response.ended or response.status != 200:
        return ""
    body = response.body
    length = response.header("content-length")
    if length is not None and notes.expected != b"" and int(length) != len(body):
        return f"{len(body)} octets look whole where Content-Length is {length}"
    if notes.pieces:
        return "" if _is_made_of(body, notes) else _about_pieces(body, notes)
    if notes.expected is not None and body != notes.expected:
        return f"{len(body)} octets look whole where the application sent {len(notes.expected)}"
    return ""


def _is_made_of(body: bytes, notes: Notes) -> bool:
    """Return whether a body has each piece that was written, those that failed whole or not."""
    possible = {0}
    for piece, returned in notes.pieces:
        after = {at + len(piece) for at in possible if body.startswith(piece, at)}
        possible = after if returned else possible | after
    return len(body) in possible


def _about_pieces(body: bytes, notes: Notes) -> str:
    written = [(len(piece), returned) for piece, returned in notes.pieces]
    return f"{len(body)} octets look whole, of pieces written (size, returned) {written}"


def application_saw_truth(notes: Notes, sends_content: bool) -> list[str]:
    """What the application read is what was sent, and it was closed."""
    wrong = []
    if (notes.read or notes.saw_end) and sends_content and (said := notes.wrong_content()):
        wrong.append(said)
    if notes.closed != int(notes.iterable_returned):
        wrong.append(f"close() of the iterable ran {notes.closed} times")
    return wrong
