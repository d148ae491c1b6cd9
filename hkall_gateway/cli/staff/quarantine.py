"""Commands quarantine list, show, replay and drop: partners' documents about unknown requests."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.cli.options import ROW, CliError, Site, by_staff, json_option, require_partner
from hkall_gateway.cli.show import echo, show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.stored_words import QuarantineState
from hkall_gateway.rules.vendor_words.languages import ENGLISH
from hkall_gateway.sip2.screen_messages import say

if TYPE_CHECKING:
    from hkall_gateway.db.quarantine import QuarantinedDocument
    from hkall_gateway.peers.protocol import Peers

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
    from hkall_gateway.circulation import listings

    found = site.execute(listings.quarantined_documents(partner, settled))
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
    from hkall_gateway.circulation import queries
    from hkall_gateway.circulation.partners.unsent import MarkReplayed
    from hkall_gateway.db.database import finished
    from hkall_gateway.protocols import DEFAULT, find_protocol

    found = _kept_document(site, number)
    partner = site.execute(queries.find_partner(found.agency))
    protocol = find_protocol(partner.protocol if partner else DEFAULT)
    replaying = protocol.operator.replay(own_peers(site, protocol.name), found.agency, found.digest, found.document)
    outcome = finished(replaying)
    if isinstance(outcome, Refused):
        outcome = protocol.operator.word(outcome, found.service)
    if outcome:
        raise CliError(f"{number}: {outcome}")
    marked = site.execute(MarkReplayed(by=by_staff(QuarantineState.REPLAYED), number=number, reason=reason))
    _echo_settled(site, number, QuarantineState.REPLAYED, marked)


@quarantine.command()
@click.argument("number", type=ROW)
@_REASON
@with_site
def drop(site: Site, number: int, reason: str) -> None:
    """Drop a document that does not concern this library.

    Example: hkall-gateway quarantine drop 4 --reason "meant for another library"
    """
    from hkall_gateway.circulation.partners.unsent import DROP, Settle

    command = Settle(
        by=by_staff(QuarantineState.DROPPED),
        number=number,
        reason=reason,
        kind="quarantine",
        how=DROP,
    )
    _echo_settled(site, number, QuarantineState.DROPPED, site.execute(command))


def _kept_document(site: Site, number: int) -> QuarantinedDocument:
    from hkall_gateway.circulation import queries

    found = site.execute(queries.find_quarantined(number))
    if found is None or found.state is not QuarantineState.KEPT:
        raise CliError(f"{number}: " + (f"{found.state} already" if found else "no such document"))
    return found


def _echo_settled(site: Site, number: int, state: QuarantineState, outcome: Noted | Refused) -> None:
    if isinstance(outcome, Refused):
        _kept_document(site, number)  # says what stands against it, unless the refusal does
        raise CliError(f"{number}: {say(outcome.why, ENGLISH, outcome.detail)}")
    echo(f"{number} {state}")


def own_peers(site: Site, protocol: str) -> Peers:
    """Return what a protocol's server needs, like the gateway's."""
    from hkall_gateway.net.limits.rate_limiter import Guesses
    from hkall_gateway.observability.metrics import Metrics
    from hkall_gateway.peers.callers import reject_secret
    from hkall_gateway.peers.protocol import NoKeys, Peers

    return Peers(
        protocol=protocol,
        circulation=site.circulation,
        callers=site.agreed().callers(protocol),
        agency=site.library.agency,
        metrics=Metrics(),
        now=site.now,
        settings=NoKeys(),
        timeout=None,
        other_names=(),
        proofs=Guesses(),
        guesses=Guesses(),
        verify=reject_secret,
    )
