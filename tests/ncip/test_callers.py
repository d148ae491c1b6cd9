"""Authentication of callers: a secret, a certificate or an address, each bound to one agency; and the lookup limit."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hkall_gateway.net.client_certificate import ClientCertificate
from hkall_gateway.peers.callers import NamedSecret, Peer

if TYPE_CHECKING:
    from tests.ncip.conftest import World

CUHK, LU = "CUHK", "LU"
PRINT = "ab" * 32
THEIRS = ClientCertificate(fingerprint=PRINT, subject="ncip.cuhk.test")
COPY = {"AgencyId": "HKU", "ItemIdentifierValue": "K9"}


def says(world: World, agency: str, peer: Peer, secret: str = "-") -> str:
    body = world.document(agency, "LookupItem", secret, ItemId=COPY)
    return world.send(body.replace(b">-<", b"><"), peer).text("Problem/ProblemType")


FAILED = "Agency Authentication Failed"


@pytest.mark.parametrize("bound", [PRINT, "ncip.cuhk.test"])
@pytest.mark.parametrize(
    ("peer", "problem"),
    [
        (Peer(address="10.0.0.7", certificate=THEIRS), ""),
        (Peer(address="10.0.0.7"), FAILED),
        (Peer(address="10.0.0.7", certificate=ClientCertificate(fingerprint="cd" * 32, subject="other.test")), FAILED),
        (Peer(address="192.0.2.1", certificate=THEIRS), FAILED),
    ],
)
def test_certificate_authenticates_the_agency_it_is_bound_to(world: World, bound: str, peer: Peer, problem: str) -> None:
    world.admit(CUHK, secret="", certificate=bound)
    assert says(world, CUHK, peer) == problem


def test_certificate_does_not_authenticate_another_agency(world: World) -> None:
    world.admit(CUHK, secret="", certificate=PRINT)
    assert says(world, LU, Peer(address="10.0.0.7", certificate=ClientCertificate(fingerprint=PRINT))) == FAILED


def test_peer_without_a_certificate_matches_no_row(world: World) -> None:
    assert says(world, CUHK, Peer(address="10.0.0.7")) == FAILED


def test_address_alone_authenticates_only_when_configured(world: World) -> None:
    world.admit(CUHK, secret="", by_address=True)
    assert says(world, CUHK, Peer(address="10.0.0.7")) == ""
    assert says(world, CUHK, Peer(address="192.0.2.1")) == FAILED
    assert says(world, LU, Peer(address="10.0.0.7")) == FAILED


def test_wrong_secret_is_refused_from_every_address(world: World) -> None:
    world.admit(CUHK, by_address=True)
    assert says(world, CUHK, Peer(address="10.0.0.7"), "guess") == FAILED


@pytest.mark.parametrize(("secret", "problem"), [("old", ""), ("new", ""), ("other", FAILED)])
def test_either_of_two_secrets_authenticates(world: World, secret: str, problem: str) -> None:
    world.admit(CUHK, secrets=(NamedSecret(variable="OLD", text="old"), NamedSecret(variable="NEW", text="new")))
    assert says(world, CUHK, Peer(address="10.0.0.7"), secret) == problem


@pytest.mark.parametrize("secret", ["", "old"])
def test_secret_that_is_not_set_authenticates_nobody(world: World, secret: str) -> None:
    world.admit(CUHK, secrets=(NamedSecret(variable="OLD", text=""), NamedSecret(variable="NEW", text="")))
    assert says(world, CUHK, Peer(address="10.0.0.7"), secret or "-") == FAILED


def test_lookups_are_limited_per_minute(world: World) -> None:
    world.admit(CUHK, lookups_per_minute=2)
    found = [says(world, CUHK, Peer(address="10.0.0.7"), "c-key") for _ in range(3)]
    world.now += timedelta(seconds=60)
    assert [*found, says(world, CUHK, Peer(address="10.0.0.7"), "c-key")] == ["", "", "Temporary Processing Failure", ""]


def test_lookup_limit_is_per_partner_and_excludes_other_services(world: World) -> None:
    world.admit(CUHK, lookups_per_minute=1)
    says(world, CUHK, Peer(address="10.0.0.7"), "c-key")
    told = world.ask(
        CUHK, "UpdateCirculationStatus", ItemId={"AgencyId": CUHK, "ItemIdentifierValue": "C1"}, CirculationStatus="Lost"
    )
    assert not told.has("Problem")
    assert says(world, LU, Peer(address="10.0.0.7"), "l-key") == ""
