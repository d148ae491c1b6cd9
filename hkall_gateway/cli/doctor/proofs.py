"""Whether a peer's row would admit it: a proof that can be given, and an address from which it may come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.cli.doctor.reach import on_this_machine
from hkall_gateway.ncip.service_request import Caller
from hkall_gateway.net.limits.allow_list import AllowList

CHECK: Final = "proof.theirs"
CERTIFICATE: Final = "certificate"
NO_KEYS: Final = "Open the address on this machine (`curl -i URL`), and ask the peer where it publishes its keys."


@dataclass(frozen=True, slots=True)
class NcipEndpoints:
    """Our NCIP ports: whether any is `ssl:`, and whether `client_ca` is set, without which no certificate is asked for."""

    tls: bool
    client_ca: bool


async def keyless(caller: Caller, now: datetime) -> bool:
    """Whether a row believes signed tokens, and no keys can be had to tell them by."""
    token = caller.http.token
    return token is not None and await token.keys.having("", now) is None


def judged(sheet: Sheet, caller: Caller, endpoints: NcipEndpoints, addresses: Sequence[str], *, keyless: bool = False) -> None:
    """The finding about one row. `addresses` are those of the peer's own responder, () where it has none."""
    proofs = _proofs(caller)
    if not proofs:
        sheet.fail(CHECK, "the row has no proof: every document of the peer is refused")
    elif keyless:
        sheet.fail(CHECK, "no JSON Web Key Set comes from `jwks_url`: every token of the peer is refused", NO_KEYS)
    elif proofs == [CERTIFICATE] and not (endpoints.tls and endpoints.client_ca):
        advice = "Set `client_ca` of [ncip] and listen on an ssl: port, or agree on a secret (`secret_env`)."
        sheet.fail(CHECK, "its certificate is never asked for", advice)
    elif strangers := _outside(caller, addresses):
        advice = "Add the networks from which it calls to `allow_from`; name a balancer in front of us in `proxy_from`."
        sheet.warn(CHECK, f"allow_from admits {', '.join(caller.allow_from)}, and not {', '.join(strangers)}", advice)
    else:
        sheet.ok(CHECK, f"by {' or '.join(proofs)}, from {', '.join(caller.allow_from)}")


def _outside(caller: Caller, addresses: Sequence[str]) -> list[str]:
    """The responder's own addresses, if the row admits none of them."""
    allowed = AllowList(caller.allow_from)
    remote = [address for address in addresses if not on_this_machine(address)]
    return [] if any(allowed.admits(address) for address in addresses) else remote


def _proofs(caller: Caller) -> list[str]:
    told = {
        "secret": caller.secret,
        CERTIFICATE: caller.certificate,
        "address alone": caller.by_address,
        "HTTP Basic": caller.http.password_hash,
        "bearer secret": caller.http.bearer_hash,
        "signed token": caller.http.token,
    }
    return [name for name, given in told.items() if given]
