"""A started gateway is judged by circprobe: both protocols, and both roles in each.

Behind the gateway stands circprobe's scripted SIP2 server as the library's own system, and in place of
its partners circprobe's initiator judge, which hears what the gateway sends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from circprobe.care import Permissions
from circprobe.catalogue import Probe
from circprobe.ncip import initiator
from circprobe.ncip.initiator import InitiatorJudge, NcipInitiator
from circprobe.ncip.responder import NcipResponder, Target
from circprobe.results import Outcome, Report, Result
from circprobe.runner import Runner
from circprobe.scripted import library, sip2_server
from circprobe.scripted.sip2_terminal import DAY, Terminal
from circprobe.sip2 import terminal
from circprobe.sip2.terminal import Sip2Terminal

from circprobe import catalogue
from demo import demo_setup
from demo.demo_ports import Ports
from tests import databases
from tests.company import ANY_DAY, SOON, gateway_ports, until

COMMAND = Path(sys.executable).parent / "hkall-gateway"
CARD, PIN = "P0001", "1234"
OWN_ITEMS = ("30001", "30002")
TITLES = ("b0001", "b0003", "b0004", "b0005", "b9001")
USER = f"<UserId><AgencyId>HKU</AgencyId><UserIdentifierValue>{CARD}</UserIdentifierValue></UserId>"
SECRET = f"<FromAgencyAuthentication>{demo_setup.PASSWORD}</FromAgencyAuthentication>"


@dataclass(frozen=True)
class Site:
    """A running gateway."""

    ports: Ports
    folder: Path
    partners: list[InitiatorJudge]

    def judge(self, *words: str) -> dict[str, Any]:
        """Run circprobe, and return its report."""
        path = self.folder / "report.json"
        secrets = {"PIN": PIN, "PASSWORD": demo_setup.PASSWORD}
        done = subprocess.run(
            [sys.executable, "-m", "circprobe", *words, "--quiet", "--json", str(path)],
            env={**os.environ, **secrets},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert path.exists(), done.stdout + done.stderr
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
        assert done.returncode == bool(report["failed_musts"])
        return report


def _request(number: int, title: str) -> str:
    return (
        "<RequestItem>{header}" + USER + "<BibliographicId><BibliographicRecordId>"
        f"<BibliographicRecordIdentifier>{title}</BibliographicRecordIdentifier>"
        "<AgencyId>HKU</AgencyId></BibliographicRecordId></BibliographicId>"
        f"<RequestId><AgencyId>{demo_setup.DISCOVERY}</AgencyId>"
        f"<RequestIdentifierValue>probe-{number}</RequestIdentifierValue></RequestId>"
        "<RequestType>Loan</RequestType><RequestScopeType>Bibliographic Item</RequestScopeType>"
        f"<PickupLocation>{demo_setup.LOCATION}</PickupLocation></RequestItem>"
    )


def _cancellation(number: int) -> str:
    return (
        "<CancelRequestItem>{header}" + USER + f"<RequestId><AgencyId>{demo_setup.DISCOVERY}"
        f"</AgencyId><RequestIdentifierValue>probe-{number}</RequestIdentifierValue></RequestId>"
        "<RequestType>Loan</RequestType></CancelRequestItem>"
    )


def _of_this_site(line: str) -> str:
    """Put the login, card and PIN of the gateway's demo into a line of the scripted terminal."""
    line = line.replace("CNkiosk|COsecret-of-kiosk", f"CNcounter-1|CO{demo_setup.PASSWORD}")
    return line.replace("AOHKX", "AOHKU").replace("21234000", CARD).replace("AD7391", f"AD{PIN}")


def serve(folder: Path, own_system: int) -> Iterator[Site]:
    """Start a gateway whose own system listens on a port of this machine."""
    ports = gateway_ports()
    partners = [initiator.listen(("127.0.0.1", port), library.make_open_library(PIN)) for port in ports.partners.values()]
    ils = {"connector": "sip2", "host": "127.0.0.1", "port": own_system, "relay": True}
    keys: dict[str, dict[str, object]] = {
        "ils": {**ils, "login": "gateway", "password_env": "HKALL_ILS", "timeout_s": 2.0},
        "database": {"url": databases.url("sqlite:///hkall.db")},
    }
    path = demo_setup.write_config(folder, ports, ANY_DAY, SOON, keys)
    environ = {**os.environ, **demo_setup.environment(ports), "HKALL_ILS": library.PASSWORD}
    databases.fill(path, environ)
    log = folder / "log.jsonl"
    with log.open("wb") as file:
        process = subprocess.Popen([COMMAND, "serve", "--config", path], stdout=file, stderr=file, env=environ)
    try:
        until(lambda: "daemon.started" in log.read_text("utf-8"), "the gateway has started")
        yield Site(ports, folder, partners)
    finally:
        process.terminate()
        process.wait(20)
        for partner in partners:
            partner.shutdown()
            partner.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own = library.make_library()
    own.patrons[CARD] = library.Patron(CARD, "Chan, Tai Man", PIN)
    system = sip2_server.start(own, needs_login=False)
    yield from serve(tmp_path_factory.mktemp("judged"), system.port)
    system.shutdown()
    system.server_close()


def failures(report: dict[str, Any]) -> dict[str, str]:
    musts = report["failed_musts"]
    return {r["number"]: r["detail"] for r in report["results"] if r["number"] in musts}


def test_gateway_keeps_every_must_of_a_sip2_server(site: Site) -> None:
    report = site.judge(
        *("sip2", "server", f"127.0.0.1:{site.ports.sip2}", "--institution", "HKU"),
        *("--login", "counter-1", "--password-env", "PASSWORD"),
        *("--patron", CARD, "--pin-env", "PIN", "--load", "--wrong-pin", "--transactions"),
        *("--item", OWN_ITEMS[0], "--item", OWN_ITEMS[1], "--idle", "1"),
    )

    assert failures(report) == {}
    assert report["remarks"] == []
    assert report["summary"]["passed"] == 223


def test_gateway_keeps_every_must_of_an_ncip_responder(site: Site) -> None:
    report = site.judge(
        *("ncip", "responder", f"http://127.0.0.1:{site.ports.ncip}/ncip"),
        *("--from", demo_setup.DISCOVERY, "--to", "HKU", "--secret-env", "PASSWORD"),
        *("--user", CARD, "--pin-env", "PIN"),
        *("--load", "--wrong-pin", "--transactions", "--version-1"),
    )

    assert failures(report) == {}
    assert report["summary"]["passed"] == 129


def test_gateway_keeps_every_must_of_an_ncip_initiator(site: Site) -> None:
    responder = NcipResponder(
        Target(f"http://127.0.0.1:{site.ports.ncip}/ncip", known_secrets=frozenset({PIN})),
        {"from": demo_setup.DISCOVERY, "to": "HKU", "authentication": SECRET},
        Permissions(transactions=True, load=True),
    )
    steps = [f"post {_request(number, title)}" for number, title in enumerate(TITLES)]
    steps += [f"post {_cancellation(number)}" for number in range(len(TITLES))]
    [answers] = responder.gather(Probe("day", tuple(steps)), None)
    assert [a.note for a in answers if not a.note.startswith("HTTP 200")] == []

    def calls() -> int:
        return sum(len(partner.calls) for partner in site.partners)

    until(lambda: calls() >= 9, "the gateway has called its partners, once more after HTTP 503")

    reports = [_judge_initiator(partner) for partner in site.partners]
    failed = [r.clause.number for report in reports for r in report.failed_musts]
    assert failed == []
    passed = {r.clause.number for report in reports for r in report.results if _has_passed(r)}
    assert {"NI-403", "NI-404", "NI-422", "NI-501", "NI-502", "NI-504"} <= passed


def _judge_initiator(partner: InitiatorJudge) -> Report:
    runner = Runner(catalogue.load("ncip-initiator"), NcipInitiator(partner.calls), set())
    return runner.run(Report("ncip-initiator", "gateway", ""))


def _has_passed(result: Result) -> bool:
    return result.outcome is Outcome.PASSED


def test_gateway_keeps_every_must_of_a_sip2_terminal(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    judge = terminal.listen(("127.0.0.1", 0), library.make_open_library(PIN))
    day = tuple(_of_this_site(line) for line in DAY)
    for site in serve(tmp_path_factory.mktemp("terminal"), judge.port):
        Terminal(site.ports.sip2, patience_s=15, day=day).run()
    driver = Sip2Terminal(judge.recording, {"pin": PIN})
    runner = Runner(catalogue.load("sip2-terminal"), driver, {"pin"})
    report = runner.run(Report("sip2-terminal", "gateway", ""))
    judge.shutdown()
    judge.server_close()

    assert {r.clause.number: r.detail for r in report.failed_musts} == {}
    assert report.count(Outcome.PASSED) >= 40
