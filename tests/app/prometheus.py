"""Extract metrics and labels from PromQL expressions and compare them with the gateway's metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hkall_gateway.app.gauges import GAUGES
from hkall_gateway.observability.metrics import NAMESPACE, Labelled, Metrics

TARGET: Final = frozenset({"job", "instance"})
"""Labels that Prometheus adds; a metric's own label of the same name becomes `exported_…`."""
SUFFIXES: Final = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
_METRIC: Final = re.compile(rf"\b((?:{NAMESPACE}_|up\b)\w*)(\{{[^}}]*\}})?")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPING: Final = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def series() -> Mapping[str, frozenset[str]]:
    """The labels of every gateway time series in Prometheus, by series name."""
    found: dict[str, frozenset[str]] = {"up": TARGET}
    for metric in map(_unwrapped, vars(Metrics()).values()):
        if hasattr(metric, "_labelnames"):
            for suffix in SUFFIXES[metric._type]:
                found[metric._name + suffix] = _scraped([*metric._labelnames, *(["le"] if suffix == "_bucket" else [])])
    return {**found, **{f"{NAMESPACE}_{name}": _scraped(labels.split()) for name, (labels, _) in GAUGES.items()}}


def _unwrapped(metric: Any) -> Any:
    return metric._metric if isinstance(metric, Labelled) else metric


def _scraped(labels: list[str]) -> frozenset[str]:
    return frozenset(f"exported_{label}" if label in TARGET else label for label in labels) | TARGET


def faults(expression: str, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """The metrics and labels in an expression that no gateway has."""
    grouping: set[str] = set()
    for name, matchers in _METRIC.findall(expression):
        if name not in known:
            yield f"no metric {name}"
            continue
        grouping |= known[name]
        yield from (f"{name} has no label {one}" for one in _MATCHER.findall(matchers) if one not in known[name])
    for labels in _GROUPING.findall(expression):
        yield from (f"no label {one}" for one in re.split(r"\s*,\s*", labels) if one and one not in grouping)
