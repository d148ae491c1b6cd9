"""Lists the peers that doctor examines and runs their checks concurrently, each peer within its own time limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hkall_gateway.cli.doctor import ils, mail, ncip, own_gateway, proofs
from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within
from hkall_gateway.cli.doctor.ncip import OF_PARTNER, NcipPeer
from hkall_gateway.cli.doctor.own_gateway import GatewayPlace
from hkall_gateway.cli.doctor.proofs import NcipEndpoints
from hkall_gateway.cli.doctor.table import GATEWAY, ILS, SMTP
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig, PartnerConfig
from hkall_gateway.ils.packaged import shown_url
from hkall_gateway.ncip.authentication import OurProof
from hkall_gateway.ncip.http_post import AgentPost
from hkall_gateway.ncip.key_sets import MOST_BYTES
from hkall_gateway.ncip.service_request import Caller
from hkall_gateway.net.tls import KIND
from hkall_gateway.rules.vocabulary import Sensitive

PEER_S: Final = 10.0
"""Time limit for all checks of one peer together, in seconds."""


@dataclass(frozen=True, slots=True)
class Examinee:
    """One peer: its name, a title for display, its checks, the function that runs them, and advice for checks of its own."""

    name: str
    title: str
    plan: tuple[str, ...]
    work: Callable[[Sheet], Awaitable[None]]
    advice: Mapping[str, str] = field(default_factory=dict)

    def sheet(self, seconds: Callable[[], float], allowed_s: float = PEER_S) -> Sheet:
        """An empty sheet; its time begins now."""
        return Sheet(self.name, self.plan, seconds, allowed_s, self.advice)


def examinees(tools: ExaminationTools, here: GatewayPlace, to: str = "") -> dict[str, Examinee]:
    """Returns every examinee by name, in report order: the gateway, partners, clients, ils, smtp.

    `to` is the recipient that the mail server is asked about; if empty, our own address.
    """
    config = tools.means.config()
    callers = config_mapping.callers(config, tools.means.environ, AgentPost(tools.reactor, most_bytes=MOST_BYTES).get)
    ours = config_mapping.our_proofs(config, tools.means.environ)
    found = [
        Examinee(GATEWAY, str(here.path), own_gateway.PLAN, lambda sheet: own_gateway.examined(sheet, tools, here)),
        *(_partner(tools, row, callers[row.agency], ours.get(row.agency)) for row in config.partners),
        *(_client(tools, callers[row.agency]) for row in config.clients),
        Examinee(
            ILS, ils.title(config.ils), ils.plan(config), lambda sheet: ils.examined(sheet, tools), ils.advice(config.ils)
        ),
        *_mail(tools, config, to),
    ]
    return {one.name: one for one in found}


async def examine(one: Examinee, sheet: Sheet) -> Sheet:
    """The sheet, filled: each check of the plan has a finding."""
    await one.work(sheet)
    sheet.close()
    return sheet


def _partner(tools: ExaminationTools, row: PartnerConfig, caller: Caller, ours: OurProof | None) -> Examinee:
    partner, agency = row.plain(), tools.means.config().library.agency
    there = NcipPeer(partner, agency, Sensitive(caller.secret), OF_PARTNER, row.can_lookup_items, ours)

    async def work(sheet: Sheet) -> None:
        addresses = await ncip.examined(sheet, tools, there)
        await _judged(sheet, tools, caller, addresses)

    return Examinee(row.agency, shown_url(row.url), (*ncip.plan(partner), proofs.CHECK), work)


def _client(tools: ExaminationTools, caller: Caller) -> Examinee:
    async def work(sheet: Sheet) -> None:
        await _judged(sheet, tools, caller, ())

    return Examinee(caller.agency, "client", (proofs.CHECK,), work)


async def _judged(sheet: Sheet, tools: ExaminationTools, caller: Caller, addresses: tuple[str, ...]) -> None:
    try:
        keyless = await within(tools.reactor, sheet.left_s(), proofs.keyless(caller, tools.means.clock()))
    except TooLong:
        keyless = True
    proofs.judged(sheet, caller, ncip_endpoints(tools.means.config()), addresses, keyless=keyless)


def _mail(tools: ExaminationTools, config: GatewayConfig, to: str) -> Iterator[Examinee]:
    smtp = config.smtp
    if smtp is not None:
        title = f"{smtp.host}:{smtp.port}"
        yield Examinee(SMTP, title, mail.plan(smtp), lambda sheet: mail.examined(sheet, tools, smtp, to or smtp.sender))


def ncip_endpoints(config: GatewayConfig) -> NcipEndpoints:
    """Returns whether any of our NCIP ports is `ssl:`, and whether `client_ca` is set."""
    return NcipEndpoints(any(text.startswith(KIND) for text in config.ncip.listen), config.ncip.client_ca is not None)
