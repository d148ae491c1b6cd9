"""The content model of NCIP 1.0 and 1.01 as data: the grammar of each element, its default scheme, and its name in NCIP 2.

1.0 has a DTD, and 2.0 a schema with other names (UniqueItemId became ItemId); in 1.0 Scheme and Value are children. The
alternatives of the DTD are kept here, since every document of NCIP 1 is written to be valid against it.
Source: ncip_v1_0.dtd (16 August 2002). The places marked @1.01 and the LookupRequest pair are from the change history of 1.01
(3 May 2004), put where 2.0 has them; its DTD could not be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["text", "scheme", "empty", "dateTime", "integer", "count", "ordinal"]


@dataclass(frozen=True, slots=True)
class ContentPart:
    """One place in a content model: an element by name, or (without a name) a group of `parts`.

    Of a group all parts stand in order, or one of them when it is `either`. `late` places came with 1.01.
    """

    name: str = ""
    required: bool = True
    repeats: bool = False
    late: bool = False
    parts: tuple[ContentPart, ...] = ()
    either: bool = False

    @property
    def names(self) -> frozenset[str]:
        """The elements that may stand here."""
        inside = (part.names for part in self.parts)
        return frozenset((self.name,)) if self.name else frozenset().union(*inside)


# A row is one or more names at the margin and, indented, the content they share, in the DTD's order: `?` at most one, `*` any
# number, `+` one or more, no mark exactly one, `|` between alternatives; @1.01 behind an element that 1.0 does not have.

INITIATIONS = """
AcceptItem
    InitiationHeader MandatedAction? UniqueRequestId RequestedActionType UniqueUserId? UniqueItemId?
    (DateForReturn | IndeterminateLoanPeriodFlag | NonReturnableFlag)? RenewalNotPermitted?
    FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?
AgencyCreated
    InitiationHeader UniqueAgencyId OrganizationNameInformation+ AgencyAddressInformation* AuthenticationPrompt*
    ApplicationProfileSupportedType* ConsortiumAgreement* AgencyUserPrivilegeType*
AgencyUpdated
    InitiationHeader UniqueAgencyId DeleteAgencyFields? AddAgencyFields?
AuthenticateUser
    InitiationHeader AuthenticationInput+
CancelRecallItem CheckInItem
    InitiationHeader MandatedAction? UniqueItemId ItemElementType* UserElementType*
CancelRequestItem
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+) (UniqueItemId | (UniqueRequestId
    UniqueItemId?)) RequestType RequestScopeType? AcknowledgedFeeAmount?@1.01 PaidFeeAmount?@1.01 ItemElementType*
    UserElementType*
CheckOutItem
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+) UniqueItemId UniqueRequestId?
    AcknowledgedFeeAmount? PaidFeeAmount?@1.01 AcknowledgedItemUseRestrictionType* ShippingInformation?
    ResourceDesired? DesiredDateDue? ItemElementType* UserElementType*
CirculationStatusChangeReported
    InitiationHeader UniqueItemId UniqueUserId (ItemReportedReturned | ItemReportedNeverBorrowed |
    ItemReportedLost | ItemReportedMissing) ItemOptionalFields? UserOptionalFields? FiscalTransactionInformation?
CirculationStatusUpdated
    InitiationHeader UniqueItemId CirculationStatus
CreateAgency
    InitiationHeader MandatedAction? UniqueAgencyId? OrganizationNameInformation+ AgencyAddressInformation*
    AuthenticationPrompt* ApplicationProfileSupportedType* ConsortiumAgreement* AgencyUserPrivilegeType*
CreateItem
    InitiationHeader MandatedAction? UniqueItemId? UniqueRequestId? BibliographicDescription ItemUseRestrictionType*
    CirculationStatus? ItemDescription? Location* PhysicalCondition? SecurityMarker? SensitizationFlag?
CreateUser
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+)? VisibleUserId* NameInformation
    UserAddressInformation* DateOfBirth? UserLanguage* UserPrivilege* BlockOrTrap*
CreateUserFiscalTransaction
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+) FiscalTransactionInformation
ItemCheckedIn
    InitiationHeader UniqueUserId? UniqueItemId RoutingInformation? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields?
ItemCheckedOut
    InitiationHeader UniqueUserId UniqueItemId UniqueRequestId? (DateDue | IndeterminateLoanPeriodFlag |
    NonReturnableFlag) ElectronicResourceProvidedFlag? RenewalCount? FiscalTransactionInformation?
    ShippingInformation? ItemOptionalFields? UserOptionalFields?
ItemCreated
    InitiationHeader UniqueItemId UniqueRequestId? BibliographicDescription ItemUseRestrictionType*
    CirculationStatus? ItemDescription? Location* PhysicalCondition? SecurityMarker? SensitizationFlag?
ItemRecallCancelled
    InitiationHeader UniqueUserId? UniqueItemId FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields?
ItemRecalled
    InitiationHeader UniqueUserId? UniqueItemId DateDue ShippingInformation? ItemOptionalFields? UserOptionalFields?
ItemReceived
    InitiationHeader UniqueItemId UniqueUserId? UniqueRequestId? DateReceived ItemOptionalFields?
    UserOptionalFields?
ItemRenewed
    InitiationHeader UniqueUserId? UniqueItemId DateDue RenewalCount? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields?
ItemRequestCancelled
    InitiationHeader UniqueUserId (UniqueItemId | (UniqueRequestId UniqueItemId?)) RequestType RequestScopeType?
    FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?
ItemRequestUpdated
    InitiationHeader ((UniqueUserId UniqueItemId RequestType) | UniqueRequestId) DeleteRequestFields?
    AddRequestFields? ItemOptionalFields? UserOptionalFields?
ItemRequested
    InitiationHeader UniqueUserId (UniqueItemId | (UniqueBibliographicId UniqueRequestId)) RequestType
    RequestScopeType ShippingInformation? EarliestDateNeeded? NeedBeforeDate? PickupExpiryDate? DateOfUserRequest?
    DateAvailable? ItemOptionalFields? UserOptionalFields?
ItemShipped
    InitiationHeader (UniqueItemId | (UniqueRequestId UniqueItemId?)) UniqueUserId? DateShipped ShippingInformation
    ItemOptionalFields? UserOptionalFields?
ItemUpdated
    InitiationHeader UniqueItemId DeleteItemFields? AddItemFields?
LookupAgency
    InitiationHeader UniqueAgencyId AgencyElementType+
LookupItem
    InitiationHeader (UniqueItemId | VisibleItemId | UniqueRequestId) ItemElementType+ CurrentBorrowerDesired?
    CurrentRequestersDesired?
LookupRequest
    InitiationHeader (((UniqueUserId | AuthenticationInput+) UniqueItemId RequestType) | UniqueRequestId)
    RequestElementType* ItemElementType* UserElementType*
LookupUser
    InitiationHeader (UniqueUserId | VisibleUserId | AuthenticationInput+) UserElementType+ LoanedItemsDesired?
    RequestedItemsDesired? UserFiscalAccountDesired?
RecallItem
    InitiationHeader MandatedAction? UniqueItemId DesiredDateDue? ShippingInformation? ItemElementType*
    UserElementType*
RenewItem
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+) UniqueItemId ItemElementType*
    UserElementType* DesiredDateDue? DesiredDateForReturn? AcknowledgedFeeAmount? PaidFeeAmount?@1.01
    AcknowledgedItemUseRestrictionType*
ReportCirculationStatusChange
    InitiationHeader MandatedAction? UniqueItemId (UniqueUserId | AuthenticationInput+) (ItemReportedReturned |
    ItemReportedNeverBorrowed | ItemReportedLost | ItemReportedMissing) ItemElementType* UserElementType*
RequestItem
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+) (UniqueItemId | UniqueBibliographicId)
    UniqueRequestId? RequestType RequestScopeType ShippingInformation? EarliestDateNeeded? NeedBeforeDate?
    PickupExpiryDate? AcknowledgedFeeAmount? PaidFeeAmount?@1.01 AcknowledgedItemUseRestrictionType*
    ItemElementType* UserElementType*
SendUserNotice
    InitiationHeader MandatedAction? UniqueUserId DateToSend? UserNoticeDetails
UndoCheckOutItem
    InitiationHeader MandatedAction? UniqueItemId (UniqueUserId | AuthenticationInput+)? UniqueRequestId?
UpdateAgency
    InitiationHeader MandatedAction? UniqueAgencyId DeleteAgencyFields? AddAgencyFields?
UpdateCirculationStatus
    InitiationHeader MandatedAction? UniqueItemId CirculationStatus
UpdateItem
    InitiationHeader MandatedAction? UniqueItemId DeleteItemFields? AddItemFields?
UpdateRequestItem
    InitiationHeader MandatedAction? (((UniqueUserId | AuthenticationInput+) UniqueItemId RequestType) |
    UniqueRequestId) DeleteRequestFields? AddRequestFields? ItemElementType* UserElementType*
UpdateUser
    InitiationHeader MandatedAction? (UniqueUserId | AuthenticationInput+) DeleteUserFields? AddUserFields?
UserCreated
    InitiationHeader UniqueUserId VisibleUserId* NameInformation UserAddressInformation* DateOfBirth? UserLanguage*
    UserPrivilege* BlockOrTrap*
UserFiscalTransactionCreated
    InitiationHeader UniqueUserId FiscalTransactionInformation
UserNoticeSent
    InitiationHeader UniqueUserId DateSent UserNoticeDetails
UserUpdated
    InitiationHeader UniqueUserId DeleteUserFields? AddUserFields?
"""

RESPONSES = """
AcceptItemResponse
    ResponseHeader (Problem | (UniqueRequestId UniqueItemId?))
AgencyCreatedResponse AgencyUpdatedResponse CirculationStatusChangeReportedResponse CirculationStatusUpdatedResponse
ItemCheckedInResponse ItemCheckedOutResponse ItemCreatedResponse ItemRecallCancelledResponse ItemRecalledResponse
ItemReceivedResponse ItemRenewedResponse ItemRequestCancelledResponse ItemRequestUpdatedResponse
ItemRequestedResponse ItemShippedResponse ItemUpdatedResponse UserCreatedResponse
UserFiscalTransactionCreatedResponse UserNoticeSentResponse UserUpdatedResponse
    ResponseHeader MessagingError*
AuthenticateUserResponse CreateUserResponse UpdateUserResponse
    ResponseHeader (Problem | UniqueUserId)
CancelRecallItemResponse
    ResponseHeader (Problem | (UniqueItemId UniqueUserId? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields?))
CancelRequestItemResponse
    ResponseHeader (Problem | ((UniqueItemId | (UniqueRequestId UniqueItemId?)) UniqueUserId
    FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?))
CheckInItemResponse
    ResponseHeader (Problem | (UniqueItemId UniqueUserId? RoutingInformation? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields?))
CheckOutItemResponse
    ResponseHeader ((Problem RequiredFeeAmount? RequiredItemUseRestrictionType*) | (UniqueItemId UniqueUserId
    (DateDue | IndeterminateLoanPeriodFlag | NonReturnableFlag) RenewalCount? ElectronicResource?
    FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?))
CreateAgencyResponse UpdateAgencyResponse
    ResponseHeader (Problem | UniqueAgencyId)
CreateItemResponse UpdateCirculationStatusResponse UpdateItemResponse
    ResponseHeader (Problem | UniqueItemId)
CreateUserFiscalTransactionResponse
    ResponseHeader (Problem | (UniqueUserId FiscalTransactionReferenceId))
LookupAgencyResponse
    ResponseHeader (Problem | (UniqueAgencyId OrganizationNameInformation* AgencyAddressInformation*
    AuthenticationPrompt* ApplicationProfileSupportedType* ConsortiumAgreement* AgencyUserPrivilegeType*))
LookupItemResponse
    ResponseHeader (Problem | ((UniqueItemId | (UniqueRequestId UniqueItemId?)) HoldPickupDate? DateRecalled?
    ItemTransaction? ItemOptionalFields?))
LookupRequestResponse
    ResponseHeader (Problem | ((UniqueItemId | (UniqueRequestId UniqueItemId?)) UniqueUserId? RequestType?
    RequestScopeType? RequestStatusType? HoldQueuePosition? ShippingInformation? EarliestDateNeeded? NeedBeforeDate?
    PickupDate? PickupExpiryDate? DateOfUserRequest? DateAvailable? AcknowledgedFeeAmount? PaidFeeAmount?
    ItemOptionalFields? UserOptionalFields?))
LookupUserResponse
    ResponseHeader (Problem | (UniqueUserId UserFiscalAccount* LoanedItemsCount* RequestedItemsCount*
    UserTransaction? UserOptionalFields?))
RecallItemResponse
    ResponseHeader (Problem | (UniqueItemId UniqueUserId? DateDue? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields?))
RenewItemResponse
    ResponseHeader ((Problem RequiredFeeAmount? RequiredItemUseRestrictionType*) | Pending | (UniqueItemId
    UniqueUserId? DateDue? DateForReturn? RenewalCount? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields?))
ReportCirculationStatusChangeResponse
    ResponseHeader (Problem | (UniqueItemId UniqueUserId? ItemOptionalFields? UserOptionalFields?))
RequestItemResponse
    ResponseHeader ((Problem RequiredFeeAmount? RequiredItemUseRestrictionType*) | ((UniqueItemId |
    (UniqueRequestId UniqueItemId?)) UniqueUserId RequestType RequestScopeType ShippingInformation? DateAvailable?
    HoldPickupDate? FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?))
SendUserNoticeResponse
    ResponseHeader (Problem | (UniqueUserId (DateSent | DateWillSend)?))
UndoCheckOutItemResponse
    ResponseHeader (Problem | (UniqueItemId UniqueUserId? FiscalTransactionInformation?))
UpdateRequestItemResponse
    ResponseHeader ((Problem RequiredFeeAmount?) | (UniqueItemId UniqueUserId RequestType RequestScopeType
    DateAvailable? HoldPickupDate? FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?))
"""

PARTS = """
AccountBalance AcknowledgedFeeAmount Amount PaidFeeAmount RequiredFeeAmount
    CurrencyCode MonetaryValue
AccountDetails
    AccrualDate FiscalTransactionInformation
AddAgencyFields DeleteAgencyFields
    OrganizationNameInformation* AgencyAddressInformation* AuthenticationPrompt* ApplicationProfileSupportedType*
    ConsortiumAgreement* AgencyUserPrivilegeType*
AddItemFields DeleteItemFields
    BibliographicDescription? ItemUseRestrictionType* ItemDescription? Location* PhysicalCondition? SecurityMarker?
    SensitizationFlag?
AddRequestFields DeleteRequestFields
    UniqueUserId? UniqueItemId? RequestType? RequestScopeType? RequestStatusType? ShippingInformation?
    EarliestDateNeeded? NeedBeforeDate? PickupExpiryDate? DateOfUserRequest? DateAvailable? AcknowledgedFeeAmount?
    PaidFeeAmount?@1.01
AddUserFields DeleteUserFields
    VisibleUserId* AuthenticationInput* NameInformation? UserAddressInformation* DateOfBirth? UserLanguage*
    UserPrivilege* BlockOrTrap*
AgencyAddressInformation
    AgencyAddressRoleType ValidFromDate? ValidToDate? (PhysicalAddress   | ElectronicAddress)
AuthenticationInput
    AuthenticationInputData AuthenticationDataFormatType AuthenticationInputType
AuthenticationPrompt
    PromptOutput PromptInput
BibliographicDescription
    Author? AuthorOfComponent? BibliographicItemId? BibliographicRecordId? ComponentId? Edition? Pagination?
    PlaceOfPublication? PublicationDate? PublicationDateOfComponent? Publisher? SeriesTitleNumber? Title?
    TitleOfComponent? BibliographicLevel? SponsoringBody? ElectronicDataFormatType? Language? MediumType?
BibliographicItemId
    BibliographicItemIdentifier BibliographicItemIdentifierCode?
BibliographicRecordId
    BibliographicRecordIdentifier (UniqueAgencyId   | BibliographicRecordIdentifierCode)
BlockOrTrap
    UniqueAgencyId BlockOrTrapType ValidFromDate? ValidToDate?
ChronologyLevelInstance
    (ChronologyCaption   | (ChronologyLevel ChronologyCaption?)) ChronologyValue
ComponentId
    ComponentIdentifierType ComponentIdentifier
CurrentBorrower CurrentRequester
    UniqueUserId
Destination
    Location   | (BinNumber Location?)
ElectronicAddress
    ElectronicAddressType ElectronicAddressData
ElectronicResource
    (ElectronicDataFormatType ActualResource)   | ReferenceToResource
EnumerationLevelInstance
    (EnumerationCaption   | (EnumerationLevel EnumerationCaption?)) EnumerationValue
FiscalTransactionInformation
    FiscalActionType FiscalTransactionReferenceId? RelatedFiscalTransactionReferenceId* FiscalTransactionType
    ValidFromDate? ValidToDate? Amount PaymentMethodType? FiscalTransactionDescription? UniqueRequestId?
    ItemDetails?
FiscalTransactionReferenceId RelatedFiscalTransactionReferenceId
    UniqueAgencyId FiscalTransactionIdentifierValue
FromAgencyId OnBehalfOfAgency ToAgencyId
    UniqueAgencyId
HoldingsChronology
    ChronologyLevelInstance+
HoldingsEnumeration
    EnumerationLevelInstance+
HoldingsInformation
    StructuredHoldingsData+   | UnstructuredHoldingsData
InitiationHeader
    FromSystemId? FromSystemAuthentication? FromAgencyId FromAgencyAuthentication? OnBehalfOfAgency? ToSystemId?
    ToAgencyId ApplicationProfileType?
ItemDescription
    VisibleItemId? CallNumber? CopyNumber? ItemDescriptionLevel? HoldingsInformation?
ItemDetails
    UniqueItemId BibliographicDescription DateCheckedOut? DateRenewed* (DateDue   | IndeterminateLoanPeriodFlag   |
    NonReturnableFlag)? DateReturned?
ItemOptionalFields
    BibliographicDescription? ItemUseRestrictionType* CirculationStatus? HoldQueueLength? ItemDescription? Location*
    PhysicalCondition? ElectronicResource? SecurityMarker? SensitizationFlag?
ItemReportedReturned
    DateReportedReturned
ItemTransaction
    CurrentBorrower? CurrentRequester*
LoanedItem
    UniqueItemId ReminderLevel (DateDue   | IndeterminateLoanPeriodFlag) Amount
LoanedItemsCount
    (CirculationStatus   | ItemUseRestrictionType) LoanedItemCountValue
Location
    LocationType LocationName ValidFromDate? ValidToDate?
LocationName
    LocationNameInstance+
LocationNameInstance
    LocationNameLevel LocationNameValue
MandatedAction
    DateEventOccurred
MessagingError
    MessagingErrorType MessagingErrorElement
MessagingErrorElement
    ElementName (MessagingErrorElement   | MessagingErrorValue)?
NameInformation
    PersonalNameInformation   | OrganizationNameInformation+
NoticeItem
    ItemDetails Amount?
OrganizationNameInformation
    OrganizationNameType OrganizationName
Pending
    DateOfExpectedReply?
PersonalNameInformation
    UnstructuredPersonalUserName   | (StructuredPersonalUserName UnstructuredPersonalUserName?)
PhysicalAddress
    (StructuredAddress   | UnstructuredAddress) PhysicalAddressType
PhysicalCondition
    PhysicalConditionType PhysicalConditionDetails?
Problem
    MessagingError+   | ProcessingError+
ProcessingError
    ProcessingErrorType ProcessingErrorElement
ProcessingErrorElement
    ElementName (ProcessingErrorElement   | ProcessingErrorValue)?
PromptInput
    AuthenticationInputType AuthenticationDataFormatType SensitiveDataFlag?
PromptOutput
    AuthenticationPromptData AuthenticationPromptType
RequestedItem
    (UniqueItemId   | (UniqueRequestId UniqueItemId?)) RequestType RequestStatusType DatePlaced PickupDate?
    PickupExpiryDate? ReminderLevel? HoldQueuePosition?
RequestedItemsCount
    (RequestType   | CirculationStatus   | ItemUseRestrictionType) RequestedItemCountValue
ResponseHeader
    FromSystemId? FromSystemAuthentication? FromAgencyId FromAgencyAuthentication? ToSystemId? ToAgencyId
RoutingInformation
    RoutingInstructions Destination RequestType? UniqueUserId?
ShippingInformation
    ShippingInstructions? ShippingNote? (PhysicalAddress   | ElectronicAddress)
StructuredAddress
    ((LocationWithinBuilding? HouseName? (District   | (PostOfficeBox District?)   | (Street PostOfficeBox?
    District?)))   | (Line1 Line2?)) Locality? Region? Country? PostalCode? CareOf?
StructuredHoldingsData
    HoldingsChronology   | (HoldingsEnumeration HoldingsChronology?)
StructuredPersonalUserName
    Prefix? GivenName? Initials? Surname Suffix?
UniqueBibliographicId
    BibliographicItemId   | BibliographicRecordId
UniqueItemId
    UniqueAgencyId ItemIdentifierValue
UniqueRequestId
    UniqueAgencyId RequestIdentifierValue
UniqueUserId
    UniqueAgencyId UserIdentifierValue
UnstructuredAddress
    UnstructuredAddressType UnstructuredAddressData
UserAddressInformation
    UserAddressRoleType ValidFromDate? ValidToDate? (PhysicalAddress   | ElectronicAddress)
UserFiscalAccount
    AccountBalance AccountDetails*
UserNoticeDetails
    NoticeType NoticeContent? (NoticeItem+   | UserFiscalAccount   | UserPrivilege)
UserOptionalFields
    VisibleUserId* NameInformation? UserAddressInformation* DateOfBirth? UserLanguage* UserPrivilege* BlockOrTrap*
UserPrivilege
    UniqueAgencyId AgencyUserPrivilegeType ValidFromDate? ValidToDate? UserPrivilegeFee? UserPrivilegeStatus?
    UserPrivilegeDescription?
UserPrivilegeFee
    Amount PaymentMethodType?
UserPrivilegeStatus
    UserPrivilegeStatusType DateOfUserPrivilegeStatus?
UserTransaction
    RequestedItem* LoanedItem*
VisibleItemId
    VisibleItemIdentifierType VisibleItemIdentifier
VisibleUserId
    UniqueAgencyId? VisibleUserIdentifierType VisibleUserIdentifier
"""

LEAVES: dict[Kind, str] = {
    "empty": """
        CurrentBorrowerDesired CurrentRequestersDesired ElectronicResourceProvidedFlag
        IndeterminateLoanPeriodFlag ItemReportedLost ItemReportedMissing ItemReportedNeverBorrowed
        LoanedItemsDesired NonReturnableFlag RenewalNotPermitted RequestedItemsDesired ResourceDesired
        SensitiveDataFlag SensitizationFlag UserFiscalAccountDesired
    """,
    "scheme": """
        AcknowledgedItemUseRestrictionType AgencyAddressRoleType AgencyElementType AgencyUserPrivilegeType
        ApplicationProfileSupportedType ApplicationProfileType AuthenticationDataFormatType
        AuthenticationInputType AuthenticationPromptType BibliographicItemIdentifierCode BibliographicLevel
        BibliographicRecordIdentifierCode BlockOrTrapType CirculationStatus ComponentIdentifierType
        ConsortiumAgreement CurrencyCode ElectronicAddressType ElectronicDataFormatType FiscalActionType
        FiscalTransactionType FromSystemId ItemDescriptionLevel ItemElementType ItemUseRestrictionType Language
        LocationType MediumType MessagingErrorType NoticeType OrganizationNameType PaymentMethodType
        PhysicalAddressType PhysicalConditionType ProcessingErrorType RequestElementType RequestScopeType
        RequestStatusType RequestType RequestedActionType RequiredItemUseRestrictionType SecurityMarker
        ToSystemId UniqueAgencyId UnstructuredAddressType UserAddressRoleType UserElementType UserLanguage
        UserPrivilegeStatusType VisibleItemIdentifierType VisibleUserIdentifierType
    """,
    "dateTime": """
        AccrualDate DateAvailable DateCheckedOut DateDue DateEventOccurred DateForReturn DateOfBirth
        DateOfExpectedReply DateOfUserPrivilegeStatus DateOfUserRequest DatePlaced DateRecalled DateReceived
        DateRenewed DateReportedReturned DateReturned DateSent DateShipped DateToSend DateWillSend
        DesiredDateDue DesiredDateForReturn EarliestDateNeeded HoldPickupDate NeedBeforeDate PickupDate
        PickupExpiryDate ValidFromDate ValidToDate
    """,
    "integer": "MonetaryValue",
    "count": "HoldQueueLength LoanedItemCountValue RenewalCount RequestedItemCountValue",
    "ordinal": "ChronologyLevel EnumerationLevel HoldQueuePosition LocationNameLevel ReminderLevel",
    "text": """
        ActualResource AuthenticationInputData AuthenticationPromptData Author AuthorOfComponent
        BibliographicItemIdentifier BibliographicRecordIdentifier BinNumber CallNumber CareOf ChronologyCaption
        ChronologyValue ComponentIdentifier CopyNumber Country District Edition ElectronicAddressData
        ElementName EnumerationCaption EnumerationValue FiscalTransactionDescription
        FiscalTransactionIdentifierValue FromAgencyAuthentication FromSystemAuthentication GivenName HouseName
        Initials ItemIdentifierValue Line1 Line2 Locality LocationNameValue LocationWithinBuilding
        MessagingErrorValue NoticeContent OrganizationName Pagination PhysicalConditionDetails
        PlaceOfPublication PostOfficeBox PostalCode Prefix ProcessingErrorValue PublicationDate
        PublicationDateOfComponent Publisher ReferenceToResource Region RequestIdentifierValue
        RoutingInstructions Scheme SeriesTitleNumber ShippingInstructions ShippingNote SponsoringBody Street
        Suffix Surname Title TitleOfComponent UnstructuredAddressData UnstructuredHoldingsData
        UnstructuredPersonalUserName UserIdentifierValue UserPrivilegeDescription Value VisibleItemIdentifier
        VisibleUserIdentifier
    """,
}

FILLING: Final[Mapping[Kind, str]] = MappingProxyType({"integer": "0", "count": "0", "ordinal": "1"})
"""Values written for required numbers without data; other required texts are left empty."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UniqueAgencyId":            "AgencyId",
        "UniqueBibliographicId":     "BibliographicId",
        "UniqueItemId":              "ItemId",
        "UniqueRequestId":           "RequestId",
        "UniqueUserId":              "UserId",
        "VisibleItemId":             "ItemId",
        "VisibleItemIdentifier":     "ItemIdentifierValue",
        "VisibleItemIdentifierType": "ItemIdentifierType",
        "VisibleUserId":             "UserId",
        "VisibleUserIdentifier":     "UserIdentifierValue",
        "VisibleUserIdentifierType": "UserIdentifierType",
        "AuthenticateUser":          "LookupUser",
        "AuthenticateUserResponse":  "LookupUserResponse",
    }
)  # fmt: skip
"""NCIP 1 name -> NCIP 2 name, where they differ. NCIP 2 replaced AuthenticateUser by a LookupUser with credentials."""

ERRORS: Final[Mapping[str, str]] = MappingProxyType({"MessagingError": "Messaging", "ProcessingError": "Processing"})
"""The error elements of NCIP 1, which are a Problem in NCIP 2, with the prefix of their children's names."""

VISIBLE: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("UserOptionalFields", "VisibleUserId"): "UserId",
        ("CreateUser",         "VisibleUserId"): "Ext/UserId",
        ("UserCreated",        "VisibleUserId"): "Ext/UserId",
        ("AddUserFields",      "VisibleUserId"): "Ext/UserId",
        ("DeleteUserFields",   "VisibleUserId"): "Ext/UserId",
        ("ItemDescription",    "VisibleItemId"): "Ext/ItemId",
    }
)  # fmt: skip
"""Path in NCIP 2 of a printed number (VisibleUserId, VisibleItemId), by parent element; elsewhere it is UserId or ItemId."""

# Most schemes are filed under the element's own name, some of them outside imp1. Source: the schemes of profile "imp1".
_NISO: Final = "http://www.niso.org/ncip/v1_0/"
_OWN_LIST = """
    AgencyAddressRoleType AuthenticationInputType BibliographicItemIdentifierCode BibliographicLevel
    BibliographicRecordIdentifierCode CirculationStatus ComponentIdentifierType FiscalActionType FiscalTransactionType
    ItemDescriptionLevel ItemUseRestrictionType LocationType MediumType OrganizationNameType PaymentMethodType
    PhysicalAddressType PhysicalConditionType RequestScopeType RequestStatusType RequestType RequestedActionType
    SecurityMarker UnstructuredAddressType UserAddressRoleType VisibleItemIdentifierType VisibleUserIdentifierType
"""
_OWN_LIST_OUTSIDE_IMP1 = "AgencyElementType ItemElementType MessagingErrorType RequestElementType UserElementType"
# No list was ever published; peers write such words (seen: "NCIP Unique Agency Id" behind INN-Reach).
_NO_LIST = """
    AgencyUserPrivilegeType ApplicationProfileSupportedType ApplicationProfileType AuthenticationPromptType
    ConsortiumAgreement FromSystemId NoticeType ToSystemId UniqueAgencyId UserPrivilegeStatusType
"""

SCHEMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AcknowledgedItemUseRestrictionType": f"{_NISO}imp1/schemes/itemuserestrictiontype/itemuserestrictiontype.scm",
        "RequiredItemUseRestrictionType":     f"{_NISO}imp1/schemes/itemuserestrictiontype/itemuserestrictiontype.scm",
        "BlockOrTrapType":                    "http://www.niso.org/ncip/v2_0/imp1/schemes/blockortraptype/blockortraptype.scm",
        "ProcessingErrorType":                f"{_NISO}schemes/processingerrortype/generalprocessingerror.scm",
        "AuthenticationDataFormatType":       "http://www.iana.org/assignments/media-types",
        "ElectronicDataFormatType":           "http://www.iana.org/assignments/media-types",
        "ElectronicAddressType":              "http://www.iana.org/assignments/uri-schemes",
        "CurrencyCode":  "http://www.bsi-global.com/Technical+Information/Publications/_Publications/tig90x.doc",
        "Language":      "http://lcweb.loc.gov/standards/iso639-2/bibcodes.html",
        "UserLanguage":  "http://lcweb.loc.gov/standards/iso639-2/bibcodes.html",
        **{name: f"{_NISO}imp1/schemes/{name.lower()}/{name.lower()}.scm" for name in _OWN_LIST.split()},
        **{name: f"{_NISO}schemes/{name.lower()}/{name.lower()}.scm" for name in _OWN_LIST_OUTSIDE_IMP1.split()},
        **{name: re.sub(r"(?=[A-Z])", " ", f"NCIP{name}").replace(" N C I P", "NCIP") for name in _NO_LIST.split()},
    }
)  # fmt: skip
"""The scheme of a value that came without one: NCIP 1 wants a Scheme before every Value."""


def parsed(content: str) -> ContentPart:
    """The group that a row's content describes."""
    return _group(iter(re.findall(r"\(|\)[?*+]?|\||\w+[?*+]?(?:@1\.01)?", content)))


def _group(words: Iterator[str]) -> ContentPart:
    parts: list[ContentPart] = []
    either, mark = False, ""
    for word in words:
        if word.startswith(")"):
            mark = word[1:]
            break
        if word == "|":
            either = True
        else:
            parts.append(_group(words) if word == "(" else _element(word))
    return ContentPart(required=mark in ("", "+"), repeats=mark in ("*", "+"), parts=tuple(parts), either=either)


def _element(word: str) -> ContentPart:
    marked, _, version = word.partition("@")
    name = marked.rstrip("?*+")
    mark = marked[len(name) :]
    return ContentPart(name, required=mark in ("", "+"), repeats=mark in ("*", "+"), late=bool(version))


def _rows(table: str) -> Iterator[tuple[str, ContentPart]]:
    for names, content in re.findall(r"((?:^\S.*\n)+)((?:^ .*\n)+)", table, re.MULTILINE):
        part = parsed(content)
        yield from ((name, part) for name in names.split())


CONTENT: Final[Mapping[str, ContentPart]] = MappingProxyType(dict(_rows(INITIATIONS + RESPONSES + PARTS)))
"""The content model of each element with children."""

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({name: kind for kind, names in LEAVES.items() for name in names.split()})
"""The kind of each other element: a scheme is a pair of Scheme and Value, the other kinds are the DTD's fixed datatypes."""

SERVICES: Final[frozenset[str]] = frozenset(name for name, _ in _rows(INITIATIONS + RESPONSES))
"""The elements allowed under NCIPMessage."""
