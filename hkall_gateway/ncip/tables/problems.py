"""Tables that map our reasons for refusals to NCIP problems, and problems that peers send to their meanings.

Source: NISO Z39.83-1-2012, processing errors per service and messaging errors; observed messages of initiators and responders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Final

from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.rules.partners import Meaning
from hkall_gateway.rules.reasons import Reason

_ERRORS: Final = "http://www.niso.org/ncip/v1_0/schemes/processingerrortype/"
MESSAGING_SCHEME: Final = "http://www.niso.org/ncip/v1_0/schemes/messagingerrortype/messagingerrortype.scm"
GENERAL_SCHEME: Final = f"{_ERRORS}generalprocessingerror.scm"

AUTHENTICATION_FAILED: Final = "Agency Authentication Failed"
NEEDED_DATA_MISSING: Final = "Needed Data Missing"
PROTOCOL_ERROR: Final = "Protocol Error"
SYNTAX_ERROR: Final = "Invalid Message Syntax Error"
TRY_LATER: Final = "Temporary Processing Failure"
UNAUTHORIZED_SERVICE: Final = "Unauthorized Service For Agency"
UNAUTHORIZED_VALUES: Final = "Unauthorized Combination Of Element Values For Agency"
UNKNOWN_AGENCY: Final = "Unknown Agency"
UNKNOWN_SERVICE: Final = "Unknown Service"
UNSUPPORTED_SERVICE: Final = "Unsupported Service"

MESSAGING: Final = frozenset(
    {PROTOCOL_ERROR, SYNTAX_ERROR, UNKNOWN_SERVICE, "Unknown Element", "Unknown Scheme", "Unknown Value From Known Scheme"}
)
GENERAL: Final = frozenset(
    {AUTHENTICATION_FAILED, NEEDED_DATA_MISSING, TRY_LATER, UNAUTHORIZED_SERVICE, UNAUTHORIZED_VALUES, UNKNOWN_AGENCY}
    | {UNSUPPORTED_SERVICE, "Invalid Amount", "Invalid Date", "System Authentication Failed", "Unknown System"}
    | {"Unauthorized Combination Of Element Values For System", "Unauthorized Service For System"}
)


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """The NCIP problem for one refusal reason.

    Attributes:
        problem: Default ProblemType.
        element: Element at fault.
        sentence: Template for the ProblemDetail, with {placeholders}.
        services: Service -> ProblemType to use in replies to this service.
    """

    why: Reason
    problem: str
    element: str
    sentence: str
    services: Mapping[str, str] = field(default_factory=dict)


_BARRED: Final = MappingProxyType(
    {
        "RenewItem": "User Ineligible To Renew This Item",
        "CheckOutItem": "User Ineligible To Check Out This Item",
        "AcceptItem": "User Ineligible To Check Out This Item",
        "CancelRequestItem": "Element Rule Violated",
    }
)
_MANY: Final = MappingProxyType({"CheckOutItem": "Maximum Check Outs Exceeded"})
_UNRENEWABLE: Final = MappingProxyType({"RenewItem": "Item Not Renewable"})
_TWO: Final = MappingProxyType({"LookupItem": "Non-Unique Item"})
_NO_REQUEST: Final = MappingProxyType({"RequestItem": "Element Rule Violated", "LookupItem": "Unknown Item"})
_OTHERS: Final = MappingProxyType({"RenewItem": "User Ineligible To Renew This Item"})
_RECALLED: Final = MappingProxyType({"RenewItem": "Renewal Not Allowed - Item Has Outstanding Requests"})

_IN_USE: Final = MappingProxyType({"AcceptItem": "Cannot Accept Item", "CreateItem": "Duplicate Item"})

W = Reason
_WHO, _VALUES, _MISSING, _NO_SERVICE = AUTHENTICATION_FAILED, UNAUTHORIZED_VALUES, NEEDED_DATA_MISSING, UNSUPPORTED_SERVICE
_MAY_NOT: Final = "User Ineligible To Request This Item"
_NOT_HERE: Final = "User Ineligible To Check Out This Item"
_STAYS: Final = "Item Does Not Circulate"
_BROKEN: Final = "Element Rule Violated"
_NOT_LENT: Final = "Item Not Checked Out"
_TOO_LATE: Final = "Request Already Processed"
_NOT_NOW: Final = "Item Not Available By Need Before Date"
_ABSENT: Final = "Resource Cannot Be Provided"
_OTHERS_LOAN: Final = "Item Not Checked Out To This User"
_WRONG_PIN: Final = "User Authentication Failed"
_TWICE: Final = "Duplicate Request"
_NO_SUCH: Final = "Unknown Request"
_MAXIMUM: Final = "Maximum Renewals Exceeded"

VALUE_AT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UserId": "UserId/UserIdentifierValue",
        "ItemId": "ItemId/ItemIdentifierValue",
        "RequestId": "RequestId/RequestIdentifierValue",
        "BibliographicId": "BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier",
        "FromAgencyId": "InitiationHeader/FromAgencyId/AgencyId",
        "ToAgencyId": "InitiationHeader/ToAgencyId/AgencyId",
    }
)
"""Element at fault -> path of the value. Elements that are not listed contain their value directly."""

# fmt: off
ROWS: Final = (
    # Identity.
    ProblemRow(W.SERVICE_SUSPENDED,            _MAY_NOT,       "UserId",
               "suspended until {end}: {message}", _BARRED),
    ProblemRow(W.UNKNOWN_BORROWER,             "Unknown User", "UserId",            "no such user"),
    ProblemRow(W.CARD_REPLACED,                "Unknown User", "UserId",            "this card was replaced by another one"),
    ProblemRow(W.WRONG_PIN,                    _WRONG_PIN,     "AuthenticationInput", "the credentials do not fit"),
    ProblemRow(W.NOT_ELIGIBLE,                 _MAY_NOT,       "UserId",            "this category may not use HKALL", _BARRED),
    ProblemRow(W.NOT_ELIGIBLE_PART_TIME_SPACE, _MAY_NOT,       "UserId",
               "part-time students may not use it", _BARRED),
    ProblemRow(W.ELIGIBILITY_UNKNOWN,          _MAY_NOT,       "UserId",            "the mode of study is not known", _BARRED),
    ProblemRow(W.PATRON_EXPIRED,               _MAY_NOT,       "UserId",            "the card expired on {expires}", _BARRED),
    ProblemRow(W.PATRON_BLOCKED,               "User Blocked", "UserId",            "the user is blocked"),
    ProblemRow(W.PATRON_OWES,                  "User Blocked", "UserId",            "the user owes HKD {owed}"),
    # The request.
    ProblemRow(W.PICKUP_LOCATION,              _BROKEN,        "PickupLocation",    "we deliver to {place}"),
    ProblemRow(W.MATERIAL_NOT_REQUESTABLE,     _STAYS,         "BibliographicId",   "this kind of material is not lent"),
    ProblemRow(W.UNKNOWN_TITLE,                "Unknown Item", "BibliographicId",   "no such title"),
    ProblemRow(W.AVAILABLE_LOCALLY,            _MAY_NOT,       "BibliographicId",   "a copy is on our own shelf"),
    ProblemRow(W.AVAILABILITY_UNKNOWN,         TRY_LATER,      "BibliographicId",   "our own shelf could not be asked"),
    ProblemRow(W.NO_AVAILABLE_COPY,            _NOT_NOW,       "BibliographicId",   "no copy is available"),
    ProblemRow(W.DUPLICATE_REQUEST,            _TWICE,         "BibliographicId",   "asked for already"),
    ProblemRow(W.QUOTA_HKALL,                  _MAY_NOT,       "UserId",
               "{limit} of {limit} HKALL books are taken", _MANY),
    ProblemRow(W.QUOTA_TOTAL,                  _MAY_NOT,       "UserId",
               "{limit} of {limit} books are taken", _MANY),
    ProblemRow(W.QUOTA_UNKNOWN,                TRY_LATER,      "UserId",            "the user's loans could not be counted"),
    ProblemRow(W.HOLDS_NOT_ALLOWED,            _BROKEN,        "RequestType",       "books on loan cannot be reserved"),
    # The counter.
    ProblemRow(W.NOT_REQUESTER,                _NOT_HERE,      "UserId",            "it was fetched for somebody else"),
    ProblemRow(W.NOT_YET_ARRIVED,              _ABSENT,        "ItemId",            "it has not arrived yet"),
    ProblemRow(W.PICKUP_EXPIRED,               _ABSENT,        "ItemId",            "it was kept until {pickup_last}"),
    ProblemRow(W.COUNTER_ONLY,                 _NOT_HERE,      "UserId",            "only at {place}"),
    ProblemRow(W.NOT_IN_BOOK_DROP,             _BROKEN,        "ItemId",            "not in a book drop"),
    ProblemRow(W.AMBIGUOUS_ITEM,               "Unknown Item", "ItemId",
               "it fits several copies; name the agency", _TWO),
    ProblemRow(W.UNKNOWN_ITEM,                 "Unknown Item", "ItemId",            "no such item"),
    ProblemRow(W.UNKNOWN_REQUEST,              _NO_SUCH,       "RequestId",         "no such request", _NO_REQUEST),
    ProblemRow(W.NOT_ON_LOAN,                  _NOT_LENT,      "ItemId",            "it is not on loan"),
    ProblemRow(W.ON_LOAN_TO_ANOTHER,           _OTHERS_LOAN,   "UserId",            "it is on loan to somebody else", _OTHERS),
    # Renewal.
    ProblemRow(W.RENEWAL_LIMIT,                _MAXIMUM,       "ItemId",            "{limit} of {limit} renewals are used"),
    ProblemRow(W.RENEWAL_TOO_SOON,             _BROKEN,        "ItemId",
               "it can be renewed from {from}", _UNRENEWABLE),
    ProblemRow(W.RENEWAL_OVERDUE,              _BROKEN,        "ItemId",            "it was due on {due}", _UNRENEWABLE),
    ProblemRow(W.RENEWAL_DENIED,               _BROKEN,        "ItemId",
               "it is due on {due}, no longer", _UNRENEWABLE),
    ProblemRow(W.RECALLED,                     _BROKEN,        "ItemId",            "it has been recalled", _RECALLED),
    ProblemRow(W.BOOK_LOST,                    _BROKEN,        "ItemId",            "it is reported lost", _UNRENEWABLE),
    ProblemRow(W.CLAIMED_RETURNED,             _BROKEN,        "ItemId",            "it is said to be returned", _UNRENEWABLE),
    # Partners.
    ProblemRow(W.TOO_LATE_TO_CANCEL,           _TOO_LATE,      "RequestId",         "it has been sent already"),
    ProblemRow(W.ALREADY_SHIPPED,              _TOO_LATE,      "RequestId",         "it has been sent already"),
    ProblemRow(W.AGENCY_NOT_OWNER,             _VALUES,        "RequestId",         "another library has the request"),
    ProblemRow(W.NOT_THEIR_COPY,               _VALUES,        "ItemId",            "the copy is not the sender's own"),
    ProblemRow(W.BELONGS_ELSEWHERE,            "Unknown Item", "ItemId",            "it belongs to {owner}"),
    ProblemRow(W.CONTRADICTS_US,               _BROKEN,        "ItemId",
               "our own record says otherwise; our staff look into it", _IN_USE),
    ProblemRow(W.AGENCY_NOT_ALLOWED,           _VALUES,        "FromAgencyId",      "not for this library to ask"),
    ProblemRow(W.ITEM_NOT_LENDABLE,            _STAYS,         "ItemId",            "it is not lent to other libraries"),
    ProblemRow(W.LENDING_SUSPENDED,            _STAYS,         "ItemId",            "lending is suspended until {end}"),
    ProblemRow(W.WRONG_POSITION,               _BROKEN,        "RequestId",         "the request stands elsewhere", _IN_USE),
    ProblemRow(W.NOT_OWED,                     "Invalid Amount", "MonetaryValue",   "HKD {owed} is owed"),
    ProblemRow(W.TRANSACTION_REUSED,           _BROKEN,        "FiscalTransactionReferenceId",
               "another payment has this number"),
    ProblemRow(W.UNKNOWN_FINE,                 _BROKEN,        "FiscalTransactionReferenceId", "there is no such charge"),
    ProblemRow(W.WRONG_DATE,                   "Invalid Date",  "",                  "the date {on} is not possible"),
    ProblemRow(W.REASON_NEEDED,                _MISSING,       "",                  "a reason is needed"),
    ProblemRow(W.FEE_NOT_ACKNOWLEDGED,         _BROKEN,        "AcknowledgedFeeAmount", "the fee is not acknowledged"),
    # The conversation.
    ProblemRow(W.NOT_SUPPORTED,                _NO_SERVICE,    "",                  "not supported here"),
    ProblemRow(W.NOT_AT_THIS_TERMINAL,         _NO_SERVICE,    "",                  "not for this kind of terminal"),
    ProblemRow(W.TOO_MANY_WRONG_PINS,          TRY_LATER,      "AuthenticationInput", "too many wrong PINs; ask again later"),
    ProblemRow(W.LOG_IN_FIRST,                 _WHO,           "FromAgencyId",      "who asks is not known"),
    ProblemRow(W.UNUSABLE_MESSAGE,             _MISSING,       "",                  "the message cannot be acted upon"),
    ProblemRow(W.TRY_AGAIN,                    TRY_LATER,      "",                  "please send it again later"),
)
# fmt: on

PROBLEMS: Final[Mapping[Reason, ProblemRow]] = MappingProxyType({row.why: row for row in ROWS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A Problem to write. If `challenge` holds WWW-Authenticate headers, the HTTP response gets the status 401.

    `held` is set if the document is kept for staff.
    """

    problem: str
    detail: str = ""
    element: str = ""
    value: str = ""
    rule: str = ""
    challenge: tuple[str, ...] = ()
    held: bool = False


def make_problem(why: Reason, service: str, detail: Mapping[str, object]) -> Problem:
    """Make the Problem for a refusal in reply to `service`. `detail` holds values for the sentence's placeholders."""
    row = PROBLEMS[why]
    rule = why.rule
    sentence = row.sentence.format_map(_Blanks(detail))
    words = f"{rule}: {sentence}" if rule else sentence
    return Problem(
        problem=row.services.get(service, row.problem),
        detail=words,
        element=row.element,
        rule=rule,
    )


def find_scheme(problem: str, service: str) -> str:
    """Return a problem type's scheme URL for a reply to `service`. Source: NCIP v1 schemes, processingerrortype."""
    if problem in MESSAGING:
        return MESSAGING_SCHEME
    return GENERAL_SCHEME if problem in GENERAL else f"{_ERRORS}{service.lower()}processingerror.scm"


class _Blanks(dict[str, str]):
    """Values to substitute into a sentence. A missing value becomes an ellipsis instead of an error."""

    def __init__(self, detail: Mapping[str, object]) -> None:
        super().__init__({k: v.isoformat() if isinstance(v, date) else str(v) for k, v in detail.items()})

    def __missing__(self, _key: str) -> str:
        return "…"


# Meaning "already": the peer is in the desired state, so the message counts as delivered. "later": the same document may
# succeed later. "refused": the document will never succeed. "fault": the problem is about our agency, version or service rather
# than the item, and the document waits until an administrator has corrected the configuration. A row with a service takes
# precedence over a row without a service. A type without a row is a final refusal, since sending the document again would give
# the same reply and delay the messages behind it.
ASKING: Final = ("RequestItem", "CancelRequestItem", "RenewItem")
"""Commands whose replies determine the position of our request."""
_NO_SUCH_SERVICE: Final = (UNSUPPORTED_SERVICE, UNKNOWN_SERVICE, UNAUTHORIZED_SERVICE)
NOT_UNDERSTOOD: Final = (
    *(*_NO_SUCH_SERVICE, "Unauthorized Service For System"),
    *(UNAUTHORIZED_VALUES, "Unauthorized Combination Of Element Values For System"),
    *("Unknown Element", "Unknown Scheme", "Unknown Value From Known Scheme"),
)

# fmt: off
_FOREIGN_ROWS: Final[tuple[tuple[str, str, Meaning], ...]] = (
    (TRY_LATER,                                                   "",                     "later"),
    ("Patron Record is Busy",                                     "",                     "later"),  # Relais
    ("",                                                          "",                     "later"),  # mod-ncip sends no type
    # Our identity is wrong, so the peer rejects all our documents.
    *((problem, "", "fault") for problem in (AUTHENTICATION_FAILED, "System Authentication Failed", UNKNOWN_AGENCY)),
    *((problem, "", "fault") for problem in ("Unknown System", "Unsupported Version", "Unknown Version")),
    ("Unknown partner",                                           "",                     "fault"),  # Alma
    # Missing rights or an unsupported document are a fault in reply to a command, but a refusal in reply to a notification.
    *((problem, asked, "fault") for asked in ASKING for problem in NOT_UNDERSTOOD),
    # An earlier copy of the document has arrived, and its reply was lost.
    ("Duplicate Request",                                         "RequestItem",          "already"),
    ("Request Already Processed",                                 "",                     "already"),
    # In reply to a cancellation, this may mean that the item has been shipped. The request waits for the next event.
    ("Request Already Processed",                                 "CancelRequestItem",    "refused"),
    # mod-rs, VDX and Relais send these for an item that has already been returned, so our notification is no longer needed.
    *((_NOT_LENT, reported, "already") for reported in ("ItemReceived", "ItemShipped", "ItemCheckedOut")),
    *((problem, reported, "already") for problem in ("Not On Loan", "9022") for reported in ("ItemReceived", "ItemShipped")),
    ("Unknown Item",                                              "ItemReceived",         "already"),
    # An item reported as lost or returned is already back at the lender.
    *((problem, "CirculationStatusChangeReported", "already") for problem in (_NOT_LENT, "Unknown Item")),
    ("Unknown Request",                                           "ItemRequestCancelled", "already"),
    ("Duplicate Item",                                            "",                     "already"),
    # A renewal stays valid if the peer does not support ItemRenewed. A peer that does not support ItemCheckedOut already knows
    # that we have the item.
    *((no, told, "already") for told in ("ItemRenewed", "ItemCheckedOut") for no in _NO_SUCH_SERVICE),
    # Koha's own problem type for an item with another patron's hold.
    ("Check Out Not Allowed - Item Has Outstanding Requests",     "",                     "refused"),
)
# fmt: on

FOREIGN: Final[Mapping[tuple[str, str], Meaning]] = MappingProxyType({(p.casefold(), s): m for p, s, m in _FOREIGN_ROWS})

_SPELLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        name.casefold(): name
        for name in (
            *GENERAL,
            *MESSAGING,
            *(problem for row in ROWS for problem in (row.problem, *row.services.values())),
        )
    }
)


Meanings = tuple[tuple[str, Meaning], ...]
"""(text, meaning) pairs for one partner. Each text is a ProblemType, or part of a ProblemDetail or ProblemValue."""


def find_own_meaning(problem: NcipMessage, own: Meanings) -> Meaning | None:
    """Return a Problem's meaning by the partner's own texts, or None. The detail takes precedence over the type."""
    kind, *details = (problem.text(name).casefold() for name in ("ProblemType", "ProblemDetail", "ProblemValue"))
    in_detail = (meant for words, meant in own if any(words.casefold() in text for text in details))
    of_its_kind = (meant for words, meant in own if words.casefold() == kind)
    return next(in_detail, None) or next(of_its_kind, None)


def find_meaning(problem: str, service: str) -> Meaning:
    """Return the meaning of a peer's problem type in reply to our `service`. Ignore scheme and case."""
    folded = " ".join(problem.split()).casefold()
    return FOREIGN.get((folded, service)) or FOREIGN.get((folded, "")) or "refused"


def spell_problem(problem: str) -> str:
    """Return a problem type as spelt in the standard, or as received if not in the standard."""
    text = " ".join(problem.split())
    return _SPELLED.get(text.casefold(), text)
