"""Chinese text: unchanged if the terminal supports it, otherwise a readable substitute, always with a valid checksum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from hkall_gateway.db.tables import PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import checksum, decode
from tests.databases import ON_POSTGRESQL

if TYPE_CHECKING:
    from tests.sip2.conftest import Port

P = Position
DATE = "20170301    100000"
TITLE = "紅樓夢，第一冊 — Łódź"
Place = Callable[..., Request]


def _heard(port: Port, login: str, line: str) -> bytes:
    """Return the reply bytes to a message with sequence number and checksum."""
    caller = replace(port, slow=False).call(log_in=False)
    assert caller.hears(f"9300CN{login}|CO{login}-pw|\r".encode()).startswith(b"941")
    data = f"{line}AY5AZ".encode(port.services.terminals[login].dialect.encoding)
    return caller.hears(data + checksum(data) + b"\r")


def _sum_is_right(line: bytes) -> bool:
    body = line.rstrip(b"\r\n")
    return body[-4:] == checksum(body[:-4]) and body[-9:-6] == b"AY5"


@pytest.mark.parametrize(
    ("login", "title"),
    [
        ("utf8-1", "紅樓夢，第一冊 — Łódź"),
        ("big5-1", "紅樓夢，第一冊 — Lódz"),
        ("ascii-1", "???,??? - Lodz"),
    ],
)
def test_chinese_title_is_sent_in_the_terminals_character_set(port: Port, place: Place, login: str, title: str) -> None:
    place(P.RECEIVED, title=TITLE)
    reply = _heard(port, login, f"17{DATE}AOHKU|ABC1|")
    assert _sum_is_right(reply)
    assert decode(reply, port.services.terminals[login].dialect).get("AJ") == title


@pytest.mark.parametrize(("login", "name"), [("utf8-1", "王美"), ("big5-1", "王美"), ("ascii-1", "Wong Mei")])
def test_chinese_name_is_shown_in_chinese_or_in_its_romanised_form(port: Port, login: str, name: str) -> None:
    reply = _heard(port, login, f"63019{DATE}          AOHKU|AAP2|")
    assert _sum_is_right(reply)
    assert decode(reply, port.services.terminals[login].dialect).get("AE") == name


@pytest.mark.parametrize(
    ("login", "words"),
    [("utf8-1", "此書尚未送達 (R13)"), ("big5-1", "此書尚未送達 (R13)"), ("ascii-1", "This book has not arrived yet (R13)")],
)
def test_reason_is_in_chinese_only_when_the_terminal_can_show_it(port: Port, place: Place, login: str, words: str) -> None:
    place(P.IN_TRANSIT, patron="P2")
    reply = _heard(port, login, f"11NN{DATE}{'':18}AOHKU|AAP2|ABC1|AC|")
    assert _sum_is_right(reply)
    assert decode(reply, port.services.terminals[login].dialect).all("AF") == (words,)


@pytest.mark.parametrize(
    ("login", "original", "shown"),
    [
        ("utf8-1", "城南舊事", "城南舊事 / Cheng nan jiu shi"),
        ("utf8-1", "城南旧事", "城南旧事 / Cheng nan jiu shi"),
        ("big5-1", "城南舊事", "城南舊事 / Cheng nan jiu shi"),
        ("big5-1", "城南旧事", "Cheng nan jiu shi"),
        ("ascii-1", "城南舊事", "Cheng nan jiu shi"),
    ],
)
def test_title_in_two_scripts_is_sent_as_far_as_the_terminal_can_show_it_and_comes_back(
    port: Port, place: Place, login: str, original: str, shown: str
) -> None:
    place(P.ON_LOAN, title="Cheng nan jiu shi", linked_title=original, due=date(2017, 3, 3), loan_days=15)
    dialect = port.services.terminals[login].dialect
    assert decode(_heard(port, login, f"17{DATE}AOHKU|ABC1|"), dialect).get("AJ") == shown
    renewed = decode(_heard(port, login, f"29NN{DATE}{'':18}AOHKU|AAP1|AJ{shown}|"), dialect)
    assert (renewed.get("ok"), renewed.get("AB"), renewed.get("AJ")) == ("1", "C1", shown)


def test_input_of_a_big5_terminal_is_read_as_chinese(port: Port, place: Place) -> None:
    place(P.ON_LOAN, title="紅樓夢")
    reply = _heard(port, "big5-1", f"29NN{DATE}{'':18}AOHKU|AAP1|AJ紅樓夢|")
    assert decode(reply, DIALECTS["big5"]).get("AJ") == "紅樓夢"
    assert _sum_is_right(reply)


NUL = pytest.param("a\0b", marks=pytest.mark.skipif(ON_POSTGRESQL, reason="PostgreSQL keeps no NUL"))


@pytest.mark.parametrize("nasty", ["a\rb", "a\nb", "a|b", NUL, "a\x85b", "a\u2028b"])
def test_characters_of_a_name_never_break_the_message_frame(port: Port, store: SoleStore, nasty: str) -> None:
    store.now(lambda unit: _rename(unit, nasty))
    reply = _heard(port, "counter-1", f"63001{DATE}          AOHKU|AAP1|")
    assert decode(reply, DIALECTS["standard"]).get("AE") == "a b"
    assert reply.count(b"\r") == 1
    assert _sum_is_right(reply)


def _rename(unit: UnitOfWork, name: str) -> None:
    unit.execute(update(PATRONS).where(PATRONS.c.barcode == "P1").values(name=name))
