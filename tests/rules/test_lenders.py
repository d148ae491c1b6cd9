"""Choice of the lender, and of the item of ours to lend."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.lenders import InUse, LenderChoice, Record, choose_lender, may_lend, passed_over
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Lending, Policy, Window
from hkall_gateway.rules.vocabulary import Candidate, Holding, Refusal
from tests.examples import THOROUGH

POLICY = Policy()
NOW = datetime(2017, 7, 1, 2, tzinfo=UTC)
PARTNERS = {a: Partner(agency=a, name=a, priority=50) for a in ("CUHK", "HKUST", "POLYU", "CITYU", "HKBU", "LU", "EDUHK")}


def copy(agency: str, barcode: str = "1", **facts: object) -> Holding:
    return replace(Holding(agency=agency, barcode=barcode, bib_id="b1", title="Dune"), **facts)  # type: ignore[arg-type]


def asked(found: tuple[Candidate, ...]) -> list[str]:
    return [c.agency for c in found if not c.skip]


ONE_OF_SEVEN = [copy(a, status="On Loan") for a in PARTNERS if a != "LU"] + [copy("LU")]


def test_r7_only_the_available_item_among_seven_is_a_candidate() -> None:
    assert asked(choose_lender(ONE_OF_SEVEN, LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU"), "R1")) == [
        "LU"
    ]


def test_r3_own_item_is_never_a_candidate() -> None:
    assert (
        asked(
            choose_lender(
                [copy("HKU")],
                LenderChoice(partners=PARTNERS | {"HKU": Partner(agency="HKU", name="HKU")}, policy=POLICY, now=NOW, own="HKU"),
                "R1",
            )
        )
        == []
    )


def test_item_listed_twice_is_asked_for_once() -> None:
    found = choose_lender([copy("LU"), copy("LU", bib_id="b2")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW), "R1")
    assert [(c.agency, c.barcode, bool(c.skip)) for c in found] == [("LU", "1", False), ("LU", "1", True)]


STOPPED = replace(
    POLICY, service_windows=(Window(scope="borrow_request", start=date(2017, 7, 1), end=date(2017, 7, 9), partner="CUHK"),)
)
CLOSED = {"CUHK": Record(closures=frozenset({date(2017, 7, 1)}))}


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (copy("HKU"), "our own copy"),
        (copy("NLC"), "not a partner"),
        (copy("CUHK", status="On Loan"), "status On Loan"),
        (copy("CUHK", lendable=False), "not lendable"),
        (copy("CUHK", material="dvd"), "material dvd"),
        (copy("CUHK", volume="1"), "another volume: 1"),
        (copy("CUHK"), "another volume: none"),
    ],
)
def test_skipped_item_has_the_reason(held: Holding, reason: str) -> None:
    volume = "2" if reason.startswith("another volume") else ""
    (found,) = choose_lender([held], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU", volume=volume), "R1")
    assert found.skip == reason


@pytest.mark.parametrize(
    ("partner", "policy", "tried", "records", "reason"),
    [
        (PARTNERS["CUHK"], POLICY, (), {}, ""),
        (PARTNERS["CUHK"], POLICY, ("CUHK",), {}, "already asked"),
        (PARTNERS["CUHK"], STOPPED, (), {}, "suspended until 2017-07-09"),
        (PARTNERS["CUHK"], POLICY, (), CLOSED, "closed 2017-07-01"),
        (PARTNERS["CUHK"], POLICY, (), {"CUHK": Record(down=True)}, "cannot be reached"),
    ],
)
def test_skipped_library_has_the_reason(
    partner: Partner, policy: Policy, tried: tuple[str, ...], records: dict[str, Record], reason: str
) -> None:
    (found,) = choose_lender(
        [copy("CUHK")],
        LenderChoice(partners={"CUHK": partner}, policy=policy, now=NOW, own="HKU", tried=tried, records=records),
        "R1",
    )
    assert found.skip == reason


def test_r1_request_placed_before_the_suspension_still_finds_lenders() -> None:
    assert asked(choose_lender([copy("CUHK")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU"), "R1")) == [
        "CUHK"
    ]


def test_r8_only_the_requested_volume_is_supplied() -> None:
    copies = [copy("CUHK", volume="1"), copy("LU", volume="2")]
    assert asked(
        choose_lender(copies, LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU", volume="2"), "R1")
    ) == ["LU"]


def test_lenders_are_asked_by_priority() -> None:
    partners = {a: replace(p, priority=n) for n, (a, p) in enumerate(PARTNERS.items())}
    assert asked(
        choose_lender([copy(a) for a in reversed(PARTNERS)], LenderChoice(partners=partners, policy=POLICY, now=NOW), "R1")
    ) == list(PARTNERS)


@pytest.mark.parametrize(
    "worse",
    [
        Record(closures=frozenset({date(2017, 7, 2)})),
        Record(lent=9, borrowed=2),
        Record(declines=0.5),
    ],
    ids=["closed tomorrow", "has lent more than it borrowed", "declines often"],
)
@pytest.mark.parametrize("request_id", ["R1", "R2", "R3", "R4"])
def test_closure_balance_or_declines_decide_between_lenders_of_equal_priority(worse: Record, request_id: str) -> None:
    found = choose_lender(
        [copy("CUHK"), copy("LU")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, records={"CUHK": worse}), request_id
    )
    assert asked(found) == ["LU", "CUHK"]


def test_library_with_two_copies_is_asked_once() -> None:
    found = choose_lender([copy("CUHK", "2"), copy("CUHK", "1")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW), "R1")
    assert [(c.barcode, c.skip) for c in found] == [("1", ""), ("2", "another copy of this library is asked for")]


def test_candidate_has_the_details_for_its_library() -> None:
    found = choose_lender(
        [copy("CUHK", "9", local_bib_id="c77")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW), "R1"
    )
    assert found == (
        Candidate(
            request="R1",
            rank=1,
            agency="CUHK",
            barcode="9",
            local_bib_id="c77",
            reason="priority 50, balance 0.00, declines 0%",
        ),
    )


SHELVES = st.lists(
    st.builds(
        copy,
        st.sampled_from(["HKU", "NLC", *PARTNERS]),
        st.sampled_from("12345"),
        status=st.sampled_from(["Available On Shelf", "On Loan"]),
        lendable=st.booleans(),
    ),
    unique_by=lambda c: c.key,
)


@settings(max_examples=THOROUGH)
@given(SHELVES, st.randoms(use_true_random=False), st.text(max_size=5))
def test_catalogue_order_does_not_affect_the_choice(copies: list[Holding], chance: object, request_id: str) -> None:
    shuffled = copies[:]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    answers = [
        choose_lender(c, LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU"), request_id)
        for c in (copies, shuffled)
    ]
    assert answers[0] == answers[1]


@settings(max_examples=THOROUGH)
@given(SHELVES)
def test_every_copy_is_ranked_once_and_every_library_asked_at_most_once(copies: list[Holding]) -> None:
    found = choose_lender(copies, LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU"), "R1")
    assert sorted((c.agency, c.barcode) for c in found) == sorted(c.key for c in copies)
    assert [c.rank for c in found] == list(range(1, len(copies) + 1))
    assert len(asked(found)) == len(set(asked(found)))


def test_equal_lenders_share_many_requests_evenly() -> None:
    copies = [copy(a) for a in PARTNERS]
    firsts = Counter(
        asked(choose_lender(copies, LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW), f"R{n}"))[0] for n in range(700)
    )
    assert all(60 <= firsts[a] <= 140 for a in PARTNERS)


# ---- items used by other requests


def test_item_already_lent_to_us_is_skipped_for_another_item_of_its_library() -> None:
    in_use = InUse(held={copy("CUHK").key: "ON_LOAN, R9"})
    found = choose_lender(
        [copy("CUHK"), copy("CUHK", "2")],
        LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, own="HKU", in_use=in_use),
        "R1",
    )
    assert [(c.barcode, c.skip) for c in found] == [("2", ""), ("1", "with us: ON_LOAN, R9")]


def test_item_requested_by_another_request_comes_last() -> None:
    near = {**PARTNERS, "LU": replace(PARTNERS["LU"], priority=1)}
    in_use = InUse(asked=frozenset({copy("LU").key}))
    found = choose_lender(
        [copy("LU"), copy("CUHK")], LenderChoice(partners=near, policy=POLICY, now=NOW, own="HKU", in_use=in_use), "R1"
    )
    assert asked(found) == ["CUHK", "LU"]
    assert [c.reason.startswith("asked for by another request, priority 1") for c in found] == [False, True]


# ---- lending our own items

CUHK = PARTNERS["CUHK"]


def test_r7_own_available_item_with_the_lowest_barcode_is_lent() -> None:
    copies = [copy("HKU", "3"), copy("HKU", "2"), copy("HKU", "1", status="On Loan")]
    assert may_lend(CUHK, copies, POLICY, NOW) == copies[1]


@pytest.mark.parametrize(
    ("copies", "reason"),
    [
        ([], Reason.NO_AVAILABLE_COPY),
        ([copy("HKU", status="On Loan")], Reason.NO_AVAILABLE_COPY),
        ([copy("HKU", lendable=False)], Reason.ITEM_NOT_LENDABLE),
        ([copy("HKU", material="dvd")], Reason.MATERIAL_NOT_REQUESTABLE),
        ([copy("HKU", volume="1")], Reason.NO_AVAILABLE_COPY),
    ],
)
def test_unlendable_own_item_is_refused_with_the_reason(copies: list[Holding], reason: Reason) -> None:
    answer = may_lend(CUHK, copies, POLICY, NOW, volume="2" if copies and copies[0].volume else "")
    assert isinstance(answer, Refusal)
    assert answer.why == reason


def test_r8_requested_volume_is_lent() -> None:
    copies = [copy("HKU", "1", volume="1"), copy("HKU", "2", volume="2")]
    assert may_lend(CUHK, copies, POLICY, NOW, volume="2") == copies[1]


LENDS_NOT = replace(POLICY, service_windows=(Window(scope="lend_request", start=date(2017, 7, 1), end=date(2017, 7, 1)),))


@pytest.mark.parametrize(
    ("partner", "policy", "reason"),
    [
        (None, POLICY, Reason.AGENCY_NOT_ALLOWED),
        (CUHK, replace(POLICY, lending=Lending(open=False)), Reason.LENDING_SUSPENDED),
        (CUHK, LENDS_NOT, Reason.LENDING_SUSPENDED),
    ],
)
def test_r1_lending_is_refused_to_unknown_libraries_and_during_a_suspension(
    partner: Partner | None, policy: Policy, reason: Reason
) -> None:
    answer = may_lend(partner, [copy("HKU")], policy, NOW)
    assert isinstance(answer, Refusal)
    assert answer.why == reason


def test_r1_suspension_of_requests_does_not_suspend_lending() -> None:
    assert may_lend(CUHK, [copy("HKU")], POLICY, datetime(2017, 6, 10, 4, tzinfo=UTC)) == copy("HKU")


def test_r7_title_without_an_own_item_is_unknown() -> None:
    answer = may_lend(CUHK, [], POLICY, NOW, known=False)
    assert isinstance(answer, Refusal)
    assert answer.why == Reason.UNKNOWN_TITLE


@pytest.mark.parametrize(("partner", "lent"), [("CUHK", False), ("LU", True)])
def test_r1_lending_may_be_suspended_for_one_partner(partner: str, lent: bool) -> None:
    one = replace(
        POLICY, service_windows=(Window(scope="lend_request", start=date(2017, 7, 1), end=date(2017, 7, 1), partner="CUHK"),)
    )
    assert (may_lend(PARTNERS[partner], [copy("HKU")], one, NOW) == copy("HKU")) is lent


def test_equal_priorities_are_ordered_by_lending_ratio() -> None:
    records = {"CUHK": Record(lent=6, borrowed=2), "LU": Record(lent=3, borrowed=0), "HKUST": Record(lent=5, borrowed=4)}
    found = choose_lender(
        [copy(a) for a in records], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, records=records), "R1"
    )
    assert [(c.agency, c.reason) for c in found] == [
        ("HKUST", "priority 50, balance 1.00, declines 0%"),
        ("CUHK", "priority 50, balance 2.00, declines 0%"),
        ("LU", "priority 50, balance 3.00, declines 0%"),
    ]


def test_rank_explanation_mentions_closures_and_declines() -> None:
    records = {"LU": Record(closures=frozenset({date(2017, 7, 2)}), declines=0.25)}
    (found,) = choose_lender([copy("LU")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW, records=records), "R1")
    assert found == Candidate(
        request="R1", rank=1, agency="LU", barcode="1", reason="priority 50, closed tomorrow, balance 0.00, declines 25%"
    )


def test_skipped_item_has_no_rank_explanation() -> None:
    (found,) = choose_lender([copy("NLC")], LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW), "R1")
    assert (found.skip, found.reason) == ("not a partner", "")


def test_requestable_item_has_no_skip_reason() -> None:
    assert passed_over(copy("LU", volume="1"), LenderChoice(partners=PARTNERS, policy=POLICY, now=NOW)) == ""
