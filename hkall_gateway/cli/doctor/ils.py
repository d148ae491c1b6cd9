"""Checks of the library's own system: the adapter of [ils] and, if messages are relayed, its SIP2 server.

The only SIP2 messages sent are 93, 99, 23 or 63, and 17, about a card and an item that cannot exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Final

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.cli.doctor import connection, interview, ncip, own_gateway
from hkall_gateway.cli.doctor.findings import CHECKS, TLS, ExaminationTools, Sheet, Status, TooLong, within
from hkall_gateway.cli.doctor.ncip import NOBODY, OF_ILS, NcipPeer
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.adapter import Adapter, Probe
from hkall_gateway.ils.installed import find_adapter, sip2_address
from hkall_gateway.ils.local_system import reject_pin
from hkall_gateway.ils.ncip import responder
from hkall_gateway.ils.sip2 import AVAILABLE
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools
from hkall_gateway.net.circuit_breaker import CircuitBreaker
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.sip2.client import NOBODY as STRANGER
from hkall_gateway.sip2.client import (
    Ask,
    Garbled,
    Login,
    LoginRefused,
    Upstream,
    encode_body,
    login_line,
    make_dialler,
    pin_verdict,
)
from hkall_gateway.sip2.codec.fields import date18, parse_date18
from hkall_gateway.sip2.codec.lines import BadMessage, Sip2Message, Value, decode
from hkall_gateway.sip2.codec.messages import BX


def sip2_plan(ils: IlsConfig) -> tuple[str, ...]:
    """Return the names of the checks for the SIP2 server, in order."""
    secure = TLS if ils.tls else ("tls.version",)
    return ("dns", "tcp", *secure, "login", "status", "version", "clock", "lookup.patron", "lookup.pin", "lookup.item")


NO_LINE: Final = (
    "Check that the port is a SIP2 server's and that `dialect` of [ils] frames lines as it does; it may also admit certain"
    " addresses only."
)
NO_LOGIN: Final = (
    "Most servers answer after a login only: name a `login` of [ils], or try a terminal's own login with `hkall-gateway sip2`."
)


class Sip2Examination:
    """Examines the SIP2 server of [ils]."""

    def __init__(self, sheet: Sheet, tools: ExaminationTools) -> None:
        config = tools.means.config()
        self._sheet, self._tools, self._ils = sheet, tools, config.ils
        self._login = Login(self._ils.login, tools.means.secret(self._ils.password_env), self._ils.location)
        self._dialect = config_mapping.framing_of_ils(config)
        self._institution = self._ils.institution or config.library.agency
        # Code of the message that queries a patron. With the relay alone it is 23, as terminals send it.
        self._question = "63" if find_adapter(self._ils.connector).asks_sip2 else "23"

    async def run(self) -> None:
        """Run the checks in order, each only if the earlier checks passed."""
        sheet, ils = self._sheet, self._ils
        if not await connection.check_reach(sheet, self._tools, ils.host, ils.port):
            return
        if not ils.tls:
            connection.report_plain(sheet, ils.host, "`tls = true`", "the password and the data of patrons")
        elif not await connection.check_tls(sheet, self._tools, ils.host, ils.port):
            return
        if not await self._check_login():
            return
        line = self._open_line(self._login)
        try:
            if await self._check_status(line):
                about: dict[str, Value] = {"AA": NOBODY, **({"AD": ""} if self._question == "23" else {})}
                judge_patron(sheet, self._question, await self._reply(line, self._query(self._question, about)))
                with_pin: dict[str, Value] = {"AA": NOBODY, "AD": ANY_PIN}
                judge_pin(sheet, self._question, await self._reply(line, self._query(self._question, with_pin)), ils.pin)
                status = (await self._reply(line, self._query("17", {"AB": NOBODY}))).get("circulation_status")
                if status == AVAILABLE:
                    sheet.fail("lookup.item", "17: an unknown item is said to be available")
                else:
                    sheet.ok("lookup.item", f"17: an unknown item has the status {status or 'blank'}")
        except (Unreachable, TooLong) as failed:
            self._report_no_reply(failed)
        finally:
            line.close()

    async def _check_login(self) -> bool:
        """Check whether the server accepts the login. If no login is configured, skip the check and return True."""
        sheet, name = self._sheet, self._login.name
        if not name:
            sheet.skip("login", "no `login` in [ils]" + (": each terminal logs in by itself" if self._ils.relay else ""))
            return True
        line = self._open_line(STRANGER)
        try:
            reply = await self._reply(line, login_line(self._login, self._dialect))
        except (Unreachable, TooLong) as failed:
            sheet.fail("login", f"93 got no answer: {failed}", _remedy_of(failed))
            return False
        finally:
            line.close()
        if reply.get("ok") != "1":
            sheet.fail("login", f"{name} was refused")
            return False
        sheet.ok("login", name)
        return True

    async def _check_status(self, line: Upstream) -> bool:
        question = Sip2Message("99", {"status_code": "0", "max_print_width": "080", "protocol_version": "2.00"})
        clock = self._tools.means.clock
        before = clock()
        reply = await self._reply(line, encode_body(question, self._dialect))
        connection.judge_clock(self._sheet, parse_date18(reply.get("date_time_sync"), HONG_KONG), before, clock())
        return judge_status(self._sheet, reply, self._question)

    def _report_no_reply(self, failed: Exception) -> None:
        """Report that a query got no usable reply, under the first check of the plan that has no finding."""
        check = next(one for one in self._sheet.plan if one not in {found.check for found in self._sheet.found})
        if not self._login.name and check == "status":
            self._sheet.warn(check, f"99 without a login: {failed}", NO_LOGIN)
            return
        refused = isinstance(failed.__cause__, LoginRefused)
        advice = _remedy_of(failed) if check == "status" else ""
        self._sheet.fail(check, "the second login was refused" if refused else str(failed), advice)

    def _query(self, code: str, fields: Mapping[str, Value]) -> bytes:
        now = date18(self._tools.means.clock(), HONG_KONG)
        common: dict[str, Value] = {"transaction_date": now, "AO": self._institution, "AC": ""}
        return encode_body(Sip2Message(code, {**common, **fields}), self._dialect)

    async def _reply(self, line: Upstream, body: bytes) -> Sip2Message:
        """Return the reply to a message. Raise Unreachable or TooLong."""
        reply = await within(self._tools.reactor, self._sheet.left_s(), line(body))
        try:
            return decode(reply, self._dialect)
        except BadMessage as bad:
            raise Unreachable(f"the reply cannot be used: {bad}") from None

    def _open_line(self, login: Login) -> Upstream:
        """Open a connection as the gateway does."""
        ils, reactor = self._ils, self._tools.reactor
        dial = make_dialler(reactor, ils.host, ils.port, ils.timeout_s, tls=ils.tls)
        return Upstream(dial, reactor, ils.timeout_s, self._dialect, CircuitBreaker("doctor", self._tools.means.clock), login)


def _remedy_of(failed: Exception) -> str:
    """Return the remedy if the server's first answer cannot be used."""
    if isinstance(failed, Garbled) or isinstance(failed.__cause__, Garbled):
        return CHECKS["habit.checksum"].advice
    return NO_LINE


def judge_status(sheet: Sheet, reply: Sip2Message, question: str) -> bool:
    """Add the findings about a 98. Return whether the system supports `question`, the message that queries a patron."""
    # If BX is too short to cover a message, the message counts as supported.
    flags = reply.get("BX")
    needed = [code for code in (question, "17") if len(flags) > BX.index(code) and flags[BX.index(code)] != "Y"]
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


def judge_patron(sheet: Sheet, question: str, reply: Sip2Message) -> None:
    """Add the finding about the reply for a card that cannot exist."""
    if reply.get("BL") == "N":
        sheet.ok("lookup.patron", f"{question}: an unknown card is unknown (BL N)")
    elif not reply.get("BL"):
        sheet.fail("lookup.patron", f"{question}: an unknown card is answered without BL, as a reader's would be")
    else:
        sheet.fail("lookup.patron", f"{question}: an unknown card is answered as a reader's (BL {reply.get('BL')})")


ANY_PIN: Final = "0000"
"""The PIN in a query about a card that cannot exist, to see whether the reply says anything about PINs."""
PIN_RULES: Final = {
    "loaded": "the loaded hashes decide, and without a hash a PIN is unknown (`pin` of [ils])",
    "trust": "every PIN is taken (`pin` of [ils])",
    "refuse": "no PIN can be checked, and readers with a PIN are asked to try again (`pin` of [ils])",
}


def judge_pin(sheet: Sheet, question: str, reply: Sip2Message, pin: str) -> None:
    """Add the finding about the PIN in the reply for a card that cannot exist. `pin` is the key of [ils]."""
    verdict = pin_verdict(reply)
    if verdict is None:
        sheet.warn("lookup.pin", f"{question}: the answer says nothing about the PIN (no CQ): {PIN_RULES[pin]}")
    elif verdict:
        sheet.fail("lookup.pin", f"{question}: any PIN of an unknown card is right (CQ Y)")
    else:
        sheet.ok("lookup.pin", f"{question}: the answer says whether the PIN is right (CQ)")


EMPTY: Final = "sqlite://"


def plan(config: GatewayConfig, *, with_interview: bool = False) -> tuple[str, ...]:
    """Return the names of the checks for the configured system, in order."""
    ils, adapter = config.ils, find_adapter(config.ils.connector)
    loaded = ("loaded",) if Probe.LOADED in adapter.probes else ()
    by_sip2 = sip2_plan(ils) if ils.relay or adapter.asks_sip2 else ()
    by_ncip = ncip.plan(responder(ils, config.library.agency)) if Probe.NCIP in adapter.probes else ()
    by_card = ("lookup.patron",) if Probe.CARD in adapter.probes else ()
    interviewed = interview.plan(asks_sip2=bool(by_sip2), relays=ils.relay, asks_ncip=bool(by_ncip)) if with_interview else ()
    own_rows = (row.name for row in adapter.rows)
    return tuple(dict.fromkeys((*loaded, *by_sip2, *by_ncip, *by_card, *own_rows, *interviewed)))


def advice(ils: IlsConfig) -> dict[str, str]:
    """Return the remedies for checks that only the configured adapter has."""
    return {row.name: row.advice for row in find_adapter(ils.connector).rows}


def title(ils: IlsConfig) -> str:
    """Return a title for display: the connector, the relay if any, and the addresses."""
    relay = (", relay", sip2_address(ils)) if ils.relay else ("", "")
    ways = dict.fromkeys((relay[1], find_adapter(ils.connector).address(ils)))
    return " ".join(filter(None, [f"connector {ils.connector}{relay[0]}", *ways]))


async def examine_ils(sheet: Sheet, tools: ExaminationTools) -> None:
    """Examine the adapter and the relay that [ils] configures, and interview the system where it answers us."""
    await _examine(sheet, tools)
    if tools.interview is None:
        return
    config = tools.means.config()
    password = tools.means.secret(config.ils.password_env)
    sheet.about = ""
    # Not after a refusal: each connection of the interview would be refused, and our login may be locked in the end.
    if _has_passed(sheet, "status"):
        await interview.hold_interview(sheet, tools, interview.sip2_assignment(config, password, tools.interview))
    if _has_passed(sheet, "proof.ours"):
        await interview.hold_interview(sheet, tools, interview.ncip_assignment(config, password, tools.interview))


def _has_passed(sheet: Sheet, check: str) -> bool:
    return any(finding.check == check and finding.status is Status.OK for finding in sheet.found)


async def _examine(sheet: Sheet, tools: ExaminationTools) -> None:
    """Run the checks of the adapter and the relay."""
    config = tools.means.config()
    ils, agency, adapter = config.ils, config.library.agency, find_adapter(config.ils.connector)
    if Probe.LOADED in adapter.probes:
        await own_gateway.check_loaded_patrons(sheet, tools)
    if ils.relay or adapter.asks_sip2:
        sheet.about = "relay" if adapter.is_live and not adapter.asks_sip2 else ""
        await Sip2Examination(sheet, tools).run()
    sheet.about = ils.connector if ils.relay else ""
    if Probe.NCIP in adapter.probes:
        secret = tools.means.secret(ils.password_env)
        await ncip.examine_responder(
            sheet,
            tools,
            NcipPeer(partner=responder(ils, agency), agency=agency, secret=secret, key=OF_ILS, used=ils.looks_up_items),
        )
    if any(one.about == sheet.about for one in sheet.failed) or not (Probe.CARD in adapter.probes or adapter.rows):
        return
    engine = open_engine(EMPTY)  # the checks must not use data loaded from files
    try:
        create_all(engine)
        with closing(Immediate(engine, lambda connection: UnitOfWork(connection, lambda: "unused"))) as store:
            await _run_adapter_checks(sheet, tools, adapter, _connector_tools(tools, store))
    finally:
        engine.dispose()


async def _run_adapter_checks(sheet: Sheet, tools: ExaminationTools, adapter: Adapter, own: ConnectorTools) -> None:
    """Run the adapter's own checks, and query it about a card that cannot exist."""
    check = ""
    try:
        if Probe.CARD in adapter.probes:
            check = "lookup.patron"
            facts = await within(tools.reactor, sheet.left_s(), adapter.build(own).borrower(NOBODY))
            if facts.borrower is None:
                sheet.ok(check, "an unknown card is unknown")
            else:
                sheet.fail(check, "an unknown card is answered as a reader's")
        await within(tools.reactor, sheet.left_s(), adapter.examine(sheet, own))
    except Exception as failed:  # noqa: BLE001  # code of another distribution, which may raise anything
        why = str(failed) if isinstance(failed, Unreachable | TooLong) else f"{type(failed).__name__}: {failed}"
        found = {one.check for one in sheet.found}
        rows = [row.name for row in adapter.rows if row.name not in found]
        if check and check not in found:
            sheet.fail(check, f"an unknown card: {why}")
        elif rows:
            sheet.fail(rows[0], why)


def _connector_tools(tools: ExaminationTools, store: Immediate) -> ConnectorTools:
    """Return the tools that the gateway passes to its adapter, but with an empty store."""
    means, config = tools.means, tools.means.config()
    ils, health = config.ils, CircuitBreaker("doctor", means.clock)
    password, framing = means.secret(ils.password_env), config_mapping.framing_of_ils(config)
    dial, post = make_dialler(tools.reactor, ils.host, ils.port, ils.timeout_s, tls=ils.tls), AgentPost(tools.reactor)

    def line() -> Ask:
        return Upstream(dial, tools.reactor, ils.timeout_s, framing, health, Login(ils.login, password, ils.location))

    outside = ConnectorServices(
        now=means.clock, health=health, line=line, post=post, dialect=framing, password=password, get=post.get
    )
    return ConnectorTools(store=store, agency=config.library.agency, verify=reject_pin, settings=ils, outside=outside)
