"""The green application, as gevent's users begin their modules."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

from ecosystem.applications.green import make_app

app = make_app()
