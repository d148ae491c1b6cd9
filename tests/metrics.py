"""Read a gateway's metrics as a monitoring tool sees them."""

from __future__ import annotations

from prometheus_client import generate_latest

from hkall_gateway.observability.metrics import NAMESPACE, Metrics


def value(metrics: Metrics, name: str, *labels: str) -> float:
    """Return a counter's or gauge's value by name without prefix, or a histogram's number of observations; 0 if absent."""
    wanted = {f"{NAMESPACE}_{name}", f"{NAMESPACE}_{name}_count"}
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return next((one.value for one in samples if one.name in wanted and tuple(one.labels.values()) == labels), 0)


def page(metrics: Metrics) -> str:
    """Return the whole page in Prometheus text format 0.0.4."""
    return generate_latest(metrics.registry).decode()
