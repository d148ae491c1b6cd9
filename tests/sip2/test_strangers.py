"""Third-party clients and a server on real sockets: PyPI's Sip2 and pysip2, in front of the gateway and behind it.

Sip2 (Tobias Zeumer) is a client with its own sequence numbers and checksums. pysip2 (Jordan Russell) is a typed codec, which
acts as a strict terminal here: a reply that it cannot decode strictly is an error. It is also a server, which acts as the local
system behind the relay.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pysip2
import pytest
from pysip2.codec import decode_message, encode_message
from Sip2.sip2 import Sip2

from demo import demo_setup
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.db import bind
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.sip2.codec.lines import checksum
from tests.ils.servers import listening
from tests.ports import free_ports
from tests.test_daemon_ils import CARD, Site, opened
from tests.test_daemon_ils import site as relayed  # noqa: F401  # a fixture: the gateway before a simulated system

DATE = "20170301    100000"
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)


def lend_soon(site: Site) -> None:
    """Put Dune of CUHK on the hold shelf for our patron."""
    book = Request(
        id="",
        side=Side.BORROWING,
        position=Position.RECEIVED,
        title="Dune",
        bib_id="b1",
        patron=CARD,
        partner="CUHK",
        item_agency="CUHK",
        item_barcode="C1",
        pickup_location="HKU-MAIN-LENDING",
        pickup_last=date(2037, 1, 1),
    )
    daemon: Daemon = site.daemon

    async def put() -> None:
        await daemon.store.write(bind(UnitOfWork.open, book, NOW, Actor(who="test", channel="world")), LockSet())

    site.coroutine(put)


# ---- PyPI's Sip2


@dataclass
class Caller:
    """PyPI's Sip2 as a logged-in terminal."""

    line: Any

    def ask(self, name: str, *args: Any, **named: Any) -> Any:
        """Return the reply to one kind of message, decoded by the client itself."""
        request = getattr(self.line, f"sip_{name}_request")(*args, **named)
        said = self.line.get_response(request)
        assert said.endswith("\r")
        sealed = said.rstrip("\r").encode()
        assert sealed[-4:] == checksum(sealed[:-4])
        assert sealed[-7:-6] == request.rstrip("\r")[-7:-6].encode()  # the reply repeats the request's sequence number
        return getattr(self.line, f"sip_{name}_response")(said)


@pytest.fixture
def caller(relayed: Site, tmp_path: Path) -> Iterator[Callable[[str], Caller]]:  # noqa: F811  # a fixture
    """Connects to the gateway as one of its terminals."""
    lines: list[Any] = []

    def call(login: str) -> Caller:
        line = Sip2()
        line.hostName, line.hostPort, line.tlsEnable = "127.0.0.1", relayed.ports.sip2, False
        line.logfile_path, line.loglevel = str(tmp_path), "CRITICAL"
        line.institutionId, line.patron, line.patronpwd = "HKU", CARD, "1234"
        line.connect()
        lines.append(line)
        found = Caller(line)
        assert found.ask("login", login, demo_setup.PASSWORD)["fixed"]["Ok"] == "1"
        return found

    yield call
    for line in lines:
        line.disconnect()


def test_third_party_client_borrows_renews_pays_and_returns(relayed: Site, caller: Callable[[str], Caller]) -> None:  # noqa: F811
    lend_soon(relayed)
    counter = caller("counter-1")
    assert counter.ask("sc_status")["fixed"]["OnlineStatus"] == "Y"
    waiting = counter.ask("patron_information", "hold")
    assert (waiting["fixed"]["HoldItemsCount"], waiting["variable"]["AS"]) == ("0001", ["C1"])
    assert (waiting["variable"]["BL"], waiting["variable"]["CQ"]) == (["Y"], ["Y"])
    lent = counter.ask("checkout", "C1")
    assert (lent["fixed"]["Ok"], lent["variable"]["AJ"]) == ("1", ["Dune"])
    assert counter.ask("patron_information", "charged")["variable"]["AU"] == ["C1"]
    renewed = counter.ask("renew", "C1")
    assert renewed["fixed"]["Ok"] == "0"  # it is too early to renew
    assert "(R2" in renewed["variable"]["AF"][0]
    paid = counter.ask("fee_paid", 4, 0, "1.00", feeIdentifier="#9", transactionId="t1", currencyType="HKD")
    assert paid["fixed"]["PaymentAccepted"] == "N"
    assert counter.ask("checkin", "C1")["fixed"]["Ok"] == "1"
    assert counter.ask("end_patron_session")["fixed"]["EndSession"] == "Y"


def test_third_party_client_works_through_the_relay(relayed: Site, caller: Callable[[str], Caller]) -> None:  # noqa: F811
    counter = caller("counter-1")
    assert counter.ask("item_information", "L1")["fixed"]["CirculationStatus"] == "03"
    lent = counter.ask("checkout", "L1")
    assert (lent["fixed"]["Ok"], lent["variable"]["AJ"]) == ("1", ["Emma"])
    assert counter.ask("renew", "L1")["fixed"]["Ok"] == "1"
    # Sip2 1.1 omits the date of a 65 (seen 2026-11-27): the reply says so, and the connection stays.
    cut = counter.ask("renew_all")
    assert (cut["fixed"]["Ok"], cut["variable"]["AF"]) == ("0", ["The terminal's message could not be read"])
    assert counter.ask("patron_information", "charged")["variable"]["AU"] == ["L1"]
    assert counter.ask("patron_status")["variable"]["BV"] == ["3.50"]
    paid = counter.ask("fee_paid", 4, 0, "3.50", transactionId="t1", currencyType="HKD")
    assert (paid["fixed"]["PaymentAccepted"], relayed.system.paid) == ("Y", ["3.50"])
    assert counter.ask("hold", "+", itemIdentifier="L1")["fixed"]["Ok"] == "1"
    assert counter.ask("checkin", "L1")["fixed"]["Ok"] == "1"
    assert counter.ask("patron_enable")["variable"]["BL"] == ["Y"]


def test_third_party_client_gets_the_last_reply_on_a_resend_request(caller: Callable[[str], Caller]) -> None:
    line = caller("counter-1").line
    first = line.get_response(line.sip_item_information_request("L1"))
    assert line.get_response(line.sip_sc_resend_request()) == first


# ---- pysip2 as a terminal


class Strict:
    """A terminal that decodes with pysip2. A reply that pysip2 cannot decode strictly is an error."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._number = 0

    def ask(self, message: Any) -> Any:
        number, self._number = self._number, (self._number + 1) % 10
        self._socket.sendall(encode_message(message, sequence_number=number, checksum=True, encoding="utf-8"))
        data = b""
        while not data.endswith(b"\r"):
            data += self._socket.recv(65536)
        said = decode_message(data, encoding="utf-8")
        assert said.sequence_number == number
        return said.message

    def close(self) -> None:
        self._socket.close()


def common(**fields: Any) -> dict[str, Any]:
    return {"transaction_date": DATE, "institution_id": "HKU", "patron_identifier": CARD, **fields}


def test_pysip2_decodes_every_reply_of_ours_and_of_the_local_system(relayed: Site) -> None:  # noqa: F811
    lend_soon(relayed)
    with closing(Strict(relayed.ports.sip2)) as terminal:
        login = pysip2.LoginRequest(
            uid_algorithm="0", pwd_algorithm="0", login_user_id="counter-1", login_password=demo_setup.PASSWORD
        )
        assert terminal.ask(login).ok == "1"
        status = pysip2.SCStatusRequest(status_code="0", max_print_width="080", protocol_version="2.00")
        assert terminal.ask(status).online_status == "Y"
        out = {"sc_renewal_policy": "N", "no_block": "N", "nb_due_date": DATE, "terminal_password": ""}
        for barcode, title in (("C1", "Dune"), ("L1", "Emma")):
            lent = terminal.ask(pysip2.CheckoutRequest(**common(item_identifier=barcode, patron_password="1234", **out)))
            assert (lent.ok, lent.title_identifier) == ("1", title)
        record = terminal.ask(
            pysip2.PatronInformationRequest(**common(language="000", summary="  Y       ", patron_password="1234"))
        )
        assert (record.charged_items_count, record.charged_items) == ("0002", ("L1", "C1"))
        back = {"no_block": "N", "return_date": DATE, "current_location": "", "terminal_password": ""}
        for barcode in ("C1", "L1"):
            asked = {"transaction_date": DATE, "institution_id": "HKU", "item_identifier": barcode, **back}
            assert terminal.ask(pysip2.CheckinRequest(**asked)).ok == "1"


# ---- pysip2 as the library's own system


@dataclass
class Theirs:
    """pysip2's server with one item, in a thread with its own event loop."""

    port: int
    lent: dict[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> threading.Thread:
        ready = threading.Event()
        thread = threading.Thread(target=partial(anyio.run, self._serve, ready), daemon=True)
        thread.start()
        assert ready.wait(20)
        return thread

    def stop(self) -> None:
        self._stop.set()

    async def _serve(self, ready: threading.Event) -> None:
        server = pysip2.SIP2Server(encoding="utf-8", institution_id="THEIRS")
        self._routes(server)
        async with server.start("127.0.0.1", self.port):
            ready.set()
            while not self._stop.is_set():  # another thread sets this event
                await anyio.sleep(0.05)

    def _routes(self, server: Any) -> None:
        @server.route(pysip2.LOGIN)
        async def login(_request: Any, _context: Any) -> Any:
            return pysip2.LoginResponse(ok="1")

        @server.route(pysip2.CHECKOUT)
        async def lend(request: Any, _context: Any) -> Any:
            self.lent[request.item_identifier] = request.patron_identifier
            return pysip2.CheckoutResponse(
                ok="1", renewal_ok="N", magnetic_media="U", desensitize="Y", transaction_date=DATE, institution_id="THEIRS",
                patron_identifier=request.patron_identifier, item_identifier=request.item_identifier,
                title_identifier="Emma", due_date="soon",
            )  # fmt: skip

        @server.route(pysip2.PATRON_INFORMATION)
        async def record(request: Any, _context: Any) -> Any:
            kinds = ("hold_items", "overdue_items", "charged_items", "fine_items", "recall_items", "unavailable_holds")
            none: Any = {f"{kind}_count": "0000" for kind in kinds}
            return pysip2.PatronInformationResponse(
                patron_status=" " * 14, language="000", transaction_date=DATE, **none,
                institution_id="THEIRS", patron_identifier=request.patron_identifier, personal_name="Reader",
                valid_patron="Y", valid_patron_password="Y",
            )  # fmt: skip


@pytest.fixture
def before_pysip2(reactor: Any, tmp_path: Path) -> Iterator[tuple[Site, Theirs]]:
    """The gateway with pysip2's server behind it."""
    (port,) = free_ports(1)
    theirs = Theirs(port)
    thread = theirs.start()
    ils = {"connector": "snapshot", "relay": True, "login": "gateway", "institution": "THEIRS"}
    for site in opened(reactor, tmp_path, {**ils, "host": "127.0.0.1"}, listening, at=port):
        yield site, theirs
    theirs.stop()
    thread.join(20)


def test_pysip2_server_lists_loans_and_its_disconnect_affects_no_other_terminal(
    before_pysip2: tuple[Site, Theirs],
) -> None:
    """It disconnects on a 23 without AD, which many terminals send."""
    site, theirs = before_pysip2
    one, other = site.terminal("counter-1"), site.terminal()
    for _ in range(4):
        assert site.asks(one, f"23000{DATE}AOTHEIRS|AA{CARD}|AC|").startswith("24")
        lent = site.asks(other, f"11NN{DATE}{DATE}AOTHEIRS|AA{CARD}|ABL1|AC|")
        assert lent == f"121NUY{DATE}AOTHEIRS|AA{CARD}|ABL1|AJEmma|AHsoon|"
    assert theirs.lent == {"L1": CARD}
    assert site.metric('ils_hang_ups_total{msg="23",terminal="counter-1"}') == "4.0"
    record = site.asks(other, f"63000{DATE}{' ' * 10}AOTHEIRS|AA{CARD}|AC|AD1234|")
    assert "AEReader|BLY|CQY|" in record
    status = site.asks(other, "9900802.00")
    assert "|BXNYN" in status  # pysip2's server supports 11, but neither 23 nor 09
    assert "AOTHEIRS|" in status
    site.do(one.hang_up)
    site.do(other.hang_up)
