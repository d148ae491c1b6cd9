"""Repeated documents in any order: an immediate repetition changes nothing, a repetition after an undo takes effect.

Three gateways receive the same documents. `once` receives every document once, `often` receives it up to three times before the
next one, and `forgetful` cannot use its inbox for documents repeated after an undo. All three have the same record after each
step. HKALL_SEEDS=N plays 4 N more sequences.
"""

from __future__ import annotations

import os
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import delete, select

from hkall_gateway.db.tables import FINES, HOLDINGS, INBOX, NOTICES, OUTBOX, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ncip.codec import documents
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.service_request import digest_message
from hkall_gateway.ncip.shorthand import make_message
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.simulator.scenario.world_file import secret_of
from tests.examples import example_count

WORLD = Path(__file__).parents[2] / "fixtures" / "worlds" / "asked.toml"
MORE = int(os.environ.get("HKALL_SEEDS", "0"))
LONGEST = 40

OURS, CUHK, HKUST = "HKU-DISCOVERY", "CUHK", "HKUST"
DOCUMENTS = (
    # our discovery system, for two patrons
    (OURS, "RequestItem user=UG2 bib=b-dune"),
    (OURS, "RequestItem user=UG2 bib=b-dune request=d-2"),
    (OURS, "CancelRequestItem user=UG2 request=d-2"),
    (OURS, "CancelRequestItem user=UG1 request=d-1"),
    (OURS, "UpdateRequestItem user=UG1 request=d-1 AddRequestFields/NeedBeforeDate=2017-05-30"),
    (OURS, "UpdateRequestItem user=UG1 request=d-1 AddRequestFields/NeedBeforeDate=2017-05-31"),
    (OURS, "RenewItem user=UG1 item=CUHK:C1"),
    (OURS, "ReportCirculationStatusChange user=UG1 item=CUHK:C1 ItemReportedReturned/DateReportedReturned=2017-03-02"),
    # the lender of Dune
    (CUHK, "ItemShipped request=HKU:R1-1 item=C1 due=2017-05-02 date=2017-03-02"),
    (CUHK, "AcceptItem request=HKU:R1-1 item=C1 user=HKU-INST DateForReturn=2017-05-02 RequestedActionType=Loan"),
    (CUHK, "ItemRequestCancelled request=HKU:R1-1 item=C1 user=HKU-INST"),
    (CUHK, "ItemReceived request=HKU:R1-1 item=C1 date=2017-03-02"),
    (CUHK, "ItemReceived item=C1 date=2017-04-02"),
    (CUHK, "CheckInItem item=C1"),
    (CUHK, "ItemRecalled item=C1 user=HKU-INST due=2017-03-17"),
    (CUHK, "RecallItem item=C1 DesiredDateDue=2017-03-20"),
    (CUHK, "ItemRecallCancelled item=C1 user=HKU-INST"),
    (CUHK, "CancelRecallItem item=C1"),
    (CUHK, "ItemRenewed item=C1 user=HKU-INST due=2017-05-20"),
    (CUHK, 'CirculationStatusUpdated item=CUHK:C2 CirculationStatus="On Loan"'),
    (CUHK, 'CirculationStatusUpdated item=CUHK:C2 CirculationStatus="Available On Shelf"'),
    (HKUST, "ItemShipped request=HKU:R1-2 item=S1 due=2017-05-02 date=2017-03-02"),
    (HKUST, "ItemRequestCancelled request=HKU:R1-2 item=S1 user=HKU-INST"),
    # a borrower of our own book
    (CUHK, "RequestItem user=CUHK-INST bib=b-lend request=CUHK:c-1"),
    (CUHK, "CancelRequestItem user=CUHK-INST request=CUHK:c-1"),
    (CUHK, "ItemReceived request=CUHK:c-1 item=HKU:K9 date=2017-03-02"),
    (CUHK, "ItemShipped request=CUHK:c-1 item=HKU:K9 date=2017-04-02"),
    (CUHK, "RenewItem user=CUHK-INST item=HKU:K9 DesiredDateDue=2017-05-30"),
    (CUHK, "ReportCirculationStatusChange user=CUHK-INST item=HKU:K9 ItemReportedLost=yes"),
)
NOW18 = "20170302    100000"
SCAN, BLANK = "09N{0}{0}APHKU-MAIN-LENDING|AOHKU|AB{1}|AC|{2}", " " * 18
LINES = (
    SCAN.format(NOW18, "C1", ""),
    SCAN.format(NOW18, "S1", ""),
    SCAN.format(NOW18, "K9", ""),
    SCAN.format(NOW18, "C1", "BIY|"),
    f"11NN{NOW18}{BLANK}AOHKU|AAUG1|ABC1|AC|",
    f"11NN{NOW18}{BLANK}AOHKU|AAUG1|ABC1|AC|BIY|",
    f"11NN{NOW18}{BLANK}AOHKU|AACUHK-INST|ABK9|AC|",
)
KEPT = (REQUESTS, NOTICES, OUTBOX, FINES, HOLDINGS)


RECALLED, RECALL_OVER = (CUHK, "ItemRecalled item=C1 user=HKU-INST due=2017-03-17"), (CUHK, "ItemRecallCancelled item=C1")
WANTED, NOT_WANTED = (CUHK, "RecallItem item=C1 DesiredDateDue=2017-03-20"), (CUHK, "CancelRecallItem item=C1")
SENT = (CUHK, "ItemShipped request=HKU:R1-1 item=C1 due=2017-05-02 date=2017-03-02")
NEVER_SENT = (CUHK, "ItemReceived request=HKU:R1-1 item=C1 date=2017-03-02")
UNTIL_30, UNTIL_31 = (
    (OURS, f"UpdateRequestItem user=UG1 request=d-1 AddRequestFields/NeedBeforeDate=2017-05-{day}") for day in (30, 31)
)
ON_LOAN, ON_SHELF = (
    (CUHK, f'CirculationStatusUpdated item=CUHK:C2 CirculationStatus="{status}"')
    for status in ("On Loan", "Available On Shelf")
)
CLAIMED = (OURS, "ReportCirculationStatusChange user=UG1 item=CUHK:C1 ItemReportedReturned/DateReportedReturned=2017-03-02")
RETURNED, RETURN_UNDONE = LINES[0], LINES[5]
UNDONE: tuple[tuple[tuple[str, str], tuple[tuple[str, str] | str, ...]], ...] = (
    (RECALLED, (RECALL_OVER,)),
    (RECALL_OVER, (RECALLED,)),
    (WANTED, (NOT_WANTED,)),
    (NOT_WANTED, (WANTED,)),
    (SENT, (NEVER_SENT,)),
    (UNTIL_30, (UNTIL_31,)),
    (UNTIL_31, (UNTIL_30,)),
    (ON_LOAN, (ON_SHELF,)),
    (ON_SHELF, (ON_LOAN,)),
    (CLAIMED, (RETURNED, RETURN_UNDONE)),
)
"""Documents, each with the messages that undo its effect."""


class RepeatedDocuments(RuleBasedStateMachine):
    """Sends the same documents to three gateways, and compares their records after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.once, self.often, self.forgetful = (World.open(WORLD) for _ in range(3))
        self.worlds = (self.once, self.often, self.forgetful)
        self._tell(CUHK, "RequestItem user=CUHK-INST bib=b-lend request=CUHK:c-1", 1)

    @rule(said=st.sampled_from(DOCUMENTS), times=st.integers(1, 3))
    def tell(self, said: tuple[str, str], times: int) -> None:
        self._tell(*said, times)

    @rule(undone=st.sampled_from(UNDONE))
    def tell_undo_and_tell_again(self, undone: tuple[tuple[str, str], tuple[tuple[str, str] | str, ...]]) -> None:
        said, undoing = undone
        self._tell(*said, 1)
        for one in undoing:
            self.scan(one) if isinstance(one, str) else self._tell(*one, 1)
        self._tell(*said, 1, forget=True)

    @rule(line=st.sampled_from(LINES))
    def scan(self, line: str) -> None:
        for world in self.worlds:
            world.sip2("counter-1", line)
        self._compare()

    @rule(minutes=st.sampled_from([1, 20, 60 * 24 * 9]))
    def wait(self, minutes: int) -> None:
        for world in self.worlds:
            world.wait(timedelta(minutes=minutes))
        self._compare()

    def _tell(self, agency: str, said: str, times: int, *, forget: bool = False) -> None:
        service, *words = shlex.split(said)
        message = make_message(service, words, agency, "HKU", secret_of(agency), self.once.now)
        body = documents.encode(message, DIALECTS["direct"])
        if forget:
            forgotten = delete(INBOX).where(INBOX.c.digest == digest_message(documents.decode(body)))
            self.forgetful.store.now(lambda unit: unit.execute(forgotten))
        for world in (self.once, self.forgetful, *[self.often] * times):
            world.ncip(agency, body)
        self._compare()

    def _compare(self) -> None:
        expected = record(self.once)
        assert record(self.often) == expected, "repeated at once"
        assert record(self.forgetful) == expected, "sent again after it was undone"

    def teardown(self) -> None:
        for world in self.worlds:
            world.close()


def record(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """All data of a gateway about requests, letters, messages, charges and items."""
    return {table.name: world.store.now(_rows, table) for table in KEPT}


def _rows(unit: UnitOfWork, table: Any) -> list[tuple[Any, ...]]:
    keys = list(table.primary_key.columns)
    return [tuple(row) for row in unit.execute(select(table).order_by(*keys))]


STORIES = settings(
    max_examples=example_count(40 + 4 * MORE),
    stateful_step_count=LONGEST,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a story is shrunk for minutes, and hardly shorter
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.thorough
def test_repeated_documents_have_no_effect_until_the_first_effect_is_undone() -> None:
    run_state_machine_as_test(RepeatedDocuments, settings=STORIES)
