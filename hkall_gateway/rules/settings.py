"""The settings of the published rules, as one frozen record with default values; the tables are in `published_policy.toml`.

A site's policy file overrides individual keys; None means that a key is absent. docs/policy.md is generated from the metadata
of the fields. Tables in the file are named like the fields, without a trailing underscore (`return_` is `[return]`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Scope = Literal["borrow_request", "lend_request", "checkout", "renew", "all"]
Doubt = Literal["allow_and_flag", "deny"]
OnClosure = Literal["roll_forward", "keep", "roll_back"]
TerminalMessage = Literal["01", "09", "11", "15", "17", "19", "23", "25", "29", "35", "37", "63", "65"]
"""SIP2 messages that a role can allow. All terminals may send 93, 97 and 99. Source: SIP2 2.00."""


def _option(default: T, rule: str, doc: str) -> T:
    return field(default=default, metadata={"rule": rule, "doc": doc})


def _required(rule: str, doc: str) -> dict[str, str]:
    return {"rule": rule, "doc": doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Days on which a service is suspended, for all partners or for one."""

    scope: Scope = field(metadata=_required("R1", "The suspended service."))
    start: date = field(metadata=_required("R1", "First day, in Hong Kong."))
    end: date = field(metadata=_required("R1", "Last day, in Hong Kong."))
    inclusive: bool = _option(True, "R1", "Whether the last day is suspended too.")
    message: str = _option("", "R1", "The message to patrons: which service to use instead.")
    message_zh: str = _option("", "R1", "The same in Chinese; empty = as above.")
    partner: str = _option("", "R1", "The only partner concerned; empty = all.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FineFree:
    """Days without fines, such as a typhoon or a long closure."""

    start: date = field(metadata=_required("R41", "First day without a fine."))
    end: date = field(metadata=_required("R41", "Last day without a fine."))
    reason: str = _option("", "R41", "The reason, for the record.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """One row of the published table of borrowers."""

    key: str = field(metadata=_required("R18", "The category's name in files."))
    label: str = field(metadata=_required("R18", "The category's name for people."))
    quota: int = field(metadata=_required("R18", "Most HKALL books at a time."))
    loan_days: int = field(metadata=_required("R19", "Length of a loan and of a renewal, in calendar days."))
    total_quota: int | Literal["from_ils"] | None = _option(
        "from_ils", "R21", "Most books in all; from_ils = the local system says."
    )
    ils_groups: tuple[str, ...] = _option((), "R2", "Group codes of the local system that mean this category.")
    study_mode_required: str = _option("", "R2", "full_time where part-time students may not borrow.")
    label_zh: str = _option("", "R18", "The category's name for people, in Chinese; empty = as label.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyModes:
    """The local system's words for the two modes of study. Case, blanks, hyphens and full stops are ignored."""

    full_time: tuple[str, ...] = _option(("full_time", "FT", "F", "全日制"), "R2", "Words that mean full time.")
    part_time: tuple[str, ...] = _option(
        ("part_time", "PT", "P", "兼讀制", "部分時間制"), "R2", "Words that mean part time; any other word is unknown."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The permissions of one kind of terminal. `checkout` and `checkin` apply only to books of other libraries."""

    role: str = field(metadata=_required("R16", "counter, selfcheck, bookdrop or lookup."))
    checkout: bool = field(metadata=_required("R16", "Whether it lends them."))
    checkin: bool = field(metadata=_required("R16", "Whether it takes them back."))
    messages: tuple[TerminalMessage, ...] = field(
        metadata=_required("R16", "SIP2 messages that it may send beside 93, 97 and 99, also about the library's own books.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The gateway's own reasons to refuse a borrower, in addition to the local system's blocks. All are off by default."""

    max_debt_cents: int | None = _option(None, "R2", "Refuse borrowers with a higher debt.")
    on_overdue_recall: bool = _option(
        False, "R2", "Refuse borrowers with an overdue recalled book, until it is back. The published page has no such block."
    )
    max_long_overdue: int | None = _option(None, "R2", "Refuse borrowers with more long-overdue books.")
    long_overdue_days: int = _option(30, "R2", "Days overdue from which a book is long overdue.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How books count towards a borrower's quota."""

    count_from: Literal["request", "checkout"] = _option("request", "R21", "When a book starts to count towards the quota.")
    release_at: Literal["hku_checkin", "lender_checkin"] = _option(
        "hku_checkin", "R21", "When a book stops counting towards the quota."
    )
    unknown: Literal["allow_and_flag", "deny"] = _option(
        "allow_and_flag", "R21", "When the local loans or the total quota are unknown."
    )
    ils_counts_hkall: bool = _option(False, "R21", "Whether the local system's count includes the HKALL books.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickup:
    """How long a book waits on the hold shelf for its borrower."""

    days: int = _option(5, "R14", "Calendar days to collect after the letter.")
    count_notice_day: bool = _option(False, "R14", "Whether the letter's own day is the first of them.")
    last_day_closed: Literal["roll_forward", "keep"] = _option(
        "roll_forward", "R14", "Where the last day to collect moves if it is a closed day."
    )
    late_pickup: Literal["staff_only", "deny", "allow"] = _option(
        "staff_only",
        "R14",
        "Who may lend a book after its last day to collect; a check-in without a card sends it home.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """How closed days and other dates change a due date."""

    on_closure: OnClosure = field(default="roll_forward", metadata=_required("R19", "Where a due date on a closed day moves."))
    cap_to_patron_expiry: bool = _option(
        False,
        "R19",
        "Whether a loan ends with the borrower's card. Recommended: otherwise a patron who has left keeps a book for weeks"
        " whose record is closed. With true, loans and renewals that would end later are due on the card's last day.",
    )
    cap_to_lender_due: bool = _option(
        False, "R19", "Whether a loan ends with the lender's own date; the days of minimum use stay in any case."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """When a loan may be renewed, and for how long."""

    max_count: int = _option(2, "R27", "Renewals of one loan.")
    max_total_days: int | None = _option(None, "R27", "Longest loan in all, from the first checkout.")
    window_days: int = _option(7, "R29", "How many days before the due date it may be renewed.")
    base: Literal["renewal_date", "due_date"] = _option("renewal_date", "R32", "From which day the new period counts.")
    overdue: Literal["deny", "staff_only", "allow"] = _option("staff_only", "R29", "Who may renew an overdue loan.")
    expired_or_blocked: Literal["deny", "staff_only", "allow"] = _option(
        "deny", "R2", "Who may renew with a card that is expired, blocked or no longer eligible."
    )
    cap_to_lender_due: bool = _option(False, "R32", "Whether a renewal ends with the lender's own date.")
    repeat_window_s: int = _option(
        600, "R27", "Seconds within which the same renewal gets the same answer, if the loan did not change in between."
    )
    on_lender_refusal: Literal["keep", "revert"] = _option(
        "keep", "R28", "Whether a renewal that the lender refuses without a recall stays in force, or the old date returns."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How a recall changes a due date."""

    min_use_days: int = _option(15, "R25", "Days of use from the first checkout that a recall cannot shorten.")
    return_days: int = _option(7, "R26", "Days to bring it back after the recall; 0 is the literal reading.")
    before_pickup: Literal["warn", "return"] = _option(
        "warn", "R24", "Effect of a recall before the borrower has the book: warn staff, or send it home."
    )
    restore_on_cancel: bool = _option(True, "R26", "Whether the earlier due date comes back when the recall is cancelled.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fine:
    """The fine for an overdue day, in cents of Hong Kong dollars."""

    overdue_cents: int = _option(200, "R40", "An overdue day.")
    recalled_cents: int = _option(400, "R41", "An overdue day of a recalled book.")
    recall_scope: Literal["per_day", "whole_period"] = _option(
        "per_day", "R41", "Whether days before the recall cost the higher rate."
    )
    recalled_requires_shortening: bool = _option(
        False, "R41", "Whether only a recall that moved the due date costs the higher rate."
    )
    max_per_item_cents: int | None = _option(
        None, "R41", "Most for one book; absent = no limit, as on the published page. A lost book's price is charged beside it."
    )
    count_closed_days: bool = _option(True, "R40", "Whether closed days cost too.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Which letters are sent."""

    pickup: bool = _option(True, "R12", "The book is here.")
    pickup_reminder: bool = _option(
        False, "R14", "The book is still here on the day before the last day to collect, the fourth of five."
    )
    recall: bool = _option(True, "R24", "The lender wants it back, or no longer.")
    overdue: bool = _option(True, "R39", "The loan period is over.")
    cancelled_final: bool = _option(True, "R38", "No library can lend it.")
    renewal: Literal[False] = _option(False, "R30", "Must stay off: the record shows the new date.")
    pickup_expired: bool = _option(False, "R15", "The book goes back.")
    each_decline: bool = _option(False, "R38", "One library of several declined.")
    postponed: bool = _option(True, "R1", "A request waits until the service is not suspended any more.")
    renewal_denied: bool = _option(True, "R28", "The lender did not grant a renewal, or took one back.")


@dataclass(frozen=True, slots=True)
class Return:
    """How the return of a book to its lender is announced."""

    announce: Literal["at_checkin", "on_dispatch"] = _option(
        "at_checkin", "R16", "When the lender is notified that its book is on its way home."
    )


@dataclass(frozen=True, slots=True)
class Bookdrop:
    """How to handle another library's book that is returned in our book drop."""

    policy: Literal["refuse", "accept_and_flag"] = _option("refuse", "R17", "Whether the drop ends the loan.")
    fine: Literal["until_counter", "until_drop"] = _option(
        "until_counter", "R17", "Until when a loan in the drop costs a fine; staff may back-date its return in any case."
    )


@dataclass(frozen=True, slots=True)
class Cancel:
    """When a patron may still cancel a request."""

    in_rerequested: bool = _option(True, "R34", "Whether a patron may still cancel when a second lender is being asked.")


@dataclass(frozen=True, slots=True)
class Lending:
    """Whether and which books we lend to other libraries."""

    open: bool = _option(True, "R1", "Whether we lend at all.")
    institutional_days: int = _option(45, "R19", "Days until we expect a book back, its travel included.")


@dataclass(frozen=True, slots=True)
class AvailabilitySettings:
    """How old the list of copies used to choose a lender may be."""

    fresh_s: int = _option(900, "R7", "Seconds; an older one is checked on the lender's shelf first, if it answers look-ups.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Days after which staff are notified of a stalled request. In transit, the partner's `courier_days` are added."""

    new_days: int = _option(1, "R10", "Placed, and no library asked.")
    requested_days: int = _option(3, "R11", "Asked of a lender that has not sent it.")
    cancelling_days: int = _option(3, "R34", "Cancelled, and the lender has not confirmed.")
    in_transit_days: int = _option(3, "R12", "Shipped to us and not here.")
    received_days: int = _option(11, "R14", "On the hold shelf.")
    to_return_days: int = _option(2, "R16", "Given back, and not sent home.")
    return_transit_days: int = _option(5, "R16", "Sent home and not confirmed.")
    paged_days: int = _option(
        3, "R11", "Not fetched from our shelf; also the working days that a lender has once it has accepted."
    )
    shipped_days: int = _option(3, "R12", "Shipped by us, and not received.")
    lender_overdue_days: int = _option(14, "R19", "Past the date on which we expect our own book back.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long ended records are kept. Records with unpaid charges, claims or unsent messages are left unchanged."""

    anonymise_days: int = _option(180, "R44", "Days after its end until a request is anonymised; 0 = never.")
    archive_days: int = _option(0, "R44", "Days after its end until a request moves to the archive; 0 = never.")
    archive_file: str = _option("", "R44", "The archive, compressed JSON lines; empty = only the command archives.")
    messages_days: int = _option(90, "R44", "Days that a sent message is kept after its creation; 0 = always.")


AVAILABLE = ("Available On Shelf",)

_PUBLISHED: dict[str, Any] = tomllib.loads((Path(__file__).parent / "published_policy.toml").read_text(encoding="utf-8"))
WINDOWS = tuple(Window(**row) for row in _PUBLISHED["service_windows"])
CATEGORIES = tuple(Category(**row) for row in _PUBLISHED["categories"])
ROLES = tuple(Role(**row | {"messages": tuple(row["messages"])}) for row in _PUBLISHED["roles"])
LABELS: Mapping[str, str] = _PUBLISHED["labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole policy file. `Policy()` holds the published rules, with defaults for the points that the rules leave open."""

    materials: tuple[str, ...] = _option(("book",), "R5", "Kinds of material that may be requested or lent.")
    local_available_statuses: tuple[str, ...] = _option(
        AVAILABLE, "R6", "States of our own copies that count as available, each with its synonyms."
    )
    local_availability_unknown: Doubt = field(
        default="allow_and_flag",
        metadata=_required("R6", "If the local system cannot be asked for our own copies, or their status is unknown."),
    )
    lendable_statuses: tuple[str, ...] = _option(
        AVAILABLE, "R7", "States of a copy that may be asked for, or lent, each with its synonyms."
    )
    unknown_study_mode: Literal["deny", "allow"] = _option(
        "deny", "R2", "A SPACE student whose study mode is missing or a word that study_modes does not list."
    )
    duplicates: Literal["deny", "allow"] = _option("deny", "R11a", "A second request for the same title by the same patron.")
    declined_while_suspended: Literal["wait", "end"] = _option(
        "wait",
        "R1",
        "If a lender declines during a suspension: wait and ask the next one after it, or end with the letter.",
    )
    service_windows: tuple[Window, ...] = _option(WINDOWS, "R1", "Days on which a service is suspended.")
    fine_free: tuple[FineFree, ...] = _option((), "R41", "Days without fines.")
    categories: tuple[Category, ...] = _option(CATEGORIES, "R18", "Categories of borrowers, with quota and loan period.")
    roles: tuple[Role, ...] = _option(ROLES, "R16", "Permissions of each kind of terminal.")
    study_modes: StudyModes = field(default_factory=StudyModes, metadata=_required("R2", "Words for the mode of study."))
    block: Block = field(default_factory=Block, metadata=_required("R2", "Our own thresholds."))
    quota: Quota = field(default_factory=Quota, metadata=_required("R20", "How the quota is counted."))
    pickup: Pickup = field(default_factory=Pickup, metadata=_required("R14", "The hold shelf."))
    due: Due = field(default_factory=Due, metadata=_required("R19", "Due dates."))
    renewal: Renewal = field(default_factory=Renewal, metadata=_required("R27", "Renewals."))
    recall: Recall = field(default_factory=Recall, metadata=_required("R25", "Recalls."))
    fine: Fine = field(default_factory=Fine, metadata=_required("R40", "Fines."))
    notices: Notices = field(default_factory=Notices, metadata=_required("R12", "Letters."))
    return_: Return = field(default_factory=Return, metadata=_required("R16", "The return to the lender."))
    bookdrop: Bookdrop = field(default_factory=Bookdrop, metadata=_required("R17", "The book drop."))
    cancel: Cancel = field(default_factory=Cancel, metadata=_required("R34", "Cancellation by the patron."))
    lending: Lending = field(default_factory=Lending, metadata=_required("R1", "Lending to other libraries."))
    availability: AvailabilitySettings = field(
        default_factory=AvailabilitySettings, metadata=_required("R7", "Availability at other libraries.")
    )
    waits: Waits = field(default_factory=Waits, metadata=_required("R11", "When staff are notified."))
    retention: Retention = field(default_factory=Retention, metadata=_required("R44", "Anonymisation and deletion."))
    labels: Mapping[str, str] = field(
        default_factory=lambda: dict(LABELS), metadata=_required("R35", "Labels of the positions for patrons.")
    )
