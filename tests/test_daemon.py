"""The installed command in its own process, on real sockets, with real partners, a real mail server and kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from demo import demo_setup
from demo.socket_terminal import SocketTerminal
from hkall_gateway.ils.exports import read_patrons
from hkall_gateway.simulator.scenario.scripted_partner import MANNERS
from tests.company import CARD, COMMAND, COPY, PATIENCE_S, PIN, Gateway, gateway_ports, stamp, until

XSD = Path(__file__).parents[2] / "shared/ncip/xsd/ncip_v2_02.xsd"


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path)
    yield made
    made.end()


def services(gateway: Gateway, agency: str = "CUHK") -> list[str]:
    return [m.service for m in gateway.party.partners[agency].seen]


def live_the_story(gateway: Gateway) -> None:
    """One borrowed item from the request to the end."""
    cuhk, counter = gateway.party.partners["CUHK"], gateway.counter()
    assert gateway.request("d-1").text("RequestId/RequestIdentifierValue") == "d-1"
    until(lambda: services(gateway) == ["RequestItem"], "the lender is asked")
    asked = cuhk.seen[0]
    assert asked.text("UserId/UserIdentifierValue") == "HKU-INST"
    number = asked.text("RequestId/RequestIdentifierValue")
    shipped = gateway.do(lambda: cuhk.ship(number, COPY))
    assert not shipped.has("Problem")
    assert gateway.ask(counter, f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|").startswith("101")
    until(lambda: services(gateway)[1:] == ["ItemReceived"], "the lender hears of the arrival")
    (letter,) = until(lambda: gateway.party.mailbox.messages, "the letter")
    assert "香港天橋漫步" in letter.get_body(("plain",)).get_content()
    lent = gateway.ask(counter, f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|AD{PIN}|")
    assert lent.startswith("121N")
    until(lambda: services(gateway)[2:] == ["ItemCheckedOut"], "the lender hears of the loan")
    renewed = gateway.ask(counter, f"29NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|")
    assert renewed.startswith("30")
    back = gateway.ask(counter, f"09N{stamp()}{stamp()}AP{demo_setup.LOCATION}|AOHKU|AB{COPY}|AC|")
    assert back.startswith("101")
    until(lambda: services(gateway)[-1] == "ItemShipped", "the lender hears of the way home")
    assert not gateway.do(lambda: cuhk.receive(number, COPY)).has("Problem")
    counter_closed = gateway.ask(counter, f"35{stamp()}AOHKU|AA{CARD}|")
    assert counter_closed.startswith("36Y")
    gateway.do(lambda: _hung_up(counter))


async def _hung_up(terminal: SocketTerminal) -> None:
    terminal.hang_up()
    await terminal.closed


def test_request_is_placed_lent_renewed_returned_and_completed(gateway: Gateway) -> None:
    gateway.do(gateway.party.start)
    gateway.start()
    live_the_story(gateway)
    assert gateway.position() == "CLOSED"
    assert json.loads(gateway.command("outbox", "list", "--json")) == []
    assert gateway.stop() == 0
    _check_documents(gateway)
    _check_log(gateway.log())


def _check_documents(gateway: Gateway) -> None:
    """Assert that every document we sent is valid NCIP 2.02."""
    bodies = gateway.party.partners["CUHK"].bodies
    assert len(bodies) >= 4
    if not XSD.exists():
        pytest.skip(f"{XSD} is not here: the documents were not validated")
    schema = etree.XMLSchema(etree.parse(XSD))
    for body in bodies:
        schema.assertValid(etree.fromstring(body))


def _check_log(log: str) -> None:
    """Assert that every line is JSON with its fields, without a PIN, a password, a name or an address."""
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"ts", "level", "event"} <= lines[0].keys()
    assert {"transition", "sip2.answered", "ncip.answered", "courier.sent"} <= {line["event"] for line in lines}
    patron = next(p for p in read_patrons(demo_setup.DEMO_FILES / "patrons.csv") if p.barcode == CARD)
    for secret in (
        patron.name.reveal(),
        patron.name_zh.reveal(),
        patron.email.reveal(),
        f'"{PIN}"',
        f"AD{PIN}",
        "argon2",
        CARD,
    ):
        assert secret not in log
    assert f'"{demo_setup.PASSWORD}"' not in log
    assert f"CO{demo_setup.PASSWORD}" not in log
    assert f">{demo_setup.PASSWORD}<" not in log


@pytest.mark.long
def test_acknowledged_work_takes_effect_once_after_a_kill_and_restart(gateway: Gateway) -> None:
    gateway.start()
    assert not gateway.request("d-1").has("Problem")  # the request is accepted, but no lender can be reached
    gateway.kill()
    gateway.do(gateway.party.start)
    gateway.start()
    until(lambda: services(gateway), "the lender is asked")
    assert not gateway.request("d-1").has("Problem")
    time.sleep(1.5)
    assert services(gateway) == ["RequestItem"]
    assert gateway.stop() == 0


@pytest.mark.long
def test_lender_that_is_busy_three_times_is_retried_until_one_request_takes_effect(gateway: Gateway) -> None:
    gateway.do(gateway.party.start)
    gateway.party.partners["CUHK"].script.extend([MANNERS["503"]] * 3)
    gateway.start()
    gateway.request("d-1")
    until(lambda: services(gateway), "the lender accepts")
    until(lambda: json.loads(gateway.command("outbox", "list", "--json")) == [], "the outbox is empty")
    assert services(gateway) == ["RequestItem"]
    assert gateway.log().count("courier.failed") == 3


@pytest.mark.long
def test_lost_reply_is_requested_again_under_the_same_request_id(gateway: Gateway) -> None:
    gateway.do(gateway.party.start)
    gateway.party.partners["CUHK"].script.append(MANNERS["cut"])
    gateway.start()
    gateway.request("d-1")
    until(lambda: len(services(gateway)) == 2, "the document is sent again")
    first, second = (m.text("RequestId/RequestIdentifierValue") for m in gateway.party.partners["CUHK"].seen)
    assert first == second


@pytest.mark.long
def test_pending_requests_are_answered_on_sigterm_and_the_exit_code_is_0(gateway: Gateway) -> None:
    gateway.start()
    counter = gateway.counter()
    answers: list[str] = []

    async def ask_and_leave() -> None:
        waiting = [counter.ask(f"63001{stamp()}          AOHKU|AA{CARD}|AC|AD{PIN}|") for _ in range(5)]
        await waiting[0]
        answers.append(await waiting[1])

    gateway.do(ask_and_leave)
    assert gateway.stop() == 0
    assert answers[0].startswith("64")
    assert "daemon.stopped" in gateway.log()


def test_start_with_another_database_revision_fails_and_names_the_upgrade_command(reactor: Any, tmp_path: Path) -> None:
    ports = gateway_ports()
    path = demo_setup.write_config(tmp_path, ports)
    done = subprocess.run(
        [COMMAND, "serve", "--config", path],
        env={**os.environ, **demo_setup.environment(ports)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "hkall-gateway db upgrade" in done.stderr
    assert "Traceback" not in done.stderr


def test_invalid_configuration_is_reported_with_every_error_and_path(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[library]\nagency = 7\nname = "x"\n[sip2]\nidle_timeout_s = -1\nlisten = ["nonsense"]\n[surprise]\n')
    done = subprocess.run(
        [COMMAND, "check-config", "--config", path], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    for where in ("library.agency", "library.pickup_locations", "database", "sip2.idle_timeout_s", "sip2.listen", "surprise"):
        assert where in done.stderr
