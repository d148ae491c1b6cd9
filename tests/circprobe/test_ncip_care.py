"""The care for an NCIP responder, as the other side counts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from circprobe.cli import main
from circprobe.ncip import content, documents
from circprobe.scripted import library, ncip_responder
from circprobe.scripted.ncip_faults import NcipFault
from circprobe.scripted.ncip_responder import ScriptedResponder
from click.testing import CliRunner

SECRETS = (library.PIN, library.PATRON, library.NAME, "30001", "wong@example.org")


@pytest.fixture
def responder() -> Iterator[ScriptedResponder]:
    responder = ncip_responder.start(library.make_library())
    yield responder
    responder.shutdown()
    responder.server_close()


def interview(responder: ScriptedResponder, *options: str) -> tuple[int, str]:
    words = [
        *("ncip", "responder", responder.url, "--from", "HKA", "--to", "HKX"),
        *("--user", library.PATRON, "--pin-env", "PIN", "--item", "30001", "--timeout", "2"),
    ]
    result = CliRunner(env={"PIN": library.PIN}).invoke(main, [*words, *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_kit_only_looks_up_unless_transactions_are_allowed(responder: ScriptedResponder) -> None:
    code, _ = interview(responder, "--load", "--wrong-pin", "--version-1")

    services = {service for _, service, _ in responder.answers.log}
    assert code == 0
    assert services - {""} <= documents.READ_ONLY | {"LookUpEverything", "body"}


def test_kit_sends_no_wrong_pin_unless_allowed(responder: ScriptedResponder) -> None:
    interview(responder, "--load", "--transactions")

    bodies = [body.decode("utf-8", "replace") for _, _, body in responder.answers.log]
    pins = {pin for body in bodies for pin in re.findall(r"InputData>([^<]*)<", body)}
    assert pins - {""} == {library.PIN, library.PATRON}


def test_kit_gives_back_what_it_lent(responder: ScriptedResponder) -> None:
    interview(responder, "--load", "--transactions")

    answers = responder.answers
    assert answers.library.items["30001"].borrower == ""
    assert [r for r in answers.requests.values() if not r.is_cancelled] == []


def test_kit_keeps_to_ten_documents_a_second_and_two_connections(
    responder: ScriptedResponder,
) -> None:
    interview(responder, "--only", "documents")

    times = [moment for moment, _, _ in responder.answers.log]
    assert len(times) > 25
    assert max(sum(start <= t < start + 1.0 for t in times) for start in times) <= 10
    assert responder.most_connections <= 2


def test_responder_that_refuses_the_caller_is_asked_once_and_not_blamed(responder: ScriptedResponder, tmp_path: Path) -> None:
    responder.answers.fault = NcipFault(does="refuses its partners")
    path = tmp_path / "out.json"

    code, _ = interview(responder, "--load", "--json", str(path))

    report = json.loads(path.read_text("utf-8"))
    found = {result["number"]: result for result in report["results"]}
    assert (code, report["failed_musts"]) == (0, [])
    assert found["NR-115"]["outcome"] == found["NR-401"]["outcome"] == "not tried"
    assert found["NR-115"]["detail"].startswith("the caller is refused with Agency Authent")
    assert found["NR-401"]["detail"] == "rests on NR-115, which was not met"
    from_us = [body for _, _, body in responder.answers.log if b"HKA" in body]
    assert len(from_us) == 1


def test_responder_that_refuses_the_caller_with_its_secret_fails(responder: ScriptedResponder, tmp_path: Path) -> None:
    responder.answers.fault = NcipFault(does="refuses its partners")
    path = tmp_path / "out.json"

    code, _ = interview(responder, "--load", "--secret-env", "PIN", "--json", str(path))

    assert code == 1
    assert json.loads(path.read_text("utf-8"))["failed_musts"] == ["NR-115"]


def test_names_pins_and_cards_are_in_no_output(responder: ScriptedResponder, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("out.json", "out.xml", "out.html")]

    options = ("--json", str(paths[0]), "--junit", str(paths[1]), "--html", str(paths[2]))
    _, output = interview(responder, "--load", "--transactions", "--wrong-pin", *options)

    written = [output, *(path.read_text("utf-8") for path in paths)]
    for secret in SECRETS:
        shown = [t for t in written if re.search(rf"(?<!\d){secret}(?!\d)", t)]
        assert shown == [], secret


def test_own_validator_agrees_with_the_schema_about_every_sample() -> None:
    folder = Path(__file__).parents[3] / "shared" / "ncip"
    schemas = sorted((folder / "xsd").glob("**/*v2_02*.xsd"))
    if not schemas:
        pytest.skip("the schema of NISO is not here")
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(schemas[0]))
    judged = agreed = 0
    for path in sorted(folder.glob("samples/**/*.xml")) + sorted(folder.glob("examples/*.xml")):
        try:
            document = documents.read(path.read_bytes())
        except documents.Unreadable:
            continue
        if document.is_version_1:
            continue
        judged += 1
        is_valid = schema.validate(document.root)
        faults = content.faults_of(document)
        # It may overlook what only a schema knows, such as the form of a URI. It must not invent.
        assert not (is_valid and faults), (path.name, faults)
        agreed += is_valid == (faults == [])
    assert judged > 50
    assert agreed / judged > 0.9
