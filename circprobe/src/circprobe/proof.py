"""Proves the kit: its clauses find each planted fault, and a good peer passes all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from circprobe import catalogue
from circprobe.care import Permissions
from circprobe.catalogue import Clause
from circprobe.ncip import initiator as ncip_initiator_judge
from circprobe.ncip.responder import NcipResponder
from circprobe.ncip.responder import Target as NcipTarget
from circprobe.results import Outcome, Report
from circprobe.runner import GIVEN_BY, Runner
from circprobe.scripted import faults, library, ncip_faults, ncip_responder, sip2_server
from circprobe.scripted.ncip_initiator import Initiator
from circprobe.scripted.sip2_terminal import Terminal
from circprobe.sip2 import terminal as sip2_terminal_judge
from circprobe.sip2.client import Target
from circprobe.sip2.server import Sip2Server

Row = Mapping[str, Any]
EVERYTHING = Permissions(transactions=True, wrong_pin=True, load=True)
AT_ONCE = 6
"""Faults that are tried side by side; most of the time is spent in waiting for silence."""


def judge_sip2_server(row: Row) -> Report:
    """Run the catalogue for SIP2 servers against the scripted server with a fault."""
    server = sip2_server.start(library.make_library(), faults.make(row))
    target = Target(
        "127.0.0.1",
        server.port,
        answer_s=0.4,
        quiet_s=0.1,
        known_secrets=frozenset({library.PIN, library.PASSWORD}),
    )
    values = {
        "login": library.LOGIN,
        "password": library.PASSWORD,
        "patron": library.PATRON,
        "pin": library.PIN,
        "item": "30001",
        "item2": "30002",
        "institution": sip2_server.INSTITUTION,
        "location": "Desk",
        "terminal_password": "",
        # Longer than the server with this fault waits; the others need not wait.
        "idle": "2.0" if row.get("does") == sip2_server.CLOSES_IDLE else "0.05",
    }
    driver = Sip2Server(target, values, EVERYTHING)
    runner = Runner(catalogue.load("sip2-server"), driver, set(GIVEN_BY))
    report = Report("sip2-server", "the scripted server", "")
    try:
        return runner.run(report)
    finally:
        driver.finish()
        server.shutdown()
        server.server_close()


def judge_ncip_responder(row: Row) -> Report:
    """Run the catalogue for NCIP responders against the scripted responder with a fault."""
    server = ncip_responder.start(library.make_library(), ncip_faults.make(row))
    target = NcipTarget(server.url, answer_s=1.0, known_secrets=frozenset({library.PIN}))
    values = {
        "from": "HKA",
        "to": ncip_responder.OWN_AGENCY,
        "user": library.PATRON,
        "pin": library.PIN,
        "item": "30001",
    }
    driver = NcipResponder(target, values, EVERYTHING)
    runner = Runner(catalogue.load("ncip-responder"), driver, set(GIVEN_BY))
    report = Report("ncip-responder", "the scripted responder", "")
    try:
        return runner.run(report)
    finally:
        driver.finish()
        server.shutdown()
        server.server_close()


def judge_sip2_terminal(row: Row) -> Report:
    """Run the catalogue for terminals against the scripted terminal with a fault."""
    judge = sip2_terminal_judge.listen(("127.0.0.1", 0), library.make_library())
    try:
        Terminal(judge.port, faults.make(row)).run()
    finally:
        judge.shutdown()
        judge.server_close()
    driver = sip2_terminal_judge.Sip2Terminal(judge.recording, {"pin": library.PIN})
    runner = Runner(catalogue.load("sip2-terminal"), driver, set(GIVEN_BY))
    return runner.run(Report("sip2-terminal", "the scripted terminal", ""))


def judge_ncip_initiator(row: Row) -> Report:
    """Run the catalogue for initiators against the scripted initiator with a fault."""
    judge = ncip_initiator_judge.listen(("127.0.0.1", 0), library.make_library())
    try:
        Initiator(judge.port, ncip_faults.make(row)).run()
    finally:
        judge.shutdown()
        judge.server_close()
    driver = ncip_initiator_judge.NcipInitiator(judge.calls)
    runner = Runner(catalogue.load("ncip-initiator"), driver, set(GIVEN_BY))
    return runner.run(Report("ncip-initiator", "the scripted initiator", ""))


JUDGES: dict[str, Callable[[Row], Report]] = {
    "sip2-server": judge_sip2_server,
    "sip2-terminal": judge_sip2_terminal,
    "ncip-responder": judge_ncip_responder,
    "ncip-initiator": judge_ncip_initiator,
}
"""For each role, the run against its scripted peer with the fault of a clause, or with none."""


@dataclass(frozen=True)
class Proof:
    """What became of one planted fault.

    Attributes:
        outcome: the result of the clause that must find it.
        others: must-clauses that failed beside it.
    """

    clause: Clause
    outcome: Outcome
    others: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Say whether the fault was found by its clause and by no other must-clause."""
        return self.outcome is Outcome.FAILED and not self.others


def prove(role: str) -> Iterator[Proof]:
    """Plant each fault of a role's catalogue, one after the other."""
    judge = JUDGES[role]
    planted = [clause for clause in catalogue.load(role).clauses if clause.fault]

    def plant(clause: Clause) -> Proof:
        report = judge(clause.fault)
        outcomes = {result.clause.number: result.outcome for result in report.results}
        others = {result.clause.number for result in report.failed_musts} - {clause.number}
        return Proof(clause, outcomes[clause.number], tuple(sorted(others)))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(plant, planted)
