"""Ended requests are anonymised and archived on their day, never while anything about them is open, and without loss."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.jobs.rounds import LEASE_S, RoundTakenOver, begin, one_batch
from hkall_gateway.circulation.partner_notice import ItemReceived, ItemShipped
from hkall_gateway.db import fines, inbox
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.outbox import Attempt
from hkall_gateway.db.tables import (
    ATTEMPTS,
    CANDIDATES,
    FINES,
    INBOX,
    JOURNAL,
    METADATA,
    NOTICES,
    OUTBOX,
    PATRONS,
    PAYMENTS,
    REQUESTS,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Retention
from hkall_gateway.rules.stored_words import DeliveryKind, NoticeState
from hkall_gateway.rules.vocabulary import Actor, Position, Refusal, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests.circulation import conftest
from tests.circulation.conftest import sent_as
from tests.examples import example_count

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
CLERK = Actor(who="mei", channel="cli", message="test")
LAST_SECOND, MIDNIGHT = "2017-03-30 23:59:59", "2017-03-31 00:00:00"


def keeping(library: DeskWorld, **terms: Any) -> None:
    """Set the policy's section [retention]."""
    policy = replace(library.library.policy, retention=Retention(**{"anonymise_days": 0, "messages_days": 0, **terms}))
    library.library = replace(library.library, policy=policy)


def ended(library: DeskWorld, at: str = "2017-03-01 23:59:59", position: Position = P.CLOSED, **facts: Any) -> Request:
    """A request of UG1 that ended at this time."""
    when = library.clock(at)
    return library.given(position, moved_at=when, placed_at=when, returned_on=date(2017, 3, 1), **facts)


def numbers(library: DeskWorld) -> list[str]:
    return sorted(row["id"] for row in library.rows(REQUESTS))


def archived(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "old.jsonl.gz"


# ---- the day


@pytest.mark.parametrize(("when", "count"), [(LAST_SECOND, 0), (MIDNIGHT, 1)])
def test_request_is_anonymised_thirty_days_after_its_last_day(library_on_each: DeskWorld, when: str, count: int) -> None:
    library = library_on_each
    ended(library)
    keeping(library, anonymise_days=30)
    library.go_to(when)

    assert library.round("purge") == count
    assert library.request().anonymised is (count == 1)


@pytest.mark.parametrize(("when", "count"), [(LAST_SECOND, 0), (MIDNIGHT, 1)])
def test_request_is_archived_thirty_days_after_its_last_day(
    library_on_each: DeskWorld, when: str, count: int, file: Path
) -> None:
    library = library_on_each
    ended(library)
    library.store.now(lambda unit: unit.execute(delete(JOURNAL).where(JOURNAL.c.request == "")))
    keeping(library, archive_days=30, archive_file=str(file))
    library.go_to(when)

    assert library.round("purge") == count
    assert len(archived(file)) == count
    assert library.count() == 1 - count


@pytest.mark.parametrize(("when", "count"), [("2017-08-27 23:59:59", 0), ("2017-08-28 00:00:00", 1)])
def test_request_is_anonymised_after_180_days_by_default(library: DeskWorld, when: str, count: int) -> None:
    ended(library)
    library.go_to(when)
    library.round("purge")

    assert library.request().anonymised is (count == 1)


def test_zero_days_disables_anonymisation(library: DeskWorld) -> None:
    ended(library)
    keeping(library, anonymise_days=0)
    library.go_to("2067-03-01 10:00")

    assert library.round("purge") == 0
    assert library.request().patron == "UG1"


@pytest.mark.parametrize("position", sorted(set(Position) - FINAL))
def test_open_request_is_never_anonymised(library: DeskWorld, position: Position, file: Path) -> None:
    request = library.given(position, moved_at=library.clock("2010-01-01 10:00"))
    keeping(library, anonymise_days=1, archive_days=1, archive_file=str(file))
    library.go_to("2017-06-01 10:00")
    library.round("purge")

    assert library.request() == request


# ---- what holds it


def owe(cents: int) -> Callable[[DeskWorld, Request], None]:
    return lambda library, request: _charge(library, request, cents)


def _charge(library: DeskWorld, request: Request, cents: int) -> None:
    library.store.now(fines.charge, request, "overdue", cents, "R40", library.now, CLERK)


def claim(library: DeskWorld, _request: Request) -> None:
    def without_return(unit: UnitOfWork) -> None:
        request = unit.requests.find("R1")
        assert request is not None
        unit.amend(request, library.now, CLERK, claimed_on=library.today(), returned_on=None)

    library.store.now(without_return)


def message(state: str) -> Callable[[DeskWorld, Request], None]:
    def put(library: DeskWorld, request: Request) -> None:
        now = library.now
        row = {"kind": "ncip", "send": "ask_lender", "request": request.id, "recipient": "CUHK"}
        library.store.now(lambda unit: unit.execute(insert(OUTBOX), row | {"state": state, "made_at": now, "next_at": now}))

    return put


# fmt: off
HOLDS: dict[str, Callable[[DeskWorld, Request], None]] = {
    "an unpaid fine":             owe(200),
    "money that we owe":          owe(-200),
    "a claim that is not settled": claim,
    "a message that waits":       message("waiting"),
    "a message that may have arrived": message("unsure"),
    "a dead letter":              message("dead"),
}
FREES: dict[str, Callable[[DeskWorld, Request], None]] = {
    "nothing":                lambda _library, _request: None,
    "a message that was told": message("sent"),
    "a message told by hand": message("done"),
    "a message dropped":      message("dropped"),
}
# fmt: on


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS.keys())
def test_request_is_neither_anonymised_nor_archived_while_its_case_is_open(
    library_on_each: DeskWorld, hold: Callable[[DeskWorld, Request], None], file: Path
) -> None:
    library = library_on_each
    hold(library, ended(library))
    keeping(library, anonymise_days=1, archive_days=1, archive_file=str(file))
    library.go_to("2018-03-01 10:00")
    library.round("purge")

    assert (library.request().patron, library.request().anonymised) == ("UG1", False)
    assert [line["id"] for line in archived(file) if "position" in line] == []


@pytest.mark.parametrize("free", FREES.values(), ids=FREES.keys())
def test_request_is_archived_once_its_case_is_closed(
    library: DeskWorld, free: Callable[[DeskWorld, Request], None], file: Path
) -> None:
    free(library, ended(library))
    keeping(library, archive_days=1, archive_file=str(file))
    library.go_to("2018-03-01 10:00")
    library.round("purge")

    assert library.count() == 0


def test_request_is_anonymised_after_its_fine_is_paid(library: DeskWorld) -> None:
    _charge(library, ended(library), 200)
    keeping(library, anonymise_days=1)
    library.pay(200)
    library.go_to("2018-03-01 10:00")
    library.round("purge")

    assert library.request().anonymised
    assert [row["patron"] for row in library.rows(FINES)] == [""]
    assert library.owed() == 0


# ---- what stays, what goes


def test_anonymised_request_keeps_its_statistics(library: DeskWorld) -> None:
    before = ended(library)
    library.store.now(UnitOfWork.note, before, "RENEWED", {"because": "asked by telephone"}, library.now, CLERK, "R29")
    keeping(library, anonymise_days=1)
    library.go_to("2018-03-01 10:00")
    library.round("purge")

    after = library.request()
    assert after == replace(before, patron="", anonymised=True)
    lines = [line for line in library.journal() if line["request"] == "R1"]
    assert [(line["event"], line["rule"], line["patron"], line["detail"]) for line in lines] == [
        ("OPEN", "", "", ""),
        ("RENEWED", "R29", "", ""),
    ]


def test_refusal_without_a_request_is_anonymised(library: DeskWorld) -> None:
    no = Refusal(Reason.QUOTA_HKALL, detail={"limit": 15})
    for _ in range(3):
        library.store.now(lambda unit: unit.refuse(no, library.now, CLERK, patron="UG1"))
    keeping(library, anonymise_days=30)
    library.rounds = library.gateway("here", batch=2)
    library.go_to(MIDNIGHT)

    assert library.round("purge") == 3
    assert {(line["rule"], line["patron"], line["detail"]) for line in library.journal()} == {("R20", "", "")}


def test_two_payments_with_the_same_transaction_id_are_both_anonymised(library: DeskWorld) -> None:
    for card in ("UG1", "UG2"):
        library.store.now(fines.record_payment, card, "T-1", 200, "paid", library.now, CLERK)
    keeping(library, anonymise_days=30)
    library.go_to(MIDNIGHT)

    assert library.round("purge") == 2
    assert [(row["patron"], row["transaction_id"], row["cents"]) for row in library.rows(PAYMENTS)] == [("", "", 200)] * 2


def test_stored_replies_naming_the_patron_are_deleted(library: DeskWorld) -> None:
    until = library.now + timedelta(days=60)
    library.store.now(inbox.keep, "D", "old", "outcome", until, library.now)
    keeping(library, anonymise_days=30)
    library.go_to(MIDNIGHT)
    library.store.now(inbox.keep, "D", "new", "outcome", until, library.now)
    library.round("purge")

    assert [row["digest"] for row in library.rows(INBOX)] == ["new"]


@pytest.mark.parametrize("batch", [1, 2, 3, 200])
def test_delivered_messages_expire_and_others_are_kept(library: DeskWorld, batch: int) -> None:
    request = library.given(P.ON_LOAN)
    states = ("sent", "dead", "sent", "waiting", "done", "dropped")
    for state in states:
        message(state)(library, request)
    library.store.now(
        lambda unit: unit.outbox.record_attempt(1, Attempt(at=library.now, kind=DeliveryKind.ACCEPTED, problem="", detail=""))
    )
    keeping(library, messages_days=30)
    library.rounds = library.gateway("here", batch)
    library.go_to(MIDNIGHT)
    message("sent")(library, request)

    assert library.round("purge") == 4
    assert [row["state"] for row in library.rows(OUTBOX)] == ["dead", "waiting", "sent"]
    assert library.rows(ATTEMPTS) == []


# ---- nothing is left in the file


PERSONAL = ("7770001234", "Cheung Suk Ling", "suk.ling@example.hk")


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[DeskWorld]:
    made = conftest.DeskWorld(engine=open_engine(f"sqlite:///{tmp_path / 'hkall.db'}"))
    yield made
    made.close()


def _whole_life(library: DeskWorld) -> None:
    """An item borrowed, returned late, paid for and sent home; a refusal, and letters."""
    card, name, email = PERSONAL
    row = {"barcode": card, "name": name, "email": email, "category": "undergraduates", "local_loans": 0, "total_quota": 60}
    library.store.now(lambda unit: unit.execute(insert(PATRONS), row))
    library.wish(card)
    library.wish(card)
    library.wish(card, bib="no such title", number="d-2")
    library.ask(library.circulation.execute(sent_as(ItemShipped, library.heard(wire_agency="HKU", wire_id="R1-1"))))
    library.check_in()
    library.check_out(card)
    library.go_to("2017-03-20 10:00")
    library.round("overdue")
    library.check_in()
    library.pay(library.owed(card), card)
    library.ask(library.circulation.execute(sent_as(ItemReceived, library.heard(wire_agency="HKU", wire_id="R1-1"))))
    assert library.request().position is P.CLOSED
    for message_row in library.rows(OUTBOX):
        library.store.now(lambda unit: unit.outbox.mark_sent(message_row["id"], library.now))  # noqa: B023  # it runs at once
    library.store.now(
        lambda unit: unit.notices.set_state(1, NoticeState.UNDELIVERABLE, f"no such mailbox: {email}", library.now)
    )


def test_anonymised_database_file_contains_no_card_name_or_address(on_disk: DeskWorld, tmp_path: Path) -> None:
    _whole_life(on_disk)
    assert all(text.encode() in _bytes(on_disk, tmp_path) for text in PERSONAL)
    keeping(on_disk, anonymise_days=1)
    on_disk.go_to("2017-03-22 10:00")
    on_disk.round("purge")
    on_disk.store.now(lambda unit: unit.execute(delete(PATRONS).where(PATRONS.c.barcode == PERSONAL[0])))  # the next full load

    left = [text for text in PERSONAL if text.encode() in _bytes(on_disk, tmp_path)]

    assert left == []
    assert on_disk.count() == 1


def _bytes(library: DeskWorld, folder: Path) -> bytes:
    """The bytes of the database file and of its log."""
    library.engine.dispose()
    with library.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return b"".join(path.read_bytes() for path in folder.glob("hkall.db*"))


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda table: table.name)
def test_anonymised_patron_is_not_in_any_table(on_disk: DeskWorld, table: Any) -> None:
    _whole_life(on_disk)
    keeping(on_disk, anonymise_days=1)
    on_disk.go_to("2017-03-22 10:00")
    on_disk.round("purge")

    assert table is PATRONS or not any(text in str(dict(row)) for row in on_disk.rows(table) for text in PERSONAL)


# ---- the archive


def test_archived_request_is_complete_and_removed_from_the_database(on_disk: DeskWorld, file: Path) -> None:
    _whole_life(on_disk)
    keeping(on_disk, archive_days=1, archive_file=str(file))
    on_disk.go_to("2017-03-22 10:00")
    on_disk.round("purge")

    whole, *lines = archived(file)
    assert (whole["id"], whole["position"], whole["title"], whole["partner"]) == ("R1", "CLOSED", "Dune", "CUHK")
    assert [line["event"] for line in whole["journal"]][:2] == ["OPEN", "ASK"]
    assert {name: bool(whole[name]) for name in ("candidates", "notices", "fines", "outbox")} == dict.fromkeys(
        ("candidates", "notices", "fines", "outbox"), True
    )
    assert {line["event"] for line in lines} == {"REFUSED"}
    for table in (REQUESTS, JOURNAL, CANDIDATES, NOTICES, FINES, OUTBOX, ATTEMPTS):
        assert on_disk.rows(table) == []


def test_nothing_is_archived_without_a_configured_file(library: DeskWorld) -> None:
    ended(library)
    keeping(library, archive_days=1)
    library.go_to("2018-03-01 10:00")

    assert library.round("purge") == 0


class Died(BaseException):
    """The process has crashed."""


def _die() -> None:
    raise Died


def test_crash_between_archive_and_delete_is_repeated_without_loss(on_disk: DeskWorld, file: Path) -> None:
    for number in range(3):
        ended(on_disk, item_barcode=f"C{number}")
    keeping(on_disk, archive_days=1, archive_file=str(file))
    on_disk.go_to("2018-03-01 10:00")
    job = on_disk.store.now(begin, "purge", "here", on_disk.now, True)
    assert job
    dying = SoleStore(on_disk.engine, lambda connection: UnitOfWork(connection, str), before_commit=_die)
    after = on_disk.store.now(in_context(one_batch, on_disk.library, on_disk.now, job, "here", 2))[0]
    while after is not None and not after.cursor.startswith("archive"):
        after = on_disk.store.now(in_context(one_batch, on_disk.library, on_disk.now, after, "here", 2))[0]
    assert after
    with pytest.raises(Died):
        dying.now(in_context(one_batch, on_disk.library, on_disk.now, after, "here", 2))
    dying.close()

    assert numbers(on_disk) == ["R1", "R2", "R3"]
    on_disk.go_to("2018-03-01 11:00")
    on_disk.round("purge")

    assert numbers(on_disk) == []
    assert Counter(line["id"] for line in archived(file) if "journal" in line) == {"R1": 2, "R2": 2, "R3": 1}


def test_gateway_that_lost_the_round_lease_deletes_nothing(library: DeskWorld, file: Path) -> None:
    ended(library)
    keeping(library, archive_days=1, archive_file=str(file))
    library.go_to("2018-03-01 10:00")
    slow = library.store.now(begin, "purge", "gateway-1", library.now, True)
    assert slow is not None
    library.now += timedelta(seconds=LEASE_S + 1)
    assert library.store.now(begin, "purge", "gateway-2", library.now, True) is not None

    with pytest.raises(RoundTakenOver):
        library.store.now(in_context(one_batch, library.library, library.now, replace(slow, cursor="archive "), "gateway-1", 2))

    assert numbers(library) == ["R1"]


# ---- any number, any batch


AGES = st.integers(28, 32)
WISHES = st.lists(st.tuples(AGES, st.booleans(), st.sampled_from(list(Side))), max_size=8)


@settings(max_examples=example_count(40))
@given(requests_a_day=WISHES, batch=st.integers(1, 4))
def test_only_expired_unprotected_requests_are_anonymised(
    tmp_path_factory: pytest.TempPathFactory, requests_a_day: list[tuple[int, bool, Side]], batch: int
) -> None:
    library, path = conftest.DeskWorld(), tmp_path_factory.mktemp("purge") / "old.jsonl.gz"
    library.go_to("2017-06-01 10:00")
    gone: list[str] = []
    kept: list[str] = []
    for number, (age, unpaid, side) in enumerate(requests_a_day):
        request = library.given(P.CLOSED, side=side, moved_at=_ago(library.now, age), item_barcode=f"C{number}")
        if unpaid:
            _charge(library, request, 200)
        (kept if unpaid or age < 30 else gone).append(request.id)
    keeping(library, anonymise_days=30, archive_days=30, archive_file=str(path))
    library.rounds = library.gateway("here", batch)
    library.round("purge")

    assert numbers(library) == sorted(kept)
    assert sorted(line["id"] for line in archived(path)) == sorted(gone)
    assert {line["patron"] for line in archived(path)} <= {""}
    library.close()


def _ago(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days)
