"""The interview of the library's own system, with circprobe's scripted servers in its place.

Each habit is one that a system of docs/ils.md has; the finding names the key that suits it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from circprobe.scripted import library, ncip_responder, sip2_server
from circprobe.scripted.faults import Fault
from circprobe.scripted.ncip_faults import NcipFault

from hkall_gateway.cli.doctor import interview
from hkall_gateway.cli.doctor.findings import CHECKS, Finding, Interview, Sheet, Status
from hkall_gateway.net.secrets import HASHER
from hkall_gateway.rules.vocabulary import Sensitive
from tests.doctor.conftest import SITE, Site, finding

OWN_AGENCY = ncip_responder.OWN_AGENCY
READER = Interview(
    program=interview.find_program(),
    card=library.PATRON,
    pin=Sensitive(library.PIN),
    copy="30001",
)

StartSip2 = Callable[..., sip2_server.ScriptedServer]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no connection idle for three seconds, except where a test is about this."""
    monkeypatch.setattr(interview, "IDLE_S", 0.1)


@pytest.fixture
def sip2(site: Site) -> Iterator[StartSip2]:
    """Start the scripted server with a habit, and name it in [ils]."""
    servers: list[sip2_server.ScriptedServer] = []

    def start(habit: Fault | None = None, more: str = "relay = true") -> sip2_server.ScriptedServer:
        server = sip2_server.start(library.make_library(), habit)
        servers.append(server)
        site.environ["ILS"] = library.PASSWORD
        address = f'connector = "sip2"\nhost = "127.0.0.1"\nport = {server.port}\n'
        login = f'login = "{library.LOGIN}"\npassword_env = "ILS"\ninstitution = "HKX"\n'
        site.write(f"\n[ils]\n{address}{login}timeout_s = 1.5\n{more}\n")
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def responder(site: Site) -> Iterator[Callable[[NcipFault | None], ncip_responder.ScriptedResponder]]:
    """Start the scripted responder with a habit, and name it in [ils]."""
    responders: list[ncip_responder.ScriptedResponder] = []

    def start(habit: NcipFault | None = None) -> ncip_responder.ScriptedResponder:
        made = ncip_responder.start(library.make_library(), habit or NcipFault())
        responders.append(made)
        table = f'connector = "ncip"\nurl = "{made.url}?apikey=key-of-the-url"\nagency = "{OWN_AGENCY}"\n'
        site.write(f"\n[ils]\n{table}\n", SITE.replace('agency = "HKU"', 'agency = "HKA"'))
        return made

    yield start
    for made in responders:
        made.shutdown()
        made.server_close()


def habits(sheet: Sheet) -> dict[str, Finding]:
    names = {interview.CHECK, *interview.OF_SIP2, *interview.OF_RELAY, *interview.OF_NCIP}
    return {finding.check: finding for finding in sheet.found if finding.check in names}


def statuses(sheet: Sheet) -> dict[str, str]:
    return {name: finding.status.value for name, finding in habits(sheet).items()}


def test_system_without_a_bad_habit_needs_no_key(site: Site, sip2: StartSip2) -> None:
    server = sip2()

    sheet = site.examine("ils", interview=READER)

    names = (interview.CHECK, *interview.OF_SIP2, *interview.OF_RELAY)
    assert statuses(sheet) == dict.fromkeys(names, "ok")
    assert re.match(r"circprobe \d.*: (\d+) of \1 clauses passed$", habits(sheet)["interview"].detail)
    codes = {line[:2] for _, line in server.ledger.lines}
    assert codes & {b"01", b"09", b"11", b"15", b"25", b"29", b"37", b"65"} == set()


SIP2_HABITS: dict[str, tuple[Fault, str, str]] = {
    "says nothing about PINs, as edge-sip2 without verification": (
        Fault(message="64", drop="CQ"),
        "habit.pin",
        "`pin` of [ils]",
    ),
    "answers with an internal number": (
        Fault(message="64", put={"AA": "884422"}),
        "habit.card",
        '`answered_card = "ignore"`',
    ),
    "does not speak error detection": (
        Fault(does="never sends AZ"),
        "habit.checksum",
        "`error_detection = false`",
    ),
    "does not understand 97": (
        Fault(does="answers 97 with 96"),
        "habit.checksum",
        "`error_detection = false`",
    ),
    "offers five messages less, as Alma": (
        Fault(message="98", put={"BX": "YYYNYYYYNYYNNNYY"}),
        "habit.messages",
        "`withheld`",
    ),
    "lists less than it counts": (
        Fault(message="64", fixed={"charged_items_count": "0009"}),
        "habit.lists",
        '`unanswered_checkout = "list"`',
    ),
    "writes another character set, as a system in Big5": (
        Fault(does="answers in Big5"),
        "habit.encoding",
        "`encoding`",
    ),
    "drops an idle connection, as Koha with a short client_timeout": (
        Fault(does=sip2_server.CLOSES_IDLE),
        "habit.idle",
        "`client_timeout`",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("habit", SIP2_HABITS)
def test_habit_of_a_sip2_system_is_named_with_its_key(
    site: Site, sip2: StartSip2, habit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, check, key = SIP2_HABITS[habit]
    if check == "habit.idle":
        monkeypatch.setattr(interview, "IDLE_S", 3)
    sip2(fault)

    sheet = site.examine("ils", interview=READER)

    assert [name for name, status in statuses(sheet).items() if status == "warn"] == [check]
    assert key in habits(sheet)[check].advice


def test_wrong_checksums_as_of_sipserver_are_named_with_their_key(site: Site, sip2: StartSip2) -> None:
    sip2(Fault(does="sends a wrong checksum"))

    sheet = site.examine("ils", interview=READER)

    login = finding(sheet, "login")
    assert (login.status, login.detail) == (
        Status.FAIL,
        "93 got no answer: the checksums of its replies are wrong",
    )
    assert "`error_detection = false`" in login.advice


def test_messages_that_no_terminal_is_offered_are_no_finding(site: Site, sip2: StartSip2) -> None:
    row = '\n[[sip2.dialects]]\nname = "alma"\nlike = "standard"\nwithheld = ["01", "15", "19", "25", "35"]\n'
    terminal = (
        f'\n[[sip2.terminals]]\nlogin = "counter"\nsecret_hash = "{HASHER.hash("x")}"\nrole = "counter"\n'
        'location = "MAIN"\ndialect = "alma"\n'
    )
    sip2(SIP2_HABITS["offers five messages less, as Alma"][0], f"relay = true\n{row}{terminal}")

    sheet = site.examine("ils", interview=READER)

    assert statuses(sheet)["habit.messages"] == "ok"


def test_dialect_without_error_detection_is_asked_without(site: Site, sip2: StartSip2) -> None:
    row = '\n[[sip2.dialects]]\nname = "without"\nlike = "standard"\nerror_detection = false\n'
    sip2(Fault(does="never sends AZ"), f'dialect = "without"\n{row}')

    sheet = site.examine("ils", interview=READER)

    assert statuses(sheet)["habit.checksum"] == "skip"
    assert "warn" not in statuses(sheet).values()


def test_without_a_reader_the_interview_says_which_option_names_one(site: Site, sip2: StartSip2) -> None:
    sip2()

    sheet = site.examine("ils", interview=Interview(program=READER.program))

    assert statuses(sheet)["habit.checksum"] == "ok"
    assert habits(sheet)["habit.card"].detail == "needs --patron"
    assert habits(sheet)["habit.pin"].detail == "needs --patron, --pin-env"


def test_without_circprobe_doctor_says_how_to_get_it(site: Site, sip2: StartSip2) -> None:
    sip2()

    sheet = site.examine("ils", interview=Interview(program=""))

    assert {finding.detail for finding in habits(sheet).values()} == {interview.NOT_INSTALLED}
    assert "pip install" in interview.NOT_INSTALLED


def test_refused_login_is_not_repeated_by_the_interview(site: Site, sip2: StartSip2) -> None:
    server = sip2()
    site.environ["ILS"] = "wrong"

    sheet = site.examine("ils", interview=READER)

    assert statuses(sheet)["interview"] == "skip"
    assert [line for _, line in server.ledger.lines if line.startswith(b"93")] != []
    assert len([line for _, line in server.ledger.lines if line.startswith(b"93")]) == 1


def test_secrets_are_neither_shown_nor_on_the_command_line(site: Site, sip2: StartSip2, tmp_path: Path) -> None:
    sip2(SIP2_HABITS["says nothing about PINs, as edge-sip2 without verification"][0])
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\nexec {READER.program} "$@"\n')
    spy.chmod(0o755)
    watched = Interview(program=str(spy), card=READER.card, pin=READER.pin, copy=READER.copy)

    sheet = site.examine("ils", interview=watched)

    words = (tmp_path / "words").read_text()
    assert "--pin-env" in words
    for secret in (library.PIN, library.PASSWORD):
        assert secret not in words
        assert secret not in str(sheet.found)
    assert library.NAME not in str(sheet.found)


NCIP_HABITS: dict[str, tuple[NcipFault, str, str]] = {
    "misspells the type of an unknown user, as Koha": (
        NcipFault(message="LookupUserResponse", put={"//ProblemType[.='Unknown User']": "Unkown User"}),
        "habit.stranger",
        "`unknown_user`",
    ),
    "takes no PIN beside a barcode, as FOLIO": (
        NcipFault(does="refuses PINs"),
        "habit.proof",
        "`pin_with_user_id = true`",
    ),
    "tells no loans, as FOLIO and Koha": (
        NcipFault(message="LookupUserResponse", drop="//LoanedItem"),
        "habit.loans",
        "`tells_loans = false`",
    ),
    "looks up no items, as FOLIO": (
        NcipFault(message="LookupItemResponse", asked="30001", put={"//CirculationStatus": "somewhere"}),
        "habit.shelf",
        "`looks_up_items = false`",
    ),
}


def test_ncip_system_without_a_bad_habit_needs_no_key(site: Site, responder: Any) -> None:
    responder()

    sheet = site.examine("ils", interview=READER)

    assert statuses(sheet) == dict.fromkeys((interview.CHECK, *interview.OF_NCIP), "ok")


@pytest.mark.parametrize("habit", NCIP_HABITS)
def test_habit_of_an_ncip_system_is_named_with_its_key(site: Site, responder: Any, habit: str) -> None:
    fault, check, key = NCIP_HABITS[habit]
    responder(fault)

    sheet = site.examine("ils", interview=READER)

    assert [name for name, status in statuses(sheet).items() if status == "warn"] == [check]
    assert key in habits(sheet)[check].advice
    assert "key-of-the-url" not in str(sheet.found)


def test_clauses_that_the_table_names_exist() -> None:
    from circprobe import catalogue

    numbers = {clause.number for role in ("sip2-server", "ncip-responder") for clause in catalogue.load(role).clauses}
    named = {number for row in CHECKS.values() for number in row.clauses}
    assert named - numbers == set()
    assert {name for name, row in CHECKS.items() if row.clauses} == {
        *interview.OF_SIP2,
        *interview.OF_RELAY,
        *interview.OF_NCIP,
    }
