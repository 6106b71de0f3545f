"""The shop with OpenTelemetry's instrumentation; spans go to a file."""

from __future__ import annotations

from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from ecosystem.applications.shop import make_app


def line(span: ReadableSpan) -> str:
    return span.to_json(indent=None) + "\n"


provider = TracerProvider()
output = open("spans.jsonl", "a")  # noqa: SIM115  (as long as the process)
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=output, formatter=line)))
app = make_app()
FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
