"""Who asks, and may they: a secret, a certificate or an address is bound to the one agency that it may speak for."""

from __future__ import annotations

from functools import lru_cache

from hkall_gateway.edge.allow import AllowList
from hkall_gateway.edge.secrets import same
from hkall_gateway.ncip import problems
from hkall_gateway.ncip.calls import Caller, Door, Peer
from hkall_gateway.ncip.messages import SHAPES, Message
from hkall_gateway.ncip.problems import Trouble


def authenticated(door: Door, message: Message, peer: Peer) -> Caller | Trouble:
    """Who asks: the agency named, if it brings the proof bound to it and comes from an address of its own."""
    claimed = door.known(message.text("InitiationHeader/FromAgencyId/AgencyId"))
    caller = door.callers.get(claimed)
    # Every caller's proof is tried, so that the time does not tell which agency came close.
    secret = message.text("InitiationHeader/FromAgencyAuthentication")
    owners = [row.agency for row in door.callers.values() if _proved(row, secret, peer)]
    if not claimed:
        return Trouble(problems.NEEDED_DATA_MISSING, "the header does not say who asks", "FromAgencyId")
    if caller is None:
        return Trouble(problems.UNKNOWN_AGENCY, "no such agency", "FromAgencyId")
    welcome = _admitted(caller.allow_from, peer.address)
    if welcome and (claimed in owners or (caller.by_address and not secret)):
        return caller
    if claimed not in owners and owners:
        return Trouble(problems.UNAUTHORIZED_VALUES, "the proof is another agency's", "FromAgencyId")
    return Trouble(problems.AUTHENTICATION_FAILED, "the secret, the certificate or the address does not fit", "FromAgencyId")


def _proved(caller: Caller, secret: str, peer: Peer) -> bool:
    told = same(caller.secret, secret) and bool(caller.secret)
    shown = [same(caller.certificate, text) for text in (peer.fingerprint, peer.subject) if text] if caller.certificate else []
    return told or any(shown)


def overdone(door: Door, caller: Caller, service: str) -> Trouble | None:
    """The no to a look-up that comes too soon after too many others; None for one that may be answered."""
    if SHAPES[service].kind != "L" or door.rate.admits(caller.agency, caller.lookups_per_minute, door.now()):
        return None
    return Trouble(problems.TRY_LATER, f"{caller.lookups_per_minute} look-ups a minute are agreed; ask again in a minute")


@lru_cache(maxsize=1024)
def _admitted(networks: tuple[str, ...], address: str) -> bool:
    return AllowList(networks).admits(address)
