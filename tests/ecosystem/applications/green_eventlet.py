"""The green application, as eventlet's users begin their modules."""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

from ecosystem.applications.green import make_app

app = make_app()
