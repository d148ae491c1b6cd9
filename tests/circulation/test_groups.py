"""Commands in one group have the results and the rows that they have one after the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Table, select
from twisted.internet.defer import Deferred

from hkall_gateway.circulation.borrowing import CancelRequest, RequestTitle
from hkall_gateway.circulation.lending import BorrowFromUs
from hkall_gateway.circulation.loans import CheckOut, Renew
from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.returning import CheckIn
from hkall_gateway.circulation.staff.actions import STAFF_ACTIONS, Act
from hkall_gateway.db.engine.group import run_group
from hkall_gateway.db.engine.worker import InlineRunner
from hkall_gateway.db.tables import CANDIDATES, FINES, HOLDINGS, JOURNAL, NOTICES, OUTBOX, REQUESTS
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey
from tests.circulation.conftest import CLERK, COUNTER, NEWS_KINDS, PATRONS_ROWS, TERMINAL, DeskWorld, sent_as

COPIES = (
    Holding(agency="CUHK", barcode="E1", bib_id="emma", title="Emma"),
    Holding(agency="HKU", barcode="K10", bib_id="lend", title="Love in a Fallen City"),
    Holding(agency="HKUST", barcode="S2", bib_id="solaris", title="Solaris"),
)
BARCODES = ("C1", "S1", "P1", "E1", "S2", "K9", "K10")
CARDS = tuple(str(row["barcode"]) for row in PATRONS_ROWS)
CUHK = Actor(who="CUHK", channel="ncip", message="RequestItem")
TABLES: tuple[Table, ...] = (REQUESTS, CANDIDATES, JOURNAL, OUTBOX, FINES, NOTICES, HOLDINGS)


class GroupedWorld(DeskWorld):
    """A service that runs several commands in one group."""

    def together(self, commands: Sequence[Any]) -> list[str]:
        """Return the results of the commands in one group."""
        waiting: list[Callable[[], None]] = []
        single = self.store._writer  # a group without threads
        group = InlineRunner(
            single._connection,
            lambda connection, jobs: run_group(connection, self._unit, jobs),
            waiting.append,
            len(commands),
        )
        self.store._writer = group
        answers = [self._begin(self.circulation.execute(command)) for command in commands]
        while waiting:
            waiting.pop(0)()
        self.store._writer = single
        return [answer for (answer,) in answers]

    def apart(self, commands: Sequence[Any]) -> list[str]:
        """Return the results of the commands one after the other."""
        return [repr(self.ask(self.circulation.execute(command))) for command in commands]

    def all_rows(self) -> list[list[str]]:
        """Return all rows, without the numbers that the database has assigned, for comparison."""
        columns = ([c for c in table.c if table is REQUESTS or c.name != "id"] for table in TABLES)
        return [sorted(map(repr, self.store.now(lambda unit, c=c: unit.execute(select(*c)).all()))) for c in columns]  # type: ignore[misc]

    @staticmethod
    def _begin(coroutine: Coroutine[Any, Any, Any]) -> list[str]:
        answer: list[str] = []
        Deferred.fromCoroutine(coroutine).addCallback(lambda result: answer.append(repr(result)))
        return answer


def draw(chance: Random, world: DeskWorld) -> Any:
    """Return a command about a request of this world, or for another request."""
    request, kind = chance.choice(world.requests() or [None]), chance.randrange(12)
    if request is None or kind < 3:  # a RequestId may come again, also in the same group
        number = f"d-{chance.randrange(12)}"
        return RequestTitle(
            by=CLERK,
            patron=chance.choice(CARDS),
            bib_id=chance.choice(["dune", "emma", "solaris"]),
            placed_by="D",
            placed_id=number,
        )
    barcode = chance.choice([request.item_barcode or "C1", *BARCODES])
    if kind == 3:
        return BorrowFromUs(by=CUHK, partner="CUHK", wire_agency="CUHK", wire_id=f"c-{chance.randrange(5)}", bib_id="lend")
    if kind < 6:
        return CheckIn(by=TERMINAL, place=COUNTER, barcode=barcode)
    if kind < 8:
        return CheckOut(
            by=TERMINAL,
            place=COUNTER,
            card=chance.choice([request.patron, "CUHK-INST"]),
            barcode=request.item_barcode or barcode,
        )
    if kind == 8:
        return chance.choice(
            [
                Renew(by=TERMINAL, card=request.patron, barcode=barcode),
                CancelRequest(by=CLERK, patron=request.patron, placed_by=request.id),
            ]
        )
    if kind == 9:
        return Act(
            by=CLERK, request=request.id, action=chance.choice(sorted(STAFF_ACTIONS)), cents=chance.choice([None, 5_000])
        )
    name, partner = chance.choice(["shipped", "shipped", *NEWS_KINDS]), request.partner or "CUHK"
    wire: dict[str, Any] = {"wire_agency": request.wire_agency, "wire_id": request.wire_id}
    item = request.item or ItemKey(partner, {"HKUST": "S1", "POLYU": "P1"}.get(partner, barcode))
    due = world.today() + timedelta(days=30)
    return sent_as(
        NEWS_KINDS[name],
        PartnerNotice(by=Actor(who=partner, channel="ncip", message=name), partner=partner, item=item, due=due, **wire),
    )


@pytest.mark.sql_differs
@pytest.mark.parametrize("seed", range(6))
def test_group_of_commands_has_the_effect_of_one_after_the_other(seed: int) -> None:
    chance = Random(seed)
    with closing(GroupedWorld()) as grouped, closing(GroupedWorld()) as single:
        for world in (grouped, single):
            world.add_copies(COPIES)
        for _ in range(12):
            commands = [draw(chance, grouped) for _ in range(chance.randint(2, 7))]
            commands += commands[: chance.randint(0, 1)]
            assert grouped.together(commands) == single.apart(commands)
            assert grouped.all_rows() == single.all_rows()
            days = chance.choice([0, 0, 1, 3])
            for world in (grouped, single):
                world.now += timedelta(days=days)
