"""NCIP services of a command, beside the daemon's, to process a document of the quarantine again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.cli.options import Site
from hkall_gateway.db.engine.deadline import Deadline
from hkall_gateway.db.engine.locks import NO_LOCKS, LockSet
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.ncip.service_request import NcipServices
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import Sensitive

T = TypeVar("T")


class _Store:
    """The site's transactions as the desk's store."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def run(
        self,
        work: Callable[..., T],
        *args: Any,
        locks: LockSet = NO_LOCKS,  # noqa: ARG002
        repeatable: bool = False,  # noqa: ARG002
        short: bool = False,  # noqa: ARG002
        deadline: Deadline | None = None,  # noqa: ARG002
    ) -> T:
        return self._site.run(work, *args)

    async def read(self, work: Callable[..., T], *args: Any) -> T:
        return self._site.run(work, *args)

    async def read_inline(self, work: Callable[..., T], *args: Any, patron: str = "") -> T:  # noqa: ARG002
        return self._site.run(work, *args)


def own_services(site: Site) -> NcipServices:
    """Return services like the daemon's over the site's own transactions."""
    store, agency = _Store(site), site.library.agency
    circulation = Circulation(store, Snapshot(ConnectorTools(store, agency, _nobody)), lambda: site.library, site.now)
    dialects = {partner.agency: partner.dialect for partner in site.partners}
    return NcipServices(circulation, site.agreed().callers, agency, HONG_KONG, dialects, Metrics(), site.now)


async def _nobody(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    return False
