"""The known properties of each system in `config/systems.py`, with the evidence, for docs/systems.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from hkall_gateway.config.systems import SystemRole


class Basis(StrEnum):
    """The kind of evidence for a statement about a system."""

    RUN = "run"
    """Tested with the system's own program."""
    PLAYED = "played"
    """The system's program was read, and the test suite replays documents of the same shape (`fixtures/scenarios/system-…`)."""
    READ = "read"
    """Only its program, schema or documentation was read."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The features that work with a system in one role, the evidence, and the system's `version` (release or commit)."""

    use: SystemRole
    what: str
    seen: Basis
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """Known properties of a system.

    Attributes:
        proofs: Ways in which it authenticates.
        numbers: Side whose number is the RequestId in its RequestItemResponse.
        needs: Elements that it reads, and where.
        never_tells: Data that it never sends, so that they are unknown, not zero.
    """

    kind: str
    proofs: tuple[str, ...] = ()
    numbers: str = "the asker's"
    needs: tuple[str, ...] = ()
    never_tells: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


_AGENCY, _ADDRESS = "FromAgencyAuthentication", "address"

STAND_IN: Final = "on a stand-in for Koha's own modules, with readers and books in memory"
UNANNOUNCED: Final = "shipments: our counter receives its books unannounced"

# fmt: off
FACTS: Final[Mapping[str, SystemFacts]] = MappingProxyType({
    "vufind": SystemFacts(
        "discovery",
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
    "folio": SystemFacts(
        "library system",
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
    "koha": SystemFacts(
        "library system",
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
    "ncipserver": SystemFacts(
        "library system",
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
    "evergreen": SystemFacts(
        "library system",
        proofs=(_ADDRESS,),
        needs=("ItemRequested, ItemShipped: title, author and call number in ItemOptionalFields",),
        never_tells=("any service but LookupUser",),
        evidence=(Evidence(SystemRole.PARTNER, "its events", Basis.READ, "iNCIPit 236a8b7"),),
    ),
    "alma": SystemFacts(
        "library system",
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
    "crosslink": SystemFacts(
        "broker",
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
    "openrs": SystemFacts(
        "broker",
        proofs=("JWT, keys by JWKS",),
        needs=("every reply: RequestIdentifierValue, also beside a Problem and in ItemShippedResponse", "a ResponseHeader"),
        never_tells=("an AgencyId beside a RequestId",),
        evidence=(
            Evidence(SystemRole.PARTNER, "RequestItem, AcceptItem, ItemShipped from it; ItemShipped, ItemReceived, "
                     "ItemCheckedOut, CancelRequestItem to it", Basis.PLAYED, "dcb-service beca785",
                     "FromAgencyId must stay that of OpenRS: no agency mapping of its libraries"),
        ),
    ),
    "wms": SystemFacts(
        "library system",
        proofs=("login",),
        never_tells=("any NCIP answer without HMAC or OAuth 2, which the gateway does not support",),
        evidence=(Evidence(SystemRole.ILS, "SIP2 63, 17", Basis.READ, "OCLC's documentation"),),
    ),
    "sierra": SystemFacts(
        "library system",
        proofs=(_ADDRESS,),
        needs=("RequestItem: UserId is an institutional patron record (`our_user`); PickupLocation is one of its codes",),
        never_tells=(UNANNOUNCED,),
        evidence=(Evidence(SystemRole.PARTNER, "RequestItem", Basis.READ, "III's documentation; lib-ncip-client of ReShare"),),
    ),
    "symphony": SystemFacts(
        "library system",
        proofs=("login",),
        evidence=(Evidence(SystemRole.ILS, "SIP2 63, 17", Basis.READ, "SirsiDynix' documentation"),),
    ),
    "polaris": SystemFacts(
        "library system",
        proofs=("login",),
        evidence=(Evidence(SystemRole.ILS, "SIP2 63, 17", Basis.READ, "Innovative's documentation"),),
    ),
    "xc": SystemFacts(
        "library system",
        proofs=(_ADDRESS,),
        evidence=(Evidence(SystemRole.ILS, "LookupUser, LookupItem", Basis.READ, "NCIP2-Toolkit, sample messages"),),
    ),
})
# fmt: on
