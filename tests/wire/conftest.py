"""Most tests here look at what an application does while content comes, whatever its length."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Serve
from h2wsgi.server.running import ServerThread


@pytest.fixture
def serve(serve: Serve) -> Serve:
    """Serve an application that starts at once, also without a content-length."""

    def start(app: Any, **options: Any) -> ServerThread:
        return serve(app, **({"unsized_content": "stream"} | options))

    return start
