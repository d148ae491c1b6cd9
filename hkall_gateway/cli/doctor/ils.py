"""The library's own system, by the connector of [ils] and, where lines are relayed, by its SIP2 server."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.cli.doctor import database, ncip, sip2
from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within
from hkall_gateway.cli.doctor.ncip import NOBODY, OF_ILS, NcipPeer
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.ils import IlsConfig
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.immediate import Immediate
from hkall_gateway.db.tables import create_all
from hkall_gateway.db.unit import Unit
from hkall_gateway.ils.adapter import Adapter, Probe, find_adapter
from hkall_gateway.ils.circuit_breaker import CircuitBreaker
from hkall_gateway.ils.ncip import responder
from hkall_gateway.ils.packaged import sip2_address
from hkall_gateway.ils.tools import ConnectorServices, ConnectorTools
from hkall_gateway.ncip.http_post import AgentPost
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.client import Ask, Login, Upstream, dialled

EMPTY: Final = "sqlite://"


def plan(config: GatewayConfig) -> tuple[str, ...]:
    """The checks that are due, in order."""
    ils, adapter = config.ils, find_adapter(config.ils.connector)
    loaded = ("loaded",) if Probe.LOADED in adapter.probes else ()
    by_sip2 = sip2.plan(ils) if ils.relay or adapter.asks_sip2 else ()
    by_ncip = ncip.plan(responder(ils, config.library.agency)) if Probe.NCIP in adapter.probes else ()
    by_card = ("lookup.patron",) if Probe.CARD in adapter.probes else ()
    return tuple(dict.fromkeys((*loaded, *by_sip2, *by_ncip, *by_card, *(row.name for row in adapter.rows))))


def advice(ils: IlsConfig) -> dict[str, str]:
    """The advice of the checks that only this adapter has."""
    return {row.name: row.advice for row in find_adapter(ils.connector).rows}


def title(ils: IlsConfig) -> str:
    """Returns a title for display: the connector, whether there is a relay, and the addresses."""
    relay = (", relay", sip2_address(ils)) if ils.relay else ("", "")
    ways = dict.fromkeys((relay[1], find_adapter(ils.connector).address(ils)))
    return " ".join(filter(None, [f"connector {ils.connector}{relay[0]}", *ways]))


async def examined(sheet: Sheet, tools: ExaminationTools) -> None:
    """Examine the adapter and the relay that [ils] configures."""
    config = tools.means.config()
    ils, agency, adapter = config.ils, config.library.agency, find_adapter(config.ils.connector)
    if Probe.LOADED in adapter.probes:
        await database.loaded(sheet, tools)
    if ils.relay or adapter.asks_sip2:
        sheet.about = "relay" if adapter.is_live and not adapter.asks_sip2 else ""
        await sip2.examined(sheet, tools)
    sheet.about = ils.connector if ils.relay else ""
    if Probe.NCIP in adapter.probes:
        secret = tools.means.secret(ils.password_env)
        await ncip.examined(sheet, tools, NcipPeer(responder(ils, agency), agency, secret, OF_ILS, ils.looks_up_items))
    if any(one.about == sheet.about for one in sheet.failed) or not (Probe.CARD in adapter.probes or adapter.rows):
        return
    engine = open_engine(EMPTY)  # data that was loaded from files is not used
    try:
        create_all(engine)
        with closing(Immediate(engine, lambda connection: Unit(connection, lambda: "unused"))) as store:
            await _by_adapter(sheet, tools, adapter, _connector_tools(tools, store))
    finally:
        engine.dispose()


async def _by_adapter(sheet: Sheet, tools: ExaminationTools, adapter: Adapter, own: ConnectorTools) -> None:
    """Run the adapter's own checks, and ask it about a card that cannot exist."""
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
    except (Unreachable, TooLong) as failed:
        found = {one.check for one in sheet.found}
        rows = [row.name for row in adapter.rows if row.name not in found]
        if check and check not in found:
            sheet.fail(check, f"an unknown card: {failed}")
        elif rows:
            sheet.fail(rows[0], str(failed))


def _connector_tools(tools: ExaminationTools, store: Immediate) -> ConnectorTools:
    """The tools of the adapter as the gateway gives them, over an empty store."""
    means, config = tools.means, tools.means.config()
    ils, health = config.ils, CircuitBreaker("doctor", means.clock)
    password, framing = means.secret(ils.password_env), config_mapping.framing_of_ils(config)
    dial, post = dialled(tools.reactor, ils.host, ils.port, ils.timeout_s, tls=ils.tls), AgentPost(tools.reactor)

    def line() -> Ask:
        return Upstream(dial, tools.reactor, ils.timeout_s, framing, health, Login(ils.login, password, ils.location))

    outside = ConnectorServices(means.clock, health, line, post, framing, password, get=post.get)
    return ConnectorTools(store, config.library.agency, _no_pin, ils, outside)


async def _no_pin(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    return False
