"""The input of the start checks, and the faults that the checks report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from hkall_gateway.app.resources import Serving
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import dotted
from hkall_gateway.net.endpoints import numbered
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
    """An endpoint string (`text`) and its configuration key (`where`). `partners` is true if the endpoint serves NCIP."""

    where: str
    text: str
    shared: bool = False
    partners: bool = False


def endpoints(config: GatewayConfig, number: str, serving: Serving = Serving.ALL) -> Iterator[ConfiguredEndpoint]:
    """Yield the endpoints that the gateway with this number opens."""
    sip2, ncip = config.sip2, config.ncip
    lists = [
        (serving.protocols, ("sip2", "listen"), sip2.listen, sip2.share_ports),
        (serving.protocols, ("ncip", "listen"), ncip.listen, ncip.share_ports),
        (serving.protocols, ("ncip", "listen_v1_tcp"), ncip.listen_v1_tcp, ncip.share_ports),
        (serving.protocols, ("ops", "listen"), config.ops.listen, False),
    ]
    if config.web is not None:
        lists.append((serving.web, ("web", "listen"), config.web.listen, config.web.share_ports))
    for opened, steps, texts, shared in lists:
        for index, text in enumerate(texts if opened else ()):
            yield ConfiguredEndpoint(
                where=dotted((*steps, index)), text=numbered(text, number), shared=shared, partners=steps[0] == "ncip"
            )
    for index, row in enumerate(sip2.listeners if serving.protocols else ()):
        where = dotted(("sip2", "listeners", index, "endpoint"))
        yield ConfiguredEndpoint(where=where, text=numbered(row.endpoint, number), shared=sip2.share_ports)
