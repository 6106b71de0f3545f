"""An application that patches sockets and threads with eventlet as it is imported."""

from __future__ import annotations

import pytest

from ecosystem.green import GreenTests


@pytest.fixture(scope="class")
def site(serve):
    return serve("green_eventlet")


class TestEventlet(GreenTests):
    """All of them."""
