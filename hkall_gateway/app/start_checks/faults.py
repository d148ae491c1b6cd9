"""The input of the start checks, and the faults that the checks report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from hkall_gateway.app.resources import Serving
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import dotted
from hkall_gateway.net.endpoints import numbered
from hkall_gateway.protocols import protocols_in_use
from hkall_gateway.rules.settings import Policy


class Effect(StrEnum):
    """The effect of a fault. REFUSED and PENDING keep `serve` from starting. REFUSED and TOLERATED make `check-config` fail.

    PENDING is a step that has yet to be done, such as a database upgrade.
    """

    REFUSED = "refused"
    TOLERATED = "tolerated"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFault:
    """A fault, which is printed in one line.

    Attributes:
        check: Name of the corresponding check in `doctor`.
        where: Configuration key or path.
        what: Description of the fault.
        subject: Port or file concerned, so that `doctor` does not report the same port or file twice.
    """

    check: str
    where: str
    what: str
    remedy: str
    effect: Effect = Effect.REFUSED
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The circumstances of a gateway's start, which are the input of all checks.

    Attributes:
        pid_runs: Returns whether a process with this id runs on this machine.
        running: Whether this gateway may already be running, as `check-config` and `doctor` assume.
        trust_clock: Whether HKALL_TRUST_CLOCK is set.
    """

    path: Path
    config: GatewayConfig
    policy: Policy
    instance: str
    number: str
    now: datetime
    pid_runs: Callable[[int], bool]
    serving: Serving = Serving.ALL
    running: bool = True
    trust_clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredEndpoint:
    """One endpoint that the configuration names.

    Attributes:
        where: The configuration key.
        text: The endpoint string.
        shared: Whether other gateways of this machine listen there too.
        client_ca: The authorities of the certificates that callers may show there, or None.
    """

    where: str
    text: str
    shared: bool = False
    client_ca: Path | None = None


def endpoints(config: GatewayConfig, number: str, serving: Serving = Serving.ALL) -> Iterator[ConfiguredEndpoint]:
    """Yield the endpoints that the gateway with this number opens."""
    for endpoint in _configured_endpoints(config, serving):
        yield replace(endpoint, text=numbered(endpoint.text, number))


def _configured_endpoints(config: GatewayConfig, serving: Serving) -> Iterator[ConfiguredEndpoint]:
    if serving.protocols:
        for endpoint in _listed(("sip2", "listen"), config.sip2.listen, shared=config.sip2.share_ports):
            yield replace(endpoint, client_ca=config.sip2.client_ca)
        yield from _endpoints_for_partners(config)
        yield from _listed(("ops", "listen"), config.ops.listen)
    if serving.web and config.web is not None:
        yield from _listed(("web", "listen"), config.web.listen, shared=config.web.share_ports)
    if serving.protocols:
        for index, row in enumerate(config.sip2.listeners):
            yield ConfiguredEndpoint(
                where=dotted(("sip2", "listeners", index, "endpoint")),
                text=row.endpoint,
                shared=config.sip2.share_ports,
                client_ca=config.sip2.client_ca,
            )


def _endpoints_for_partners(config: GatewayConfig) -> Iterator[ConfiguredEndpoint]:
    for protocol in protocols_in_use():
        table = config.table_of(protocol.name)
        for key, texts in config.endpoints_of(protocol).items():
            for endpoint in _listed((protocol.name, key), texts, shared=table.share_ports):
                yield replace(endpoint, client_ca=table.client_ca)


def _listed(
    steps: tuple[str, ...],
    texts: Iterable[str],
    *,
    shared: bool = False,
) -> Iterator[ConfiguredEndpoint]:
    for index, text in enumerate(texts):
        yield ConfiguredEndpoint(where=dotted((*steps, index)), text=text, shared=shared)
