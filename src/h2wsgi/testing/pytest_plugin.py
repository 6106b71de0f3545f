"""The pytest plugin: servers as fixtures, with nothing to import; failed tests show what they did.

Every pytest run where h2wsgi is installed imports this module, so it imports nothing but pytest
until a fixture is used. The fixtures run on the test's thread, the servers on their own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Unpack

import pytest

if TYPE_CHECKING:
    from ..config.keywords import Options
    from .fixture_server import FixtureServer, FixtureServers

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Where clients look for the CAs to trust: OpenSSL and httpx, requests and niquests, curl, Node."""
_SHOWN = pytest.StashKey[bool]()
"""Whether a test has shown its servers already, as its teardown may fail after it has failed."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have servers that run already show this test nothing of earlier ones."""
    item.stash[_SHOWN] = False
    if (servers := _fixture_server()) is not None:
        servers.begin_test()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown() -> Generator[None, Any, None]:
    """Fail the test that made an application raise, even if its server goes on."""
    outcome = yield
    servers = _fixture_server()
    error = None if servers is None else servers.end_test()
    if error is not None and outcome.exception is None:
        outcome.force_exception(error)
    elif error is not None:
        outcome.exception.add_note(f"h2wsgi: the application has raised as well: {error!r}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Add to the report of a failure what the test's servers have seen."""
    outcome = yield
    made: pytest.TestReport = outcome.get_result()
    servers = _fixture_server()
    if servers is None or not made.failed or item.stash.get(_SHOWN, False):
        return
    item.stash[_SHOWN] = True
    made.sections += servers.reports(getattr(item, "funcargs", {}).values())


def _fixture_server() -> ModuleType | None:
    """Return the module of the servers if there may be any."""
    return sys.modules.get(f"{__package__}.fixture_server")


@pytest.fixture
def h2_server() -> Iterator[FixtureServers]:
    """Start servers: ``h2_server(app)`` or ``h2_server("module:app", threads=4)``.

    Each runs on a free port of localhost until the test ends. An exception of the application fails
    the test, unless it says ``raise_app_errors=False`` or takes it out of ``server.errors``.
    """
    from .fixture_server import FixtureServers

    with FixtureServers() as servers:
        yield servers


@pytest.fixture(scope="session")
def httpbin_h2() -> Iterator[FixtureServer]:
    """Serve httpbin over HTTP/2 and TLS; a client has to trust its ``ca_file``."""
    yield from _serving(_httpbin("httpbin_h2"))


@pytest.fixture(scope="session")
def httpbin_h2c() -> Iterator[FixtureServer]:
    """Serve httpbin over cleartext HTTP/2 with prior knowledge."""
    yield from _serving(_httpbin("httpbin_h2c"), h2c=True)


@pytest.fixture(scope="session")
def h2bin() -> Iterator[FixtureServer]:
    """Serve h2bin, whose URLs each show a client one thing of HTTP/2, good or bad."""
    from ..h2bin import app

    yield from _serving(app)


@pytest.fixture
def httpbin_h2_ca_bundle(monkeypatch: pytest.MonkeyPatch) -> str:
    """Have clients trust the servers of these fixtures during a test; return the CA's file."""
    from ..tls.development import ensure_development_certificate

    ca_file = ensure_development_certificate().ca
    for name in CA_VARIABLES:
        monkeypatch.setenv(name, ca_file)
    return ca_file


def _serving(app: Any, **options: Unpack[Options]) -> Iterator[FixtureServer]:
    from .fixture_server import FixtureServer

    server = FixtureServer.start(app, options, raise_app_errors=False)
    server.is_for_all = True
    yield server
    server.stop()


def _httpbin(fixture: str) -> Any:
    try:
        return importlib.import_module("httpbin").app
    except ModuleNotFoundError as error:
        if error.name != "httpbin":
            raise
        pytest.fail(
            f"The fixture {fixture} needs httpbin, which is not installed.\n"
            'Install it with: pip install "h2wsgi[httpbin]"',
            pytrace=False,
        )
