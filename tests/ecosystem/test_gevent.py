"""An application that patches sockets and threads with gevent as it is imported."""

from __future__ import annotations

import pytest

from ecosystem.green import GreenTests


@pytest.fixture(scope="class")
def site(serve):
    return serve("green_gevent")


class TestGevent(GreenTests):
    """All of them."""
