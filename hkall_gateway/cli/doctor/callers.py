"""Checks of how partners and clients prove to us who they are, in every protocol of partners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.peers.callers import Caller
from hkall_gateway.rules.values import on_this_machine

CHECK: Final = "proof.theirs"
CERTIFICATE: Final = "certificate"
NO_KEYS: Final = "Open the address on this machine (`curl -i URL`), and ask the peer where it publishes its keys."


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Our ports for a protocol: whether any is `ssl:`, and whether `client_ca` is set.

    Without `client_ca`, no client certificate is requested.
    """

    protocol: str
    tls: bool
    client_ca: bool


async def lacks_keys(caller: Caller, now: datetime) -> bool:
    """Return whether a caller's row accepts signed tokens whose public keys cannot be read."""
    token = caller.http.token
    return token is not None and await token.keys.having("", now) is None


def judge_caller_proof(
    sheet: Sheet, caller: Caller, endpoints: Endpoints, addresses: Sequence[str], *, keyless: bool = False
) -> None:
    """Add the finding about how a caller authenticates, according to its row in the configuration.

    `addresses` lists the addresses of the caller's responder, if any. `keyless` is set if the keys of the caller's signed
    tokens cannot be read.
    """
    proofs_given = {
        "secret": any(secret.text for secret in caller.secrets),
        CERTIFICATE: caller.access.certificate,
        "address alone": caller.access.by_address,
        "HTTP Basic": caller.http.password_hash,
        "bearer secret": caller.http.bearer_hash,
        "signed token": caller.http.token,
    }
    proofs = [name for name, given in proofs_given.items() if given]
    if not proofs:
        sheet.fail(CHECK, "the row has no proof: every document of the peer is refused")
    elif keyless:
        sheet.fail(CHECK, "no JSON Web Key Set comes from `jwks_url`: every token of the peer is refused", NO_KEYS)
    elif proofs == [CERTIFICATE] and not (endpoints.tls and endpoints.client_ca):
        advice = f"Set `client_ca` of [{endpoints.protocol}] and listen on an ssl: port, or agree on a secret (`secret_env`)."
        sheet.fail(CHECK, "its certificate is never asked for", advice)
    elif strangers := _addresses_outside(caller, addresses):
        advice = "Add the networks from which it calls to `allow_from`; name a balancer in front of us in `proxy_from`."
        sheet.warn(CHECK, f"allow_from admits {', '.join(caller.access.allow_from)}, and not {', '.join(strangers)}", advice)
    else:
        sheet.ok(CHECK, f"by {' or '.join(proofs)}, from {', '.join(caller.access.allow_from)}")


def _addresses_outside(caller: Caller, addresses: Sequence[str]) -> list[str]:
    """Return the responder's addresses outside this machine, or [] if the row admits any address of the responder."""
    allowed = AllowList(caller.access.allow_from)
    remote = [address for address in addresses if not on_this_machine(address)]
    return [] if any(allowed.admits(address) for address in addresses) else remote
