"""Flask, watched by ddtrace, Sentry, OpenTelemetry and Prometheus: what they report of requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.settled import eventually

ROWS = "".join(f"{number}\n" for number in range(1000))


def visit(site: Any) -> None:
    """Do what the shop's customers do, once each."""
    with site.client() as client:
        answer = client.get("/items/7")
        assert answer.json() == {"item": 7, "protocol": "HTTP/2.0"}
        assert answer.http_version == "HTTP/2"
        assert client.get("/rows", params={"n": 1000}).text == ROWS
        letter = {"letter": ("letter.txt", b"x" * 300_000)}
        answer = client.post("/orders", data={"what": "shoes"}, files=letter)
        assert (answer.status_code, answer.text) == (201, "shoes 300000")
        answer = client.get("/fail")
        assert answer.status_code == 500
        assert "no such sum" not in answer.text
        assert client.get("/nowhere").status_code == 404


def told(file: Path, number: int) -> list[Any]:
    """Return what a watcher has written, once there are so many lines."""
    eventually(lambda: file.exists() and file.read_text().count("\n") >= number, "reports")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_ddtrace_has_a_span_for_each_request(serve):
    site = serve("flask_ddtrace")
    visit(site)
    site.stop()
    spans = told(site.folder / "spans.jsonl", 5)
    requests = {span["resource"]: span for span in spans if span["name"] == "flask.request"}
    assert set(requests) == {
        "GET /items/<int:number>", "GET /rows", "POST /orders", "GET /fail", "GET 404",
    }  # fmt: skip
    item, failed = requests["GET /items/<int:number>"], requests["GET /fail"]
    assert item["tags"]["http.status_code"] == "200"
    assert item["tags"]["http.url"] == f"{site.url}/items/7"
    assert item["error"] == 0
    assert failed["tags"]["http.status_code"] == "500"
    assert failed["error"] == 1


def test_sentry_has_one_event_for_the_one_failure(serve):
    site = serve("flask_sentry")
    visit(site)
    site.stop()
    reports = told(site.folder / "events.jsonl", 6)
    transactions = [report for report in reports if report.get("type") == "transaction"]
    assert sorted(report["transaction"] for report in transactions) == [
        "fail", "generic WSGI request", "item", "order", "rows",
    ]  # fmt: skip
    (event,) = [report for report in reports if report.get("type") != "transaction"]
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ArithmeticError", "no such sum")
    assert event["request"]["url"] == f"{site.url}/fail"
    assert event["request"]["env"]["REMOTE_ADDR"] in ("127.0.0.1", "::1")


def test_opentelemetry_has_a_span_for_each_request(serve):
    site = serve("flask_opentelemetry")
    visit(site)
    site.stop()
    spans = {span["name"]: span for span in told(site.folder / "spans.jsonl", 5)}
    assert set(spans) == {
        "GET /items/<int:number>", "GET /rows", "POST /orders", "GET /fail", "GET /nowhere",
    }  # fmt: skip
    item = spans["GET /items/<int:number>"]
    assert item["kind"] == "SpanKind.SERVER"
    assert item["attributes"]["http.status_code"] == 200
    assert item["attributes"]["http.scheme"] == "https"
    assert item["attributes"]["http.flavor"] == "2.0"
    assert item["attributes"]["http.target"] == "/items/7"
    assert spans["GET /fail"]["attributes"]["http.status_code"] == 500
    assert spans["GET /fail"]["status"]["status_code"] == "ERROR"


def test_behind_a_proxy_addresses_are_those_of_its_client(serve):
    site = serve("flask_proxied")
    with site.client() as client:
        assert client.get("/where").json()["url"] == f"{site.url}/items/7"
        forwarded = {
            "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "http",
            "x-forwarded-host": "shop.test", "x-forwarded-prefix": "/de",
        }  # fmt: skip
        told = client.get("/where", headers=forwarded).json()
    assert told == {"url": "http://shop.test/de/items/7", "client": "192.0.2.7"}


def test_prometheus_shows_what_was_counted(serve):
    site = serve("flask_prometheus")
    visit(site)
    with site.client() as client:
        plain = client.get("/metrics", headers={"accept-encoding": "identity"})
        compressed = client.get("/metrics", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    families = {family.name: family for family in text_string_to_metric_families(plain.text)}
    assert set(families) == {
        family.name for family in text_string_to_metric_families(compressed.text)
    }
    counted = {
        (sample.labels["path"], sample.labels["status"]): sample.value
        for sample in families["shop_requests"].samples
        if sample.name == "shop_requests_total" and sample.labels["protocol"] == "HTTP/2.0"
    }
    assert counted == {
        ("/items/<int:number>", "200"): 1, ("/rows", "200"): 1, ("/orders", "201"): 1,
        ("/fail", "500"): 1, ("None", "404"): 1,
    }  # fmt: skip
    (all_of_them,) = [s for s in families["shop_seconds"].samples if s.name.endswith("_count")]
    assert all_of_them.value == 5
