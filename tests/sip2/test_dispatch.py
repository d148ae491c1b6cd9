"""Session handling: logins, supported messages, unreadable messages, and internal errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.net.secrets import DECOY
from hkall_gateway.rules.settings import ROLES
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, decode
from hkall_gateway.sip2.codec.messages import BX, SHAPES
from hkall_gateway.sip2.codec.session import Refuse, Session
from hkall_gateway.sip2.dispatch import HANDLERS, STRUCK_OUT, Sip2Services, respond
from hkall_gateway.sip2.exchange import NEGATIVE
from tests.metrics import value

STANDARD = DIALECTS["standard"]
DATE = "20170301    100000"
HOME = "10.0.0.7"
ASKED = [code for code, shape in SHAPES.items() if shape.reply]
WITHHELD = ["01", "25"]
LOGIN = "9300CNcounter-1|COcounter-1-pw|"
Fields = Callable[[str, str], Sip2Message]
Ask = Callable[[str, str], str]


@pytest.fixture
def session() -> Session:
    return Session(STANDARD)


@pytest.fixture
def samples(lines: dict[str, bytes]) -> dict[str, str]:
    """One valid line of every message that a terminal sends."""
    found: dict[str, str] = {}
    for line in lines.values():
        message = decode(line, STANDARD)
        found.setdefault(message.code, line.decode())
    return {code: found[code] for code in ASKED}


def _said(services: Sip2Services, session: Session, line: str, peer: str = HOME) -> str:
    (piece,) = session.receive(line.encode() + b"\r")
    assert isinstance(piece, Sip2Message | Refuse)
    return finished(respond(services, session, piece, peer)).decode().rstrip("\r")


def _no_in(reply: Sip2Message) -> bool:
    """Return whether the reply contains its own form of refusal."""
    flags = {"94": "ok", "98": "on_line_status", "36": "end_session", "38": "payment_accepted", "20": "item_properties_ok"}
    name = flags.get(reply.code, "BL" if reply.code in {"24", "26", "64"} else "ok")
    return reply.get(name) in ("0", "N") if reply.code != "18" else reply.get("circulation_status") == "01"


# ---- logins


def test_valid_login_identifies_the_terminal_of_the_connection(services: Sip2Services, session: Session) -> None:
    assert _said(services, session, "9300CNpin-1|COpin-1-pw|") == "941"
    assert (session.terminal, session.dialect.name) == ("pin-1", "pin")


def test_wrong_login_can_be_repeated(services: Sip2Services, session: Session) -> None:
    assert _said(services, session, "9300CNcounter-1|COwrong|") == "940"
    assert _said(services, session, LOGIN) == "941"
    assert session.counters[STRUCK_OUT] == 0


@pytest.mark.parametrize(
    ("said", "peer", "reason"),
    [
        ("9300CNcounter-1|COwrong|", HOME, "secret"),
        ("9300CNcounter-1|CO|", HOME, "secret"),
        ("9300CNcounter-1|", HOME, "secret"),
        ("9300CNcounter-9|COcounter-1-pw|", HOME, "unknown"),
        ("9300CN|CO|", HOME, "unknown"),
        (LOGIN, "192.0.2.1", "address"),
        (LOGIN, "", "address"),
        ("9301CNcounter-1|COcounter-1-pw|", HOME, "algorithm"),
        ("9310CNcounter-1|COcounter-1-pw|", HOME, "algorithm"),
    ],
)
def test_reason_of_a_refused_login_is_only_logged(
    services: Sip2Services, session: Session, said: str, peer: str, reason: str
) -> None:
    with capture_logs() as logs:
        reply = _said(services, session, said, peer)
    assert (reply, session.terminal) == ("940", None)
    assert [log["reason"] for log in logs if log["event"] == "sip2.login_refused"] == [reason]


class Watched:
    """Terminal secrets that record their comparisons."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def verify(self, subject: str, stored: str, secret: str) -> bool:
        self.asked.append((subject, stored))
        return stored == secret


@pytest.mark.parametrize(
    ("name", "peer", "stored"),
    [
        ("counter-1", HOME, "counter-1-pw"),
        ("counter-1", "192.0.2.1", DECOY),
        ("counter-9", HOME, DECOY),
        ("", HOME, DECOY),
    ],
)
def test_login_takes_the_same_number_of_comparisons_for_known_and_unknown_names(
    services: Sip2Services, session: Session, name: str, peer: str, stored: str
) -> None:
    watched = Watched()
    _said(replace(services, secrets=watched), session, f"9300CN{name}|COguess|", peer)
    assert watched.asked == [(f"terminal {name} at {peer}", stored)]


def test_wrong_logins_from_one_ipv6_network_are_counted_together(services: Sip2Services, session: Session) -> None:
    watched = Watched()
    for peer in ("2001:db8::1", "2001:db8::2"):
        _said(replace(services, secrets=watched), session, "9300CNcounter-1|COguess|", peer)
    assert len(set(watched.asked)) == 1


def test_unknown_long_login_name_is_not_stored_whole(services: Sip2Services, session: Session) -> None:
    watched = Watched()
    _said(replace(services, secrets=watched), session, f"9300CN{'x' * 5000}|COguess|")
    assert len(watched.asked[0][0]) < 200


def test_third_wrong_login_closes_the_connection(services: Sip2Services, session: Session) -> None:
    wrong = "9300CNcounter-1|COwrong|"
    states = [(_said(services, session, wrong), session.counters[STRUCK_OUT] > 0) for _ in range(3)]
    assert states == [("940", False), ("940", False), ("940", True)]


def test_blank_login_algorithm_means_plain_text(services: Sip2Services, session: Session) -> None:
    assert _said(services, session, "93  CNcounter-1|COcounter-1-pw|") == "941"


@pytest.mark.parametrize("code", sorted(set(ASKED) - {"93", "99"}))
def test_request_before_the_login_gets_the_refusal_of_its_own_message(
    services: Sip2Services, session: Session, samples: dict[str, str], code: str
) -> None:
    reply = decode(_said(services, session, samples[code]).encode(), STANDARD)
    assert reply.code == SHAPES[code].reply
    assert _no_in(reply)
    assert reply.all("AF") == ("The terminal must log in first",)


def test_terminal_removed_by_a_reload_must_log_in_again(services: Sip2Services, session: Session) -> None:
    _said(services, session, LOGIN)
    reply = _said(replace(services, terminals={}), session, f"35{DATE}AOHKU|AAP1|")
    assert reply == f"36N{DATE}AOHKU|AAP1|AFThe terminal must log in first|"


# ---- SC Status


def test_status_is_answered_before_the_login(services: Sip2Services, session: Session) -> None:
    reply = _said(services, session, "9900302.00")
    assert reply == (f"98YYYYYN100003{DATE}2.00AOHKU|AMThe University of Hong Kong Libraries|BXYYYYYYYYYYYYYYYY|")


def test_status_names_the_location_of_the_terminal(fields: Fields) -> None:
    assert fields("counter-1", "9900302.00").get("AN") == "HKU-MAIN-LENDING"


NOT_OFFERED = {("Not supported here",), ("Not possible at this terminal. Please ask at the counter",)}
ROLES_OF = {"counter-1": "counter", "selfcheck-1": "selfcheck", "bookdrop-1": "bookdrop", "lookup-1": "lookup"}


@pytest.mark.parametrize("login", [*ROLES_OF, "public-1"])
@pytest.mark.parametrize("position", [at for at, code in enumerate(BX) if code != "97"])
def test_bx_lists_exactly_the_messages_the_terminal_may_send(
    fields: Fields, samples: dict[str, str], login: str, position: int
) -> None:
    promised = fields(login, "9900302.00").get("BX")[position]
    reply = fields(login, samples[BX[position]])
    assert (promised == "N") == (reply.all("AF") in NOT_OFFERED)


@pytest.mark.parametrize("code", sorted(set(ASKED) - {"93", "99"}))
@pytest.mark.parametrize(("login", "role"), ROLES_OF.items())
def test_message_outside_the_role_gets_the_refusal_of_its_own_message(
    fields: Fields, samples: dict[str, str], login: str, role: str, code: str
) -> None:
    reply = fields(login, samples[code])
    refused = reply.all("AF") == ("Not possible at this terminal. Please ask at the counter",)
    assert refused == (code not in next(row.messages for row in ROLES if row.role == role))
    assert reply.code == SHAPES[code].reply
    assert not refused or _no_in(reply)


@pytest.mark.parametrize(("login", "flag"), [("counter-1", "N"), ("offline-1", "Y"), ("offline-2", "Y")])
def test_status_allows_offline_work_when_configured(fields: Fields, login: str, flag: str) -> None:
    assert fields(login, "9900302.00").get("off_line_ok") == flag


def test_bx_has_a_flag_for_every_request() -> None:
    assert sorted(BX) == sorted([*ASKED, "97"])
    assert set(HANDLERS) == set(ASKED)


def test_restricted_terminal_sees_its_limits_in_every_status_flag(fields: Fields) -> None:
    status = fields("public-1", "9900302.00")
    assert [at for at, code in enumerate(BX) if status.get("BX")[at] == "N"] == [BX.index("01"), BX.index("25")]
    flags = ("checkin_ok", "checkout_ok", "acs_renewal_policy", "status_update_ok", "off_line_ok")
    assert [status.get(flag) for flag in flags] == ["Y", "Y", "Y", "N", "N"]


@pytest.mark.parametrize("code", WITHHELD)
def test_withheld_message_gets_a_well_formed_refusal(fields: Fields, samples: dict[str, str], code: str) -> None:
    reply = fields("public-1", samples[code])
    assert reply.code == SHAPES[code].reply
    assert _no_in(reply)
    assert reply.all("AF") == ("Not supported here",)


def test_every_refusal_row_has_only_fields_of_its_reply() -> None:
    for code, row in NEGATIVE.items():
        shape = SHAPES[code]
        known = {part.name for part in shape.fixed} | {*shape.required, *shape.optional, "CV"}
        assert not shape.reply
        assert set(row) <= known


# ---- unreadable messages and failures


@pytest.mark.parametrize("code", sorted(set(ASKED) - {"93", "99"}))
def test_truncated_message_gets_the_refusal_of_its_own_message(ask: Ask, code: str) -> None:
    reply = decode(ask("counter-1", f"{code}N|AAP1|").encode(), STANDARD)
    assert reply.code == SHAPES[code].reply
    assert _no_in(reply)
    assert reply.all("AF") == ("The terminal's message could not be read",)


def test_truncated_status_request_is_answered(ask: Ask) -> None:
    assert ask("counter-1", "990").startswith("98YYYY")


def test_truncated_login_is_refused(services: Sip2Services, session: Session) -> None:
    assert _said(services, session, "93") == "940"


class Broken:
    """A service whose commands raise an exception."""

    library = None

    async def execute(self, command: object) -> object:
        raise RuntimeError("the roof is leaking")


def test_exception_in_a_handler_is_answered_and_logged_once(services: Sip2Services, session: Session) -> None:
    session.log_in("counter-1")
    with capture_logs() as logs:
        reply = _said(replace(services, circulation=cast(Any, Broken())), session, f"23000{DATE}AOHKU|AAP1|ACx|AD1234|")
    again = "AFNot possible at the moment. Please try again|"
    assert reply == f"24YYYY          001{DATE}AOHKU|AAP1|{again}AE|"
    assert [(log["log_level"], log["exc_info"]) for log in logs if log["event"] == "sip2.failed"] == [("error", True)]


class Away(Broken):
    """A service whose database is unavailable."""

    async def execute(self, command: object) -> object:
        raise Unavailable("OperationalError")


def test_database_outage_is_answered_with_try_again_and_logs_no_bug(services: Sip2Services, session: Session) -> None:
    session.log_in("counter-1")
    with capture_logs() as logs:
        reply = _said(replace(services, circulation=cast(Any, Away())), session, f"23000{DATE}AOHKU|AAP1|ACx|AD1234|")
    assert reply.endswith("AFNot possible at the moment. Please try again|AE|")
    assert [(log["event"], log["log_level"], log["refused"]) for log in logs] == [("sip2.answered", "info", "try_again")]


# ---- log lines


def test_reply_has_the_sequence_number_of_its_request_and_a_checksum(ask: Ask) -> None:
    reply = decode(ask("counter-1", "9900302.00AY1AZFCA5").encode(), STANDARD)
    assert (reply.sequence, reply.checked) == ("1", True)


def _answered(services: Sip2Services, line: str) -> dict[str, Any]:
    session = Session(STANDARD)
    session.log_in("selfcheck-1")
    with capture_logs() as logs:
        _said(services, session, line)
    (answered,) = [dict(log) for log in logs if log["event"] == "sip2.answered"]
    return answered


def test_each_message_is_logged_with_its_outcome_in_one_line(
    services: Sip2Services, clock: list[datetime], place: Callable[..., Request]
) -> None:
    place(Position.RECEIVED)
    steps = iter((clock[0], clock[0] + timedelta(milliseconds=14)))
    line = _answered(replace(services, now=lambda: next(steps)), f"11YN{DATE}{' ' * 18}AOHKU|AAP1|ABC1|ACsecret|AD1234|")
    assert {key: line[key] for key in ("code", "ok", "ms", "refused", "rule", "peer")} == {
        "code": "12",
        "ok": False,
        "ms": 14,
        "refused": "counter_only",
        "rule": "R16",
        "peer": HOME,
    }
    assert value(services.metrics, "sip2_latency_seconds", "11") == 1


@pytest.mark.parametrize("code", ["11", "23", "63"])
def test_log_contains_no_pin_name_or_card(services: Sip2Services, samples: dict[str, str], code: str) -> None:
    session = Session(STANDARD)
    session.log_in("counter-1")
    pieces = samples[code].split("|")
    line = "|".join(["ADsecret-pin" if piece.startswith("AD") else piece for piece in pieces if "AZ" not in piece])
    with capture_logs() as logs:
        _said(services, session, line.replace("AAP1", "AAP2") + "|ACsecret-ac|")
    assert logs
    for secret in ("secret-pin", "secret-ac", "Wong", "王", "P2"):
        assert secret not in str(logs)


# ---- activity of each terminal


def test_last_message_of_a_terminal_is_recorded(services: Sip2Services, session: Session) -> None:
    assert services.activity.rows == {}
    _said(services, session, "9900302.00")
    assert services.activity.rows == {}
    _said(services, session, LOGIN)
    _said(services, session, "9900302.00")
    heard = services.activity.rows["counter-1"]
    assert (heard.last_code, heard.last_at, heard.refused) == ("99", services.now(), 0)


def test_refused_logins_are_counted_with_unknown_names_together(services: Sip2Services, session: Session) -> None:
    for line in ("9300CNcounter-1|COwrong|", "9300CNcounter-1|COwrong|", "9300CNmallory|COx|", "9300CNeve|COx|"):
        _said(services, Session(STANDARD), line)
    found = {name: (one.refused, one.refused_why, one.refused_at) for name, one in services.activity.rows.items()}
    assert found == {"counter-1": (2, "secret", services.now()), "": (2, "unknown", services.now())}
