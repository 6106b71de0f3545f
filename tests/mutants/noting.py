"""A pytest plugin: notes how long each test took, and which failed, in the file of an option."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--note-in", type=Path, help="where to note what became of each test")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Notes(config.getoption("--note-in")))


class _Notes:
    """Seconds by test; None for one that failed or was skipped."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: dict[str, float | None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self._seconds.get(report.nodeid, 0.0)
        good = report.passed and before is not None
        self._seconds[report.nodeid] = (before or 0.0) + report.duration if good else None

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._seconds), "utf-8")
