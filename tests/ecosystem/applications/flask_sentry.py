"""The shop with Sentry; what it would send goes to a file."""

from __future__ import annotations

import json

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from ecosystem.applications.shop import make_app


class ToFile(Transport):
    """Takes events in place of Sentry's servers."""

    def capture_envelope(self, envelope: Envelope) -> None:
        with open("events.jsonl", "a") as file:
            for item in envelope.items:
                if item.type in ("event", "transaction") and item.payload.json:
                    file.write(json.dumps(item.payload.json, default=str) + "\n")


sentry_sdk.init(
    dsn="https://key@sentry.invalid/1", transport=ToFile, traces_sample_rate=1.0,
    send_default_pii=True,
)  # fmt: skip
app = make_app()
