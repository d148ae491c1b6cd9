"""The gateway's use of every SIP2 message and field, in one sentence each: the text of docs/profile.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Support(StrEnum):
    """How far a message or a field goes with us."""

    YES = "yes"
    READ = "read"
    IGNORED = "ignored"
    UNSENT = "never sent"


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One message or field: how it is used, and why."""

    use: Support
    why: str


def _row(use: Support, why: str) -> ProfileRow:
    return ProfileRow(use, why)


Y, R, I, U = Support.YES, Support.READ, Support.IGNORED, Support.UNSENT  # noqa: E741  # the table reads better with one letter a row

# fmt: off
MESSAGES: Final[Mapping[str, ProfileRow]] = {
    "01": _row(Y, "Blocks the card here until 25 lifts it; the library's own block is another thing. Not offered "
                  "to dialect `public`."),
    "09": _row(Y, "Receives what comes from its lender, takes back what was lent (R12, R16, R17). BI undoes a "
                  "checkout. No block is taken, and flagged where a rule says no."),
    "11": _row(Y, "Lends what waits for this patron (R13 to R21). Again: a renewal if the terminal allows it and "
                  "it is not the same scan, else the same success. BI undoes a check-in. No block is taken, and flagged."),
    "15": _row(Y, "+ places a request with other libraries, - cancels it (R34), * changes place or last day. A "
                  "copy that is here for somebody cannot be held (R22). - and * take what a list of 64 told, in AB or AJ."),
    "17": _row(Y, "Status by where the request stands: 08 held, 04 lent, 05 minimum use, 07 recalled, 10 on its "
                  "way, 11 claimed, 12 lost. Never for whom a copy is kept."),
    "19": _row(Y, "What a terminal says of a copy's make is kept, and given back in 18 and 10."),
    "23": _row(Y, "May this patron borrow, what do they owe."),
    "25": _row(Y, "Lifts what a terminal blocked here, nothing else."),
    "29": _row(Y, "Renews by AB, else by AJ (R27 to R33). What the late days cost must be acknowledged by BO."),
    "35": _row(Y, "Always answered; nothing is kept between a patron's messages, so there is nothing to end."),
    "37": _row(Y, "Pays the charge that CG names, else the oldest first; never more than is owed. Once per BK and "
                  "terminal."),
    "63": _row(Y, "Counts of all six lists, and the one list that the summary asks for, from BP to BQ; neither after "
                  "a wrong PIN."),
    "65": _row(Y, "Renews every loan that may be; AF says why not of each other."),
    "93": _row(Y, "Plain text only: no other algorithm is agreed anywhere. Three wrong ones close the connection."),
    "97": _row(Y, "The last reply again, byte for byte; 96 where there was none."),
    "99": _row(Y, "Answered before the login too. Status code and print width change nothing: nothing is printed "
                  "from here."),
    "10": _row(Y, "With sort bin, alert and what sorters route by, as the dialect wants it."),
    "12": _row(Y, "AJ and AH always; BV with a fee that must be acknowledged."),
    "16": _row(Y, "Available is Y once the book is on the hold shelf."),
    "18": _row(Y, "With due, recall and collection dates."),
    "20": _row(Y, "1 where the properties were kept."),
    "24": _row(Y, "BL and CQ always said, but for what nobody can tell while the library's own system is away; answers "
                  "23 and 01."),
    "26": _row(Y, "As 24."),
    "30": _row(Y, "A renewal that the lender must grant first is not ok yet, with the old date."),
    "36": _row(Y, "Always Y for a terminal that is logged in."),
    "38": _row(Y, "With the transaction number that came."),
    "64": _row(Y, "Lists only where the summary asks (CalState's client broke on unasked ones)."),
    "66": _row(Y, "Every loan is in BM or BN."),
    "94": _row(Y, "No more than yes or no."),
    "96": _row(Y, "For a wrong checksum, and for a 97 with nothing to repeat."),
    "98": _row(Y, "BX and flags are what is really answered at this terminal, by both sides where lines are passed on."),
}
"""Every message, in both directions."""

FIELDS: Final[Mapping[str, ProfileRow]] = {
    "AA": _row(Y, "The card's barcode, blanks trimmed."),
    "AB": _row(Y, "The copy's barcode; one that fits two libraries' copies is refused as ambiguous."),
    "AC": _row(I, "The login says which terminal it is; accepted absent, empty or filled."),
    "AD": _row(Y, "Compared only where it came; five wrong ones in a quarter of an hour close the card's PIN. "
                  "Never logged."),
    "AE": _row(Y, "Not after a wrong PIN, nor without one where the dialect asks for it. Chinese where the "
                  "terminal can show it."),
    "AF": _row(Y, "The reason, in English or Chinese, with the rule's number; further fields where it is long."),
    "AG": _row(U, "Slips are the terminal's own."),
    "AH": _row(Y, "The last second of the due day, in the dialect's format; empty where there is none."),
    "AJ": _row(Y, "The title; in 15 and 29 it names the book where AB does not, in 15 also by the union "
                  "catalogue's number."),
    "AL": _row(R, "Kept with the block, for staff."),
    "AM": _row(Y, "`[library] name`."),
    "AN": _row(Y, "The terminal's location."),
    "AO": _row(Y, "Our agency, or `[ils] institution` where lines are passed on. What comes is not compared; one that names "
                  "a lending library tells two copies of one barcode apart."),
    "AP": _row(Y, "Read in 09, where the login's own location counts; in 18 the hold shelf's."),
    "AQ": _row(Y, "The agency that owns the copy."),
    "AS": _row(Y, "HKALL books that wait on the hold shelf, until the end of their last day."),
    "AT": _row(Y, "Overdue loans."),
    "AU": _row(Y, "Loans."),
    "AV": _row(Y, "Charges with their number for CG, then what runs on for books that are not back."),
    "AY": _row(Y, "Copied; with AZ it tells a repeated line, which is answered and not done again."),
    "AZ": _row(Y, "Of the bytes; a sum of code points is accepted and counted. Sent to whom sends it."),
    "BD": _row(U, "Postal addresses are not loaded: nobody here needs them."),
    "BE": _row(Y, "With the right PIN, or to dialects that show contact data without."),
    "BF": _row(U, "Telephone numbers are not loaded."),
    "BG": _row(Y, "The agency that owns the copy."),
    "BH": _row(Y, "HKD, or the dialect's."),
    "BI": _row(Y, "Undoes; asked again it is a success again."),
    "BK": _row(Y, "In 37 and 38. Loans have no transaction number here."),
    "BL": _row(Y, "N for an unknown card. While the library's own system is away: as it last said, else left out, or N by "
                  "the dialect."),
    "BM": _row(Y, "Barcodes that were renewed."),
    "BN": _row(Y, "Barcodes that were not."),
    "BO": _row(Y, "Without Y a renewal that costs money is refused with BV. Loans and requests cost nothing."),
    "BP": _row(Y, "From 1."),
    "BQ": _row(Y, "That line included."),
    "BR": _row(U, "HKALL books have no queue (R22)."),
    "BS": _row(Y, "One of `[library] pickup_locations`; the first where none is named (R4)."),
    "BT": _row(Y, "04, overdue, with a fee of 12 and 30."),
    "BU": _row(Y, "Loans that their owners want back."),
    "BV": _row(Y, "What is charged and not paid, absent while nobody can tell; of 37 the sum paid. Two decimals."),
    "BW": _row(Y, "The last day on which the book is wanted."),
    "BX": _row(Y, "Sixteen positions that tell the truth for this terminal."),
    "BY": _row(Y, "3, this very copy, is refused; every other type is a title."),
    "BZ": _row(U, "Holds have no limit of their own: requests count with the loans (R20)."),
    "CA": _row(U, "There is no limit of overdue books."),
    "CB": _row(Y, "The quota of the patron's category (R18)."),
    "CC": _row(Y, "`[block] max_debt_cents`, where it is set."),
    "CD": _row(Y, "Requests that have not arrived; by title while no copy is known."),
    "CF": _row(Y, "1 while somebody waits for the copy, else 0."),
    "CG": _row(R, "The number of a charge, as AV shows it."),
    "CH": _row(Y, "Kept from 19, given back in 18, 20 and 10."),
    "CI": _row(U, "No gate is told anything from here."),
    "CJ": _row(Y, "The day of the recall."),
    "CK": _row(Y, "001 in 18: only books are lent (R5)."),
    "CL": _row(Y, "hold, shelf, exception, or the library that it goes to."),
    "CM": _row(Y, "The last day to collect (R14)."),
    "CN": _row(Y, "`login` of a terminal."),
    "CO": _row(Y, "Against `secret_hash`. Never logged."),
    "CP": _row(R, "Told to the library's own system with the login; where a terminal stands is in the configuration."),
    "CQ": _row(Y, "Y only for a PIN that came and was right. One that nobody can check at the moment: as last known, else "
                  "left out, or N by the dialect."),
    "CR": _row(U, "Collections of other libraries are not known here."),
    "CS": _row(Y, "The call number of the catalogue, in 10 and 18."),
    "CT": _row(Y, "The library or place that a copy goes to."),
    "CV": _row(Y, "00 none, 01 hold here, 04 to another library, 99 for staff; with every check-in or with the "
                  "alert only."),
    "CY": _row(Y, "For whom it is held; dialects `sorter` and `counter`."),
    "DA": _row(Y, "That patron's name; the same dialects."),
    "PA": _row(Y, "Until when the card runs; dialect `counter`."),
    "PB": _row(U, "Birth dates are not loaded."),
    "PC": _row(Y, "The patron's category; dialect `counter`."),
}
"""Every field of TAGS. `read` comes in only, `ignored` too but changes nothing, `never sent` is what a reply might hold."""
# fmt: on
