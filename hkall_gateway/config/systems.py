"""The supported systems, with one row per product. The name is used as `system = "…"` in gateway.toml.

A row has default values for the keys in a `[[partners]]`, `[[clients]]` or `[ils]` table with that system. Keys in gateway.toml
take precedence. docs/generate/systems_page.py describes each system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

Keys = Mapping[str, object]
"""Key in a gateway.toml table -> default value."""


class SystemRole(StrEnum):
    """The role of a system. The values are table names in gateway.toml."""

    PARTNER = "partners"
    CLIENT = "clients"
    ILS = "ils"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One product. `partners`, `clients` and `ils` are defaults for these tables, or None if the product never has the role."""

    name: str
    title: str
    partners: Keys | None = None
    clients: Keys | None = None
    ils: Keys | None = None

    def defaults(self, use: SystemRole) -> Keys | None:
        """Return the defaults for a role, or None if the product never has that role."""
        return {SystemRole.PARTNER: self.partners, SystemRole.CLIENT: self.clients, SystemRole.ILS: self.ils}[use]


_KOHA: Final[Keys] = MappingProxyType({"dialect": "koha", "problems": {"Unknown User": "fault"}})
"""Koha places holds for our institutional user. If Koha does not know that user, none of our requests can succeed."""
_KOHA_ILS: Final[Keys] = MappingProxyType(
    {"ncip_dialect": "koha", "unknown_user": ("Unkown User", "Unknown User"), "tells_loans": False}
)
"""Koha's LookupUserResponse misspells the ProblemType as "Unkown User"."""

# fmt: off
_ROWS: Final = (
    System(
        name="vufind", title="VuFind, driver XCNCIP2",
        clients=MappingProxyType({"request_type": "Hold", "without_header": True, "pin": "blocks"}),
    ),
    System(
        name="folio", title="FOLIO, mod-ncip",
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
        name="koha", title="Koha, ncip-server of ByWater Solutions",
        partners=_KOHA,
        ils=MappingProxyType({**_KOHA_ILS, "connector": "sip2"}),
    ),
    System(
        name="ncipserver", title="NCIPServer of Evergreen and Koha",
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
        name="evergreen", title="Evergreen behind INN-Reach, iNCIPit",
        partners=MappingProxyType({"dialect": "innreach"}),
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        name="alma", title="Alma, peer to peer",
        partners=MappingProxyType({"dialect": "direct", "renewal_mode": "ask_first"}),
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        name="crosslink", title="crosslink (ReShare)",
        partners=MappingProxyType({"dialect": "broker", "item_id_type": "Item Barcode"}),
    ),
    System(
        name="openrs", title="OpenRS (DCB)",
        partners=MappingProxyType({"dialect": "openrs", "request_id_in_ext": True}),
    ),
    System(
        name="wms", title="WorldShare Management Services",
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        name="sierra", title="Sierra, NCIP Responder",
        partners=MappingProxyType({"dialect": "broker", "request_type": "Hold", "request_scope_type": "Title"}),
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        name="symphony", title="SirsiDynix Symphony",
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        name="polaris", title="Polaris",
        ils=MappingProxyType({"connector": "sip2"}),
    ),
    System(
        name="xc", title="XC NCIP Toolkit",
        partners=MappingProxyType({"dialect": "direct", "can_lookup_items": True, "can_lookup_request": True}),
        ils=MappingProxyType({"connector": "ncip"}),
    ),
)
# fmt: on

SYSTEMS: Final[Mapping[str, System]] = MappingProxyType({row.name: row for row in _ROWS})


def names(use: SystemRole) -> list[str]:
    """Return the names of the systems that may have a role."""
    return [row.name for row in SYSTEMS.values() if row.defaults(use) is not None]
