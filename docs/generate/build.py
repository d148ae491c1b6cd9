"""Generate documentation pages from tables in the code (`make docs`). A test fails if the pages are out of date."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from docs.generate import ncip_profile, sip2_profile
from docs.generate.doctor_page import doctor_page
from docs.generate.files_page import files_page
from docs.generate.letters_page import letters_page
from docs.generate.logs_page import logs_page
from docs.generate.man_page import completion, man_page
from docs.generate.rules_page import rules_page
from docs.generate.settings_page import describe, describe_policy
from docs.generate.systems_facts import FACTS
from hkall_gateway.config.crosschecks import OF_ROLES
from hkall_gateway.config.systems import SYSTEMS, System, SystemRole
from hkall_gateway.ncip import handlers as ncip_handlers
from hkall_gateway.ncip.codec.dialects import SUPPORTED
from hkall_gateway.ncip.codec.messages import SHAPES as SERVICES
from hkall_gateway.ncip.profile import FLOWS as NCIP_FLOWS
from hkall_gateway.ncip.tables.flows import FLOWS, LABELS_SCHEME, status_of
from hkall_gateway.ncip.tables.notifications import DOCUMENTS
from hkall_gateway.rules.evidence import TABLE as EVIDENCE
from hkall_gateway.rules.evidence import Dated, Names, News
from hkall_gateway.rules.lifecycle import TABLE, Notification, side_of
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.policy import PAYMENT
from hkall_gateway.rules.positions import FINAL, FIRST
from hkall_gateway.rules.settings import LABELS, ROLES, Role
from hkall_gateway.rules.vocabulary import ItemKey, Position, Side
from hkall_gateway.sip2.codec.fields import TAGS, Tag
from hkall_gateway.sip2.codec.messages import SHAPES as MESSAGES

_SIP2 = tuple(MESSAGES.values())
HIDDEN = "hidden"
EPOCH = datetime(2017, 3, 1, tzinfo=UTC)
WRITTEN = "<!-- written by `make docs`; change the table in the code instead -->"


ABOUT_CALLERS = (
    "Class L looks up, U asks for an action, N reports what was done. Each flow (the dialect of a partner's row) says"
    " which callers may use a service. A service that the flow does not allow gets its own response with a Problem:"
    " `Unsupported Service` if no caller may use it, `Unauthorized Service For Agency` if others may. Versions: "
)


ABOUT_STATUS = (
    "RequestedItem of LookupUserResponse, and LookupRequestResponse. RequestStatusType is of NISO's list; the word of the"
    " patron's record (the policy's `[labels]`) stands beside it as Ext/RequestStatusType with the Scheme "
    f'`{LABELS_SCHEME}`. A client whose row says `request_status = "label"` gets that word, with that Scheme, in'
    " RequestStatusType itself, and no Ext. NCIP 1 has no Ext there. LookupUser lists the requests that wait; LookupRequest"
    " answers for the others."
)

ABOUT_SYSTEMS = (
    'A row of `[[partners]]` or `[[clients]]`, or the `[ils]` table, may set `system = "folio"`: then the defaults'
    " below apply to its missing keys, and every key may still be set ([configuration](config.md)). Entries of"
    " `problems` are added to those below, or replace the one of the same words. For a system that is not listed, leave"
    " `system` out and set the keys. We borrow on the card of our institutional user at each partner: name it as"
    " `our_user` where it is not our agency and `-INST` (`HKU-INST`). Their card here is `institutional_card`."
)

ABOUT_EVIDENCE = (
    "*run*: tested with the system's own program. *played*: its program was read, and the test suite replays documents"
    " of the same shape. *read*: only its program, schema or documentation was read; try it with a test system of yours"
    " first. *partners*: it lends to us, borrows from us, or acts for libraries that do. *clients*: our discovery"
    " system. *ils*: our own library system."
)

ABOUT_NEWS = (
    "What our staff and terminals have scanned outweighs what a partner says. *earlier*, *same*, *later*: the day"
    " of the news compared with that of our last scan of the copy; without a date or a scan, *same* counts."
    " *applied*: it changes the request. *ignored*: it is known already, or too late: a success that changes no"
    " position (a missing date is filled in). *refused*: the partner asks for what is not possible any more. *held*:"
    " it contradicts our record. The partner gets a Problem, the request is flagged, the journal has what each side"
    " says, and `quarantine list` has the document, but for declines, which the flag alone shows. Staff look where"
    " the book is, then `quarantine replay` (it is believed) or `quarantine drop`. *the names differ*: the number is"
    " that of one request and the copy that of another, unless both wait for the same title, or the copy was asked"
    " for under this number before. The reply says in its Ext (ItemNote) what was done: `applied`, `known already`,"
    " `late` or `held for staff`. A broker's news is held only after a scan of ours. *home* about a loan that its"
    " patron says to have returned, or has lost, is applied."
)

ABOUT_ROLES = (
    "Change it by `[[roles]]` of the [policy](policy.md). A message that a role may not send is refused in its own"
    " reply before the library's own system is queried, and is N in 98. *R16*, *R17*: HKALL books by those rules."
    " *till*: if the terminal's row has `takes_money = true`. No block: if its row has `offline = true`, only for the"
    " reader for whom the book waits, and never past the policy's date."
)


def lifecycle() -> str:
    """Return docs/lifecycle.md: the diagrams and every row of the table."""
    rows = [(s.source, s.event, s.target, ", ".join(s.sends), side_of(s.event)) for s in TABLE]
    tables = [
        f"### Rows: {side.name.lower()}\n\n" + _table(("from", "when", "to", "sends"), [r[:4] for r in rows if r[4] is side])
        for side in Side
    ]
    news = ["## What a partner says, against our own record", ABOUT_NEWS, *(_news(side) for side in Side)]
    return "\n\n".join(["# The life cycle of a request", WRITTEN, diagram().strip(), *tables, *news]) + "\n"


def diagram() -> str:
    """Return the life cycle as two Mermaid state diagrams, for docs/lifecycle.md."""
    return "\n".join(_diagram(side) for side in Side)


def _diagram(side: Side) -> str:
    rows = [s for s in TABLE if side_of(s.event) is side]
    moves = [f"    {s.source} --> {s.target}: {s.event.lower()}" for s in rows]
    starts = [f"    [*] --> {p}" for p in sorted(FIRST[side])]
    ends = [f"    {p} --> [*]" for p in sorted({s.target for s in rows} & FINAL)]
    return "\n".join([f"## {side.name.title()}", "", "```mermaid", "stateDiagram-v2", *starts, *moves, *ends, "```", ""])


def _news(side: Side) -> str:
    """Return the table of news for one side. Each cell has a verdict for each date, or one verdict for all dates."""
    told = list(dict.fromkeys(news for about, _, news, _, _ in EVIDENCE if about is side))
    positions = list(dict.fromkeys(position for about, position, _, _, _ in EVIDENCE if about is side))
    rows = [(position, *(_verdicts(side, position, news, Names.AGREE) for news in told)) for position in positions]
    differ = [_verdicts(side, positions[0], news, Names.DIFFER) for news in told]
    words = [news.replace("_", " ") for news in told]
    table = _table(("our position", *words), [*rows, ("*any, if the names differ*", *differ)])
    return f"### News: {side.name.lower()}\n\n{table}"


def _verdicts(side: Side, position: Position, news: News, names: Names) -> str:
    found = {dated: EVIDENCE.get((side, position, news, dated, names)) for dated in Dated}
    verdicts = set(found.values())
    if len(verdicts) == 1:
        return verdicts.pop() or "-"
    return ", ".join(f"{dated}: {verdict}" for dated, verdict in found.items())


def profile() -> str:
    """Return docs/profile.md: the supported messages of both protocols."""
    sip2 = [(s.code, s.name, s.reply, sip2_profile.MESSAGES[s.code].use, sip2_profile.MESSAGES[s.code].why) for s in _SIP2]
    tags = [(t.tag, t.name, _marks(t), sip2_profile.FIELDS[t.tag].use, sip2_profile.FIELDS[t.tag].why) for t in TAGS.values()]
    ncip = [(name, _class(name), *_by_flow(name), why) for name, why in ncip_profile.WHY.items()]
    parts = [
        "# Supported messages",
        WRITTEN,
        "## SIP2 2.00 messages",
        _table(("code", "message", "reply", "supported", "how, or why not"), sip2),
        "A message that the dialect withholds gets its own negative reply, and is N in the BX and flags of 98.",
        "## Messages of each kind of terminal",
        _table(("message", *(row.role for row in ROLES)), list(_roles())),
        ABOUT_ROLES,
        "## SIP2 fields",
        _table(("tag", "field", "", "supported", "how, or why not"), tags),
        f"*{HIDDEN}*: never in a log. *extension*: not in 2.00, sent only if the dialect lists it.",
        "## NCIP services, as responder",
        _table(("service", "class", *NCIP_FLOWS, "purpose, or why not"), ncip),
        ABOUT_CALLERS + ", ".join(SUPPORTED) + ".",
        "## Positions of a request in NCIP",
        ABOUT_STATUS,
        _table(("position", "RequestStatusType", "the record's word"), _status_words()),
        "## NCIP services, as initiator",
        _table(("notification", *FLOWS), [(send, *_documents(send)) for send in DOCUMENTS]),
        "A dash: the flow has no document for it, and the notification counts as sent.",
    ]
    return "\n\n".join(parts) + "\n"


def _status_words() -> list[tuple[str, ...]]:
    return [(position, status_of(Position(position)), label) for position, label in LABELS.items()]


def _roles() -> Iterator[tuple[str, ...]]:
    """Yield one row per message, with one column per role."""
    yield ("93 97 99", *("yes" for _ in ROLES))
    for code in sorted({code for row in ROLES for code in row.messages}):
        yield (f"{code} {MESSAGES[code].name}", *(_may(row, code) for row in ROLES))
    yield ("no block", *("`offline`" if row.role in OF_ROLES["offline"] else "no" for row in ROLES))


def _may(row: Role, code: str) -> str:
    if code not in row.messages:
        return "till" if code == PAYMENT and row.role in OF_ROLES["takes_money"] else "no"
    if code == "09" and not row.checkin:
        return "R17" if row.role == "bookdrop" else "R16"
    return "R16" if code == "11" and not row.checkout else "yes"


def _marks(tag: Tag) -> str:
    return ", ".join(filter(None, ["extension" if tag.extension else "", HIDDEN if tag.secret or tag.personal else ""]))


def systems() -> str:
    """Return docs/systems.md: the tested parts of each system, the evidence, and the defaults of `system = "…"`."""
    tested = [
        (row.title, f"`{row.name}`", one.use.value, one.what, one.seen.value, one.version, one.note)
        for row in SYSTEMS.values()
        for one in FACTS[row.name].evidence
    ]
    heads = ("system", "name", "table", "what works", "evidence", "version", "note")
    parts = ["# Other systems", WRITTEN, ABOUT_SYSTEMS, "## What works", _table(heads, tested), ABOUT_EVIDENCE]
    return "\n\n".join([*parts, *map(_system, SYSTEMS.values())]) + "\n"


def _system(row: System) -> str:
    """Return the section about one system."""
    known = FACTS[row.name]
    facts = [
        ("kind", known.kind),
        ("authenticates by", ", ".join(known.proofs)),
        ("RequestItem returns", f"{known.numbers} RequestId" if row.partners is not None else ""),
        ("needs", "; ".join(known.needs)),
        ("never sends", "; ".join(known.never_tells)),
        *((f"`{_HEADS[use]}` defaults", _keys(row.defaults(use))) for use in SystemRole),
    ]
    told = [(name, text) for name, text in facts if text]
    return f'## {row.title}\n\n`system = "{row.name}"`\n\n' + _table(("", ""), told)


_HEADS = {SystemRole.PARTNER: "[[partners]]", SystemRole.CLIENT: "[[clients]]", SystemRole.ILS: "[ils]"}


def _keys(keys: Mapping[str, object] | None) -> str:
    if keys is None:
        return ""
    return ", ".join(f"`{name} = {_toml(value)}`" for name, value in keys.items()) or "those of every row"


def _toml(value: object) -> str:
    """Format a value as in gateway.toml."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


PAGES: Mapping[str, Callable[[], str]] = {
    "rules.md": rules_page,
    "config.md": describe,
    "policy.md": describe_policy,
    "lifecycle.md": lifecycle,
    "profile.md": profile,
    "systems.md": systems,
    "letters.md": letters_page,
    "logs.md": logs_page,
    "doctor.md": doctor_page,
    "files.md": partial(files_page, WRITTEN),
    "man/hkall-gateway.1": man_page,
    "completion/hkall-gateway": partial(completion, "bash"),
    "completion/hkall-gateway.fish": partial(completion, "fish"),
    "completion/_hkall-gateway": partial(completion, "zsh"),
}


def _class(service: str) -> str:
    return SERVICES[service].kind if service in SERVICES else "L"


def _by_flow(service: str) -> tuple[str, ...]:
    """Return the callers that may use a service, for each flow."""
    if service == ncip_handlers.ABOUT_VERSIONS:
        return ("every caller",) * len(NCIP_FLOWS)
    return tuple(ncip_profile.callers_of(flow, service) or "-" for flow in NCIP_FLOWS)


def _documents(send: Notification) -> tuple[str, ...]:
    """Return the service that carries a notification in each flow, for one of our own requests."""
    partner = Partner(agency="THEM", name="Them")
    message = PartnerMessage(
        send=send,
        request="R1",
        partner="THEM",
        wire_agency="US",
        wire_id="R1-1",
        at=EPOCH,
        item=ItemKey("THEM", "1"),
        due=EPOCH.date(),
    )
    made = (flow[send](message, partner, "US") for flow in FLOWS.values())
    return tuple(message.service if message else "-" for message in made)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main(folder: Path) -> None:
    """Write every page into `folder`."""
    for name, page in PAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
