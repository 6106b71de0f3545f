"""A site in CherryPy: forms, sessions, static files, streams."""

from __future__ import annotations

import os
from collections.abc import Iterator

import cherrypy


class Site:
    """What is served."""

    @cherrypy.expose
    def index(self, name: str = "nobody") -> str:
        return f"hello {name} over {cherrypy.request.wsgi_environ['SERVER_PROTOCOL']}"

    @cherrypy.expose
    def visits(self) -> str:
        cherrypy.session["visits"] = cherrypy.session.get("visits", 0) + 1
        return str(cherrypy.session["visits"])

    @cherrypy.expose
    def upload(self, file: object, title: str) -> str:
        return f"{title}: {len(file.file.read())}"  # type: ignore[attr-defined]

    @cherrypy.expose
    @cherrypy.tools.json_in()
    @cherrypy.tools.json_out()
    def sum(self) -> dict[str, int]:
        return {"sum": sum(cherrypy.request.json)}

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def rows(self) -> Iterator[bytes]:
        return (b"%d\n" % number for number in range(1000))

    @cherrypy.expose
    def moved(self) -> None:
        raise cherrypy.HTTPRedirect("/visits")

    @cherrypy.expose
    def fail(self) -> None:
        raise ArithmeticError("no such sum")


with open("static.txt", "wb") as file:
    file.write(bytes(range(256)) * 1000)

cherrypy.config.update({"environment": "embedded", "log.screen": False})
app = cherrypy.Application(
    Site(),
    config={
        "/": {"tools.sessions.on": True, "tools.gzip.on": True},
        "/static.txt": {
            "tools.staticfile.on": True,
            "tools.staticfile.filename": os.path.abspath("static.txt"),
            "tools.gzip.on": False,
            "tools.sessions.on": False,
        },
    },
)
