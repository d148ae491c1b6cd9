"""Maps status words of library systems to NISO's CirculationStatus, for holdings, look-ups and the local system.

The CirculationStatus tells whether an item is available. Case, blanks, hyphens and underscores in words are ignored.
Source: NISO Z39.83, circulationstatus; HKALL rules R6, R7; the systems' own lists.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

VendorRows = tuple[tuple[str, str, tuple[str, ...]], ...]
"""Rows of (system, meaning, words of the system with this meaning)."""

# fmt: off
CIRCULATION_STATUS: Final = (
    "Available For Pickup", "Available On Shelf", "Circulation Status Undefined", "Claimed Returned Or Never Borrowed",
    "In Process", "In Transit Between Library Locations", "Lost", "Missing", "Not Available", "On Loan", "On Order",
    "Pending Transfer", "Recalled", "Waiting To Be Reshelved",
)
"""Source: NCIP v1 schemes, circulationstatus."""

ON_SHELF:  Final = "Available On Shelf"
UNDEFINED: Final = "Circulation Status Undefined"
_WAITS, _CLAIMED, _PROCESS = "Available For Pickup", "Claimed Returned Or Never Borrowed", "In Process"
_WAY, _SHELVING, _RECALLED = "In Transit Between Library Locations", "Waiting To Be Reshelved", "Recalled"
_LOST, _MISSING, _NOT, _LOAN, _ORDER = "Lost", "Missing", "Not Available", "On Loan", "On Order"

_ROWS: Final[VendorRows] = (
    # The status AVAILABLE of the published page, and texts that OPACs commonly show.
    ("page",       ON_SHELF,  ("AVAILABLE", "Available on the shelf", "On shelf")),
    ("page",       _NOT,      ("Unavailable",)),
    # Alma: the base status in words or as a number, and the codes and texts of the code table PROCESSTYPE, as found in public
    # clients of its REST API (Princeton's bibdata, Michigan's catalogue, OpenRS).
    ("alma",       ON_SHELF,  ("Item in place", "1")),
    ("alma",       _NOT,      ("Item not in place", "0", "ILL", "Resource sharing request")),
    ("alma",       _LOAN,     ("Loan",)),
    ("alma",       _ORDER,    ("ACQ", "Acquisition")),
    ("alma",       _WAITS,    ("HOLDSHELF", "On hold shelf", "REQUESTED")),
    ("alma",       _WAY,      ("TRANSIT", "TRANSIT_TO_REMOTE_STORAGE", "In transit to remote storage")),
    ("alma",       _LOST,     ("LOST_LOAN", "LOST_ILL", "Lost resource sharing item", "LOST_LOAN_AND_PAID")),
    ("alma",       _CLAIMED,  ("CLAIM_RETURNED_LOAN",)),
    ("alma",       _PROCESS,  ("TECHNICAL", "Technical - Migration", "WORK_ORDER_DEPARTMENT")),
    # FOLIO: the item statuses in ui-inventory and ui-requests. The list in mod-inventory-storage (item.json) is incomplete.
    ("folio",      ON_SHELF,  ("Available in ASR",)),
    ("folio",      UNDEFINED, ("Unknown",)),
    ("folio",      _SHELVING, ("Recently returned",)),
    ("folio",      _LOAN,     ("Checked out",)),
    ("folio",      _WAITS,    ("Awaiting pickup", "Awaiting delivery", "Paged", "Retrieving from ASR")),
    ("folio",      _WAY,      ("In transit",)),
    ("folio",      _LOST,     ("Declared lost", "Aged to lost", "Lost and paid")),
    ("folio",      _MISSING,  ("Long missing", "Missing from ASR")),
    ("folio",      _CLAIMED,  ("Claimed returned",)),
    ("folio",      _PROCESS,  ("In process (non-requestable)",)),
    ("folio",      _ORDER,    ("Order closed",)),
    ("folio",      _NOT,      ("Restricted", "Withdrawn", "Intellectual item")),
    # Koha: C4::ILSDI::Services, the OPAC's item-status.inc, and the authorised values LOST, NOT_LOAN, DAMAGED and RESTRICTED of
    # its installer.
    ("koha",       _NOT,      ("Not for loan", "Damaged", "Item damaged", "Restricted access", "Item withdrawn",
                               "Staff collection")),
    ("koha",       _WAITS,    ("Waiting", "On hold", "Item waiting")),
    ("koha",       _LOST,     ("Item lost", "Long overdue (lost)", "Lost and paid for")),
    ("koha",       _LOAN,     ("Checked out to a patron", "Onloan")),
    ("koha",       _ORDER,    ("Ordered",)),
    # Sierra and Millennium: codes that the system itself sets, or that most libraries use with the same meaning, and the texts
    # for them in OPACs. Source: code lists of NYPL (nypl-core), Marmot, Mid-Hudson and Minuteman; Pika's Sierra driver.
    # A library's own definitions belong in its policy.
    ("sierra",     ON_SHELF,  ("-", "Check shelf", "Check shelves")),
    ("sierra",     _LOAN,     ("DUE *", "Charged", "Off campus", "@")),
    ("sierra",     _WAITS,    ("!", "On holdshelf", "Hold shelf")),
    ("sierra",     _WAY,      ("t", "ILL returned")),
    ("sierra",     _MISSING,  ("m", "On search", "Missing in transit")),
    ("sierra",     _CLAIMED,  ("z", "Clms retd", "Claims returned", "Claims retd")),
    ("sierra",     _LOST,     ("$", "n", "Billed")),
    ("sierra",     _NOT,      ("o", "Lib use only", "Library use only", "Use in library", "d", "p", "On display",
                               "Noncirculating", "Staff use only", "Temporarily unavailable")),
    ("sierra",     _PROCESS,  ("In processing", "Cataloguing", "Binding", "Mending")),
    # Symphony: common names of current locations, which each library defines itself. Source: WorkFlows help (Indiana
    # University), Stanford's SearchWorks, TRLN's location map, Edmonton Public Library's reports.
    ("symphony",   ON_SHELF,  ("STACKS",)),
    ("symphony",   _LOAN,     ("CHECKEDOUT", "LONGOVRDUE")),
    ("symphony",   _WAITS,    ("HOLDS",)),
    ("symphony",   _WAY,      ("INTRANSIT", "INSHIPPING")),
    ("symphony",   _LOST,     ("LOST-ASSUM", "LOST-PAID", "ASSMD-LOST", "STOLEN")),
    ("symphony",   _CLAIMED,  ("LOST-CLAIM",)),
    ("symphony",   _PROCESS,  ("INPROCESS",)),
    ("symphony",   _NOT,      ("DISCARD", "DAMAGE", "REPAIR")),
    # Evergreen: config.copy_status of a new database (950.data.seed-values.sql), 0 to 18.
    ("evergreen",  _WAITS,    ("On holds shelf", "On reservation shelf")),
    ("evergreen",  _SHELVING, ("Reshelving",)),
    ("evergreen",  _PROCESS,  ("Bindery", "Cataloging")),
    ("evergreen",  _NOT,      ("Reserves", "Discard/Weed")),
    ("evergreen",  _LOST,     ("Long overdue",)),
    ("evergreen",  _WAY,      ("Canceled transit",)),
    # Polaris: the descriptions in its item status API, as listed in OpenRS (PolarisConstants, PolarisItemMapperTests).
    ("polaris",    ON_SHELF,  ("In",)),
    ("polaris",    _LOAN,     ("Out", "Out-ILL", "EContent external loan")),
    ("polaris",    _WAITS,    ("Held",)),
    ("polaris",    _WAY,      ("Transferred", "Returned-ILL", "Routed")),
    ("polaris",    _CLAIMED,  ("Claim returned", "Claim never had", "Claim missing parts")),
    ("polaris",    _SHELVING, ("Shelving",)),
    ("polaris",    _PROCESS,  ("In-Repair",)),
    ("polaris",    _NOT,      ("Non-circulating",)),
    # XC's NCIP toolkit: the values of XcCirculationStatus, which are Voyager's item statuses.
    ("xc",         ON_SHELF,  ("Not charged",)),
    ("xc",         _SHELVING, ("Discharged",)),
    ("xc",         _LOAN,     ("Renewed", "Overdue")),
    ("xc",         _RECALLED, ("Recall request",)),
    ("xc",         _WAITS,    ("Hold request", "Call slip request", "Short loan request", "Remote storage request",
                               "Scheduled")),
    ("xc",         _WAY,      ("In transit discharged", "In transit on hold")),
    ("xc",         _LOST,     ("Lost--Library applied", "Lost--System applied")),
    ("xc",         _PROCESS,  ("At bindery", "Cataloging review", "Circulation review")),
)
# fmt: on


@lru_cache(maxsize=4096)
def folded(word: str) -> str:
    """Normalise a word for comparison: fold the case, and replace blanks, hyphens and underscores with single blanks."""
    return " ".join(re.split(r"[\s_-]+", word.strip())).strip().casefold() or word.strip()


@dataclass(frozen=True, slots=True)
class VendorWord:
    """One word of a system, and its meaning.

    A word that ends with " *" matches texts with this prefix, followed by a digit: "DUE *" matches "DUE 03-16-17".
    """

    system: str
    word: str
    meaning: str


def vendor_words(rows: VendorRows) -> tuple[VendorWord, ...]:
    """Expand rows to one VendorWord per word."""
    return tuple(VendorWord(system, word, meaning) for system, meaning, words in rows for word in words)


WORDS: Final = (*(VendorWord("niso", status, status) for status in CIRCULATION_STATUS), *vendor_words(_ROWS))
_BEGINNINGS: Final = {folded(row.word.removesuffix("*")): row.meaning for row in WORDS if row.word.endswith(" *")}
_MEANT: Final[Mapping[str, str]] = MappingProxyType(
    {folded(row.word): row.meaning for row in WORDS if not row.word.endswith(" *")}
)


class Availability(Enum):
    """Whether an item is available. UNKNOWN: the status word is not in the table."""

    AVAILABLE = "available"
    OUT = "not available"
    UNKNOWN = "not known"


def circulation_status(word: str) -> str:
    """Return the CirculationStatus for a system's word. "" if the word is not in the table."""
    spelling = folded(word)
    first, _, rest = spelling.partition(" ")
    return _MEANT.get(spelling) or (_BEGINNINGS.get(first) if not rest or rest[0].isdigit() else "") or ""


@lru_cache(maxsize=1024)
def availability(word: str, listed: tuple[str, ...]) -> Availability:
    """Return whether an item with a status word is available.

    `listed` has the words that mean available in the policy. Words with the same CirculationStatus count too.
    Source: HKALL rules R6, R7.
    """
    meant = _meaning_of(word)
    if meant in {_meaning_of(one) for one in listed}:
        return Availability.AVAILABLE
    known = meant in CIRCULATION_STATUS and meant != UNDEFINED
    return Availability.OUT if known else Availability.UNKNOWN


def is_known(word: str, listed: Collection[str] = ()) -> bool:
    """Return whether a word is in the table or in `listed`. Callers log a warning about unknown words."""
    return bool(circulation_status(word)) or folded(word) in {folded(one) for one in listed}


def _meaning_of(word: str) -> str:
    return circulation_status(word) or folded(word)
