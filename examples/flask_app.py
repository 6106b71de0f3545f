"""Flask: JSON, a form with an upload, a streamed table, and events pushed to browsers.

Run it from the repository root:

    h2wsgi --app-dir examples flask_app:app

/          JSON
/upload    a form; answers with size and SHA-256 of the file
/rows.csv  a table of any length, made while it is sent; ?rows=N
/events    GET: server-sent events, N of them with ?n=N; POST text=...: sends one to all listeners
"""

import hashlib
import json
import os
import queue

from flask import Flask, Response, request, stream_with_context

app = Flask(__name__)

FORM = """<!doctype html>
<title>Upload</title>
<form method="post" enctype="multipart/form-data">
  <input name="note" placeholder="note">
  <input name="file" type="file" required>
  <button>Send</button>
</form>
"""
KEEP_ALIVE = 15.0
"""Seconds between signs of life: the first one that cannot be sent ends an abandoned stream."""

listeners = set()


@app.get("/")
def index():
    """Say how the request came."""
    return {
        "framework": "Flask",
        "protocol": request.environ["SERVER_PROTOCOL"],
        "url": request.url,
    }


@app.route("/upload", methods=["GET", "POST"])
def upload():
    """Show the form, or digest the file that it sent. Large files are in a temporary file."""
    if request.method == "GET":
        return FORM
    file = request.files["file"].stream
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return {
        "name": request.files["file"].filename,
        "note": request.form.get("note", ""),
        "size": size,
        "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
    }


@app.get("/rows.csv")
def rows():
    """Stream a table; it is never whole in memory, and a slow client slows the loop down."""

    def lines():
        yield "number,square\n"
        # stream_with_context keeps `request` usable here, after the view has returned.
        for number in range(request.args.get("rows", 1000, type=int)):
            yield f"{number},{number * number}\n"

    return Response(stream_with_context(lines()), mimetype="text/csv")


@app.get("/events")
def events():
    """Push what is posted to this path; each listener takes one of the server's --threads."""
    wanted = request.args.get("n", 3, type=int)

    def stream():
        inbox = queue.SimpleQueue()
        listeners.add(inbox)
        try:
            yield ": listening\n\n"
            number = 0
            while number < wanted:
                try:
                    message = inbox.get(timeout=KEEP_ALIVE)
                except queue.Empty:
                    yield ": still here\n\n"
                    continue
                number += 1
                yield f"id: {number}\ndata: {json.dumps(message)}\n\n"
        finally:
            listeners.discard(inbox)

    return Response(stream(), mimetype="text/event-stream", headers={"cache-control": "no-store"})


@app.post("/events")
def publish():
    """Send a message to everyone who listens now."""
    inboxes = tuple(listeners)
    for inbox in inboxes:
        inbox.put({"text": request.form["text"]})
    return {"listeners": len(inboxes)}
