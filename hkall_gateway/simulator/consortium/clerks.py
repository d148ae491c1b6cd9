"""Two clerks of each library: one at the command line, and one who makes the commands of the staff pages.

They take money, place requests and settle messages while terminals and partners change the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from hkall_gateway.circulation.command import Command
from hkall_gateway.circulation.fines import Pay, Waive, dollars
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.circulation.staff.closure_changes import CloseDay
from hkall_gateway.db import quarantine
from hkall_gateway.db.database import finished
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.rules import dates
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.rules.vocabulary import Actor, Position
from hkall_gateway.simulator.consortium.staff import Staff
from hkall_gateway.simulator.scenario.steps import CommandLine

ON_PAGES: Final = Actor(who="clerk", channel="web", message="simulate")
TYPED_TWICE: Final = 0.2
"""Chance that a payment with the same number is entered again."""
PRICES_CENTS: Final = (500, 1200, 3700)
REASON: Final = "simulated"


class Clerks:
    """The clerks of all libraries. Without a `command_line`, nobody works at the command line."""

    def __init__(self, staff: Staff, command_line: CommandLine | None) -> None:
        self.staff, self._command_line = staff, command_line
        self._receipts = 0

    def work(self, agency: str) -> None:
        """Let each row of DEEDS happen with its chance."""
        if not self.staff.all.is_up(agency):
            return
        for deed in DEEDS:
            if self.staff.draw_chance(deed.chance) and (self.staff.busy or not deed.only_while_busy):
                deed.act(self, agency)

    def type_command(self, agency: str, *words: str) -> None:
        """Run a command of the command line, which may be refused."""
        command_line = self._command_line
        if command_line is not None:
            printed = self.staff.all.perform(agency, lambda world: command_line(world, list(words)))
            assert not (printed or "").startswith("Usage:"), printed

    def submit(self, agency: str, command: Command[Any, Any]) -> None:
        """Execute a command as a page does."""
        self.staff.all.perform(agency, lambda world: finished(world.circulation.execute(command)))

    def draw_charge(self, agency: str) -> dict[str, Any] | None:
        """Draw an unpaid charge of a library's patrons, or None if nobody owes anything."""
        unsettled = self.staff.read(agency, cli_lists.charges)
        unpaid = [charge for charge in unsettled if charge["left_cents"] > 0]
        return self.staff.draw.choice(unpaid) if unpaid else None

    def next_receipt(self) -> str:
        """Return a new number for a payment."""
        self._receipts += 1
        return f"receipt{self._receipts}"


def price_damage(clerks: Clerks, agency: str) -> None:
    """Record on a page that a lent book is damaged, with its price."""
    loans = clerks.staff.list_requests(agency, Position.ON_LOAN)
    if loans:
        request = clerks.staff.draw.choice(loans)
        cents = clerks.staff.draw.choice(PRICES_CENTS)
        damaged = Act(by=ON_PAGES, request=request.id, reason=REASON, cents=cents, action="damaged")
        clerks.submit(agency, damaged)


def take_money(clerks: Clerks, agency: str) -> None:
    """Take a part of a charge at the command line, on a page and at a terminal, in this order or another."""
    charge = clerks.draw_charge(agency)
    if charge is None:
        return
    card = charge["patron"]
    part_cents = max(1, charge["left_cents"] // 4)
    receipt = clerks.next_receipt()
    typed = ("fines", "pay", card, str(part_cents), "--transaction", receipt)
    paid_on_page = Pay(by=ON_PAGES, card=card, cents=part_cents, transaction_id=receipt)
    fee = f"37{{now}}0400HKDBV{dollars(part_cents)}|AO{agency}|AA{card}|BK{receipt}|"
    ways: list[Callable[[], object]] = [
        lambda: clerks.type_command(agency, *typed),
        lambda: clerks.submit(agency, paid_on_page),
        lambda: clerks.staff.sip2(agency, fee),
    ]
    clerks.staff.draw.shuffle(ways)
    for take in ways:
        take()
        if clerks.staff.draw_chance(TYPED_TWICE):
            take()


def waive(clerks: Clerks, agency: str) -> None:
    """Waive a charge on a page."""
    charge = clerks.draw_charge(agency)
    if charge is not None:
        clerks.submit(agency, Waive(by=ON_PAGES, fine=charge["id"], reason=REASON, cents=charge["left_cents"]))


def place(clerks: Clerks, agency: str) -> None:
    """Place a request for a patron at the command line."""
    patron = clerks.staff.draw.choice(clerks.staff.all.worlds[agency].start.patrons)
    book = clerks.staff.draw.choice(list(clerks.staff.books.values()))
    clerks.type_command(agency, "request", "place", "--patron", patron.barcode, "--bib", book.bib_id)


def retry_dead(clerks: Clerks, agency: str) -> None:
    """Retry at the command line what the courier has given up."""
    for row in clerks.staff.read(agency, lambda unit: unit.outbox.rows(states=(OutboxState.DEAD,))):
        clerks.type_command(agency, "outbox", "retry", str(row.id))


def drop_document(clerks: Clerks, agency: str) -> None:
    """Drop at the command line a document that nobody has to judge by looking for the book."""
    for kept in clerks.staff.read(agency, quarantine.listed):
        if kept.why != Reason.CONTRADICTS_US:
            clerks.type_command(agency, "quarantine", "drop", str(kept.id), "--reason", REASON)


def close_day(clerks: Clerks, agency: str) -> None:
    """Announce a closed day on a page, and move the dates that fall on it at the command line."""
    day = dates.civil(clerks.staff.all.now) + timedelta(days=clerks.staff.draw.randint(1, 20))
    clerks.submit(agency, CloseDay(by=ON_PAGES, day=day, reason=REASON))
    clerks.type_command(agency, "closures", "move", "--reason", REASON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What a clerk may do, with its chance per library and visit to the desk. Some end with the last day of requests."""

    chance: float
    act: Callable[[Clerks, str], None]
    only_while_busy: bool = False


DEEDS: Final = (
    Deed(chance=0.7, act=price_damage),
    Deed(chance=0.7, act=take_money),
    Deed(chance=0.1, act=waive),
    Deed(chance=0.5, act=place, only_while_busy=True),
    Deed(chance=0.3, act=retry_dead),
    Deed(chance=0.2, act=drop_document),
    Deed(chance=0.1, act=close_day, only_while_busy=True),
)
