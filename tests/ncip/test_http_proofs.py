"""Authentication by the Authorization header: Basic, or a secret or signed token as Bearer."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hkall_gateway.db.database import finished
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.ncip.codec.documents import encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.handlers import respond
from hkall_gateway.peers.authentication import HttpCredentials, HttpProof, TokenRule, challenge, parse_authorization
from hkall_gateway.peers.callers import Peer
from tests.metrics import value
from tests.ncip.conftest import World, read
from tests.peers import test_signed_tokens as peer

DISCOVERY, CUHK = "HKU-DISCOVERY", "CUHK"
FAILED, BUSY = "Agency Authentication Failed", "Temporary Processing Failure"
COPY = {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}


class Door:
    """A world whose discovery system, or the named agency, authenticates only by `proof`."""

    def __init__(self, world: World, proof: HttpProof, agency: str = DISCOVERY, **facts: Any) -> None:
        self.world, self.compared, self.challenges = world, list[str](), list[tuple[str, ...]]()
        world.admit(agency, http=proof, **{"secret": "", **facts})
        world.services = replace(world.services, verify=self.verify)

    async def verify(self, subject: str, stored: str, secret: str) -> bool:
        self.compared.append(subject)
        return stored == f"hash of {secret}"

    def ask(self, authorization: str, sender: str = DISCOVERY, address: str = "10.0.0.7") -> str:
        """The problem in the reply to a lookup; "" if none."""
        header = {"InitiationHeader": {"FromAgencyId": {"AgencyId": sender}}} if sender else {}
        document = encode(NcipMessage(service="LookupItem", fields={**header, "ItemId": COPY}), DIALECTS["direct"])
        peer = Peer(address=address, authorization=authorization)
        reply = finished(respond(self.world.services, document, None, peer, challenge=self.challenges.append))
        return read(reply).text("Problem/ProblemType")


def basic(name: str, secret: str) -> str:
    return f"Basic {b64encode(f'{name}:{secret}'.encode()).decode()}"


NAMED = HttpProof(login="vufind", password_hash="hash of s3cret")
TOKEN = HttpProof(bearer_hash="hash of t0ken")


# ---- the header


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", None),
        (basic("vufind", "a:b 密"), HttpCredentials(scheme="basic", name="vufind", secret="a:b 密")),
        ("bAsIc " + basic("a", "b").split()[1], HttpCredentials(scheme="basic", name="a", secret="b")),
        ("Basic ????", HttpCredentials(scheme="basic")),
        ("Basic " + b64encode(b"\xff\xfe:x").decode(), HttpCredentials(scheme="basic")),
        ("Basic", HttpCredentials(scheme="basic")),
        ("Bearer  abc.def ", HttpCredentials(scheme="bearer", name="", secret="abc.def")),
        ("Digest username=x", HttpCredentials(scheme="digest")),
    ],
)
def test_authorization_header_is_parsed_by_its_scheme(header: str, said: HttpCredentials | None) -> None:
    assert parse_authorization(header) == said


@given(st.text())
def test_any_authorization_header_is_parsed_without_an_error(header: str) -> None:
    found = parse_authorization(header)
    assert (found is None) is not bool(header.strip())
    assert found is None or header.strip().casefold().startswith(found.scheme)


def test_repr_contains_no_secret() -> None:
    assert "s3cret" not in repr(parse_authorization(basic("vufind", "s3cret")))
    assert "hash" not in repr(NAMED)


def test_each_auth_scheme_has_its_own_challenge() -> None:
    assert challenge(frozenset({"basic", "bearer"}), "NCIP") == ('Bearer realm="NCIP"', 'Basic realm="NCIP", charset="UTF-8"')


# ---- Basic and a bearer's secret


def test_basic_credentials_authenticate_their_partner(world: World) -> None:
    assert Door(world, NAMED).ask(basic("vufind", "s3cret")) == ""


def test_login_name_defaults_to_the_agency(world: World) -> None:
    assert Door(world, HttpProof(password_hash="hash of s3cret")).ask(basic(DISCOVERY, "s3cret")) == ""


def test_bearer_secret_authenticates_its_partner(world: World) -> None:
    assert Door(world, TOKEN).ask("Bearer t0ken") == ""


@pytest.mark.parametrize(
    "header",
    [
        basic("vufind", "wrong"),
        basic("other", "s3cret"),
        basic("vufind", ""),
        "Basic ????",
        "Bearer s3cret",
        "Digest x",
        "",
        basic("vufind", "hash of s3cret"),
    ],
)
def test_wrong_credentials_get_the_same_reply_with_a_challenge(world: World, header: str) -> None:
    services = Door(world, NAMED)
    with capture_logs() as lines:
        assert services.ask(header) == FAILED
    assert services.challenges == [('Basic realm="NCIP", charset="UTF-8"',)]
    told = {(line["reason"]) for line in lines if line["event"] == "ncip.answered"}
    assert told == {"the secret, the token, the certificate or the address does not fit"}
    assert "s3cret" not in repr(lines)


def test_valid_credentials_get_no_challenge(world: World) -> None:
    services = Door(world, NAMED)
    services.ask(basic("vufind", "s3cret"))
    assert services.challenges == []


def test_partner_without_http_authentication_gets_no_challenge(world: World) -> None:
    services = Door(world, NAMED)
    assert services.ask("", sender=CUHK) == FAILED
    assert services.challenges == []


def test_credentials_are_valid_only_for_their_own_agency(world: World) -> None:
    assert Door(world, NAMED).ask(basic("vufind", "s3cret"), sender=CUHK) == FAILED


def test_credentials_from_another_network_are_not_checked(world: World) -> None:
    services = Door(world, NAMED)
    assert services.ask(basic("vufind", "s3cret"), address="192.0.2.1") == FAILED
    assert services.compared == []


def test_secret_inside_the_document_still_authenticates(world: World) -> None:
    Door(world, NAMED, secret="d-key")
    assert world.ask(DISCOVERY, "LookupItem", ItemId=COPY).text("Problem/ProblemType") == ""


def test_address_does_not_authenticate_beside_wrong_credentials(world: World) -> None:
    services = Door(world, NAMED, by_address=True)
    assert [services.ask(""), services.ask(basic("vufind", "wrong"))] == ["", FAILED]


def test_correct_credentials_are_refused_after_ten_wrong_attempts(world: World) -> None:
    services = Door(world, NAMED)
    for _ in range(10):
        assert services.ask(basic("vufind", "wrong")) == FAILED
    assert services.ask(basic("vufind", "s3cret")) == BUSY
    assert services.ask(basic("vufind", "s3cret"), address="10.0.0.8") == ""
    world.now += timedelta(minutes=16)
    assert services.ask(basic("vufind", "s3cret")) == ""
    assert value(world.services.metrics, "wrong_proofs_total", DISCOVERY) == 10


def test_wrong_credentials_are_counted_per_partner(world: World) -> None:
    services = Door(world, NAMED)
    for turn in range(10):
        assert services.ask(basic("vufind", f"guess {turn}"), sender=DISCOVERY if turn % 2 else "") == FAILED
    assert [services.ask(basic("vufind", "s3cret"), sender=sender) for sender in (DISCOVERY, "")] == [BUSY, BUSY]
    assert value(world.services.metrics, "wrong_proofs_total", DISCOVERY) == 10


def test_request_without_credentials_is_not_counted_as_wrong(world: World) -> None:
    services = Door(world, NAMED)
    for _ in range(12):
        assert [services.ask(""), services.ask(basic("vufind", "s3cret"))] == [FAILED, ""]


# ---- without InitiationHeader


def test_login_identifies_the_sender_when_the_document_does_not(world: World) -> None:
    services = Door(world, NAMED)
    with capture_logs() as lines:
        assert services.ask(basic("vufind", "s3cret"), sender="") == ""
    assert [line["peer"] for line in lines if line["event"] == "ncip.answered"] == [DISCOVERY]


@pytest.mark.parametrize("header", [basic("vufind", "wrong"), basic("nobody", "s3cret"), "Bearer s3cret"])
def test_invalid_login_identifies_no_sender(world: World, header: str) -> None:
    services = Door(world, NAMED)
    assert services.ask(header, sender="") == FAILED
    assert services.challenges == [('Basic realm="NCIP", charset="UTF-8"',)]


@pytest.mark.parametrize("sender", ["", DISCOVERY])
def test_unknown_login_takes_as_long_as_a_known_login(world: World, sender: str) -> None:
    services = Door(world, NAMED)
    services.ask(basic("nobody", "s3cret"), sender=sender)
    assert services.compared == ["ncip nobody at 10.0.0.7"]


def test_sender_without_credentials_is_challenged_if_its_address_has_credentials(world: World) -> None:
    services = Door(world, NAMED)
    assert [services.ask("", sender=""), services.ask("", sender="", address="192.0.2.1")] == ["Needed Data Missing"] * 2
    assert services.challenges == [('Basic realm="NCIP", charset="UTF-8"',)]


def test_document_without_a_sender_is_assigned_to_the_partner_that_allows_it(world: World) -> None:
    assert Door(world, TOKEN, without_header=True).ask("Bearer t0ken", sender="") == ""
    assert Door(world, HttpProof(), without_header=True, by_address=True).ask("", sender="") == ""


def test_partner_without_a_sender_must_still_authenticate(world: World) -> None:
    services = Door(world, TOKEN, without_header=True)
    assert [services.ask("Bearer wrong", sender=""), services.ask("", sender="")] == [FAILED, FAILED]
    assert services.challenges == [('Bearer realm="NCIP"',)] * 2


# ---- signed tokens


def signed(*rows: dict[str, Any], **more: Any) -> HttpProof:
    keys = peer.Known(*rows)
    return HttpProof(token=TokenRule(issuer=peer.ISSUER, audience=peer.US, algorithms=("RS256",), keys=keys), **more)


@pytest.fixture
def later(world: World) -> World:
    """The world at the time of the tokens."""
    world.now = peer.NOW
    return world


def test_signed_token_authenticates_and_identifies_its_partner(later: World) -> None:
    services = Door(later, signed(peer.public("rsa", "k1")), CUHK)
    assert [services.ask(f"Bearer {peer.token()}", sender=CUHK), services.ask(f"Bearer {peer.token()}", sender="")] == ["", ""]


@pytest.mark.parametrize("more", [{"aud": ["x"]}, {"iss": "x"}, {"exp": peer.NOW - timedelta(hours=1)}])
def test_token_for_another_audience_is_challenged(later: World, more: dict[str, Any]) -> None:
    services = Door(later, signed(peer.public("rsa", "k1")), CUHK)
    assert services.ask(f"Bearer {peer.token(**more)}", sender=CUHK) == FAILED
    assert services.challenges == [('Bearer realm="NCIP"',)]


def test_token_with_unavailable_keys_does_not_count_as_wrong(later: World) -> None:
    services = Door(later, signed(), CUHK)
    assert [services.ask(f"Bearer {peer.token()}", sender=CUHK) for _ in range(12)] == [BUSY] * 12
    assert value(later.services.metrics, "wrong_proofs_total", CUHK) == 0
    assert services.challenges == []


def test_partner_may_use_signed_tokens_and_a_plain_secret(later: World) -> None:
    services = Door(later, signed(peer.public("rsa", "k1"), bearer_hash="hash of t0ken"), CUHK)
    assert [services.ask("Bearer t0ken", sender=CUHK), services.ask(f"Bearer {peer.token()}", sender=CUHK)] == ["", ""]


def test_reply_to_a_sender_identified_by_token_echoes_its_number(later: World) -> None:
    services = Door(later, signed(peer.public("rsa", "k1")), CUHK, request_id_in_ext=True).world.services
    number = {"AgencyId": CUHK, "RequestIdentifierValue": "7:SUPPLIER"}
    document = encode(NcipMessage(service="LookupRequest", fields={"RequestId": number}), DIALECTS["direct"])

    reply = finished(respond(services, document, None, Peer(address="10.0.0.7", authorization=f"Bearer {peer.token()}")))

    assert read(reply).text("Problem/ProblemType") == "Unknown Request"
    assert read(reply).text("Ext/RequestId/RequestIdentifierValue") == "7:SUPPLIER"
