"""The relay: messages not about HKALL go to the local system and back unchanged, and nobody waits for an unavailable one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.circulation.queries import PatronSeen, SeePatron
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.ils.local_system import ConnectedSystem, OfflineRules
from hkall_gateway.ils.snapshot import Snapshot
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.net.limits.timeout import left_s
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Position, Request, Sensitive
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.client import NOBODY, HungUp, LastKnown, Login
from hkall_gateway.sip2.codec.body import patch_body
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import Sip2Message, body_of, checksum, decode
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.codec.session import Refuse, SendBytes, Session
from hkall_gateway.sip2.dispatch import HANDLERS, Sip2Services, respond
from hkall_gateway.sip2.relay import RELAY_RULES
from tests.metrics import value
from tests.sip2.conftest import LocalIls

if TYPE_CHECKING:
    from tests.sip2.conftest import Port

DATE = "20170301    100000"
LOAN = f"11NN{DATE}{' ' * 18}AOHKU|AAP1|ABLOCAL1|AC|"
LENT = f"121NNY{DATE}AOHKU|AAP1|ABLOCAL1|AJEmma|AH05/04/2017|ZZtheir own|"


class FakeUpstream:
    """The local system behind one terminal, which gives scripted replies and records the messages received."""

    def __init__(self, says: bytes = b"", dialect: Sip2Dialect = DIALECTS["standard"]) -> None:
        self.says, self.dialect, self.login = says, dialect, NOBODY
        self.asked: list[bytes] = []
        self.up, self.refused, self.closed = True, False, 0

    async def __call__(self, body: bytes) -> bytes:
        self.asked.append(body)
        if not self.says:
            raise Unreachable("silent")
        return self.says

    def close(self) -> None:
        self.closed += 1


def ask(services: Sip2Services, line: bytes, upstream: FakeUpstream, login: str = "selfcheck-1") -> bytes:
    session = Session(DIALECTS["standard"])
    session.log_in(login, services.terminals[login].dialect)
    (piece,) = session.receive(line + b"\r")
    assert isinstance(piece, Sip2Message | Refuse)
    return finished(respond(services, session, piece, "10.0.0.7", upstream))


def sealed(body: bytes, number: int) -> bytes:
    line = body + f"AY{number}AZ".encode()
    return line + checksum(line)


# ---- bytes of relayed messages


def test_messages_are_relayed_unchanged_except_checksum_and_sequence_number(services: Sip2Services) -> None:
    upstream = FakeUpstream(LENT.encode())
    heard = ask(services, sealed(LOAN.encode(), 7), upstream)
    assert upstream.asked == [LOAN.encode()]
    assert heard == sealed(LENT.encode(), 7) + b"\r"


def test_terminal_without_error_detection_gets_replies_without_it(services: Sip2Services) -> None:
    assert ask(services, LOAN.encode(), FakeUpstream(LENT.encode())) == LENT.encode() + b"\r"


def test_last_field_gets_a_delimiter_before_the_sequence_number(services: Sip2Services) -> None:
    upstream = FakeUpstream(LENT.removesuffix("|").encode())
    assert ask(services, sealed(LOAN.encode(), 7), upstream) == sealed(LENT.encode(), 7) + b"\r"
    assert ask(services, LOAN.encode(), upstream) == LENT.removesuffix("|").encode() + b"\r"


def test_undecodable_bytes_are_relayed_when_both_sides_use_the_same_character_set(services: Sip2Services) -> None:
    upstream = FakeUpstream(LENT.replace("Emma", "X").encode() + b"AF\xff\xfe|")
    heard = ask(services, LOAN.replace("LOCAL1", "L\xe9").encode("latin-1"), upstream)
    assert b"ABL\xe9|" in upstream.asked[0]
    assert heard.endswith(b"AF\xff\xfe|\r")


def test_messages_are_transcoded_between_two_character_sets(services: Sip2Services) -> None:
    upstream = FakeUpstream(LENT.replace("Emma", "邊城").encode())
    heard = ask(services, sealed(LOAN.replace("LOCAL1", "書1").encode("big5hkscs"), 3), upstream, "big5-1")
    assert "AB書1|".encode() in upstream.asked[0]
    assert heard == sealed(LENT.replace("Emma", "邊城").encode("big5hkscs"), 3) + b"\r"


def test_delimiter_of_the_local_system_is_used_for_its_requests(services: Sip2Services) -> None:
    upstream = FakeUpstream(LENT.replace("|", "^").encode(), replace(DIALECTS["standard"], delimiter="^"))
    assert ask(services, LOAN.encode(), upstream) == LENT.encode() + b"\r"
    assert upstream.asked == [LOAN.replace("|", "^").encode()]


def test_repeated_message_gets_the_stored_reply(port: Port) -> None:
    upstream = FakeUpstream(LENT.encode())
    port.slow, port.services = False, replace(port.services, upstream=lambda: upstream)
    port.__post_init__()
    caller = port.call()
    line = sealed(LOAN.encode(), 7) + b"\r"
    assert caller.hears(line) == caller.hears(line) == sealed(LENT.encode(), 7) + b"\r"
    assert len(upstream.asked) == 1


# ---- routing


@pytest.mark.parametrize("code", ["09", "11", "17", "29"])
def test_message_about_an_hkall_item_is_not_relayed(services: Sip2Services, place: Callable[..., Request], code: str) -> None:
    place(Position.ON_LOAN, first_checkout=datetime(2017, 3, 1).date(), due=datetime(2017, 3, 16).date())  # noqa: DTZ001  # a day
    upstream = FakeUpstream(LENT.encode())
    lines = {
        "09": f"09N{DATE}{DATE}AP|AOHKU|ABC1|AC|",
        "11": LOAN.replace("LOCAL1", "C1"),
        "17": f"17{DATE}AOHKU|ABC1|AC|",
        "29": f"29NN{DATE}{' ' * 18}AOHKU|AAP1|ABC1|AC|",
    }
    assert b"ABC1|" in ask(services, lines[code].encode(), upstream, "counter-1")
    assert upstream.asked == []


@pytest.mark.parametrize(("title", "asked"), [("Dune", 0), ("Emma", 1)])
def test_renewal_by_title_is_handled_here_when_the_patron_borrowed_it_through_hkall(
    services: Sip2Services, place: Callable[..., Request], title: str, asked: int
) -> None:
    place(Position.ON_LOAN, first_checkout=datetime(2017, 3, 1).date(), due=datetime(2017, 3, 16).date())  # noqa: DTZ001  # a day
    upstream = FakeUpstream(b"300NNN" + DATE.encode() + b"AOHKU|AAP1|AB|AJEmma|AH|")
    ask(services, f"29NN{DATE}{' ' * 18}AOHKU|AAP1|AJ{title}|AC|".encode(), upstream, "counter-1")
    assert len(upstream.asked) == asked


def test_unreadable_message_is_not_relayed(services: Sip2Services) -> None:
    upstream = FakeUpstream(LENT.encode())
    assert ask(services, b"11NN2017", upstream).startswith(b"120")
    assert upstream.asked == []


def test_message_withheld_from_the_dialect_is_not_relayed(services: Sip2Services) -> None:
    upstream = FakeUpstream(b"24" + b" " * 14 + b"001")
    assert b"Not supported here" in ask(services, f"01N{DATE}AOHKU|ALx|AAP1|AC|".encode(), upstream, "public-1")
    assert upstream.asked == []


# ---- outages

BARE = {
    "09": f"09N{DATE}{DATE}AP|AOHKU|ABLOCAL1|AC|",
    "11": LOAN,
    "15": f"15+{DATE}AOHKU|AAP1|ABLOCAL1|AC|",
    "17": f"17{DATE}AOHKU|ABLOCAL1|AC|",
    "19": f"19{DATE}AOHKU|ABLOCAL1|AC|CHred|",
    "29": f"29NN{DATE}{' ' * 18}AOHKU|AAP1|ABLOCAL1|AC|",
    "37": f"37{DATE}0100HKDBV1.00|AOHKU|AAP1|AC|",
}
OURS_TOO = {
    "01": f"01N{DATE}AOHKU|ALx|AAP1|AC|",
    "23": f"23001{DATE}AOHKU|AAP1|AC|AD|",
    "25": f"25{DATE}AOHKU|AAP1|AC|",
    "35": f"35{DATE}AOHKU|AAP1|AC|",
    "63": f"63001{DATE}{' ' * 10}AOHKU|AAP1|AC|",
    "65": f"65{DATE}AOHKU|AAP1|AC|",
    "99": "9900802.00",
}


@pytest.mark.parametrize("code", BARE)
def test_message_only_for_the_local_system_is_refused_during_its_outage(services: Sip2Services, code: str) -> None:
    heard = ask(services, BARE[code].encode(), FakeUpstream(), "counter-1").decode()
    assert heard.startswith(SHAPES[code].reply)
    assert "AFNot possible at the moment. Please try again|" in heard


@pytest.mark.parametrize("code", OURS_TOO)
def test_message_about_both_systems_is_answered_here_during_an_outage(services: Sip2Services, code: str) -> None:
    assert ask(services, OURS_TOO[code].encode(), FakeUpstream(), "counter-1").decode().startswith(SHAPES[code].reply)


def test_every_message_except_the_login_has_a_route() -> None:
    assert RELAY_RULES.keys() == {*BARE, *OURS_TOO} == HANDLERS.keys() - {"93"}


# ---- logins


def test_relay_logs_in_as_the_terminal_and_disconnects_with_it(port: Port) -> None:
    upstream = FakeUpstream()
    port.services = replace(port.services, upstream=lambda: upstream)
    port.slow = False
    port.__post_init__()
    caller = port.call()
    assert (upstream.login.name, upstream.login.password.reveal()) == ("counter-1", "counter-1-pw")
    before = upstream.closed
    caller.goes()
    assert upstream.closed == before + 1


def test_relay_may_use_one_login_for_all_terminals(port: Port) -> None:
    upstream = FakeUpstream()
    upstream.login = Login("gateway")
    port.services = replace(port.services, upstream=lambda: upstream, own_logins=False)
    port.__post_init__()
    port.call()
    assert upstream.login.name == "gateway"


def test_refused_login_is_not_relayed(services: Sip2Services) -> None:
    upstream = FakeUpstream()
    session = Session(DIALECTS["standard"])
    (piece,) = session.receive(b"9300CNcounter-1|COwrong|\r")
    assert not isinstance(piece, SendBytes)
    finished(respond(services, session, piece, "10.0.0.7", upstream))  # type: ignore[arg-type]  # it is a message
    assert upstream.login is NOBODY


# ---- merged replies


def test_relayed_reply_is_unchanged_when_nothing_is_added(services: Sip2Services) -> None:
    theirs = b"64" + b" " * 14 + b"001" + DATE.encode() + b"    " * 6 + b"AOX|AAP1|AEChan|BLY|BDtheir own way|ZQ1|"
    assert ask(services, OURS_TOO["63"].encode(), FakeUpstream(theirs)) == theirs + b"\r"


def test_blank_counts_from_the_local_system_are_filled_with_ours(services: Sip2Services, place: Callable[..., Request]) -> None:
    place(Position.RECEIVED)
    theirs = b"64" + b" " * 14 + b"001" + DATE.encode() + b"    " * 6 + b"AOX|AAP1|AEChan|BLY"
    heard = ask(services, OURS_TOO["63"].encode(), FakeUpstream(theirs))
    assert heard == theirs[:37] + b"0001" + b"    " * 5 + b"AOX|AAP1|AEChan|BLY|AFHKALL books ready to collect: 1|\r"


def test_relayed_reply_has_no_hkall_data_when_a_required_pin_is_missing(
    services: Sip2Services, place: Callable[..., Request]
) -> None:
    place(Position.RECEIVED)
    theirs = b"64" + b" " * 14 + b"001" + DATE.encode() + b"    " * 6 + b"AOX|AAP1|AEChan|BLY|"
    assert ask(services, OURS_TOO["63"].encode(), FakeUpstream(theirs), "pin-1") == theirs + b"\r"


def test_merging_a_reply_changes_only_the_given_fields() -> None:
    body = b"66100010000" + DATE.encode() + b"AOX|BMa|ZZ?|"
    changed = patch_body(body, {"renewed_count": "2", "unrenewed_count": "x"}, [("BM", "b|c")], DIALECTS["standard"])
    assert changed == b"66100020000" + DATE.encode() + b"AOX|BMa|BMb c|ZZ?|"


@pytest.mark.parametrize("end", [b"AY1AZ0000\r", b"AY1|AZ0000", b"\r\n", b"AZ0000"])
def test_message_body_excludes_sequence_number_and_checksum(end: bytes) -> None:
    assert body_of(b"  17" + DATE.encode() + b"AOX|ABAZ1|" + end, DIALECTS["standard"]) == b"17" + DATE.encode() + b"AOX|ABAZ1|"


def test_received_fields_are_kept_as_received() -> None:
    line = sealed(LOAN.encode(), 1)
    assert decode(line + b"\r\n", DIALECTS["standard"]).line == line


@pytest.mark.parametrize("code", ["23", "63", "65"])
def test_truncated_reply_is_relayed_unchanged(services: Sip2Services, place: Callable[..., Request], code: str) -> None:
    place(Position.RECEIVED)
    theirs = SHAPES[code].reply.encode() + b"  "
    assert ask(services, OURS_TOO[code].encode(), FakeUpstream(theirs)) == theirs + b"\r"


def test_dialect_that_hides_lists_gets_none_of_our_lists() -> None:
    body = b"66100010000" + DATE.encode() + b"AOX|"
    assert patch_body(body, {}, [("AU", "C1"), ("AF", "x")], DIALECTS["private"]) == body + b"AFx|"
    assert patch_body(body, {}, [("AU", "C1")], DIALECTS["private"]) == body


def test_field_hidden_by_the_dialect_is_removed_from_a_relayed_reply(services: Sip2Services) -> None:
    row = replace(services.terminals["counter-1"], dialect=DIALECTS["private"])
    services = replace(services, terminals={"counter-1": row})
    theirs = f"64{' ' * 14}001{DATE}{'0000' * 6}AOUWOLS|AAP1|AEChan|BEa@b.test|AUL1|AUL2|BLY|CQN|ZZ\xff|"
    heard = ask(services, f"63001{DATE}  Y       AOHKU|AAP1|AC|".encode(), FakeUpstream(theirs.encode("latin-1")), "counter-1")
    assert heard == theirs.replace("BEa@b.test|AUL1|AUL2|", "").encode("latin-1") + b"\r"


# ---- replies from both sides


STATUS = "98{}10000320170301    1000002.00AO{}|BX{}|"


def test_status_lists_the_messages_that_both_systems_support(services: Sip2Services) -> None:
    """The local system withholds 37 and 19, accepts no check-in, and does not report 65; 93, 97 and 99 are ours."""
    theirs = STATUS.format("YNYYYY", "UWOLS", "YYYYNNNYYNYNYYY")
    said = decode(ask(services, b"9900802.00", FakeUpstream(theirs.encode()), "counter-1"), DIALECTS["standard"])
    assert [said.get(name) for name in ("on_line_status", "checkin_ok", "checkout_ok", "status_update_ok")] == list("YNYY")
    assert said.get("BX") == "YYYYYYYYYNYNYYYY"


def test_status_has_a_screen_message_when_the_local_system_is_off_line(services: Sip2Services) -> None:
    theirs = STATUS.format("NNNNNN", "UWOLS", "N" * 16)
    said = ask(services, b"9900802.00", FakeUpstream(theirs.encode()), "counter-1")
    assert said.startswith(b"98YYYY")
    assert b"AFThe library's own system is away" in said


def test_status_before_the_login_describes_the_gateway_alone(services: Sip2Services) -> None:
    upstream, session = FakeUpstream(STATUS.format("NNNNNN", "UWOLS", "N" * 16).encode()), Session(DIALECTS["standard"])
    (piece,) = session.receive(b"9900802.00\r")
    assert finished(respond(services, session, piece, "10.0.0.7", upstream)).startswith(b"98Y")  # type: ignore[arg-type]  # a message
    assert upstream.asked == []


def test_status_is_offline_with_the_reason_when_the_local_system_refuses_the_login(services: Sip2Services) -> None:
    upstream = FakeUpstream()
    upstream.refused = True
    said = ask(services, b"9900802.00", upstream, "counter-1")
    assert said.startswith(b"98N")
    assert b"AFThe library's own system refuses this terminal's login" in said


def test_own_replies_use_the_institution_id_of_the_local_system(services: Sip2Services, place: Callable[..., Request]) -> None:
    place(Position.RECEIVED)
    services = replace(services, institution="UWOLS")
    loan = f"11NN{DATE}{' ' * 18}AOUWOLS|AAP1|ABC1|AC|".encode()
    assert b"AOUWOLS|" in ask(services, loan, FakeUpstream(b"24"), "counter-1")


def test_our_loans_are_listed_after_the_loans_of_the_local_system(
    services: Sip2Services, place: Callable[..., Request]
) -> None:
    place(Position.ON_LOAN, first_checkout=datetime(2017, 3, 1).date(), due=datetime(2017, 3, 16).date())  # noqa: DTZ001  # a day
    theirs = f"64{' ' * 14}001{DATE}{'0000' * 6}AOUWOLS|AAP1|AEChan|BLY|CQN|AU660|AU661|BV0.00|AFHello|ZZ1|"
    said = ask(services, f"63001{DATE}  Y       AOUWOLS|AAP1|AC|".encode(), FakeUpstream(theirs.encode()))
    assert b"|CQN|AU660|AU661|AUC1|BV0.00|AFHello|ZZ1|" in said


@pytest.mark.parametrize(
    ("body", "tag", "changed"),
    [
        (b"36Y" + DATE.encode() + b"AFx|AOy|", "AF", b"AFx|AFnew|AOy|"),
        (b"36Y" + DATE.encode() + b"AOy|AFx", "AF", b"AOy|AFx|AFnew|"),
        (b"36Y" + DATE.encode(), "AF", b"AFnew|"),
        (b"36Y" + DATE.encode() + b"AOAFx|BX|", "AF", b"AOAFx|BX|AFnew|"),
    ],
)
def test_added_field_follows_the_last_field_with_its_tag(body: bytes, tag: str, changed: bytes) -> None:
    assert patch_body(body, {}, [(tag, "new")], DIALECTS["standard"]) == b"36Y" + DATE.encode() + changed


def test_renew_all_screen_message_totals_both_systems(services: Sip2Services, place: Callable[..., Request]) -> None:
    place(Position.ON_LOAN, first_checkout=datetime(2017, 3, 1).date(), due=datetime(2017, 3, 16).date())  # noqa: DTZ001  # a day
    theirs = f"66100020000{DATE}AOUWOLS|BM1|BM2|"
    said = ask(services, f"65{DATE}AOUWOLS|AAP1|AC|".encode(), FakeUpstream(theirs.encode()), "counter-1")
    assert b"AFRenewed: 2|" in said
    assert b"AFRenewed: 0|" not in said
    assert said.startswith(b"66100020001")


# ---- disconnects caused by one message


class HangsUp(FakeUpstream):
    async def __call__(self, body: bytes) -> bytes:
        self.asked.append(body)
        raise HungUp("ConnectionDone")


def test_disconnects_are_counted_by_terminal_and_message(services: Sip2Services) -> None:
    for _ in range(2):
        ask(services, LOAN.encode(), HangsUp())
    assert value(services.metrics, "ils_hang_ups_total", "selfcheck-1", "11") == 2


@pytest.mark.parametrize(
    ("upstream", "said"), [(HangsUp(), b"did not answer this: HKALL only"), (FakeUpstream(), b"own system is away: HKALL only")]
)
def test_screen_message_says_whether_the_local_system_is_away_or_hung_up(
    services: Sip2Services, upstream: FakeUpstream, said: bytes
) -> None:
    assert said in ask(services, f"23001{DATE}AOHKU|AAP1|AC|".encode(), upstream, "counter-1")


# ---- a barcode of two libraries


SEEN = f"18030101{DATE}AB{{}}|AJ{{}}|"


@pytest.mark.parametrize(
    ("card", "institution", "theirs", "whose"),
    [
        ("P2", "HKU", SEEN.format("C1", "Emma"), "theirs"),  # the HKALL item came for P1, so P2 has our own item
        ("P2", "HKU", SEEN.format("C1", "").replace("1803", "1801"), "ours"),  # the local system has no item with this barcode
        ("P2", "HKU", "", "ours"),
        ("P1", "HKU", SEEN.format("C1", "Emma"), "ours"),
        ("P2", "CUHK", SEEN.format("C1", "Emma"), "ours"),  # the institution id (AO) names the owner
    ],
)
def test_own_item_sharing_a_barcode_with_a_held_hkall_item_can_be_borrowed(
    services: Sip2Services, place: Callable[..., Request], card: str, institution: str, theirs: str, whose: str
) -> None:
    place(Position.RECEIVED)
    upstream = FakeUpstream(theirs.encode())
    ask(services, f"11NN{DATE}{' ' * 18}AO{institution}|AA{card}|ABC1|AC|".encode(), upstream, "counter-1")
    assert any(line.startswith(b"11") for line in upstream.asked) is (whose == "theirs")


# ---- unknown cards and PINs during an outage


@pytest.mark.parametrize(
    ("make", "role", "said"),
    [("standard", "counter", b"AE|AF"), ("standard", "lookup", b"AE|BLN|CQN|AF"), ("needs-both", "counter", b"AE|BLN|CQN|AF")],
)
def test_unknown_card_is_not_reported_invalid(services: Sip2Services, make: str, role: str, said: bytes) -> None:
    """Except to clients that might read a missing field as valid."""
    dialect = replace(DIALECTS["standard"], name=make, unknown="no" if make == "needs-both" else "leave_out")
    row = replace(services.terminals["counter-1"], dialect=dialect, role=role)
    services = replace(services, terminals={"counter-1": row}, circulation=Away())  # type: ignore[arg-type]  # the part that is asked
    heard = ask(services, f"23001{DATE}AOHKU|AAP1|AC|AD1234|".encode(), FakeUpstream(), "counter-1")
    assert said + b"Not possible at the moment. Please try again|AFNot known at the moment: whether this card is valid" in heard
    assert b"BV" not in heard
    assert value(services.metrics, "wrong_pins_total", "sip2", "counter-1") == 0


class Away:
    """A service whose local system is unavailable."""

    async def execute(self, ask: SeePatron) -> PatronSeen:
        nothing = Sensitive("")
        return PatronSeen(
            card=ask.card,
            name=nothing,
            name_zh=nothing,
            email=nothing,
            language="",
            category="",
            valid=False,
            refusal=Refused(why=Reason.TRY_AGAIN),
            pin_ok=None,
            lines=(),
            loans_limit=0,
            owed_cents=0,
            expires=None,
        )


# ---- time budget


def test_message_has_one_time_budget_across_both_systems(services: Sip2Services) -> None:
    left: list[float] = []

    class Slow(FakeUpstream):
        async def __call__(self, body: bytes) -> bytes:
            left.append(left_s(100.5, 3.0))
            return LENT.encode()

    ask(replace(services, budget_until=lambda: 102.0), LOAN.encode(), Slow())
    assert left == [1.5]


@pytest.mark.parametrize("pin", ["", "1234", "9999"])
def test_unknown_card_may_belong_to_the_local_system_during_its_outage(services: Sip2Services, pin: str) -> None:
    heard = ask(services, f"23001{DATE}AOHKU|AASTRANGER|AC|AD{pin}|".encode(), FakeUpstream(), "counter-1")
    assert b"BLN" not in heard
    assert b"BV" not in heard
    assert b"AFNot known at the moment: whether this card is valid|" in heard
    assert value(services.metrics, "wrong_pins_total", "sip2", "counter-1") == 0


async def wrong(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    return False


@pytest.mark.parametrize(("loaded", "guesses"), [("", 0), ("a hash", 1)])
def test_pin_without_a_loaded_hash_is_neither_valid_nor_invalid_during_an_outage(
    services: Sip2Services, store: SoleStore, clock: list[datetime], loaded: str, guesses: int
) -> None:
    """It counts as a guess if there is a hash that it could reveal."""
    store.now(lambda unit: unit.execute(update(PATRONS).values(pin_hash=loaded)))
    library = services.circulation.library
    services = replace(
        services,
        circulation=Circulation(
            store,
            ConnectedSystem(
                store, Snapshot(ConnectorTools(store=store, agency="HKU", verify=wrong)), lambda: library, lambda: clock[0]
            ),
            lambda: library,
            lambda: clock[0],
        ),
    )
    heard = ask(services, f"23001{DATE}AOHKU|AAP1|AC|AD1234|".encode(), FakeUpstream(), "counter-1")
    assert (
        b"AE|BLY|AFNot possible at the moment. Please try again|AFNot known at the moment: whether the PIN is right|" in heard
    )
    assert value(services.metrics, "wrong_pins_total", "sip2", "counter-1") == guesses


# ---- a local system that says nothing about PINs

SILENT_ABOUT_PINS = f"24              001{DATE}AOHKU|AAP1|AEChan Tai Man|BLY|"
PIN_LINE = f"23001{DATE}AOHKU|AAP1|AC|AD1234|".encode()


async def equal(_card: str, stored: Sensitive, pin: Sensitive) -> bool:
    return stored == pin


def relaying(services: Sip2Services, store: SoleStore, rules: OfflineRules, **parts: Any) -> Sip2Services:
    """Return services whose local system is at the other end of the relay, with these rules."""
    circulation = services.circulation
    ils = ConnectedSystem(store, LocalIls(store), lambda: circulation.library, services.now, lambda: rules)
    return replace(services, circulation=Circulation(store, ils, lambda: circulation.library, services.now), **parts)


@pytest.mark.parametrize(
    ("pin", "loaded", "flag", "sees_hkall", "guesses"),
    [
        ("loaded", "1234", "CQY|", True, 0),
        ("loaded", "9999", "CQN|", False, 1),
        ("loaded", "", "", False, 0),
        ("refuse", "1234", "", False, 0),
        ("trust", "", "CQY|", True, 0),
    ],
)
def test_missing_answer_about_a_pin_is_unknown_and_never_wrong(
    services: Sip2Services,
    store: SoleStore,
    place: Callable[..., Request],
    pin: Any,
    loaded: str,
    flag: str,
    sees_hkall: bool,
    guesses: int,
) -> None:
    place(Position.RECEIVED)
    store.now(lambda unit: unit.execute(update(PATRONS).values(pin_hash=loaded)))
    services = relaying(services, store, OfflineRules(pin=pin, verify=equal))
    heard = ask(services, PIN_LINE, FakeUpstream(SILENT_ABOUT_PINS.encode()), "counter-1").decode()
    assert heard.startswith(SILENT_ABOUT_PINS + flag)
    assert ("HKALL books ready to collect: 1" in heard) is sees_hkall
    assert ("Not known at the moment: whether the PIN is right" in heard) is (not flag)
    assert value(services.metrics, "wrong_pins_total", "sip2", "counter-1") == guesses


def test_terminal_is_never_shut_by_a_local_system_that_sends_no_cq(services: Sip2Services, store: SoleStore) -> None:
    services = relaying(services, store, OfflineRules(verify=equal))
    upstream = FakeUpstream(SILENT_ABOUT_PINS.encode())
    for _ in range(services.terminals["counter-1"].wrong_pins + 5):
        heard = ask(services, PIN_LINE, upstream, "counter-1")
    assert heard.startswith(SILENT_ABOUT_PINS.encode())


# ---- the last good answer

GOOD = f"64  Y           001{DATE}000000000005000000000000AOHKU|AASTRANGER|AEWong Siu Ming|BLY|CQY|BV3.50|"
PATRON_63 = f"63001{DATE}{{summary}}AOHKU|AASTRANGER|AC|AD{{pin}}|"


def away_since(services: Sip2Services, store: SoleStore) -> tuple[Sip2Services, FakeUpstream]:
    """Return services and a local system that has answered about STRANGER, and is away now."""
    known = LastKnown()
    rules = OfflineRules(verify=equal, recent_pin=known.is_right)
    services = relaying(services, store, rules, known=known)
    upstream = FakeUpstream(GOOD.encode())
    ask(services, PATRON_63.format(summary=" " * 10, pin="1234").encode(), upstream, "counter-1")
    upstream.says = b""
    return services, upstream


def test_last_good_answer_opens_a_session_during_an_outage(
    services: Sip2Services, store: SoleStore, place: Callable[..., Request]
) -> None:
    place(Position.ON_LOAN, patron="STRANGER", first_checkout=date(2017, 3, 1), due=date(2017, 3, 16))
    services, upstream = away_since(services, store)
    line = PATRON_63.format(summary="  Y       ", pin="1234").encode()
    heard = decode(ask(services, line, upstream, "counter-1"), DIALECTS["standard"])
    assert (heard.get("patron_status"), heard.get("BL"), heard.get("CQ")) == ("  Y           ", "Y", "Y")
    assert (heard.get("AE"), heard.all("AU"), heard.get("charged_items_count")) == ("Wong Siu Ming", ("C1",), "0001")
    assert "BV" not in heard.fields
    assert "The library's own system is away: HKALL only" in heard.all("AF")


def test_another_pin_opens_no_session_during_an_outage(services: Sip2Services, store: SoleStore) -> None:
    services, upstream = away_since(services, store)
    heard = ask(services, PATRON_63.format(summary=" " * 10, pin="9999").encode(), upstream, "counter-1")
    assert heard.startswith(b"64YYYY")
    assert b"CQY" not in heard


def test_card_blocked_since_the_last_answer_opens_no_session(services: Sip2Services, store: SoleStore) -> None:
    services, upstream = away_since(services, store)
    ask(services, f"01N{DATE}AOHKU|ALfound|AASTRANGER|AC|".encode(), upstream, "counter-1")
    heard = ask(services, PATRON_63.format(summary=" " * 10, pin="1234").encode(), upstream, "counter-1")
    assert heard.startswith(b"64YYYY")
