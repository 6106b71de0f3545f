"""What the port of the metrics says."""

from __future__ import annotations

import http.client
from collections import defaultdict
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from support.settled import PATIENCE


def get(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Return status, content-type and content of a page on the port of the metrics."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers["content-type"], response.read().decode()
    finally:
        connection.close()


def values(url: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples by name and by the values of their labels, sorted by the labels."""
    status, _, text = get(url, "/metrics")
    assert status == 200
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels[name] for name in sorted(sample.labels))
            found[sample.name][labels] = sample.value
    return found
