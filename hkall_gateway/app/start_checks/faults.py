"""The input and the findings of start checks."""

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
    """What a fault does. REFUSED and PENDING stop `serve`; PENDING is a step that is still to be done.

    `check-config` fails for REFUSED and TOLERATED.
    """

    REFUSED = "refused"
    TOLERATED = "tolerated"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class StartFault:
    """A fault in one line: the key or path, what is wrong with it, and the remedy.

    `check` is the name of a check of `doctor`; `subject` is the port or file that other findings of `doctor` name.
    """

    check: str
    where: str
    what: str
    remedy: str
    effect: Effect = Effect.REFUSED
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a gateway.

    `running`: this gateway may be running now, as `check-config` and `doctor` assume. `pid_runs` returns whether a process of
    this machine runs; `trust_clock` is HKALL_TRUST_CLOCK.
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


@dataclass(frozen=True, slots=True)
class ConfiguredEndpoint:
    """An endpoint as the gateway of one number opens it, and its key. `partners`: callers may show certificates."""

    where: str
    text: str
    shared: bool = False
    partners: bool = False


def endpoints(config: GatewayConfig, number: str, serving: Serving = Serving.ALL) -> Iterator[ConfiguredEndpoint]:
    """Yield the endpoints that a gateway opens."""
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
            yield ConfiguredEndpoint(dotted((*steps, index)), numbered(text, number), shared, steps[0] == "ncip")
    for index, row in enumerate(sip2.listeners if serving.protocols else ()):
        where = dotted(("sip2", "listeners", index, "endpoint"))
        yield ConfiguredEndpoint(where, numbered(row.endpoint, number), sip2.share_ports)
