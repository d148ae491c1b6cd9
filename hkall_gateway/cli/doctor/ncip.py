"""Checks of NCIP peers: their responder, our proof to it, and look-ups of unknown identifiers.

Only look-ups are sent (LookupItem, LookupItemSet, LookupRequest, LookupVersion), by the client that the gateway uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hkall_gateway.cli.doctor import connection
from hkall_gateway.cli.doctor.findings import FAULTS, ExaminationTools, Sheet
from hkall_gateway.ncip.codec.dialects import DIALECTS, minor, version_1
from hkall_gateway.ncip.codec.messages import BadDocument, NcipMessage
from hkall_gateway.ncip.shelves import UNKNOWN_ITEM, LookUp, is_asked_by_copy, make_copy_lookup, make_title_lookup, read_copies
from hkall_gateway.ncip.tables.notifications import record_id, request_id, user_id
from hkall_gateway.ncip.tables.problems import NOT_UNDERSTOOD, find_meaning, find_own_meaning, spell_problem
from hkall_gateway.ncip.transport.client import NcipClient, read_reply
from hkall_gateway.net.http_post import AgentPost, HttpReply, NoReply, NotSent, Post
from hkall_gateway.peers.authentication import OurProof
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import ItemKey, Sensitive

NOBODY: Final = "HKALL-DOCTOR-0"
"""Identifier for a card, an item, a title and a request that do not exist."""
UNKNOWN: Final = frozenset({UNKNOWN_ITEM.casefold(), "unknown request", "unknown user"})

REDIRECT: Final = "The gateway follows no redirects: put the new address into `url`."
NO_REPLY: Final = "Ask the peer whether its NCIP service runs; its log shows how it handled our document."
OF_PARTNER, OF_ILS = "can_lookup_items", "looks_up_items"
"""Configuration keys that say whether item look-ups are used."""
BROKEN: Final = "The peer's server is out of order: ask the peer to look at its log, and try again."


@dataclass(slots=True)
class RecordingPost:
    """A `Post` that records the outcome of its latest call, the time allowed, and our clock before and after the call."""

    tools: ExaminationTools
    sheet: Sheet
    post: Post
    posted: HttpReply | None = None
    failed: NotSent | NoReply | None = None
    allowed_s: float = 0
    before: datetime | None = None
    after: datetime | None = None

    async def __call__(self, url: str, body: bytes, timeout_s: float) -> HttpReply:
        """Post a document and record the outcome."""
        self.posted, self.failed, self.before = None, None, self.tools.means.clock()
        self.allowed_s = min(timeout_s, self.sheet.left_s())
        try:
            self.posted = await self.post(url, body, self.allowed_s)
        except (NotSent, NoReply) as failed:
            self.failed = failed
            raise
        finally:
            self.after = self.tools.means.clock()
        return self.posted


def plan(partner: Partner) -> tuple[str, ...]:
    """Return the names of the checks for a responder, in order."""
    known = ("lookup.request",) if partner.can_lookup_request else ()
    return (*connection.plan(partner.url), "http", "proof.ours", "lookup.item", *known, "version", "clock")


@dataclass(frozen=True, slots=True, kw_only=True)
class NcipPeer:
    """One responder, with the parameters for calling it.

    Attributes:
        agency: Our agency code in messages to the responder.
        secret: Secret that the responder expects from us; empty if no secret is agreed.
        key: Configuration key that sets `used`.
        used: Whether the gateway looks up items at the responder.
        proof: Writes our Authorization header; None if the header is not sent.
    """

    partner: Partner
    agency: str
    secret: Sensitive
    key: str
    used: bool
    proof: OurProof | None = None

    def post(self, tools: ExaminationTools) -> Post:
        """Return the `Post` with which the gateway sends documents to this responder."""
        way, proof = AgentPost(tools.reactor), self.proof
        return way.proving(lambda: proof(tools.means.clock())) if proof else way

    def proofs(self) -> str:
        """Describe, for display, the credentials by which the responder can identify us."""
        given = {"the agreed secret": self.secret, "our Authorization header": self.proof}
        return " and ".join(name for name, one in given.items() if one) or "our address alone"

    def client(self, post: Post) -> NcipClient:
        """Return an NCIP client that queries this responder as the gateway does."""
        return NcipClient(post, self.agency, {self.partner.agency: self.secret.reveal()})


async def examine_responder(sheet: Sheet, tools: ExaminationTools, there: NcipPeer) -> tuple[str, ...]:
    """Examine a responder, and return the addresses of its host, or () if it cannot be reached."""
    addresses, open_way = await connection.check_url(sheet, tools, there.partner.url)
    if open_way:
        recorder = RecordingPost(tools, sheet, there.post(tools))
        await _run_look_ups(sheet, there, recorder)
    return addresses


async def _run_look_ups(sheet: Sheet, there: NcipPeer, recorder: RecordingPost) -> None:
    client, partner = there.client(recorder), there.partner
    look_up = first_look_up(there)
    service, reply = look_up.service, await client.ask(look_up.service, look_up.fields, partner)
    if recorder.posted is not None and recorder.before and recorder.after:
        connection.judge_clock(sheet, recorder.posted.said_at, recorder.before, recorder.after)
    if reply is None:
        _report_no_document(sheet, recorder)
        return
    sheet.ok("http", f"{service} was answered by {reply.service}")
    if not judge_admission(sheet, service, reply, there):
        return
    judge_item(sheet, service, reply, there)
    if partner.can_lookup_request:
        judge_request(sheet, await client.ask("LookupRequest", {"RequestId": request_id(there.agency, NOBODY)}, partner))
    judge_versions(sheet, await client.ask("LookupVersion", {}, partner), DIALECTS[partner.dialect].version)


def first_look_up(there: NcipPeer) -> LookUp:
    """Build the look-up of an item that cannot exist: by title if the partner answers title look-ups, else by barcode.

    For a local system whose items are not looked up, build the look-up of a patron.
    """
    partner = there.partner
    if there.key == OF_ILS and not there.used:
        return LookUp("LookupUser", {"UserId": user_id(partner.agency, NOBODY), "UserElementType": ["User Id"]})
    if partner.can_lookup_items and not is_asked_by_copy(partner):
        return make_title_lookup(record_id(NOBODY, "", partner))
    return make_copy_lookup(ItemKey(partner.agency, NOBODY))


def _report_no_document(sheet: Sheet, recorder: RecordingPost) -> None:
    """Report that the peer returned no NCIP document."""
    if recorder.posted is None:
        late = recorder.failed is not None and recorder.failed.kind == "timeout"
        sheet.fail("http", f"no answer within {recorder.allowed_s:.0f} s" if late else str(recorder.failed), NO_REPLY)
        return
    status, kind = recorder.posted.status, recorder.posted.content_type or "no Content-Type"
    bad = read_reply(recorder.posted)
    why = bad.detail if isinstance(bad, BadDocument) else ""
    sheet.fail("http", f"HTTP {status}, {kind}: no NCIP document ({why})"[:200], _status_advice(status))


def _status_advice(status: int) -> str:
    if 300 <= status < 400:
        return REDIRECT
    return FAULTS["http"].get(str(status)) or (BROKEN if status >= 500 else "")


def judge_admission(sheet: Sheet, service: str, reply: NcipMessage, there: NcipPeer) -> bool:
    """Add the finding about our proof, and return whether the peer accepts it."""
    own = there.partner.problems
    faults = problem_types(
        one for one in problems_in(reply) if (find_own_meaning(one, own) or find_meaning(_type(one), service)) == "fault"
    )
    if any("Version" in problem for problem in faults):
        sheet.fail("version", f"{service}: {', '.join(faults)}")
    elif faults:
        sheet.fail("proof.ours", f"{there.partner.agency} says {', '.join(faults)} to us as {there.agency}")
    else:
        sheet.ok("proof.ours", f"as {there.agency}, by {there.proofs()}")
    return not faults


def problems_in(reply: NcipMessage) -> list[NcipMessage]:
    """Return all Problems in a reply, including those about single titles."""
    return [*reply.each("Problem"), *(one for title in reply.each("BibInformation") for one in title.each("Problem"))]


def problem_types(found: Iterable[NcipMessage]) -> list[str]:
    """Return the distinct types of Problems, as the standard spells them."""
    return list(dict.fromkeys(spell_problem(_type(one)) for one in found))


def _type(problem: NcipMessage) -> str:
    return problem.text("ProblemType")


def judge_item(sheet: Sheet, service: str, reply: NcipMessage, there: NcipPeer) -> None:
    """Add the finding about the reply to the look-up of an item that cannot exist."""
    listed_types, statuses = problem_types(problems_in(reply)), [status for status in read_copies(reply).values() if status]
    if service == "LookupUser":
        sheet.skip("lookup.item", f"`{there.key}` is false")
    elif set(listed_types) & set(NOT_UNDERSTOOD) and there.used:
        advice = f"Set `{there.key} = false`, or ask the peer to answer such look-ups."
        sheet.fail("lookup.item", f"{service}: {', '.join(listed_types)}", advice)
    elif set(listed_types) & set(NOT_UNDERSTOOD):
        sheet.ok("lookup.item", f"{service}: {', '.join(listed_types)}; such look-ups are not used (`{there.key}`)")
    elif listed_types and not {problem.casefold() for problem in listed_types} & UNKNOWN:
        sheet.warn("lookup.item", f"{service} of an unknown item: {', '.join(listed_types) or 'an empty Problem'}")
    elif statuses:
        sheet.warn("lookup.item", f"{service} of an unknown item says {', '.join(statuses)}: its answers cannot be relied on")
    else:
        sheet.ok("lookup.item", f"{service}: {', '.join(listed_types) or 'nothing is known of the item'}")


def judge_request(sheet: Sheet, reply: NcipMessage | None) -> None:
    """Add the finding about the reply to the look-up of a request that cannot exist."""
    listed_types = problem_types(problems_in(reply)) if reply is not None else []
    if reply is None:
        sheet.fail("lookup.request", "LookupRequest got no usable answer")
    elif set(listed_types) & set(NOT_UNDERSTOOD):
        sheet.fail("lookup.request", f"LookupRequest: {', '.join(listed_types)}")
    elif not listed_types:
        sheet.warn("lookup.request", "LookupRequest of an unknown request was answered as if there were one")
    else:
        sheet.ok("lookup.request", f"LookupRequest: {', '.join(listed_types)}")


def judge_versions(sheet: Sheet, reply: NcipMessage | None, ours: str) -> None:
    """Add the finding about the versions that the peer lists. `ours` is the version of the documents that we send."""
    listed = [str(text) for text in reply.texts("VersionSupported")] if reply is not None else []
    if not listed:
        sheet.ok("version", f"it lists none; {short_version(ours)} was understood")
        return
    shown = f"{short_version(ours)}, of {', '.join(map(short_version, listed))}"
    if short_version(ours) in map(short_version, listed):
        sheet.ok("version", shown)
    else:
        sheet.warn("version", f"{short_version(ours)} is not among {', '.join(map(short_version, listed))}")


def short_version(version: str) -> str:
    """Return a short form of an NCIP version string. An unknown version is returned unchanged."""
    old, late = version_1(version), minor(version)
    if late is not None:
        return f"2.0{late or ''}"
    return ("1.01" if old.late else "1.0") if old is not None else version
