"""Words for titles and copies: the language of a text, and the state of a copy as the published page words it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.titles import CopySeen, CopyState
from hkall_gateway.rules.vendor_words.availability import circulation_status
from hkall_gateway.web.i18n import N_, gettext

_IDEOGRAPH: Final = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_MARC_LANGUAGES: Final = {"jpn": "ja", "kor": "ko"}
"""Languages other than Chinese that are written with ideographs, by their codes in MARC."""

# fmt: off
STATES: Final[Mapping[CopyState, str]] = MappingProxyType({
    CopyState.AVAILABLE: N_("AVAILABLE"),
    CopyState.NOT_LENT:  N_("Not lent to other libraries"),
    CopyState.IN_USE:    N_("Lent through HKALL"),
})
STATUSES: Final[Mapping[str, str]] = MappingProxyType({
    "Available For Pickup":                N_("Waiting for a reader"),
    "Available On Shelf":                  N_("On the shelf"),
    "Circulation Status Undefined":        N_("Not known"),
    "Claimed Returned Or Never Borrowed":  N_("Being looked for"),
    "In Process":                          N_("In processing"),
    "In Transit Between Library Locations": N_("In transit"),
    "Lost":                                N_("Lost"),
    "Missing":                             N_("Missing"),
    "Not Available":                       N_("Not available"),
    "On Loan":                             N_("Checked out"),
    "On Order":                            N_("On order"),
    "Pending Transfer":                    N_("In transit"),
    "Recalled":                            N_("Recalled"),
    "Waiting To Be Reshelved":             N_("Returned, not yet on the shelf"),
})
"""What a copy's library says of it, for a CirculationStatus of NISO."""
# fmt: on


def state_of(seen: CopySeen) -> str:
    """Return the state of a copy in words; a library's word that the table lacks is shown as it is."""
    if seen.state in STATES:
        return gettext(STATES[seen.state])
    word = seen.copy.status
    status = circulation_status(word)
    return gettext(STATUSES[status]) if status else word or gettext("Not known")


def language_of(text: str, marc: str = "") -> str:
    """Return the language of a text with ideographs for its `lang` attribute; "" for another text."""
    return _MARC_LANGUAGES.get(marc, "zh") if _IDEOGRAPH.search(text) else ""
