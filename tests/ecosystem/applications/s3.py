"""moto's S3, which checks signatures from the third request on."""

from __future__ import annotations

import os

# Behind the requests that make a user, its key and its bucket.
os.environ.setdefault("INITIAL_NO_AUTH_ACTION_COUNT", "4")

from moto.server import DomainDispatcherApplication, create_backend_app

app = DomainDispatcherApplication(create_backend_app)
