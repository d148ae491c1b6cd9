"""Repositories of the partners and of the circuit breakers of their channels, both in the table LINKS.

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
"""The columns of a channel's state."""

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
    """Return the partners and their channels, by agency, for at least `agencies`. Rows are cached for the transaction."""
    known = transaction.ahead.links
    if new := [agency for agency in agencies if agency not in known]:
        known.update({agency: (None, CircuitState(agency)) for agency in new})
        for text, *cells in _LINKS.cells(transaction.connection, new):
            known[cells[0]] = partner_of(text) if text else None, circuit_of(*cells)
    return known


class CircuitRepository(Repository):
    """Reads and writes the channels' state. A recipient missing from the directory has no row, and counts as up."""

    def used(self) -> tuple[str, ...]:
        """Return the agencies to which messages were ever sent, at most MOST, by name."""
        return tuple(row["agency"] for row in _USED.rows(self._connection))

    def listed(self, most: int) -> tuple[str, ...]:
        """Return the first agencies of the directory, at most `most`, by name."""
        return tuple(row["agency"] for row in _LISTED.rows(self._connection, most=most))

    def find(self, agency: str) -> CircuitState:
        """Return the state of the channel to a partner."""
        return _read_links(self._transaction, [agency])[agency][1]

    def several(self, agencies: Collection[str]) -> dict[str, CircuitState]:
        """Return the states of the channels to these partners, by agency."""
        found = _read_links(self._transaction, agencies)
        return {agency: found[agency][1] for agency in agencies}

    def keep(self, link: CircuitState) -> None:
        """Store the state of a channel."""
        self._transaction.ahead.links.pop(link.agency, None)
        update_row(
            self._connection, LINKS, {"agency": link.agency}, {column.name: getattr(link, column.name) for column in HOW}
        )

    def bring_forward(self, now: datetime) -> None:
        """Allow an immediate try on every channel that is down, after the clock was set back."""
        self._transaction.execute(update(LINKS).where(LINKS.c.rests_until > now).values(rests_until=now))

    def take_trial(self, agency: str, now: datetime, until: datetime) -> bool:
        """Claim, until `until`, the trial of a channel that is down. Return False if another gateway has claimed it."""
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
    """Build a channel's state from the columns of HOW, which are None for a recipient missing from the directory."""
    return CircuitState(agency, state or UP, failures or 0, down_since, heard_at, rests_until, fault or "")


class PartnerRepository(Repository):
    """The directory of partners, with the days on which libraries are closed."""

    def find(self, agency: str) -> Partner | None:
        """Return the partner's row in the directory."""
        return self.among([agency]).get(agency)

    def among(self, agencies: Iterable[str]) -> dict[str, Partner]:
        """Return those of these partners that are in the directory, by agency."""
        wanted = sorted(set(agencies))
        found = _read_links(self._transaction, wanted)
        return {agency: partner for agency in wanted if (partner := found[agency][0]) is not None}

    def with_card(self, card: str) -> Partner | None:
        """Return the partner that uses this card at our counter, or the first by name if several do."""
        if card in self._transaction.ahead.card_partners:
            text = self._transaction.ahead.card_partners[card]
        else:
            row = _PARTNER_CARD.first(self._connection, card=card) if card else None
            text = row["partner"] if row else None
        return partner_of(text) if text else None

    def write(self, partners: Sequence[Partner]) -> None:
        """Write new and changed partners. An unchanged row is left alone, so that a start does not wait for its lock."""
        in_order = sorted(partners, key=lambda partner: partner.agency)  # so that two gateways do not deadlock
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
    """Parse a partner's directory entry. Cached, because every request reads eight partners that hardly ever change."""
    found: Partner = from_json(text)
    return found


record(Partner, dropped=["lending"])
record(Charges)
