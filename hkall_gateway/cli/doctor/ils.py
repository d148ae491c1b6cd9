"""The library's own system, by the connector of [ils] and, where lines are relayed, by its SIP2 server."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from sqlalchemy import Connection

from hkall_gateway.app.local_system import connector_of
from hkall_gateway.circulation.ports import LocalIls, Unreachable
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
from hkall_gateway.ils.circuit_breaker import CircuitBreaker
from hkall_gateway.ils.tools import ConnectorServices
from hkall_gateway.ils.tools import ConnectorTools as ConnectorTools
from hkall_gateway.ncip.http_post import AgentPost
from hkall_gateway.rules.vocabulary import Partner, Sensitive
from hkall_gateway.sip2.upstream.client import Ask, Login, Upstream, dialled

FILES: Final = ("snapshot", "manual")
"""Connectors that query no other system."""
EMPTY: Final = "sqlite://"


def plan(config: GatewayConfig) -> tuple[str, ...]:
    """The checks that are due, in order."""
    ils = config.ils
    by_sip2 = sip2.plan(ils) if ils.relay or ils.connector == "sip2" else ()
    by_ncip = ncip.plan(partner(config)) if ils.connector == "ncip" else ()
    first, last = (("loaded",), ()) if ils.connector in FILES else ((), ("lookup.patron",))
    return tuple(dict.fromkeys((*first, *by_sip2, *by_ncip, *last)))


def title(ils: IlsConfig) -> str:
    """Returns a title for display: the connector, whether there is a relay, and the addresses."""
    ways = [f"{ils.host}:{ils.port}"] if ils.relay or ils.connector == "sip2" else []
    ways += [ncip.place(ils.url)] if ils.connector == "ncip" and ils.url else []
    return " ".join([f"connector {ils.connector}{', relay' if ils.relay else ''}", *ways])


def partner(config: GatewayConfig) -> Partner:
    """The NCIP responder of the library's own system, as its connector describes it."""
    ils = config.ils
    return Partner(
        agency=ils.agency or config.library.agency,
        name="",
        url=ils.url or "",
        dialect=ils.ncip_dialect,
        timeout_s=max(1, round(ils.timeout_s)),
    )


async def examined(sheet: Sheet, tools: ExaminationTools) -> None:
    """Examine the connector and the relay that [ils] configures."""
    config = tools.means.config()
    ils = config.ils
    if ils.connector in FILES:
        await database.loaded(sheet, tools)
    if ils.relay or ils.connector == "sip2":
        sheet.about = "relay" if ils.connector == "ncip" else ""
        await sip2.examined(sheet, tools)
    sheet.about = ils.connector if ils.relay else ""
    if ils.connector == "ncip":
        secret = tools.means.secret(ils.password_env)
        await ncip.examined(sheet, tools, NcipPeer(partner(config), config.library.agency, secret, OF_ILS, ils.looks_up_items))
    if ils.connector not in (*FILES, "sip2") and not any(one.about == sheet.about for one in sheet.failed):
        await _by_connector(sheet, tools)


async def _by_connector(sheet: Sheet, tools: ExaminationTools) -> None:
    """Ask the connector about a card that cannot exist, with an empty temporary store: data loaded from files is not used."""
    engine = open_engine(EMPTY)
    try:
        create_all(engine)
        with closing(Immediate(engine, _unit)) as store:
            await _asked(sheet, tools, _connector(tools, store))
    finally:
        engine.dispose()


async def _asked(sheet: Sheet, tools: ExaminationTools, connector: LocalIls) -> None:
    try:
        facts = await within(tools.reactor, sheet.left_s(), connector.borrower(NOBODY))
    except (Unreachable, TooLong) as failed:
        sheet.fail("lookup.patron", f"an unknown card: {failed}")
        return
    if facts.borrower is None:
        sheet.ok("lookup.patron", "an unknown card is unknown")
    else:
        sheet.fail("lookup.patron", "an unknown card is answered as a reader's")


def _connector(tools: ExaminationTools, store: Immediate) -> LocalIls:
    """The connector as the gateway makes it, over an empty store."""
    means, config = tools.means, tools.means.config()
    ils, health = config.ils, CircuitBreaker("doctor", means.clock)
    password, framing = means.secret(ils.password_env), config_mapping.framing_of_ils(config)
    dial = dialled(tools.reactor, ils.host, ils.port, ils.timeout_s, tls=ils.tls)

    def line() -> Ask:
        return Upstream(dial, tools.reactor, ils.timeout_s, framing, health, Login(ils.login, password, ils.location))

    outside = ConnectorServices(means.clock, health, line, AgentPost(tools.reactor), framing, password)
    return connector_of(ils.connector)(ConnectorTools(store, config.library.agency, _no_pin, ils.model_dump(), outside))


def _unit(connection: Connection) -> Unit:
    return Unit(connection, lambda: "unused")


async def _no_pin(_card: str, _stored: Sensitive, _pin: Sensitive) -> bool:
    return False
