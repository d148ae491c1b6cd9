"""The library's own SIP2 server: login, status, clock, and its replies about a card and an item that cannot exist.

Only 93, 99, 23 or 63, and 17 are sent, over the line that the gateway uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.cli.doctor import clock, tls
from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within
from hkall_gateway.cli.doctor.ncip import NOBODY
from hkall_gateway.cli.doctor.reach import reached
from hkall_gateway.cli.doctor.table import TLS
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.ils.adapter import find_adapter
from hkall_gateway.ils.circuit_breaker import CircuitBreaker
from hkall_gateway.ils.sip2 import AVAILABLE
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.sip2.client import NOBODY as STRANGER
from hkall_gateway.sip2.client import Login, LoginRefused, Upstream, dialled, login_line, written
from hkall_gateway.sip2.codec.dialects import Sip2Dialect
from hkall_gateway.sip2.codec.fields import date18, parse_date18
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode
from hkall_gateway.sip2.codec.messages import BX


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server as the configuration describes it."""

    ils: IlsConfig
    dialect: Sip2Dialect
    login: Login
    agency: str

    @property
    def institution(self) -> str:
        return self.ils.institution or self.agency

    @property
    def question(self) -> str:
        """The message that queries a patron; with the relay alone it is 23, as a terminal sends it."""
        return "63" if find_adapter(self.ils.connector).asks_sip2 else "23"


def plan(ils: IlsConfig) -> tuple[str, ...]:
    """The checks that are due, in order."""
    secure = TLS if ils.tls else ("tls.version",)
    return ("dns", "tcp", *secure, "login", "status", "version", "clock", "lookup.patron", "lookup.item")


def there(tools: ExaminationTools) -> ServerSettings:
    """The server of the configuration."""
    config = tools.means.config()
    ils = config.ils
    login = Login(ils.login, tools.means.secret(ils.password_env), ils.location)
    return ServerSettings(ils, config_mapping.framing_of_ils(config), login, config.library.agency)


async def examined(sheet: Sheet, tools: ExaminationTools) -> None:
    """Examine the SIP2 server of [ils]."""
    server = there(tools)
    ils = server.ils
    if not await reached(sheet, tools, ils.host, ils.port):
        return
    if not ils.tls:
        tls.plain(sheet, ils.host, "`tls = true`", "the password and the data of patrons")
    elif not await tls.secured(sheet, tools, ils.host, ils.port):
        return
    if await _logged_in(sheet, tools, server):
        await _questions(sheet, tools, server)


async def _logged_in(sheet: Sheet, tools: ExaminationTools, server: ServerSettings) -> bool:
    """Whether the server accepts the login; True, with the check skipped, if none is configured."""
    if not server.login.name:
        sheet.skip("login", "no `login` in [ils]" + (": each terminal logs in by itself" if server.ils.relay else ""))
        return True
    line = _line(tools, server, STRANGER)
    try:
        reply = await _said(sheet, tools, line, server, login_line(server.login, server.dialect))
    except (Unreachable, TooLong) as failed:
        sheet.fail("login", f"93 got no answer: {failed}", NO_LINE)
        return False
    finally:
        line.close()
    if reply.get("ok") != "1":
        sheet.fail("login", f"{server.login.name} was refused")
        return False
    sheet.ok("login", server.login.name)
    return True


NO_LINE: Final = (
    "Check that the port is a SIP2 server's and that `dialect` of [ils] frames lines as it does; it may also admit certain"
    " addresses only."
)


async def _questions(sheet: Sheet, tools: ExaminationTools, server: ServerSettings) -> None:
    line = _line(tools, server, server.login)
    try:
        if await _status(sheet, tools, line, server):
            await _patron(sheet, tools, line, server)
            await _item(sheet, tools, line, server)
    except (Unreachable, TooLong) as failed:
        _unanswered(sheet, server, failed)
    finally:
        line.close()


def _unanswered(sheet: Sheet, server: ServerSettings, failed: Exception) -> None:
    """A question got no usable reply: the first of the plan that has no finding."""
    check = next(one for one in sheet.plan if one not in {found.check for found in sheet.found})
    if not server.login.name and check == "status":
        sheet.warn(check, f"99 without a login: {failed}", NO_LOGIN)
        return
    refused = isinstance(failed.__cause__, LoginRefused)
    sheet.fail(check, "the second login was refused" if refused else str(failed), NO_LINE if check == "status" else "")


NO_LOGIN: Final = (
    "Most servers answer after a login only: name a `login` of [ils], or try a terminal's own login with `hkall-gateway sip2`."
)


async def _status(sheet: Sheet, tools: ExaminationTools, line: Upstream, server: ServerSettings) -> bool:
    question = Sip2Message("99", {"status_code": "0", "max_print_width": "080", "protocol_version": "2.00"})
    before = tools.means.clock()
    reply = await _said(sheet, tools, line, server, written(question, server.dialect))
    clock.compared(sheet, parse_date18(reply.get("date_time_sync"), HONG_KONG), before, tools.means.clock())
    return judge_status(sheet, reply, server.question)


def judge_status(sheet: Sheet, reply: Sip2Message, question: str) -> bool:
    """Whether a 98 is of a system that can be asked; `question` is the message by which readers are asked about."""
    needed = [code for code in (question, "17") if not _supported(reply.get("BX"), code)]
    if reply.get("on_line_status") != "Y":
        sheet.fail("status", f"it says that it is off line: {reply.get('AF') or 'no text'}")
    elif needed:
        sheet.fail("status", f"BX says that {', '.join(needed)} are not supported for our login")
    else:
        sheet.ok("status", "on line" if reply.get("BX") else "on line; it does not say which messages it supports")
    spoken = reply.get("protocol_version")
    if spoken == "2.00":
        sheet.ok("version", spoken)
    else:
        sheet.warn("version", f"it says {spoken or 'nothing'}, and not 2.00", "Ask its vendor for SIP2 2.00.")
    return reply.get("on_line_status") == "Y" and not needed


def _supported(flags: str, code: str) -> bool:
    """Whether BX allows a message; a BX too short to mention it counts as support."""
    at = BX.index(code)
    return len(flags) <= at or flags[at] == "Y"


async def _patron(sheet: Sheet, tools: ExaminationTools, line: Upstream, server: ServerSettings) -> None:
    told: dict[str, Value] = {"AA": NOBODY, **({"AD": ""} if server.question == "23" else {})}
    reply = await _said(sheet, tools, line, server, _about(tools, server, server.question, told))
    judge_patron(sheet, server.question, reply)


def judge_patron(sheet: Sheet, question: str, reply: Sip2Message) -> None:
    """The finding about a card that cannot exist."""
    if reply.get("BL") == "N":
        sheet.ok("lookup.patron", f"{question}: an unknown card is unknown (BL N)")
    elif not reply.get("BL"):
        sheet.fail("lookup.patron", f"{question}: an unknown card is answered without BL, as a reader's would be")
    else:
        sheet.fail("lookup.patron", f"{question}: an unknown card is answered as a reader's (BL {reply.get('BL')})")


async def _item(sheet: Sheet, tools: ExaminationTools, line: Upstream, server: ServerSettings) -> None:
    reply = await _said(sheet, tools, line, server, _about(tools, server, "17", {"AB": NOBODY}))
    if reply.get("circulation_status") == AVAILABLE:
        sheet.fail("lookup.item", "17: an unknown item is said to be available")
    else:
        sheet.ok("lookup.item", f"17: an unknown item has the status {reply.get('circulation_status') or 'blank'}")


def _about(tools: ExaminationTools, server: ServerSettings, code: str, fields: Mapping[str, Value]) -> bytes:
    common: dict[str, Value] = {"transaction_date": date18(tools.means.clock(), HONG_KONG), "AO": server.institution, "AC": ""}
    return written(Sip2Message(code, {**common, **fields}), server.dialect)


async def _said(sheet: Sheet, tools: ExaminationTools, line: Upstream, server: ServerSettings, body: bytes) -> Sip2Message:
    """The reply to one question. Raises Unreachable or TooLong."""
    reply = await within(tools.reactor, sheet.left_s(), line(body))
    try:
        return decode(reply, server.dialect)
    except BadMessage as bad:
        raise Unreachable(f"the reply cannot be used: {bad}") from None


def _line(tools: ExaminationTools, server: ServerSettings, login: Login) -> Upstream:
    """One line, as the gateway opens it."""
    ils, reactor = server.ils, tools.reactor
    dial = dialled(reactor, ils.host, ils.port, ils.timeout_s, tls=ils.tls)
    return Upstream(dial, reactor, ils.timeout_s, server.dialect, CircuitBreaker("doctor", tools.means.clock), login)
