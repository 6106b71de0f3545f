"""The shop with ddtrace, as ``ddtrace-run`` loads it; finished spans go to a file."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ |= {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}

import ddtrace.auto  # noqa: F401  (before Flask)
from ddtrace.trace import TraceFilter, tracer

from ecosystem.applications.shop import make_app


class ToFile(TraceFilter):
    """Takes traces in place of an agent."""

    def process_trace(self, trace: list[Any]) -> None:
        with open("spans.jsonl", "a") as file:
            for span in trace:
                told = {"name": span.name, "resource": span.resource, "error": span.error}
                file.write(json.dumps(told | {"tags": dict(span.get_tags())}) + "\n")


tracer.configure(trace_processors=[ToFile()])
app = make_app()
