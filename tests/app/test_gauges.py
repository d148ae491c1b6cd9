"""Gauges are read from the database; committed steps, letters and refusals are counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import Gauge

from hkall_gateway.app.gauges import GAUGES, SELDOM, Gauges, count_moves, counting_carrier
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db import instances
from hkall_gateway.db.database import finished
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.circuit import CircuitSettings, CircuitState, after_failure, after_rejection
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.stored_words import DeliveryKind
from hkall_gateway.rules.vocabulary import Actor, Position
from tests.circulation.conftest import DeskWorld
from tests.metrics import page, value

if TYPE_CHECKING:
    from hkall_gateway.app.gauges import Rows

P = Position
BY = Actor(who="t", channel="sip2")


@pytest.fixture
def library() -> Iterator[DeskWorld]:
    made = DeskWorld()
    yield made
    made.close()


@pytest.fixture
def gauges(library: DeskWorld) -> Gauges:
    return Gauges("HKU", lambda: library.now)


NEED_NO_DATABASE = {"disk_free_bytes", "database_up"}


def look(library: DeskWorld, gauges: Gauges) -> dict[str, Rows]:
    return dict(library.store.now(gauges.read))


def test_open_requests_are_counted_by_side_partner_and_position(library: DeskWorld, gauges: Gauges) -> None:
    library.wish()
    library.lent_out(item_barcode="B1", wire_id="w1")
    library.lent_out(item_barcode="B2", wire_id="w2")
    library.given(P.CLOSED)
    library.borrow_from_us("lend", "c-1")

    assert look(library, gauges)["open_by_position"] == {
        ("borrow", "CUHK", "REQUESTED"): 1,
        ("borrow", "CUHK", "ON_LOAN"): 2,
        ("lend", "CUHK", "PAGED"): 1,
    }


def test_gauges_are_zero_when_nothing_was_counted(library: DeskWorld) -> None:
    quiet = Gauges("HKU", lambda: library.now, lambda: ["CUHK", "LU"], lambda: {"database": 0})
    told = look(library, quiet)
    assert {*told} == {*GAUGES} - NEED_NO_DATABASE
    assert told.pop("partner_up") == {("CUHK",): 1, ("LU",): 1}
    for name, series in told.items():
        assert series, name
        assert {*series.values()} == {0}, name
        assert {len(labels) for labels in series} == {len(GAUGES[name][0].split())}, name
    assert {who for (who,) in told["dead_letters"]} == {"CUHK", "LU"}
    assert {place for _, who, place in told["open_by_position"] if who == "LU"} >= {"REQUESTED", "ON_LOAN", "PAGED", "SHIPPED"}
    assert {job for (job,) in told["timer_lag_seconds"]} >= {"overdue"}


def test_queued_messages_are_counted_with_their_age_and_dead_letters_separately(library: DeskWorld, gauges: Gauges) -> None:
    library.wish()
    library.now += timedelta(minutes=20)

    told = look(library, gauges)
    assert (told["outbox_depth"], told["outbox_oldest_seconds"]) == ({("CUHK",): 1}, {("CUHK",): 1200.0})
    assert told["dead_letters"] == {}


def test_channel_state_is_up_probing_or_down(library: DeskWorld, gauges: Gauges) -> None:
    library.wish()
    assert (look(library, gauges)["partner_up"], look(library, gauges)["circuit_state"]) == ({}, {})
    link = CircuitState(agency="CUHK")
    for minutes in reversed(range(CircuitSettings().failures)):
        link = after_failure(link, CircuitSettings(), library.now - timedelta(minutes=minutes))
    library.store.now(lambda unit: unit.circuits.keep(link))
    assert (look(library, gauges)["partner_up"], look(library, gauges)["circuit_state"]) == ({("CUHK",): 0}, {("CUHK",): 2})
    library.now += timedelta(hours=1)
    assert look(library, gauges)["circuit_state"] == {("CUHK",): 1}


def test_overdue_rounds_and_ending_calendar_are_reported(library: DeskWorld, gauges: Gauges) -> None:
    library.round("overdue")
    library.close_on("HKU", "2017-03-11")
    library.go_to("2017-03-02 00:10")

    told = look(library, gauges)
    assert {job: lag for job, lag in told["timer_lag_seconds"].items() if lag} == {("overdue",): 600}
    assert told["closure_calendar_left_seconds"] == {(): 9 * 86400}
    assert told["ils_snapshot_age_seconds"] == {(): 0}


def test_monthly_counts_are_cached_for_minutes(library: DeskWorld, gauges: Gauges) -> None:
    library.given(P.CLOSED, used=True, placed_at=library.now, returned_on=date(2017, 3, 1))
    first = look(library, gauges)["lend_borrow_balance"]
    library.given(P.CLOSED, used=True, placed_at=library.now, wire_id="w2", item_barcode="C2")
    soon = look(library, gauges)["lend_borrow_balance"]
    library.now += SELDOM
    later = look(library, gauges)["lend_borrow_balance"]

    assert (first, soon, later) == ({("CUHK",): -1}, {("CUHK",): -1}, {("CUHK",): -2})


def test_values_read_from_the_database_are_on_the_metrics_page(library: DeskWorld, gauges: Gauges) -> None:
    metrics = Metrics()
    metrics.registry.register(gauges)
    library.wish()
    gauges.rows = library.store.now(gauges.read)
    shown = page(metrics)
    assert 'hkall_open_by_position{partner="CUHK",position="REQUESTED",side="borrow"} 1.0\n' in shown
    assert "hkall_fill_rate 0.0\n" in shown
    assert set(gauges.rows) == set(GAUGES) - NEED_NO_DATABASE


def test_free_space_is_on_the_metrics_page_while_the_database_does_not_answer() -> None:
    metrics = Metrics()
    metrics.registry.register(
        Gauges("HKU", lambda: datetime(2017, 3, 1, tzinfo=UTC), free=lambda: {"/var/log": 5, "/gone": None})
    )
    shown = page(metrics)
    assert 'hkall_disk_free_bytes{folder="/var/log"} 5.0\n' in shown
    assert "hkall_database_up 0.0\n" in shown
    assert "hkall_fill_rate" not in shown.replace("# ", "")


def test_duplicate_metric_name_is_refused(gauges: Gauges) -> None:
    metrics = Metrics()
    metrics.registry.register(gauges)
    with pytest.raises(ValueError, match="hkall_dead_letters"):
        Gauge("dead_letters", "Another one.", namespace="hkall", registry=metrics.registry)


def move(event: str, source: str, target: str, outcome: str = "ok") -> JournalEntry:
    return JournalEntry(
        request="R1", event=event, source=source, target=target, rule="", outcome=outcome, partner="CUHK", patron="", by=BY
    )


def test_request_is_counted_once_when_it_ends() -> None:
    metrics = Metrics()
    count_moves(metrics, [move("SHIP", "REQUESTED", "IN_TRANSIT"), move("HOME", "RETURN_TRANSIT", "CLOSED")])
    count_moves(metrics, [move("LATE", "CLOSED", "CLOSED"), move("REFUSED", "CLOSED", "CLOSED", "late")])
    count_moves(metrics, [move("WITHDRAW", "PAGED", "WITHDRAWN")])

    assert value(metrics, "requests_total", "borrow", "CUHK", "CLOSED") == 1
    assert value(metrics, "requests_total", "lend", "CUHK", "WITHDRAWN") == 1
    assert value(metrics, "transitions_total", "REQUESTED", "IN_TRANSIT") == 1


def test_partner_that_refuses_us_is_distinguished_from_an_unavailable_partner(library: DeskWorld, gauges: Gauges) -> None:
    away = after_failure(CircuitState(agency="HKUST"), CircuitSettings(failures=1), library.now)
    refusing = after_rejection(CircuitState(agency="CUHK"), CircuitSettings(), library.now, "Agency Authentication Failed")
    for link in (away, refusing):
        library.store.now(lambda unit: unit.circuits.keep(link))  # noqa: B023  # it runs at once

    told = look(library, gauges)
    assert told["partner_fault"] == {("CUHK",): 1, ("HKUST",): 0}
    assert told["partner_up"] == {("CUHK",): 0, ("HKUST",): 0}


def test_durations_and_decliners_are_counted(library: DeskWorld) -> None:
    metrics = Metrics()
    heard: list[JournalEntry] = []
    library.listen = heard.extend
    library.wish()
    library.now += timedelta(hours=30)
    library.say("request_cancelled", library.request(), reason="ask us again in May")
    library.say("request_cancelled", library.request(), reason="not_on_shelf")
    count_moves(metrics, heard)

    assert value(metrics, "decline_total", "CUHK", "other") == 1
    assert value(metrics, "decline_total", "HKUST", "not_on_shelf") == 1
    assert value(metrics, "age_seconds", "REQUESTED") == 1
    assert value(metrics, "requests_total", "borrow", "HKUST", "UNFILLED") == 1


def test_letters_are_counted_by_outcome() -> None:
    metrics = Metrics()

    async def bounce(_row: Any) -> DeliveryResult:
        return DeliveryResult(kind=DeliveryKind.UNDELIVERABLE)

    class Row:
        send = Notification.LETTER_PICKUP

    row: Any = Row()
    answer: Any = counting_carrier(metrics, bounce)(row)
    assert finished(answer).kind == "undeliverable"
    assert value(metrics, "notices_total", "letter_pickup", "undeliverable") == 1


def test_last_nightly_runs_are_reported_with_zero_when_missing(library: DeskWorld, gauges: Gauges) -> None:
    never = {("backup",): 0, ("doctor",): 0, ("load holdings",): 0, ("load patrons",): 0}
    shown = look(library, gauges)
    assert (shown["nightly_last_success_timestamp_seconds"], shown["doctor_failed_checks"]) == (never, {(): 0})

    library.store.now(instances.record, instances.BACKUP, library.now)
    library.store.now(instances.record, instances.DOCTOR, library.now, 3)

    shown = look(library, gauges)
    today = library.now.timestamp()
    assert shown["nightly_last_success_timestamp_seconds"] == {**never, ("backup",): today, ("doctor",): today}
    assert shown["doctor_failed_checks"] == {(): 3}
