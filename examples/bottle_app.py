"""Bottle: JSON, an upload, a file with ranges, and an answer that waits for another request.

Run it from the repository root:

    h2wsgi --app-dir examples bottle_app:app

/        JSON
/upload  POST a form with a file: answers with size and SHA-256
/source  this file, through wsgi.file_wrapper; parts of it with Range
/bell    GET waits until somebody does a POST
"""

import hashlib
import threading
from pathlib import Path

from bottle import Bottle, request, response, static_file

app = Bottle()

HERE = Path(__file__)
PATIENCE = 60.0
"""Seconds that /bell listens."""

bell = threading.Condition()
rings = 0


@app.get("/")
def index():
    """Say how the request came."""
    return {"framework": "Bottle", "protocol": request.environ["SERVER_PROTOCOL"]}


@app.post("/upload")
def upload():
    """Digest a file. Bottle has put the content into a temporary file if it is large."""
    file = request.files["file"]
    sha256, size = hashlib.sha256(), 0
    while piece := file.file.read(65_536):
        sha256.update(piece)
        size += len(piece)
    return {"name": file.raw_filename, "size": size, "sha256": sha256.hexdigest()}


@app.get("/source")
def source():
    """Send a file from disk."""
    return static_file(HERE.name, root=HERE.parent, mimetype="text/x-python")


@app.get("/bell")
def listen():
    """Answer in two parts; the first has left before the second is known."""
    response.content_type = "text/plain; charset=utf-8"
    heard = rings
    yield "listening\n"
    with bell:
        rang = bell.wait_for(lambda: rings != heard, timeout=PATIENCE)
    yield "ding dong\n" if rang else "nobody came\n"


@app.post("/bell")
def ring():
    """Wake everyone who listens."""
    global rings
    with bell:
        rings += 1
        bell.notify_all()
    return {"rings": rings}
