"""Commands quarantine list, show, replay and drop: partners' documents about unknown requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from hkall_gateway.circulation.results import Refused
from hkall_gateway.cli.options import ROW, CliError, Site, by_staff, json_option, require_partner, with_site
from hkall_gateway.cli.show import echo, show
from hkall_gateway.db import bind
from hkall_gateway.rules.stored_words import QuarantineState

if TYPE_CHECKING:
    from hkall_gateway.db.quarantine import QuarantinedDocument
    from hkall_gateway.db.unit_of_work import UnitOfWork
    from hkall_gateway.peers.protocol import Peers

T = TypeVar("T")
COLUMNS = ("id", "agency", "service", "why", "times", "first_at", "last_at")
SETTLED = (*COLUMNS, "state", "settled_by", "reason")
_REASON = click.option("--reason", required=True, help="Why, for the record.")


@click.group()
def quarantine() -> None:
    """Judge partners' documents about unknown requests or copies: each was refused, and kept without its secrets.

    Example: hkall-gateway quarantine list --partner CUHK
    """


@quarantine.command("list")
@click.option("--partner", default="", help="Only documents of this partner.")
@click.option("--all", "settled", is_flag=True, help="Also documents that are judged already.")
@with_site
@json_option
def list_(site: Site, partner: str, settled: bool, as_json: bool) -> None:
    """List documents that wait to be judged, oldest first.

    Example: hkall-gateway quarantine list
    """
    from hkall_gateway.db import quarantine as kept

    found = site.write(lambda unit: kept.listed(unit, partner, settled=settled))
    if not found:
        require_partner(site, partner)
    show((asdict(one) for one in found), as_json, SETTLED if settled else COLUMNS)


@quarantine.command("show")
@click.argument("number", type=ROW)
@with_site
@json_option
def show_(site: Site, number: int, as_json: bool) -> None:
    """Show a document, with a dot in place of each secret or personal value.

    Example: hkall-gateway quarantine show 4
    """
    facts = asdict(_kept_document(site, number))
    if as_json:
        show([facts], as_json)
        return
    text = facts.pop("document")
    show(({"fact": name, "value": value} for name, value in facts.items() if value != ""), False)
    echo(text)


@quarantine.command()
@click.argument("number", type=ROW)
@_REASON
@with_site
def replay(site: Site, number: int, reason: str) -> None:
    """Process a document again, as if it came now: it takes effect once its request is known.

    Example: hkall-gateway quarantine replay 4 --reason "the request was loaded"
    """
    from hkall_gateway.db.database import finished
    from hkall_gateway.protocols import find_protocol

    found = _kept_document(site, number)
    partner = site.write(lambda unit: unit.partners.find(found.agency))
    protocol = find_protocol(partner.protocol if partner else "ncip")
    replaying = protocol.operator.replay(own_peers(site, protocol.name), found.agency, found.digest, found.document)
    outcome = finished(replaying)
    if isinstance(outcome, Refused):
        outcome = protocol.operator.word(outcome, found.service)
    if outcome:
        raise CliError(f"{number}: {outcome}")
    _settle_document(site, number, QuarantineState.REPLAYED, reason)


@quarantine.command()
@click.argument("number", type=ROW)
@_REASON
@with_site
def drop(site: Site, number: int, reason: str) -> None:
    """Drop a document that does not concern this library.

    Example: hkall-gateway quarantine drop 4 --reason "meant for another library"
    """
    _kept_document(site, number)
    _settle_document(site, number, QuarantineState.DROPPED, reason)


def _kept_document(site: Site, number: int) -> QuarantinedDocument:
    from hkall_gateway.db import quarantine as kept

    found: QuarantinedDocument | None = site.write(bind(kept.one, number))
    if found is None or found.state is not QuarantineState.KEPT:
        raise CliError(f"{number}: " + (f"{found.state} already" if found else "no such document"))
    return found


def _settle_document(site: Site, number: int, state: QuarantineState, reason: str) -> None:
    from hkall_gateway.db import quarantine as kept

    if not site.write(bind(kept.settle, number, state, by_staff(state).who, reason)):
        raise CliError(f"{number}: judged meanwhile")
    echo(f"{number} {state}")


class _SiteStore:
    """Store for circulation that uses the site's transactions."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def write(self, work: Callable[[UnitOfWork], T], *_: object, **__: object) -> T:
        return self._site.write(work)

    async def read(self, query: Callable[[UnitOfWork], T], **_: object) -> T:
        return self._site.write(query)


def own_peers(site: Site, protocol: str) -> Peers:
    """Return NCIP services like the gateway's, with the site's own transactions."""
    from hkall_gateway.circulation.circulation import Circulation
    from hkall_gateway.ils.local_system import ConnectedSystem, reject_pin
    from hkall_gateway.ils.snapshot import Snapshot
    from hkall_gateway.ils.tools import ConnectorTools
    from hkall_gateway.net.limits.rate_limiter import Guesses
    from hkall_gateway.observability.metrics import Metrics
    from hkall_gateway.peers.callers import reject_secret
    from hkall_gateway.peers.protocol import NoKeys, Peers

    store, agency = _SiteStore(site), site.library.agency
    snapshot = Snapshot(ConnectorTools(store=store, agency=agency, verify=reject_pin))
    local = ConnectedSystem(store, snapshot, lambda: site.library, site.now)
    circulation = Circulation(store, local, lambda: site.library, site.now)
    return Peers(
        protocol=protocol,
        circulation=circulation,
        callers=site.agreed().callers(protocol),
        agency=agency,
        metrics=Metrics(),
        now=site.now,
        settings=NoKeys(),
        timeout=None,
        other_names=(),
        proofs=Guesses(),
        guesses=Guesses(),
        verify=reject_secret,
    )
