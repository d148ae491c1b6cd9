"""The supported partner systems: one row for each product, by the name that `system = "…"` in gateway.toml uses.

A row has the defaults for a `[[partners]]`, `[[clients]]` or `[ils]` row of that system, in the keys of the configuration.
Keys in the file itself take precedence. docs/generate/systems_page.py has what is known about each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

Keys = Mapping[str, object]
"""Keys of one table of gateway.toml, and their defaults for a system."""


class SystemRole(StrEnum):
    """The role of a system for this gateway: the table of gateway.toml that names it."""

    PARTNER = "partners"
    CLIENT = "clients"
    ILS = "ils"


@dataclass(frozen=True, slots=True)
class System:
    """One system product.

    `partners`, `clients`, `ils`: the defaults of a row of that table. None if the system is never used so.
    """

    name: str
    title: str
    partners: Keys | None = None
    clients: Keys | None = None
    ils: Keys | None = None

    def defaults(self, use: SystemRole) -> Keys | None:
        """Return the defaults of a row of a table. None if the system is never used so."""
        return {SystemRole.PARTNER: self.partners, SystemRole.CLIENT: self.clients, SystemRole.ILS: self.ils}[use]


_KOHA: Final[Keys] = MappingProxyType({"dialect": "koha", "problems": {"Unknown User": "fault"}})
"""Koha places the hold for our institutional user; if it does not know that user, no request of ours can succeed."""
_KOHA_ILS: Final[Keys] = MappingProxyType(
    {"ncip_dialect": "koha", "unknown_user": ("Unkown User", "Unknown User"), "tells_loans": False}
)
"""Its LookupUserResponse spells the type so."""

# fmt: off
_ROWS: Final = (
    System(
        "vufind", "VuFind, driver XCNCIP2",
        clients=MappingProxyType({"request_type": "Hold", "without_header": True, "pin": "blocks"}),
    ),
    System(
        "folio", "FOLIO, mod-ncip",
        partners=MappingProxyType({
            "dialect": "broker",
            "request_type": "Page",
            "request_scope_type": "Title",
            "problems": {
                "Did not find a user with that id": "fault",
                "User id missing": "fault",
                "Could not determine FromAgency": "fault",
                "NCIP Properties have not been initialized": "fault",
            },
        }),
        ils=MappingProxyType({
            "connector": "ncip",
            "card_input_type": "barcode",
            "pin_with_user_id": True,
            "unknown_user": ("Did not find a user with that id",),
            "wrong_pin": ("PIN check failed",),
            "tells_loans": False,
            "looks_up_items": False,
        }),
    ),
    System(
        "koha", "Koha, ncip-server of ByWater Solutions",
        partners=_KOHA,
        ils=MappingProxyType({**_KOHA_ILS, "connector": "sip2"}),
    ),
    System(
        "ncipserver", "NCIPServer of Evergreen and Koha",
        partners=MappingProxyType({
            "dialect": "koha",
            "problems": {
                "We can not place a hold, we have no borrower information": "fault",
                "We can not place a request, we have no borrower information": "fault",
            },
        }),
        ils=MappingProxyType({**_KOHA_ILS, "connector": "ncip"}),
    ),
    System(
        "evergreen", "Evergreen behind INN-Reach, iNCIPit",
        partners=MappingProxyType({"dialect": "innreach"}),
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        "alma", "Alma, peer to peer",
        partners=MappingProxyType({"dialect": "direct", "renewal_mode": "ask_first"}),
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        "crosslink", "crosslink (ReShare)",
        partners=MappingProxyType({"dialect": "broker", "item_id_type": "Item Barcode"}),
    ),
    System(
        "openrs", "OpenRS (DCB)",
        partners=MappingProxyType({"dialect": "openrs", "request_id_in_ext": True}),
    ),
    System(
        "wms", "WorldShare Management Services",
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        "sierra", "Sierra, NCIP Responder",
        partners=MappingProxyType({"dialect": "broker", "request_type": "Hold", "request_scope_type": "Title"}),
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        "symphony", "SirsiDynix Symphony",
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        "polaris", "Polaris",
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        "xc", "XC NCIP Toolkit",
        partners=MappingProxyType({"dialect": "direct", "can_lookup_items": True, "can_lookup_request": True}),
        ils=MappingProxyType({"connector": "ncip"}),
    ),
)
# fmt: on

SYSTEMS: Final[Mapping[str, System]] = MappingProxyType({row.name: row for row in _ROWS})


def names(use: SystemRole) -> list[str]:
    """Return the systems that a table may name."""
    return [row.name for row in SYSTEMS.values() if row.defaults(use) is not None]
