"""Samples -> the text that Prometheus reads. Any thread.

A registry of its own, made for one answer: nothing of the application's metrics is in it, and
prometheus-client's multiprocess mode, which an application may have turned on, does not touch it.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .samples import Family, Labels, Samples, Value


def exposition(
    samples: Samples, families: dict[str, Family], accept: str = ""
) -> tuple[bytes, str]:
    """Return a page and its content-type, in a format that ``accept`` names."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(samples, families))
    encode, content_type = choose_encoder(accept)
    page: bytes = encode(registry)
    return page, content_type


class _Collector(Collector):
    def __init__(self, samples: Samples, families: dict[str, Family]) -> None:
        self._samples = samples
        self._families = families

    def describe(self) -> Iterator[Metric]:
        """See Collector. Nothing else is in the registry, so names cannot clash."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        for name, family in self._families.items():
            values = self._samples.get(name, {})
            if family.kind == "histogram":
                yield self._histogram(name, family, values)
                continue
            make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = make(name, family.help, labels=family.labels)
            for labels, value in values.items():
                assert not isinstance(value, list)
                metric.add_metric(labels, value)
            yield metric

    @staticmethod
    def _histogram(name: str, family: Family, values: dict[Labels, Value]) -> Metric:
        metric = HistogramMetricFamily(name, family.help, labels=family.labels)
        for labels, value in values.items():
            assert isinstance(value, list)
            *buckets, total = value
            below, shown = 0.0, []
            for bound, count in zip((*family.bounds, float("inf")), buckets, strict=True):
                below += count
                shown.append(("+Inf" if bound == float("inf") else f"{bound:g}", below))
            metric.add_metric(labels, buckets=shown, sum_value=total)
        return metric
