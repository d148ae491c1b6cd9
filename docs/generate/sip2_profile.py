"""The use of every SIP2 message and field by the gateway, in one sentence each, for docs/profile.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Support(StrEnum):
    """How the gateway supports a message or a field."""

    YES = "yes"
    READ = "read"
    IGNORED = "ignored"
    UNSENT = "never sent"


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """The support for one message or field, and the reason."""

    use: Support
    why: str


def _row(use: Support, why: str) -> ProfileRow:
    return ProfileRow(use, why)


Y, R, I, U = Support.YES, Support.READ, Support.IGNORED, Support.UNSENT  # noqa: E741  # one letter keeps the rows of the table short

# fmt: off
MESSAGES: Final[Mapping[str, ProfileRow]] = {
    "01": _row(Y, "Blocks the card at the gateway until a 25; the block of the library's own system is separate. Not "
                  "offered to dialect `public`."),
    "09": _row(Y, "Receives a copy from its lender, or takes back a loan (R12, R16, R17). BI undoes a checkout. A No "
                  "Block check-in is accepted, and flagged if a rule refuses it."),
    "11": _row(Y, "Lends the copy that waits for this patron (R13 to R21). Repeated: a renewal if the terminal allows "
                  "it and it is not the same scan, else the same success. BI undoes a check-in. A No Block checkout is "
                  "accepted, and flagged."),
    "15": _row(Y, "+ places a request with other libraries, - cancels it (R34), * changes the pickup location or the "
                  "last day. A copy that is on the hold shelf for a patron cannot be held (R22). - and * accept the "
                  "values of a list of 64, in AB or AJ."),
    "17": _row(Y, "The circulation status follows the request's position: 08 held, 04 lent, 05 minimum use, 07 "
                  "recalled, 10 in transit, 11 claimed, 12 lost. The patron of a held copy is never named."),
    "19": _row(Y, "Stores the item properties that a terminal sends; 18 and 10 return them."),
    "23": _row(Y, "Returns whether the patron may borrow, and their debt."),
    "25": _row(Y, "Lifts a block that a terminal set here, and no other."),
    "29": _row(Y, "Renews by AB, else by AJ (R27 to R33). A fine for the late days must be acknowledged by BO."),
    "35": _row(Y, "Always answered; the gateway keeps no patron session to end."),
    "37": _row(Y, "Pays the charge that CG names, else the oldest first; never more than is owed. Once for each BK and "
                  "terminal."),
    "63": _row(Y, "Counts of all six lists, and entries BP to BQ of the one list that the summary asks for; neither "
                  "after a wrong PIN."),
    "65": _row(Y, "Renews every loan that may be renewed; AF gives the reason for each other one."),
    "93": _row(Y, "Plain text only: no other algorithm is standardised. Three wrong logins close the connection."),
    "97": _row(Y, "The last reply again, byte for byte; 96 if there was none."),
    "99": _row(Y, "Answered before the login too. Status code and print width have no effect: the gateway prints "
                  "nothing."),
    "10": _row(Y, "With sort bin, alert and the routing fields for sorters, as set in the dialect."),
    "12": _row(Y, "AJ and AH always; BV with a fee that must be acknowledged."),
    "16": _row(Y, "Available is Y once the book is on the hold shelf."),
    "18": _row(Y, "With due, recall and collection dates."),
    "20": _row(Y, "1 if the properties were stored."),
    "24": _row(Y, "With BL and CQ, except for facts that are unknown while the library's own system is away; answers 23 "
                  "and 01."),
    "26": _row(Y, "As 24."),
    "30": _row(Y, "A renewal that needs the lender's answer first is not ok yet; it shows the old date."),
    "36": _row(Y, "Always Y for a terminal that is logged in."),
    "38": _row(Y, "With the transaction number of the 37."),
    "64": _row(Y, "A list only if the summary asks for it (CalState's client broke on others)."),
    "66": _row(Y, "Every loan is in BM or BN."),
    "94": _row(Y, "1 or 0, without a reason."),
    "96": _row(Y, "For a wrong checksum, and for a 97 without a reply to repeat."),
    "98": _row(Y, "BX and flags list the messages that this terminal gets answered; with the relay, by both sides."),
}
"""Every message in both directions."""

FIELDS: Final[Mapping[str, ProfileRow]] = {
    "AA": _row(Y, "The card's barcode, blanks trimmed."),
    "AB": _row(Y, "The copy's barcode; one that fits two libraries' copies is refused as ambiguous."),
    "AC": _row(I, "The login identifies the terminal; accepted absent, empty or filled."),
    "AD": _row(Y, "Checked only if it is sent; five wrong ones in a quarter of an hour close the card's PIN. Never "
                  "logged."),
    "AE": _row(Y, "Not after a wrong PIN, nor without one if the dialect requires it. In Chinese if the terminal can "
                  "show it."),
    "AF": _row(Y, "The reason, in English or Chinese, with the rule's number; long texts continue in further fields."),
    "AG": _row(U, "Terminals print their own slips."),
    "AH": _row(Y, "The last second of the due day, in the dialect's format; empty if there is none."),
    "AJ": _row(Y, "The title; in 15 and 29 it names the book if AB does not, in 15 also by the union catalogue's "
                  "number."),
    "AL": _row(R, "Kept with the block, for staff."),
    "AM": _row(Y, "`[library] name`."),
    "AN": _row(Y, "The terminal's location."),
    "AO": _row(Y, "Our agency, or `[ils] institution` on lines of the relay. Received values are not compared; one that "
                  "names a lending library tells two copies of one barcode apart."),
    "AP": _row(Y, "Read in 09, where the login's own location counts; in 18 the hold shelf's."),
    "AQ": _row(Y, "The agency that owns the copy."),
    "AS": _row(Y, "HKALL books that wait on the hold shelf, until the end of their last day."),
    "AT": _row(Y, "Overdue loans."),
    "AU": _row(Y, "Loans."),
    "AV": _row(Y, "Charges with their number for CG, then the running fines of books that are not back; also for the summary "
                  "positions 6 and 7, by which makes ask for fees one by one."),
    "AY": _row(Y, "Copied; with AZ it identifies a repeated line, which gets its first answer again and has no second "
                  "effect."),
    "AZ": _row(Y, "Of the bytes; a sum of code points is accepted and counted. Sent to terminals that send it."),
    "BD": _row(U, "Postal addresses are not loaded: the gateway has no use for them."),
    "BE": _row(Y, "With the right PIN; without one only to dialects that show contact data."),
    "BF": _row(U, "Telephone numbers are not loaded."),
    "BG": _row(Y, "The agency that owns the copy."),
    "BH": _row(Y, "HKD, or the dialect's."),
    "BI": _row(Y, "Undoes; repeated, it is a success again."),
    "BK": _row(Y, "In 37 and 38. Loans have no transaction number here."),
    "BL": _row(Y, "N for an unknown card. While the library's own system is away: as it last said, else left out, or N by "
                  "the dialect."),
    "BM": _row(Y, "Barcodes that were renewed."),
    "BN": _row(Y, "Barcodes that were not."),
    "BO": _row(Y, "Without Y a renewal that costs money is refused with BV. Loans and requests are free."),
    "BP": _row(Y, "From 1."),
    "BQ": _row(Y, "Inclusive."),
    "BR": _row(U, "HKALL books have no queue (R22)."),
    "BS": _row(Y, "One of `[library] pickup_locations`; default: the first (R4)."),
    "BT": _row(Y, "04, overdue, with a fee of 12 and 30."),
    "BU": _row(Y, "Loans that their owners recall."),
    "BV": _row(Y, "The unpaid charges; absent while they are unknown; in 37 the sum paid. Two decimals."),
    "BW": _row(Y, "The last day on which the book is wanted."),
    "BX": _row(Y, "Sixteen positions, true for this terminal."),
    "BY": _row(Y, "3, this very copy, is refused; every other type is a title."),
    "BZ": _row(U, "Holds have no limit of their own: requests count with the loans (R20)."),
    "CA": _row(U, "There is no limit of overdue books."),
    "CB": _row(Y, "The quota of the patron's category (R18)."),
    "CC": _row(Y, "`[block] max_debt_cents`, where it is set."),
    "CD": _row(Y, "Requests that have not arrived; by title while no copy is known."),
    "CF": _row(Y, "1 while a patron waits for the copy, else 0."),
    "CG": _row(R, "The number of a charge, as AV shows it."),
    "CH": _row(Y, "Stored from 19, returned in 18, 20 and 10."),
    "CI": _row(U, "The gateway controls no security gate."),
    "CJ": _row(Y, "The day of the recall."),
    "CK": _row(Y, "001 in 18: only books are lent (R5)."),
    "CL": _row(Y, "hold, shelf, exception, or the library that it goes to."),
    "CM": _row(Y, "The last day to collect (R14)."),
    "CN": _row(Y, "`login` of a terminal."),
    "CO": _row(Y, "Compared with `secret_hash`. Never logged."),
    "CP": _row(R, "Sent to the library's own system with the login; the terminal's own location is in the "
                  "configuration."),
    "CQ": _row(Y, "Y only for a PIN that was sent and is right. While it cannot be checked: as last known, else left "
                  "out, or N by the dialect."),
    "CR": _row(U, "Collections of other libraries are not known here."),
    "CS": _row(Y, "The call number of the catalogue, in 10 and 18."),
    "CT": _row(Y, "The library or place that a copy goes to."),
    "CV": _row(Y, "00 none, 01 hold here, 04 to another library, 99 for staff; with every check-in or with the "
                  "alert only."),
    "CY": _row(Y, "The patron for whom it is held; dialects `sorter` and `counter`."),
    "DA": _row(Y, "That patron's name; the same dialects."),
    "PA": _row(Y, "The last day of the card; dialect `counter`."),
    "PB": _row(U, "Birth dates are not loaded."),
    "PC": _row(Y, "The patron's category; dialect `counter`."),
}
"""Every field of TAGS. READ and IGNORED fields are only received; IGNORED ones have no effect. UNSENT ones are for replies."""
# fmt: on
