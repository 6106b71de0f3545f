"""The metrics that there are: names, kinds, help, labels, buckets. Pure; any thread."""

from __future__ import annotations

from .samples import Family

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of durations, inclusive."""
POWERS = (8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
"""The upper bounds of the buckets of sizes, in octets, as powers of 2."""
OCTETS = tuple(2.0**power for power in POWERS)

FAMILIES: dict[str, Family] = {
    "h2wsgi_info": Family("gauge", "The version that runs.", ("version",), least=True),
    "h2wsgi_requests_total": Family(
        "counter",
        "Requests that have ended, whether an application saw them or not.",
        ("method", "status", "outcome"),
    ),
    "h2wsgi_request_duration_seconds": Family(
        "histogram", "From a request's field section to its end.", (), SECONDS
    ),
    "h2wsgi_request_size_bytes": Family("histogram", "Content of requests.", (), OCTETS),
    "h2wsgi_response_size_bytes": Family(
        "histogram", "Content of responses, as far as it was sent.", (), OCTETS
    ),
    "h2wsgi_requests_in_flight": Family("gauge", "Requests that are not answered yet."),
    "h2wsgi_requests_queued": Family("gauge", "Requests that wait for a thread."),
    "h2wsgi_threads": Family(
        "gauge",
        "Application threads: running, waiting for their client, stuck beyond the request "
        "timeout, or idle.",
        ("state",),
    ),
    "h2wsgi_threads_limit": Family("gauge", "The options threads and max_threads.", ("option",)),
    "h2wsgi_connections_opened_total": Family("counter", "Connections that were opened, with TLS."),
    "h2wsgi_connections": Family("gauge", "Connections by state.", ("state",)),
    "h2wsgi_streams": Family("gauge", "Streams that are open."),
    "h2wsgi_frames_total": Family("counter", "Frames by type.", ("type", "direction")),
    "h2wsgi_rst_streams_total": Family(
        "counter", "RST_STREAM frames by code and by who sent them.", ("code", "side")
    ),
    "h2wsgi_goaways_total": Family(
        "counter", "GOAWAY frames by code and by who sent them.", ("code", "side")
    ),
    "h2wsgi_limits_hit_total": Family(
        "counter", "How often a client went over the limit of an option.", ("option",)
    ),
    "h2wsgi_flow_control_waits_total": Family(
        "counter", "Requests whose application had to wait for its client's window or content."
    ),
    "h2wsgi_flow_control_wait_seconds_total": Family("counter", "How long they waited."),
    "h2wsgi_handshakes_failed_total": Family(
        "counter", "TLS handshakes that came to nothing.", ("reason",)
    ),
    "h2wsgi_buffered_bytes": Family(
        "gauge", "Content that is buffered, of requests (in) and responses (out).", ("direction",)
    ),
    "h2wsgi_buffered_limit_bytes": Family("gauge", "The option max_buffered, for each direction."),
    "h2wsgi_certificate_expiry_timestamp_seconds": Family(
        "gauge", "When a certificate ends.", ("file",), least=True
    ),
    "h2wsgi_certificate_days_left": Family(
        "gauge", "Days until a certificate ends.", ("file",), least=True
    ),
    "h2wsgi_workers": Family(
        "gauge",
        "Workers: starting, serving, hanging as their event loop does not answer, or leaving.",
        ("state",),
    ),
    "h2wsgi_workers_wanted": Family("gauge", "How many workers there should be."),
    "h2wsgi_worker_restarts_total": Family(
        "counter", "Workers that were started in place of others.", ("reason",)
    ),
}
