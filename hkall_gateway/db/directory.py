"""Repositories for partners and for the circuit breakers of their channels, which share the table LINKS.

No query reads the whole table, because the directory may have millions of rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache

from sqlalchemy import bindparam, or_, select, update

from hkall_gateway.db.engine.compiled import CompiledStatement, StatementAmong, insert_or_write_over, update_row
from hkall_gateway.db.tables import CLOSURES, HAS_CARD, IS_USED, LINKS
from hkall_gateway.db.transaction import Repository, Transaction
from hkall_gateway.rules.circuit import UP, CircuitState
from hkall_gateway.rules.messages.json_records import from_json, record, to_json
from hkall_gateway.rules.partners import Charges, Partner

HOW = (LINKS.c.state, LINKS.c.failures, LINKS.c.down_since, LINKS.c.heard_at, LINKS.c.rests_until, LINKS.c.fault)
"""Columns that store the state of a channel's circuit breaker."""

MOST = 1_000

_USED = CompiledStatement(select(LINKS.c.agency).where(IS_USED).order_by(LINKS.c.agency).limit(MOST))
_LISTED = CompiledStatement(
    select(LINKS.c.agency).where(LINKS.c.partner != "").order_by(LINKS.c.agency).limit(bindparam("most"))
)
_LINKS = StatementAmong(select(LINKS.c.partner, LINKS.c.agency, *HOW), LINKS.c.agency)
_FREE = or_(LINKS.c.rests_until.is_(None), LINKS.c.rests_until <= bindparam("now"))
_UNTIL = bindparam("until", type_=LINKS.c.rests_until.type)
_TRY = CompiledStatement(update(LINKS).where(LINKS.c.agency == bindparam("of"), _FREE).values(rests_until=_UNTIL))


def _read_links(transaction: Transaction, agencies: Collection[str]) -> Mapping[str, tuple[Partner | None, CircuitState]]:
    """Read partners and their channels, by agency. The result has all links cached in the transaction, including `agencies`."""
    known = transaction.ahead.links
    if new := [agency for agency in agencies if agency not in known]:
        known.update({agency: (None, CircuitState(agency=agency)) for agency in new})
        for text, *cells in _LINKS.cells(transaction.connection, new):
            known[cells[0]] = partner_of(text) if text else None, circuit_of(*cells)
    return known


class CircuitRepository(Repository):
    """Reads and writes channel states. A recipient that is missing from the directory has no row, and counts as up."""

    def used(self) -> tuple[str, ...]:
        """Return at most MOST agencies to which messages were ever sent, sorted by name."""
        return tuple(row["agency"] for row in _USED.rows(self._connection))

    def listed(self, most: int) -> tuple[str, ...]:
        """Return at most `most` agencies of the directory, sorted by name."""
        return tuple(row["agency"] for row in _LISTED.rows(self._connection, most=most))

    def find(self, agency: str) -> CircuitState:
        """Return the state of the channel to a partner."""
        return _read_links(self._transaction, [agency])[agency][1]

    def several(self, agencies: Collection[str]) -> dict[str, CircuitState]:
        """Return the state of each partner's channel, by agency."""
        found = _read_links(self._transaction, agencies)
        return {agency: found[agency][1] for agency in agencies}

    def keep(self, link: CircuitState) -> None:
        """Store the state of a channel."""
        self._transaction.ahead.links.pop(link.agency, None)
        update_row(
            self._connection, LINKS, {"agency": link.agency}, {column.name: getattr(link, column.name) for column in HOW}
        )

    def bring_forward(self, now: datetime) -> None:
        """Allow an immediate try on every paused channel, after the clock was set back."""
        self._transaction.execute(update(LINKS).where(LINKS.c.rests_until > now).values(rests_until=now))

    def take_trial(self, agency: str, now: datetime, until: datetime) -> bool:
        """Claim the trial of a channel that is down until `until`. Return False if another gateway has claimed the trial."""
        self._transaction.ahead.links.pop(agency, None)
        return _TRY.change(self._connection, of=agency, now=now, until=until) == 1


def circuit_of(
    agency: str,
    state: str | None,
    failures: int | None,
    down_since: datetime | None,
    heard_at: datetime | None,
    rests_until: datetime | None,
    fault: str | None,
) -> CircuitState:
    """Build a channel's state from the columns in HOW, which are None for a recipient that is missing from the directory."""
    return CircuitState(
        agency=agency,
        state=state or UP,
        failures=failures or 0,
        down_since=down_since,
        heard_at=heard_at,
        rests_until=rests_until,
        fault=fault or "",
    )


class PartnerRepository(Repository):
    """Reads and writes the directory of partners, and reads the days on which libraries are closed."""

    def find(self, agency: str) -> Partner | None:
        """Return the partner with this agency, or None if it is not in the directory."""
        return self.among([agency]).get(agency)

    def among(self, agencies: Iterable[str]) -> dict[str, Partner]:
        """Return the partners with these agencies, by agency. Agencies that are missing from the directory are left out."""
        wanted = sorted(set(agencies))
        found = _read_links(self._transaction, wanted)
        return {agency: partner for agency in wanted if (partner := found[agency][0]) is not None}

    def with_card(self, card: str) -> Partner | None:
        """Return the partner that uses this card at our counter. If several partners share it, return the first by name."""
        if card in self._transaction.ahead.card_partners:
            text = self._transaction.ahead.card_partners[card]
        else:
            row = _PARTNER_CARD.first(self._connection, card=card) if card else None
            text = row["partner"] if row else None
        return partner_of(text) if text else None

    def write(self, partners: Sequence[Partner]) -> None:
        """Write new and changed partners. Unchanged rows are skipped, so that startup does not wait for row locks."""
        in_order = sorted(partners, key=lambda partner: partner.agency)  # a fixed order prevents deadlocks between gateways
        rows = [{"agency": p.agency, "partner": to_json(p), "card": p.institutional_card} for p in in_order]
        query = select(LINKS.c.agency, LINKS.c.partner, LINKS.c.card).where(LINKS.c.agency.in_([p.agency for p in partners]))
        known = [dict(row) for row in self._connection.execute(query).mappings()]
        rows = [row for row in rows if row not in known]
        if rows:
            self._transaction.execute(insert_or_write_over(LINKS, self._transaction.dialect, rows[0]), rows)

    def closed_days(self, agency: str) -> frozenset[date]:
        """Return the days on which a library is closed."""
        if agency not in self._transaction.ahead.closed:
            self._transaction.ahead.closed[agency] = frozenset(day for (day,) in _CLOSED.cells(self._connection, agency=agency))
        return self._transaction.ahead.closed[agency]


_PARTNER_CARD = CompiledStatement(
    select(LINKS.c.partner).where(LINKS.c.card == bindparam("card"), HAS_CARD).order_by(LINKS.c.agency).limit(1)
)
_CLOSED = CompiledStatement(select(CLOSURES.c.day).where(CLOSURES.c.agency == bindparam("agency")))


@lru_cache(maxsize=1024)
def partner_of(text: str) -> Partner:
    """Parse a partner's directory entry. The result is cached, because every request reads eight entries that rarely change."""
    found: Partner = from_json(text)
    return found


record(Partner, dropped=["lending"])
record(Charges)
