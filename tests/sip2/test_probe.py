"""The probe matrix: messages that terminals really send, each over a connection with a real circulation service.

Three servers were probed with these rows; wherever one of them closed, crashed, hung or executed a message wrongly, ours must
not. Source: reference page sip2.md 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import checksum

if TYPE_CHECKING:
    from tests.sip2.conftest import Port

P = Position
DATE = "20170301    100000"
BLANK = " " * 18
LOGIN = "9300CNcounter-1|COcounter-1-pw|"
END = f"35{DATE}AOHKU|AAP1|"
ENDED = f"36Y{DATE}AOHKU|AAP1|\r".encode()
STATUS = f"23000{DATE}AOHKU|AAP1|AC|AD|"
KNOWN = f"24{BLANK[:14]}001{DATE}AOHKU|AAP1|AEChan Tai Man|BLY|CQN|BHHKD|BV0.00|\r".encode()
UNKNOWN = b"24YYYY          001" + DATE.encode() + b"AOHKU|AA"
CHECKOUT = f"11NN{DATE}{BLANK}AOHKU|AAP1|ABC1|AC|"
LENT = f"121NUY{DATE}AOHKU|AAP1|ABC1|AJDune|AH20170316    235959|".encode()


def sealed(line: str, sequence: int = 1, *, hexadecimal: Callable[[bytes], bytes] = bytes) -> bytes:
    """Return the line with AY, AZ and its terminator."""
    data = f"{line}AY{sequence}AZ".encode()
    return data + hexadecimal(checksum(data)) + b"\r"


@dataclass(frozen=True, slots=True)
class Probe:
    """One row: the message sent after the login (or without one if `cold`), and the expected reply."""

    name: str
    sent: bytes
    heard: bytes
    cold: bool = False


# fmt: off
PROBES = (
    Probe("CR LF terminators",                  f"{END}\r\n{END}\r\n{END}\r\n".encode(), ENDED * 3),
    Probe("LF only",                            f"{END}\n{END}\n".encode(), ENDED * 2),
    Probe("blank line first",                   f"\r\n\r{END}\r".encode(), ENDED),
    Probe("two messages in one segment",        f"{END}\r{STATUS}\r".encode(), ENDED + KNOWN),
    Probe("wrong checksum",                     f"{CHECKOUT}AY1AZ0000\r".encode(), b"96AZFEF6\r"),
    Probe("lower-case hex checksum",            sealed(END, hexadecimal=bytes.lower), sealed(ENDED[:-1].decode())),
    Probe("97 first thing",                     b"97AZFEF5\r", b"96AZFEF6\r", cold=True),
    Probe("unknown command",                    f"88x\r{END}\r".encode(), ENDED),
    Probe("unknown tagged field",               f"{END}XY1|QQ|\r".encode(), ENDED),
    Probe("the same scalar tag twice",          f"{END}AAP2|\r".encode(), ENDED),
    Probe("required AC missing",                f"23000{DATE}AOHKU|AAP1|\r".encode(), KNOWN),
    Probe("no delimiter after the last field",  f"35{DATE}AOHKU|AAP1\r".encode(), ENDED),
    Probe("||| at the end",                     f"{END}|||\r".encode(), ENDED),
    Probe("truncated fixed part",               b"23000201AAP1|\r",
          UNKNOWN + b"|BLN|CQN|AFThe terminal's message could not be read|AE|\r"),
    Probe("a byte that is not UTF-8",           f"23000{DATE}AOHKU|AA".encode() + b"P\xff|AC|AD|\r",
          UNKNOWN + "P\ufffd|AE|BLN|CQN|BHHKD|BV0.00|AFThis card is not known. Please ask at the counter (R2)|\r".encode()),
    Probe("NUL inside a value",                 f"35{DATE}AOHKU|AAP\0 1|\r".encode(), f"36Y{DATE}AOHKU|AAP  1|\r".encode()),
    Probe("a value of 300 characters",          f"35{DATE}AOHKU|AA{'x' * 300}|\r".encode(),
          f"36Y{DATE}AOHKU|AA{'x' * 255}|\r".encode()),
    Probe("a line of 20 kB",                    f"{END}AL{'x' * 20_000}|\r".encode(), ENDED),
    Probe("a line of 200 kB",                   f"{END}AL{'x' * 200_000}|\r{END}\r".encode(), ENDED),
    Probe("blank transaction date",             f"35{BLANK}AOHKU|AAP1|\r".encode(), ENDED),
    Probe("11 with blank nb due date",          f"{CHECKOUT}\r".encode(), LENT + b"\r"),
    Probe("summary position 6 is Y",            f"63000{DATE}      Y   AOHKU|AAP1|\r".encode(),
          b"64" + KNOWN[2:37] + b"000100000000000000000000" + KNOWN[37:-1] + b"CB0015|AFHKALL books ready to collect: 1|\r"),
    Probe("command before the login",           f"{END}\r".encode(),
          f"36N{DATE}AOHKU|AAP1|AFThe terminal must log in first|\r".encode(), cold=True),
    Probe("wrong password, then the right one", f"9300CNcounter-1|COwrong|\r{LOGIN}\r{END}\r".encode(),
          b"940\r941\r" + ENDED, cold=True),
    Probe("password algorithm 1",               b"9301CNcounter-1|COcounter-1-pw|\r", b"940\r", cold=True),
)
# fmt: on


@pytest.fixture
def book(place: Callable[..., Request]) -> Request:
    """Dune is on the hold shelf for P1."""
    return place(P.RECEIVED)


@pytest.fixture
def real(port: Port) -> Port:
    """The port with a real circulation service."""
    return replace(port, slow=False)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_probe_message_is_answered_and_the_connection_stays_open(real: Port, book: Request, probe: Probe) -> None:
    caller = real.call(log_in=not probe.cold)
    heard = caller.hears(probe.sent)
    told = b"|AFHKALL books ready to collect: 1"
    assert heard.replace(told, b"") == probe.heard.replace(told, b"")
    assert not caller.hung_up
    caller.hears(f"{LOGIN}\r".encode())
    assert caller.hears(f"{END}\r".encode()) == ENDED


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_probe_message_sent_byte_by_byte_gets_the_same_reply(real: Port, book: Request, probe: Probe) -> None:
    if len(probe.sent) > 1000:
        probe = replace(probe, sent=probe.sent[-1000:], heard=b"")  # send only the end of a long line byte by byte
    caller = real.call(log_in=not probe.cold)
    for at in range(len(probe.sent)):
        caller.line.dataReceived(probe.sent[at : at + 1])
    told = b"|AFHKALL books ready to collect: 1"
    heard = caller.hears()
    assert not probe.heard or heard.replace(told, b"") == probe.heard.replace(told, b"")
    assert not caller.hung_up


def test_message_with_a_wrong_checksum_is_not_executed(real: Port, book: Request, store: SoleStore) -> None:
    real.call().hears(f"{CHECKOUT}AY1AZ0000\r".encode())
    assert store.now(lambda unit: unit.requests.find(book.id)) == book


def test_retransmission_is_answered_identically_and_executed_once(real: Port, book: Request, store: SoleStore) -> None:
    caller = real.call()
    first = caller.hears(sealed(CHECKOUT, 4))
    assert first.startswith(LENT)
    taken = store.now(lambda unit: unit.journal.history(book.id))
    assert caller.hears(sealed(CHECKOUT, 4)) == first
    assert store.now(lambda unit: unit.journal.history(book.id)) == taken
    assert caller.hears(b"97AZFEF5\r") == first


def test_retransmitted_payment_is_accepted_once(real: Port, place: Callable[..., Request], store: SoleStore) -> None:
    book = place(P.ON_LOAN, item_barcode="C9", due=date(2017, 2, 19), used=True)
    caller = real.call()
    caller.hears(f"09N{DATE}{DATE}AP|AOHKU|ABC9|AC|\r".encode())
    payment = sealed(f"37{DATE}0400HKDBV5.00|AOHKU|AAP1|", 7)
    first = caller.hears(payment)
    assert first.startswith(b"38Y")
    assert caller.hears(payment) == first
    assert store.now(lambda unit: unit.patrons.owed_cents("P1")) == 2000 - 500
    assert book.patron == "P1"


@pytest.mark.parametrize("version", ["3.00", "1.00", "2.00", "    "])
def test_any_protocol_version_is_answered_with_ours(real: Port, version: str) -> None:
    caller = real.call()
    status = caller.hears(f"990030{version}\r".encode())
    assert status[32:36] == b"2.00"
    assert caller.hears(f"63000{DATE}          AOHKU|AAP1|\r".encode()).startswith(b"64")
