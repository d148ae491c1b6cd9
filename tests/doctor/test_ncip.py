"""NCIP peers: third-party HTTP servers that reply incorrectly, and responders that reply correctly."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from hkall_gateway.cli.doctor.findings import TLS, Sheet
from hkall_gateway.cli.doctor.ncip import OF_PARTNER, NcipPeer, judge_item, judge_request, judge_versions, short_version
from hkall_gateway.clock import now
from hkall_gateway.ils.installed import shown_url
from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_1_0, NCIP_2_02, SUPPORTED
from hkall_gateway.ncip.codec.documents import decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.simulator.scenario.scripted_partner import reply
from tests.doctor.conftest import Answer, Authority, Site, Web, finding, status
from tests.ports import free_ports

XML = "application/xml"


def answering(
    code: int,
    kind: str,
    body: bytes,
    off_s: float = 0,
    location: str = "",
) -> Answer:
    """A server that gives the same reply to every request; its clock is off by `off_s` seconds."""

    def answer(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.send_response_only(code)
        request.send_header("Date", format_datetime(now() + timedelta(seconds=off_s), usegmt=True))
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        if location:
            request.send_header("Location", location)
        request.end_headers()
        request.wfile.write(body)

    return answer


def library(problem: str = "", off_s: float = 0, versions: tuple[str, ...] = SUPPORTED, **by_service: str) -> Answer:
    """A responder without data: every lookup gets this Problem, or the one set for its service."""

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> None:
        asked = decode(body)
        if asked.service == "LookupVersion":
            said = encode(
                NcipMessage(service="LookupVersionResponse", fields={"VersionSupported": list(versions)}), DIALECTS["direct"]
            )
        else:
            said = reply(asked, "CUHK", by_service.get(asked.service, problem))
        answering(200, XML, said, off_s)(request, body)

    return answer


# ---- reach


def test_unresolvable_name_fails_the_dns_check(site: Site) -> None:
    site.partner("http://ncip.cuhk.invalid/ncip")
    sheet = site.examine("CUHK")
    assert status(sheet)["dns"] == "fail"
    assert finding(sheet, "dns").detail == "ncip.cuhk.invalid has no address"
    assert finding(sheet, "tcp").detail == "dns failed"


def test_closed_port_fails_the_tcp_check(site: Site) -> None:
    site.partner(f"http://127.0.0.1:{free_ports(1)[0]}/ncip")
    sheet = site.examine("CUHK")
    assert (status(sheet)["dns"], status(sheet)["tcp"], status(sheet)["http"]) == ("ok", "fail", "skip")
    assert finding(sheet, "tcp").detail.endswith(": Connection refused")


def test_silent_server_fails_within_the_time_limit_of_a_peer(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as silent:
        site.partner(f"http://127.0.0.1:{silent.getsockname()[1]}/ncip")
        began = time.monotonic()
        sheet = site.examine("CUHK", seconds=1.5)
        assert time.monotonic() - began < 3
    assert (status(sheet)["tcp"], status(sheet)["http"], status(sheet)["proof.ours"]) == ("ok", "fail", "skip")
    assert finding(sheet, "http").detail.startswith("no answer within")


def test_every_planned_check_has_a_result_after_any_failure(site: Site) -> None:
    site.partner("https://ncip.cuhk.invalid/ncip", "can_lookup_request = true")
    sheet = site.examine("CUHK")
    assert [one.check for one in sheet.found] == [*sheet.plan]
    assert "lookup.request" in sheet.plan


# ---- a stranger's web server


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (200, "it must be its NCIP responder"),
        (302, "follows no redirects"),
        (401, "wants a proof"),
        (403, "admit the address of this machine"),
        (404, "The path of the URL is wrong"),
        (500, "out of order"),
    ],
)
def test_web_page_instead_of_a_document_fails_the_http_check_with_specific_advice(
    site: Site, web: Web, code: int, advice: str
) -> None:
    elsewhere = "http://127.0.0.1/elsewhere" if code == 302 else ""
    site.partner(web(answering(code, "text/html", b"<p>Welcome to the library's new portal</p>", location=elsewhere)))
    sheet = site.examine("CUHK")
    assert (status(sheet)["http"], status(sheet)["proof.ours"], status(sheet)["lookup.item"]) == ("fail", "skip", "skip")
    assert f"HTTP {code}, text/html: no NCIP document" in finding(sheet, "http").detail
    assert advice in finding(sheet, "http").advice


def test_server_without_post_fails_the_http_check(site: Site, web: Web) -> None:
    def unsupported(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.send_error(501, "Unsupported method ('POST')")

    site.partner(web(unsupported))
    assert finding(site.examine("CUHK"), "http").detail.startswith("HTTP 501, text/html")


@pytest.mark.parametrize(
    ("off_s", "word", "detail"),
    [
        (0, "ok", "agrees with ours"),
        (90, "warn", "90 s ahead of ours"),
        (3600, "fail", "60 min ahead of ours, as with a wrong time zone"),
        (-8 * 3600, "fail", "8.0 h behind ours, as with a wrong time zone"),
        (700, "fail", "12 min ahead of ours"),
    ],
)
def test_clock_is_checked_even_with_a_malformed_reply(site: Site, web: Web, off_s: int, word: str, detail: str) -> None:
    site.partner(web(answering(500, "text/plain", b"rubbish", off_s)))
    clock = finding(site.examine("CUHK"), "clock")
    assert (clock.status.value, clock.detail.replace("89 s", "90 s").replace("91 s", "90 s")) == (word, detail)


# ---- a responder


def test_responder_without_data_passes_all_checks(site: Site, web: Web) -> None:
    site.partner(web(library("Unknown Item")))
    sheet = site.examine("CUHK")
    assert set(status(sheet).values()) == {"ok"}
    assert finding(sheet, "proof.ours").detail == "as HKU, by the agreed secret"
    assert finding(sheet, "version").detail == "2.02, of 1.0, 1.01, 2.0, 2.01, 2.02"
    assert finding(sheet, "lookup.item").detail == "LookupItem: Unknown Item"


def test_responder_behind_tls_passes_all_checks(site: Site, web: Web, trusted: Authority) -> None:
    site.partner(web(library("Unknown Item"), trusted.issue("ncip")))
    sheet = site.examine("CUHK")
    assert set(status(sheet).values()) == {"ok"}
    assert {*TLS, "http", "proof.ours", "lookup.item", "version", "clock"} < {*status(sheet)}


@pytest.mark.parametrize("problem", ["Agency Authentication Failed", "Unknown Agency", "unknown partner"])
def test_refused_credential_fails_and_stops_further_checks(site: Site, web: Web, problem: str) -> None:
    site.partner(web(library(problem)))
    sheet = site.examine("CUHK")
    assert (status(sheet)["http"], status(sheet)["proof.ours"], status(sheet)["lookup.item"]) == ("ok", "fail", "skip")
    assert finding(sheet, "proof.ours").detail == f"CUHK says {problem} to us as HKU"


def test_our_authorization_header_equals_that_of_the_gateway(site: Site, web: Web) -> None:
    shown: list[str | None] = []

    def guarded(request: BaseHTTPRequestHandler, body: bytes) -> None:
        shown.append(request.headers["Authorization"])
        if shown[-1] == "Bearer k3y":
            library("Unknown Item")(request, body)
        else:
            answering(401, "text/html", b"<p>Who are you?</p>")(request, body)

    site.environ["KEY"] = "k3y"
    url = web(guarded)
    site.partner(url, 'our_proof = { bearer_env = "KEY" }')
    sheet = site.examine("CUHK")
    assert set(status(sheet).values()) == {"ok"}
    assert finding(sheet, "proof.ours").detail == "as HKU, by the agreed secret and our Authorization header"
    site.partner(url)
    assert "`our_proof`" in finding(site.examine("CUHK"), "http").advice
    assert (shown[0], shown[-1]) == ("Bearer k3y", None)


def test_token_keys_of_a_peer_are_fetched(site: Site, web: Web) -> None:
    keys = b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "%s", "y": "%s"}]}' % POINT
    for code, body, word in ((200, keys, "ok"), (200, b"<html>", "fail"), (404, keys, "fail")):
        publishes = web(answering(code, "application/json", body))
        token = f'jwt = {{ issuer = "https://dcb.example", audience = "HKU", jwks_url = "{publishes}" }}'
        site.partner(web(library("Unknown Item")), token)
        found = finding(site.examine("CUHK"), "proof.theirs")
        assert (found.status.value, "jwks_url" in found.detail) == (word, word == "fail")


POINT = (b"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", b"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
"""A point of the curve P-256. Source: RFC 7515, A.3."""


def test_only_lookups_with_fictitious_identifiers_are_sent(site: Site, web: Web) -> None:
    heard: list[NcipMessage] = []

    def listening(request: BaseHTTPRequestHandler, body: bytes) -> None:
        heard.append(decode(body))
        library("Unknown Item")(request, body)

    site.partner(web(listening), "can_lookup_request = true\ncan_lookup_items = true")
    site.examine("CUHK")
    assert [one.service for one in heard] == ["LookupItemSet", "LookupRequest", "LookupVersion"]
    assert heard[0].text("InitiationHeader/FromAgencyAuthentication") == "agreed"
    assert heard[0].text("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier") == "HKALL-DOCTOR-0"


def test_peer_without_request_lookups_fails_if_configured_with_them(site: Site, web: Web) -> None:
    url = web(library("Unknown Item", LookupRequest="Unsupported Service"))
    site.partner(url)
    assert "lookup.request" not in status(site.examine("CUHK"))
    site.partner(url, "can_lookup_request = true")
    sheet = site.examine("CUHK")
    assert status(sheet)["lookup.request"] == "fail"
    assert "can_lookup_request = false" in finding(sheet, "lookup.request").advice


def test_peer_without_item_lookups_fails_unless_configured_without_them(site: Site, web: Web) -> None:
    url = web(library("Unsupported Service"))
    by_copy = "can_lookup_items = true\nlookup_by_copy = true"
    for more, word in (("", "ok"), ("can_lookup_items = true", "fail"), (by_copy, "fail")):
        site.partner(url, more)
        sheet = site.examine("CUHK")
        assert (status(sheet)["proof.ours"], status(sheet)["lookup.item"]) == ("ok", word)


def test_version_not_listed_by_the_peer_causes_a_warning(site: Site, web: Web) -> None:
    site.partner(web(library("Unknown Item", versions=(NCIP_1_0,))))
    version = finding(site.examine("CUHK"), "version")
    assert (version.status.value, version.detail) == ("warn", "2.02 is not among 1.0")


def test_ncip_1_partner_is_checked_in_its_own_version(site: Site, web: Web) -> None:
    site.partner(web(library("Unknown Item")), 'dialect = "innreach"')
    sheet = site.examine("CUHK")
    assert set(status(sheet).values()) == {"ok"}
    assert finding(sheet, "version").detail.startswith("1.0, of 1.0")


# ---- the judgements alone


def sheet(*plan: str) -> Sheet:
    return Sheet("CUHK", plan, lambda: 0.0, 10)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"Problem": [{"ProblemType": "Unknown Item"}]}, "ok"),
        ({"Problem": [{"ProblemType": "unknown  item"}]}, "ok"),
        ({"BibInformation": [{"Problem": [{"ProblemType": "Unknown Item"}]}]}, "ok"),
        ({}, "ok"),
        ({"Problem": [{"ProblemType": "Temporary Processing Failure"}]}, "warn"),
        ({"ItemId": {"ItemIdentifierValue": "X"}, "ItemOptionalFields": {"CirculationStatus": "On Loan"}}, "warn"),
    ],
)
def test_reply_about_an_unknown_item_passes_warns_or_fails(fields: dict[str, Any], word: str) -> None:
    found = sheet("lookup.item")
    there = NcipPeer(
        partner=Partner(agency="CUHK", name="CUHK"), agency="HKU", secret=Sensitive("agreed"), key=OF_PARTNER, used=False
    )
    judge_item(found, "LookupItem", NcipMessage(service="LookupItemResponse", fields=fields), there)
    assert finding(found, "lookup.item").status.value == word


def test_unknown_request_must_be_answered_with_a_problem() -> None:
    for answer, word in ((None, "fail"), (NcipMessage(service="LookupRequestResponse", fields={}), "warn")):
        found = sheet("lookup.request")
        judge_request(found, answer)
        assert finding(found, "lookup.request").status.value == word


def test_missing_version_lookup_is_not_a_failure() -> None:
    found = sheet("version")
    judge_versions(found, None, NCIP_2_02)
    assert finding(found, "version").status.value == "ok"


def test_versions_are_shown_as_numbers() -> None:
    assert [short_version(one) for one in SUPPORTED] == ["1.0", "1.01", "2.0", "2.01", "2.02"]
    assert short_version("http://example.test/else") == "http://example.test/else"


def test_key_in_a_url_is_hidden() -> None:
    assert shown_url("https://edge.folio.example/ncip?apikey=secret") == "https://edge.folio.example/ncip"
