"""Who asks, and may they: a secret, a certificate or an address is bound to the one agency that it may speak for."""

from __future__ import annotations

from typing import Final

from hkall_gateway.edge.guesses import Ways
from hkall_gateway.edge.secrets import same
from hkall_gateway.ncip import problems
from hkall_gateway.ncip.calls import Caller, Door, Peer, admitted
from hkall_gateway.ncip.messages import SHAPES, Message
from hkall_gateway.ncip.problems import Trouble

WRONG_PROOFS: Final = 10
"""Wrong proofs for one agency from one address within a quarter of an hour; then none is looked at."""
WRONG_PROOFS_OF_AN_ADDRESS: Final = 100
LONGEST_CLAIM: Final = 40
"""So much of an agency that nobody knows is kept and logged: who set a partner up wrongly sees what it says of itself."""


def authenticated(door: Door, message: Message, peer: Peer) -> Caller | Trouble:
    """Who asks: the agency named, if it brings the proof bound to it and comes from an address of its own.

    Whatever is wrong with a proof, the answer is the same; wrong ones are counted by address and the agency that is claimed.
    """
    claimed = door.known(message.text("InitiationHeader/FromAgencyId/AgencyId"))
    if not claimed:
        return Trouble(problems.NEEDED_DATA_MISSING, "the header does not say who asks", "FromAgencyId")
    ways = _ways(peer, claimed)
    if door.proofs.shut(ways, door.now()):
        return Trouble(problems.TRY_LATER, "too many wrong proofs; ask again in a quarter of an hour", "FromAgencyId")
    found = _proven(door, claimed, message.text("InitiationHeader/FromAgencyAuthentication"), peer)
    if isinstance(found, Trouble):
        door.proofs.count(ways, door.now())
        door.counters.add("wrong_proofs_total", claimed if claimed in door.callers else "unknown")
    return found


def _ways(peer: Peer, claimed: str) -> Ways:
    return {
        f"{claimed[:LONGEST_CLAIM]} at {peer.address}": WRONG_PROOFS,
        f"address {peer.address}": WRONG_PROOFS_OF_AN_ADDRESS,
    }


def _proven(door: Door, claimed: str, secret: str, peer: Peer) -> Caller | Trouble:
    caller = door.callers.get(claimed)
    # Every caller's proof is tried, so that the time does not tell which agency came close.
    owners = [row.agency for row in door.callers.values() if _proved(row, secret, peer)]
    if caller is None:
        return Trouble(problems.UNKNOWN_AGENCY, "no such agency", "FromAgencyId")
    if admitted(caller.allow_from, peer.address) and (claimed in owners or (caller.by_address and not secret)):
        return caller
    return Trouble(problems.AUTHENTICATION_FAILED, "the secret, the certificate or the address does not fit", "FromAgencyId")


def _proved(caller: Caller, secret: str, peer: Peer) -> bool:
    told = same(caller.secret, secret) and bool(caller.secret)
    shown = [same(caller.certificate, text) for text in (peer.fingerprint, peer.subject) if text] if caller.certificate else []
    return told or any(shown)


def misaddressed(door: Door, message: Message) -> Trouble | None:
    """The no to a document that is for somebody else; None where it names us, or nobody."""
    named = message.texts("InitiationHeader/ToAgencyId/AgencyId")
    ours = {name.casefold() for name in (door.agency, *door.other_names)}
    if not named or any(name.casefold() in ours for name in named):
        return None
    return Trouble(problems.UNKNOWN_AGENCY, f"this is {door.agency}, and the document is for another agency", "ToAgencyId")


def overdone(door: Door, caller: Caller, service: str) -> Trouble | None:
    """The no to a look-up that comes too soon after too many others; None for one that may be answered."""
    if SHAPES[service].kind != "L" or door.rate.admits(caller.agency, caller.lookups_per_minute, door.now()):
        return None
    return Trouble(problems.TRY_LATER, f"{caller.lookups_per_minute} look-ups a minute are agreed; ask again in a minute")
