"""The supported partner systems: one row for each product, by the name that `system = "…"` in gateway.toml uses.

A row has the defaults for a `[[partners]]`, `[[clients]]` or `[ils]` row of that system, in the keys of the configuration;
keys in the file itself take precedence. docs/systems.md is generated from it.
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


class Basis(StrEnum):
    """The kind of evidence for a statement about a system."""

    RUN = "run"
    """Tested with the system's own program."""
    PLAYED = "played"
    """Its program was read, and the test suite plays documents of the same shape (`fixtures/scenarios/system-…`)."""
    READ = "read"
    """Its program, schema or documentation was read, and no more."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The features that work with a system in one use, the kind of evidence, and its `version` (a release, or a commit)."""

    use: SystemRole
    what: str
    seen: Basis
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """One system product.

    `partners`, `clients`, `ils`: the defaults of a row of that table; None if the system is never used so.
    `proofs`: its ways to authenticate. `numbers`: the side that numbers the RequestId in its RequestItemResponse. `needs`:
    elements that it looks for, and where. `never_tells`: facts that it never sends, so that they are unknown, not zero.
    """

    name: str
    title: str
    kind: str
    partners: Keys | None = None
    clients: Keys | None = None
    ils: Keys | None = None
    proofs: tuple[str, ...] = ()
    numbers: str = "the asker's"
    needs: tuple[str, ...] = ()
    never_tells: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    def defaults(self, use: SystemRole) -> Keys | None:
        """Return the defaults of a row of a table. None if the system is never used so."""
        return {SystemRole.PARTNER: self.partners, SystemRole.CLIENT: self.clients, SystemRole.ILS: self.ils}[use]


_AGENCY, _ADDRESS = "FromAgencyAuthentication", "address"

STAND_IN: Final = "on a stand-in for Koha's own modules, with readers and books in memory"
UNANNOUNCED: Final = "shipments: our counter receives its books unannounced"

_KOHA: Final[Keys] = MappingProxyType({"dialect": "koha", "problems": {"Unknown User": "fault"}})
"""Koha places the hold for our institutional user; if it does not know that user, no request of ours can succeed."""
_KOHA_ILS: Final[Keys] = MappingProxyType(
    {"ncip_dialect": "koha", "unknown_user": ("Unkown User", "Unknown User"), "tells_loans": False}
)
"""Its LookupUserResponse spells the type so."""

# fmt: off
_ROWS: Final = (
    System(
        "vufind", "VuFind, driver XCNCIP2", "discovery",
        clients=MappingProxyType({"request_type": "Hold", "without_header": True, "pin": "blocks"}),
        proofs=("HTTP Basic", "bearer token", _ADDRESS),
        numbers="ours",
        needs=(
            '`pin = "blocks"` (by `system`; a row with `pin` of its own must say it): it leaves out a PIN of `0`, and asks for'
            " blocks without a PIN; so without one it gets the blocks, no UserId, and no change",
            "RequestedItem/RequestType Hold or Recall, else a hold is not shown",
            "LoanedItem/Ext/BibliographicDescription/BibliographicRecordId: the record that a loan links to",
            "UserFiscalAccount/AccountDetails: one for each charge; a balance alone is not shown",
            "StructuredPersonalUserName: GivenName and Surname (`[library] name_order` divides our names)",
            "LookupAgencyResponse/Ext/LocationName: pickup locations; it sends a LocationNameLevel back as PickupLocation",
        ),
        never_tells=(_AGENCY, "a RequestId of its own", "InitiationHeader, if it has no fromAgency"),
        evidence=(
            Evidence(SystemRole.CLIENT, "patronLogin, getMyProfile, getMyTransactions, getMyHolds, getMyFines, "
                     "getPickUpLocations, getStatuses, getHolding, getAccountBlocks, placeHold (again after a cancellation), "
                     "cancelHolds, renewMyItems", Basis.RUN, "10.0, driver of commit 0b44211d"),
        ),
    ),
    System(
        "folio", "FOLIO, mod-ncip", "library system",
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
        proofs=("API key in the address",),
        numbers="its own",
        needs=(
            "RequestItem: BibliographicRecordIdentifier is the instance's HRID (`local_bib_id` of the holdings) and "
            "RequestId; UserId is our institutional user (`our_user`)",
            "CancelRequestItem: its own RequestId",
            "LookupUser: UserElementType `User Id`, or its answer has no UserId",
        ),
        never_tells=("loans", UNANNOUNCED, "the reason of a failure in ProblemType"),
        evidence=(
            Evidence(SystemRole.PARTNER, "RequestItem, CancelRequestItem", Basis.PLAYED, "mod-ncip 1.18.0-SNAPSHOT, 85faee7"),
            Evidence(SystemRole.ILS, "LookupUser, PIN", Basis.PLAYED, "mod-ncip 1.18.0-SNAPSHOT, 85faee7",
                     "a PIN that its own patron-pin service cannot check counts as wrong"),
        ),
    ),
    System(
        "koha", "Koha, ncip-server of ByWater Solutions", "library system",
        partners=_KOHA,
        ils=MappingProxyType({**_KOHA_ILS, "connector": "sip2"}),
        proofs=("token in the address", _ADDRESS),
        numbers="its own",
        needs=(
            "the name `NCIPMessage` without a prefix",
            "RequestItem: ToAgencyId is the code of a branch; BibliographicRecordIdentifier is the biblionumber",
        ),
        never_tells=("loans", UNANNOUNCED, "a Problem for a service that it does not have"),
        evidence=(
            Evidence(SystemRole.PARTNER, "RequestItem, CancelRequestItem, also of a book that it does not have", Basis.RUN,
                     "bywatersolutions/ncip-server 18a5150", STAND_IN),
            Evidence(SystemRole.ILS, "LookupUser, PIN (`connector = \"ncip\"`)", Basis.RUN,
                     "bywatersolutions/ncip-server 18a5150", STAND_IN),
            Evidence(SystemRole.PARTNER, "RenewItem, CheckOutItem, CheckInItem",
                     Basis.READ, "bywatersolutions/ncip-server 18a5150"),
        ),
    ),
    System(
        "ncipserver", "NCIPServer of Evergreen and Koha", "library system",
        partners=MappingProxyType({
            "dialect": "koha",
            "problems": {
                "We can not place a hold, we have no borrower information": "fault",
                "We can not place a request, we have no borrower information": "fault",
            },
        }),
        ils=MappingProxyType({**_KOHA_ILS, "connector": "ncip"}),
        proofs=(_ADDRESS,),
        numbers="its own",
        needs=("white space between `<NCIPMessage>` and the service",),
        never_tells=("loans",),
        evidence=(
            Evidence(SystemRole.PARTNER, "RequestItem, as the gateway writes it",
                     Basis.RUN, "Libriotech/NCIPServer 131ebe9", STAND_IN),
            Evidence(SystemRole.PARTNER, "CancelRequestItem", Basis.READ, "Libriotech/NCIPServer 131ebe9"),
        ),
    ),
    System(
        "evergreen", "Evergreen behind INN-Reach, iNCIPit", "library system",
        partners=MappingProxyType({"dialect": "innreach"}),
        ils=MappingProxyType({"connector": "sip2"}),
        proofs=(_ADDRESS,),
        needs=("ItemRequested, ItemShipped: title, author and call number in ItemOptionalFields",),
        never_tells=("any service but LookupUser",),
        evidence=(Evidence(SystemRole.PARTNER, "its events", Basis.READ, "iNCIPit 236a8b7"),),
    ),
    System(
        "alma", "Alma, peer to peer", "library system",
        partners=MappingProxyType({"dialect": "direct", "renewal_mode": "ask_first"}),
        ils=MappingProxyType({"connector": "sip2"}),
        proofs=(_ADDRESS, "partner code in ApplicationProfileType"),
        needs=("ApplicationProfileType: the code of its partner record of us (`application_profile`)",),
        never_tells=("the event that it answers: its reply is a generic `Response`",),
        evidence=(
            Evidence(SystemRole.PARTNER, "ItemReceived and the other events, by its replies", Basis.PLAYED,
                     "csusm-library/NCIP-Relay 2b88f3e"),
            Evidence(SystemRole.PARTNER, "RequestItem, ItemShipped, RenewItem, RecallItem",
                     Basis.READ, "Ex Libris' NCIP profiles"),
        ),
    ),
    System(
        "crosslink", "crosslink (ReShare)", "broker",
        partners=MappingProxyType({"dialect": "broker", "item_id_type": "Item Barcode"}),
        proofs=(_AGENCY, _ADDRESS),
        needs=(
            "RequestItemResponse: ItemId of type `Item Barcode`, or ItemDescription/CopyNumber; title and call number",
            "CheckOutItemResponse: the title",
            "HTTP status 200 and `application/xml`",
        ),
        never_tells=("an AgencyId beside a RequestId, UserId or ItemId", "RequestType in CancelRequestItem"),
        evidence=(
            Evidence(SystemRole.PARTNER, "LookupUser, RequestItem, CancelRequestItem, CheckOutItem, CheckInItem, AcceptItem, "
                     "DeleteItem", Basis.PLAYED, "indexdata/crosslink 251163a"),
        ),
    ),
    System(
        "openrs", "OpenRS (DCB)", "broker",
        partners=MappingProxyType({"dialect": "openrs", "request_id_in_ext": True}),
        proofs=("JWT, keys by JWKS",),
        needs=("every reply: RequestIdentifierValue, also beside a Problem and in ItemShippedResponse", "a ResponseHeader"),
        never_tells=("an AgencyId beside a RequestId",),
        evidence=(
            Evidence(SystemRole.PARTNER, "RequestItem, AcceptItem, ItemShipped from it; ItemShipped, ItemReceived, "
                     "ItemCheckedOut, CancelRequestItem to it", Basis.PLAYED, "dcb-service beca785",
                     "FromAgencyId must stay that of OpenRS: no agency mapping of its libraries"),
        ),
    ),
    System(
        "wms", "WorldShare Management Services", "library system",
        ils=MappingProxyType({"connector": "sip2"}),
        proofs=("login",),
        never_tells=("any NCIP answer without HMAC or OAuth 2, which the gateway does not support",),
        evidence=(Evidence(SystemRole.ILS, "SIP2 63, 17", Basis.READ, "OCLC's documentation"),),
    ),
    System(
        "sierra", "Sierra, NCIP Responder", "library system",
        partners=MappingProxyType({"dialect": "broker", "request_type": "Hold", "request_scope_type": "Title"}),
        ils=MappingProxyType({"connector": "sip2"}),
        proofs=(_ADDRESS,),
        needs=("RequestItem: UserId is an institutional patron record (`our_user`); PickupLocation is one of its codes",),
        never_tells=(UNANNOUNCED,),
        evidence=(Evidence(SystemRole.PARTNER, "RequestItem", Basis.READ, "III's documentation; lib-ncip-client of ReShare"),),
    ),
    System(
        "symphony", "SirsiDynix Symphony", "library system",
        ils=MappingProxyType({"connector": "sip2"}),
        proofs=("login",),
        evidence=(Evidence(SystemRole.ILS, "SIP2 63, 17", Basis.READ, "SirsiDynix' documentation"),),
    ),
    System(
        "polaris", "Polaris", "library system",
        ils=MappingProxyType({"connector": "sip2"}),
        proofs=("login",),
        evidence=(Evidence(SystemRole.ILS, "SIP2 63, 17", Basis.READ, "Innovative's documentation"),),
    ),
    System(
        "xc", "XC NCIP Toolkit", "library system",
        partners=MappingProxyType({"dialect": "direct", "can_lookup_items": True, "can_lookup_request": True}),
        ils=MappingProxyType({"connector": "ncip"}),
        proofs=(_ADDRESS,),
        evidence=(Evidence(SystemRole.ILS, "LookupUser, LookupItem", Basis.READ, "NCIP2-Toolkit, sample messages"),),
    ),
)
# fmt: on

SYSTEMS: Final[Mapping[str, System]] = MappingProxyType({row.name: row for row in _ROWS})


def names(use: SystemRole) -> list[str]:
    """Return the systems that a table may name."""
    return [row.name for row in SYSTEMS.values() if row.defaults(use) is not None]
