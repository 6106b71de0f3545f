"""A WSGI application without a framework: start_response, streaming both ways, wsgi.input.

Run it from the repository root:

    h2wsgi --app-dir examples bare:app

/         the environ of the request, a line at a time
/count    lines without end, until the client leaves
/echo     sends back what comes while more is coming
/digest   size and SHA-256 of an upload of any size, never held in memory
"""

import hashlib
import json

PIECE = 65_536
TEXT = [("content-type", "text/plain; charset=utf-8")]


def app(environ, start_response):
    """Find the view for the path. Views are generators: nothing runs until they are iterated."""
    return VIEWS.get(environ["PATH_INFO"], not_found)(environ, start_response)


# Start it at once where content comes without a length (curl -T . sends it so): what echo sends
# back may be what the client waits for. Otherwise there is a CONTENT_LENGTH, and all is there.
app.h2wsgi_unsized_content = "stream"


def show_environ(environ, start_response):
    """Show what the server tells an application about a request."""
    start_response("200 OK", TEXT)
    for name in sorted(environ):
        yield f"{name} = {environ[name]!r}\n".encode()


def count(environ, start_response):
    """Count for ever. The server closes the generator when the client has left."""
    start_response("200 OK", TEXT)
    lines = 0
    try:
        while True:
            lines += 1
            yield b"%d\n" % lines  # waits here while the client does not read
    finally:
        # The place to give back what the response held: a cursor, a lock, a temporary file.
        print("The client left, the count was", lines, file=environ["wsgi.errors"])


def echo(environ, start_response):
    """Answer each piece when it comes: read1() waits for some octets, read() for all of them."""
    start_response("200 OK", [("content-type", "application/octet-stream")])
    while piece := environ["wsgi.input"].read1(PIECE):
        yield piece


def digest(environ, start_response):
    """Read an upload piece by piece; read() returns b"" only at its real end."""
    sha256, size = hashlib.sha256(), 0
    while piece := environ["wsgi.input"].read(PIECE):
        sha256.update(piece)
        size += len(piece)
    start_response("200 OK", [("content-type", "application/json")])
    yield json.dumps({"size": size, "sha256": sha256.hexdigest()}).encode() + b"\n"


def not_found(environ, start_response):
    """Say what there is."""
    start_response("404 Not Found", TEXT)
    yield "".join(f"{path}\n" for path in VIEWS).encode()


VIEWS = {"/": show_environ, "/count": count, "/echo": echo, "/digest": digest}
