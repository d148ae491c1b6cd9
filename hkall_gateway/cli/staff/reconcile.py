"""Command reconcile: compare our open requests with a partner's list or its replies, and correct differences."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hkall_gateway.circulation.results import Refused
from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, json_option
from hkall_gateway.cli.show import echo, show
from hkall_gateway.cli.with_site import with_site

if TYPE_CHECKING:
    from hkall_gateway.circulation.partners.reconciling import PartnerState
    from hkall_gateway.peers.protocol import Shelves
    from hkall_gateway.rules.partners import Partner
    from hkall_gateway.rules.vocabulary import Request

COLUMNS = ("request", "wire_id", "side", "ours", "theirs", "mend")
NEEDED = frozenset({"request_id", "position"})


@click.command()
@click.argument("partner")
@click.option("--file", "path", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The partner's list, CSV.")
@click.option("--apply", "applied", is_flag=True, help="Carry out the corrections, with --reason.")
@click.option("--reason", default="", help="Why, for the journal.")
@click.option(
    "--days",
    default=60,
    show_default=True,
    help="Without a list: also ask about requests placed in so many days that have ended.",
)
@with_site
@json_option
def reconcile(site: Site, partner: str, path: Path | None, applied: bool, reason: str, days: int, as_json: bool) -> None:
    """Compare the open requests between us and PARTNER with its own list.

    The list is CSV: request_id,position[,barcode], where request_id is AGENCY:VALUE (ours, or a lender's own) and position is
    that of its own side (a lender's PAGED, a borrower's ON_LOAN …).

    Without a list it asks the partner by LookupRequest, else by LookupItem, as its row allows, also about requests placed in
    the last --days that have ended here. Such an answer may fit several positions; then all of them are shown.

    Example: hkall-gateway reconcile CUHK --file theirs.csv --apply --reason "line was down in May"
    """
    from hkall_gateway.circulation import queries
    from hkall_gateway.circulation.partners import reconciling
    from hkall_gateway.circulation.partners.reconciling import PartnerState

    row = site.execute(queries.find_partner(partner))
    if row is None:
        raise CliError(f"{partner}: not in the directory")
    if applied and not reason.strip():
        raise CliError("--apply needs --reason", WRONG)
    if path:
        partner_states = site.execute(reconciling.under_our_numbers(partner, _read_list(path)))
    else:
        partner_states = _query_partner(site, row, days)
    pairs = site.execute(reconciling.differences(partner, partner_states))
    show((asdict(pair) for pair in pairs), as_json, COLUMNS)
    if applied:
        # Correct each difference in its own transaction. Exit with code 1 if a correction was refused.
        by, mended = by_staff("reconcile"), [pair for pair in pairs if pair.mend]
        refused = []
        for pair in mended:
            line = partner_states.get(pair.wire_id, PartnerState(pair.wire_id, ()))
            if isinstance(site.execute(reconciling.Correct(by=by, pair=pair, theirs=line, reason=reason)), Refused):
                refused.append(pair.request)
        echo(f"{len(mended) - len(refused)} of {len(pairs)} mended", err=True)
        if refused:
            raise CliError(f"not mended: {', '.join(refused)}")


def _read_list(path: Path) -> dict[str, PartnerState]:
    """Read the partner's list, keyed by RequestId. Raise CliError for an unusable line."""
    from hkall_gateway.circulation.partners import reconciling
    from hkall_gateway.circulation.partners.reconciling import PartnerState

    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if missing := NEEDED - set(rows.fieldnames or ()):
            raise CliError(f"{path}:1: no column {', '.join(sorted(missing))}", WRONG)
        found = {}
        for number, row in enumerate(rows, start=2):
            position = (row["position"] or "").strip().upper()
            if position not in reconciling.ANYWHERE:
                raise CliError(f"{path}:{number}: position: {position or 'nothing'!r} is none", WRONG)
            named = (row["request_id"] or "").strip()
            if ":" not in named:
                raise CliError(f"{path}:{number}: request_id: {named!r} is not AGENCY:VALUE", WRONG)
            found[named] = PartnerState(named, (position,), (row.get("barcode") or "").strip())
    return found


def _query_partner(site: Site, partner: Partner, days: int) -> dict[str, PartnerState]:
    """Look up the partner's state for each request, keyed by RequestId. An unusable answer counts as agreement."""
    from hkall_gateway.circulation import listings
    from hkall_gateway.circulation.partners import reconciling
    from hkall_gateway.peers.protocol import Line, Shelves
    from hkall_gateway.protocols import find_protocol

    if not (partner.can_lookup_request or partner.can_lookup_items):
        raise CliError(f"{partner.agency} does not answer look-ups: give its list with --file", WRONG)
    agreed = site.agreed()
    line = Line(agency=site.library.agency, secrets=agreed.secrets, post=site.post, posts=agreed.posts, now=site.now)
    client = find_protocol(partner.protocol).client(line)
    if not isinstance(client, Shelves):
        raise CliError(f"{partner.agency} does not answer look-ups: give its list with --file", WRONG)
    still = site.execute(listings.open_requests("", partner.agency))
    ended = site.execute(listings.ended_requests(partner.agency, days))
    requests = (*still, *ended)
    numbers = site.execute(reconciling.their_numbers(requests))
    states = [_look_up(client, request, partner, numbers[request.id]) for request in requests]
    if silent := sum(line.positions == reconciling.ANYWHERE for line in states):
        echo(f"{partner.agency} said nothing usable about {silent} of {len(states)}", err=True)
    return {line.wire_id: line for line in states}


def _look_up(client: Shelves, request: Request, partner: Partner, number: str) -> PartnerState:
    from hkall_gateway.circulation.partners import reconciling
    from hkall_gateway.circulation.partners.reconciling import PartnerState
    from hkall_gateway.db.database import finished

    found, barcode = finished(client.positions(request, partner, number))
    return PartnerState(reconciling.named(request), reconciling.ANYWHERE if found is None else found, barcode)
