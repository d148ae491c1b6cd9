"""List the peers that doctor examines, run their checks concurrently, and print the findings."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Final

import click
import structlog
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from hkall_gateway.app.daemon import the_reactor
from hkall_gateway.app.machine import instance, number, runs
from hkall_gateway.app.resources import Resources
from hkall_gateway.circulation.staff.examinations import RecordExamination
from hkall_gateway.cli.doctor import callers as callers_there
from hkall_gateway.cli.doctor import connection, ils, mail, ncip, own_gateway
from hkall_gateway.cli.doctor.callers import Endpoints
from hkall_gateway.cli.doctor.findings import (
    GATEWAY,
    ILS,
    SMTP,
    ExaminationTools,
    Finding,
    Interview,
    Sheet,
    Status,
    TooLong,
    within,
)
from hkall_gateway.cli.doctor.ncip import OF_PARTNER, NcipPeer
from hkall_gateway.cli.doctor.own_gateway import GatewayPlace
from hkall_gateway.cli.opening import load_config, open_site
from hkall_gateway.cli.options import REFUSED, WRONG, CliError
from hkall_gateway.cli.show import echo, echo_json
from hkall_gateway.clock import now
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig, PartnerConfig
from hkall_gateway.delivery.smtp import is_address
from hkall_gateway.ils.installed import shown_url
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.net.tls import KIND
from hkall_gateway.observability.examination import Probe
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.authentication import OurProof
from hkall_gateway.peers.callers import Caller
from hkall_gateway.peers.key_sets import MOST_BYTES
from hkall_gateway.peers.protocol import Line
from hkall_gateway.protocols import DEFAULT, find_protocol, protocols_in_use
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.plain_text import printable
from hkall_gateway.rules.vocabulary import Sensitive

PEER_S: Final = 10.0
"""Time limit for all checks of one peer together, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examinee:
    """One peer to examine: its name, title, checks, the function that runs them, and remedies for its special checks."""

    name: str
    title: str
    plan: tuple[str, ...]
    work: Callable[[Sheet], Awaitable[None]]
    advice: Mapping[str, str] = field(default_factory=dict)

    def sheet(self, seconds: Callable[[], float], allowed_s: float = PEER_S) -> Sheet:
        """Return an empty sheet whose time limit starts now."""
        return Sheet(self.name, self.plan, seconds, allowed_s, self.advice)


def examinees(tools: ExaminationTools, here: GatewayPlace, to: str = "") -> dict[str, Examinee]:
    """Return every examinee by name, in report order: the gateway, partners, clients, ils, smtp.

    `to` is the recipient to try at the mail server, or "" for our own address.
    """
    config = tools.means.config()
    get = AgentPost(tools.reactor, most_bytes=MOST_BYTES).get
    callers: dict[str, Caller] = {}
    for protocol in protocols_in_use():
        callers |= config_mapping.callers(config, tools.means.environ, protocol.name, get)
    ours = config_mapping.our_proofs(config, tools.means.environ)
    found = [
        Examinee(
            name=GATEWAY,
            title=str(here.path),
            plan=own_gateway.PLAN,
            work=lambda sheet: own_gateway.examine_gateway(sheet, tools, here),
        ),
        *(_partner_examinee(tools, row, callers[row.agency], ours.get(row.agency)) for row in config.partners),
        *(
            Examinee(
                name=row.agency,
                title="client",
                plan=(callers_there.CHECK,),
                work=partial(_judge_caller, tools, DEFAULT, callers[row.agency]),
            )
            for row in config.clients
        ),
        Examinee(
            name=ILS,
            title=ils.title(config.ils),
            plan=ils.plan(config, with_interview=tools.interview is not None),
            work=lambda sheet: ils.examine_ils(sheet, tools),
            advice=ils.advice(config.ils),
        ),
    ]
    if (smtp := config.smtp) is not None:
        title, plan = f"{smtp.host}:{smtp.port}", mail.plan(smtp)
        found.append(
            Examinee(
                name=SMTP,
                title=title,
                plan=plan,
                work=lambda sheet: mail.examine_mail_server(sheet, tools, smtp, to or smtp.sender),
            )
        )
    return {one.name: one for one in found}


async def examine(one: Examinee, sheet: Sheet) -> Sheet:
    """Run the checks of a peer, and return its sheet with a finding for each check of the plan."""
    await one.work(sheet)
    sheet.close()
    return sheet


def _partner_examinee(tools: ExaminationTools, row: PartnerConfig, caller: Caller, ours: OurProof | None) -> Examinee:
    partner = row.plain()
    operator = find_protocol(partner.protocol).operator
    address = operator.address(partner)
    if Probe.NCIP in operator.probes:
        there = NcipPeer(
            partner=partner,
            agency=tools.means.config().library.agency,
            secret=Sensitive(caller.secret),
            key=OF_PARTNER,
            used=row.can_lookup_items,
            proof=ours,
        )
        planned = ncip.plan(partner)
        reach = partial(ncip.examine_responder, tools=tools, there=there)
    else:
        planned = connection.plan(address)
        reach = partial(_check_way, tools=tools, address=address)

    async def work(sheet: Sheet) -> None:
        addresses = await reach(sheet)
        if addresses and not sheet.failed:
            await _examine_by_rows(tools, sheet, partner, ours)
        await _judge_caller(tools, partner.protocol, caller, sheet, addresses)

    return Examinee(
        name=row.agency,
        title=shown_url(address),
        plan=(*planned, *(one.name for one in operator.rows), callers_there.CHECK),
        work=work,
        advice={one.name: one.advice for one in operator.rows},
    )


async def _check_way(sheet: Sheet, *, tools: ExaminationTools, address: str) -> tuple[str, ...]:
    addresses, _open_way = await connection.check_url(sheet, tools, address)
    return addresses


async def _examine_by_rows(tools: ExaminationTools, sheet: Sheet, partner: Partner, ours: OurProof | None) -> None:
    """Run the checks that a protocol adds for a partner. They may belong to another distribution, and raise anything."""
    means, protocol = tools.means, find_protocol(partner.protocol)
    rows = [one.name for one in protocol.operator.rows]
    if not rows:
        return
    post = AgentPost(means.reactor, content_type=protocol.content_type)
    line = Line(
        agency=means.config().library.agency,
        secrets=config_mapping.agreed_secrets(means.config(), means.environ),
        post=post,
        posts={partner.agency: post.proving(lambda: ours(means.clock()))} if ours else {},
        seconds=means.reactor.seconds,
        now=means.clock,
    )
    try:
        await within(means.reactor, sheet.left_s(), protocol.operator.examine(sheet, line, partner))
    except Exception as failed:  # noqa: BLE001  # code of another distribution, which may raise anything
        why = str(failed) if isinstance(failed, TooLong) else f"{type(failed).__name__}: {failed}"
        tried = {one.check for one in sheet.found}
        sheet.fail(next((row for row in rows if row not in tried), rows[-1]), why)


async def _judge_caller(
    tools: ExaminationTools, protocol: str, caller: Caller, sheet: Sheet, addresses: tuple[str, ...] = ()
) -> None:
    try:
        keyless = await within(tools.reactor, sheet.left_s(), callers_there.lacks_keys(caller, tools.means.clock()))
    except TooLong:
        keyless = True
    ours = our_endpoints(tools.means.config(), protocol)
    callers_there.judge_caller_proof(sheet, caller, ours, addresses, keyless=keyless)


def our_endpoints(config: GatewayConfig, protocol: str) -> Endpoints:
    """Describe our ports for a protocol: whether any port is `ssl:`, and whether `client_ca` is set."""
    listed = config.endpoints_of(find_protocol(protocol)).values()
    return Endpoints(
        protocol=protocol,
        tls=any(text.startswith(KIND) for texts in listed for text in texts),
        client_ca=config.table_of(protocol).client_ca is not None,
    )


THREADS: Final = 8
"""Number of threads in addition to two per peer, so that a name server that never answers does not delay other peers."""
WORDS: Final = {Status.OK: "ok", Status.WARN: "warn", Status.FAIL: "FAIL", Status.SKIP: "skip"}
COLOURS: Final = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


def doctor(who: str | None, to: str, config: Path, interview: Interview | None, *, record: bool, as_json: bool) -> None:
    """Examine the peer `who`, or all peers, and print the findings. Exit with code 1 if a check failed.

    With `record`, print one line only, and write the number of failed checks into the database.
    """
    found, library = load_config(config)
    if to and not is_address(to):
        raise CliError(f"--to: {to!r} is not an address", WRONG)
    reactor, pool = the_reactor(), _make_pool(THREADS + 2 * len(found.partners))
    means = Resources(reactor=reactor, clock=now, environ=os.environ, metrics=Metrics(), config=lambda: found)
    tools = ExaminationTools(means, partial(deferToThreadPool, reactor, pool), interview)
    known = examinees(
        tools, GatewayPlace(path=config, policy=library.policy, instance=instance(), number=number(), runs=runs), to
    )
    if who and who not in known:
        raise CliError(f"{who}: not in the configuration; there are {', '.join(known)}", WRONG)
    chosen = [known[who]] if who else list(known.values())
    reactor.threadpool = pool
    sheets = _examine_all(reactor, chosen, (lambda _group: None) if as_json or record else click.echo)
    findings = [finding for sheet in sheets.values() for finding in sheet.found]
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        echo(in_a_line(findings) if record else summary(findings))
    if len(sheets) < len(chosen):
        raise CliError(f"interrupted; not examined: {', '.join(one.name for one in chosen if one.name not in sheets)}")
    failed = sum(finding.status is Status.FAIL for finding in findings)
    if record:
        site = open_site(config)
        site.execute(RecordExamination(failed=failed))
    if failed:
        raise SystemExit(REFUSED)


def _make_pool(most: int) -> ThreadPool:
    """Create a pool of daemon threads, so that a hanging name look-up does not keep the process from ending."""
    pool = ThreadPool(0, most, "doctor")
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # Twisted declares another type
    pool.start()
    return pool


def _examine_all(reactor: Any, chosen: Sequence[Examinee], show: Callable[[str], None]) -> dict[str, Sheet]:
    """Examine the chosen peers concurrently, and show each group of findings in the order of the peers.

    Returns:
        The sheets by peer, in order. After SIGINT, sheets of unfinished peers are missing.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    done: dict[str, Sheet] = {}
    shown, ended, stopping = iter(chosen), list[object](), list[bool]()
    waiting = [next(shown)]

    def show_finished(name: str, sheet: Sheet) -> None:
        if stopping:  # the shutdown has closed this peer's connections
            return
        done[name] = sheet
        while waiting and waiting[0].name in done:
            show(group(waiting[0].title, done[waiting[0].name]))
            waiting[:] = [one for one in [next(shown, None)] if one]

    async def one_after(one: Examinee) -> None:
        show_finished(one.name, await examine(one, one.sheet(reactor.seconds)))

    def end(result: object) -> None:
        if not stopping:
            ended.append(result)
            reactor.stop()

    def begin() -> None:
        _ = gatherResults([ensureDeferred(one_after(one)) for one in chosen], consumeErrors=True).addBoth(end)

    reactor.addSystemEventTrigger("before", "shutdown", stopping.append, True)
    reactor.callWhenRunning(begin)
    reactor.run()
    if ended and isinstance(ended[0], Failure):
        first: Any = ended[0].value  # gatherResults wraps the exception
        raise first.subFailure.value
    return {one.name: done[one.name] for one in chosen if one.name in done}


def group(title: str, sheet: Sheet) -> str:
    """Format a peer's findings for people: a line for each check, advice below warnings and failures, then skipped checks."""
    lines = [click.style(sheet.peer, bold=True) + f"  {title}"]
    for finding in sheet.found:
        if finding.status is not Status.SKIP:
            named = finding.about and finding.about not in finding.detail
            detail = f"{finding.about}: {finding.detail}" if named else finding.detail
            lines += [_finding_line(WORDS[finding.status], finding.check, detail, COLOURS[finding.status])]
            lines += [f"{'':<9}{finding.advice}"] if finding.advice else []
    return "\n".join([*lines, *_skipped_lines(sheet.found), ""])


def _skipped_lines(found: Iterable[Finding]) -> Iterator[str]:
    why: dict[str, list[str]] = {}
    for finding in found:
        if finding.status is Status.SKIP:
            why.setdefault(finding.detail, []).append(finding.check)
    for detail, checks in why.items():
        yield _finding_line(WORDS[Status.SKIP], ", ".join(checks), detail)


def _finding_line(word: str, check: str, detail: str, colour: str | None = None) -> str:
    return f"  {click.style(f'{word:<5}', fg=colour)}  {check:<14}  {printable(detail)}"


def summary(findings: Sequence[Finding]) -> str:
    """Summarise the findings by status, for the last line of the output."""
    counted = Counter(finding.status for finding in findings)
    counts = ", ".join(f"{counted[status]} {word}" for status, word in WORDS.items() if counted[status])
    return f"{counts or 'no check was made'}"


def in_a_line(findings: Sequence[Finding]) -> str:
    """Return the summary and each failed check, in one line."""
    failed = (f"{one.peer} {one.check}: {one.detail}" for one in findings if one.status is Status.FAIL)
    return "; ".join((f"doctor: {summary(findings)}", *failed))
