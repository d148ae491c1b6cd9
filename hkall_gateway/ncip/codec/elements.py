"""The content model of NCIP 2.02 as data: the children of each element, their order, and the elements to redact.

The codec looks elements up in `ELEMENTS`. The tables below are parsed once, at import. NCIP 1 has tables of its
own in elements_v1: it has alternatives to keep apart, and other names.
Source: NISO Z39.83-1-2012 (ncip_v2_02.xsd, 9 March 2012); first appearances from the 2.0 and 2.01 schemas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["complex", "any", "text", "scheme", "empty", "dateTime", "integer", "count", "ordinal"]


@dataclass(frozen=True, slots=True)
class Child:
    """One place in an element's content.

    `required` holds when no valid document may lack it. `since` is the minor version (0, 1, 2 for 2.0, 2.01, 2.02) in
    which the place appeared in an element that was there before it.
    """

    name: str
    required: bool
    repeats: bool
    since: int = 0


@dataclass(frozen=True, slots=True)
class Element:
    """The content model of one element.

    `children` stand in schema order. Kinds: complex (children), any (Ext: every element, any number), scheme (a value
    with the scheme it comes from), empty (its presence is its meaning); the others are text, a count being 0 or more, an
    ordinal 1 or more. `secret` is a credential (a password), `personal` is personal data; neither may reach a log.
    """

    name: str
    kind: Kind
    children: Mapping[str, Child] = field(default_factory=dict)
    secret: bool = False
    personal: bool = False

    @property
    def hidden(self) -> bool:
        return self.secret or self.personal


# A row is one or more names at the margin and, indented, the content they share, in schema order:
# `?` at most one, `*` any number, `+` one or more, no mark exactly one; @ the version in which the place appeared.
# Alternatives of the schema stand side by side as `?`: peers break its "either, or" daily, and no reader here needs it.

DOCUMENT = """
NCIPMessage
    AcceptItem? AcceptItemResponse? AgencyCreated? AgencyCreatedResponse? AgencyUpdated? AgencyUpdatedResponse?
    CancelRecallItem? CancelRecallItemResponse? CancelRequestItem? CancelRequestItemResponse? CheckInItem?
    CheckInItemResponse? CheckOutItem? CheckOutItemResponse? CirculationStatusChangeReported?
    CirculationStatusChangeReportedResponse? CirculationStatusUpdated? CirculationStatusUpdatedResponse?
    CreateAgency? CreateAgencyResponse? CreateItem? CreateItemResponse? CreateUser? CreateUserResponse?
    CreateUserFiscalTransaction? CreateUserFiscalTransactionResponse? DeleteItem? DeleteItemResponse? DeleteUser?
    DeleteUserResponse? ItemCheckedIn? ItemCheckedInResponse? ItemCheckedOut? ItemCheckedOutResponse? ItemCreated?
    ItemCreatedResponse? ItemRecallCancelled? ItemRecallCancelledResponse? ItemRecalled? ItemRecalledResponse?
    ItemReceived? ItemReceivedResponse? ItemRenewed? ItemRenewedResponse? ItemRequestCancelled?
    ItemRequestCancelledResponse? ItemRequestUpdated? ItemRequestUpdatedResponse? ItemRequested?
    ItemRequestedResponse? ItemShipped? ItemShippedResponse? ItemUpdated? ItemUpdatedResponse? LookupAgency?
    LookupAgencyResponse? LookupItem? LookupItemResponse? LookupItemSet?@2.02 LookupItemSetResponse?@2.02
    LookupRequest? LookupRequestResponse? LookupUser? LookupUserResponse? RecallItem? RecallItemResponse? RenewItem?
    RenewItemResponse? ReportCirculationStatusChange? ReportCirculationStatusChangeResponse? RequestItem?
    RequestItemResponse? SendUserNotice? SendUserNoticeResponse? UndoCheckOutItem? UndoCheckOutItemResponse?
    UpdateAgency? UpdateAgencyResponse? UpdateCirculationStatus? UpdateCirculationStatusResponse? UpdateItem?
    UpdateItemResponse? UpdateRequestItem? UpdateRequestItemResponse? UpdateUser? UpdateUserResponse? UserCreated?
    UserCreatedResponse? UserFiscalTransactionCreated? UserFiscalTransactionCreatedResponse? UserNoticeSent?
    UserNoticeSentResponse? UserUpdated? UserUpdatedResponse? Problem* Ext?
"""

INITIATIONS = """
AcceptItem
    InitiationHeader? MandatedAction? RequestId RequestedActionType UserId? ItemId? DateForReturn?
    IndeterminateLoanPeriodFlag? NonReturnableFlag? RenewalNotPermitted? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields? PickupLocation? PickupExpiryDate? Ext?
AgencyCreated
    InitiationHeader? AgencyId OrganizationNameInformation+ AgencyAddressInformation* AuthenticationPrompt*
    ApplicationProfileSupportedType* ConsortiumAgreement* AgencyUserPrivilegeType* Ext?
AgencyUpdated
    InitiationHeader? AgencyId DeleteAgencyFields? AddAgencyFields? Ext?
CancelRecallItem CheckInItem
    InitiationHeader? MandatedAction? ItemId ItemElementType* UserElementType* Ext?
CancelRequestItem
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* RequestId? ItemId? RequestType RequestScopeType?
    AcknowledgedFeeAmount? PaidFeeAmount? ItemElementType* UserElementType* Ext?
CheckOutItem
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* ItemId RequestId? AcknowledgedFeeAmount?
    PaidFeeAmount? AcknowledgedItemUseRestrictionType* ShippingInformation? ResourceDesired? DesiredDateDue?
    ItemElementType* UserElementType* Ext?
CirculationStatusChangeReported
    InitiationHeader? ItemId UserId ItemReportedReturned? ItemReportedNeverBorrowed? ItemReportedLost?
    ItemReportedMissing? ItemOptionalFields? UserOptionalFields? FiscalTransactionInformation? Ext?
CirculationStatusUpdated
    InitiationHeader? ItemId CirculationStatus Ext?
CreateAgency
    InitiationHeader? MandatedAction? AgencyId? OrganizationNameInformation+ AgencyAddressInformation*
    AuthenticationPrompt* ApplicationProfileSupportedType* ConsortiumAgreement* AgencyUserPrivilegeType* Ext?
CreateItem
    InitiationHeader? MandatedAction? ItemId? RequestId? BibliographicDescription ItemUseRestrictionType*
    CirculationStatus? ItemDescription? Location* PhysicalCondition? SecurityMarker? SensitizationFlag? Ext?
CreateUser
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* NameInformation UserAddressInformation*
    DateOfBirth? UserLanguage* UserPrivilege* BlockOrTrap* Ext?
CreateUserFiscalTransaction
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* FiscalTransactionInformation Ext?
DeleteItem
    InitiationHeader? MandatedAction? ItemId Ext?
DeleteUser
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* Ext?
ItemCheckedIn
    InitiationHeader? UserId? ItemId RoutingInformation? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields? Ext?
ItemCheckedOut
    InitiationHeader? UserId ItemId RequestId? DateDue? IndeterminateLoanPeriodFlag? NonReturnableFlag?
    ElectronicResourceProvidedFlag? RenewalCount? FiscalTransactionInformation? ShippingInformation?
    ItemOptionalFields? UserOptionalFields? Ext?
ItemCreated
    InitiationHeader? ItemId RequestId? BibliographicDescription ItemUseRestrictionType* CirculationStatus?
    ItemDescription? Location* PhysicalCondition? SecurityMarker? SensitizationFlag? Ext?
ItemRecallCancelled
    InitiationHeader? UserId? ItemId FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields? Ext?
ItemRecalled
    InitiationHeader? UserId? ItemId DateDue ShippingInformation? ItemOptionalFields? UserOptionalFields? Ext?
ItemReceived
    InitiationHeader? ItemId UserId? RequestId? DateReceived ItemOptionalFields? UserOptionalFields? Ext?
ItemRenewed
    InitiationHeader? UserId? ItemId DateDue RenewalCount? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields? Ext?
ItemRequestCancelled
    InitiationHeader? UserId RequestId? ItemId? RequestType RequestScopeType? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields? Ext?
ItemRequestUpdated
    InitiationHeader? UserId? ItemId? RequestType? RequestId? DeleteRequestFields? AddRequestFields?
    ItemOptionalFields? UserOptionalFields? Ext?
ItemRequested
    InitiationHeader? UserId ItemId? BibliographicId? RequestId? RequestType RequestScopeType ShippingInformation?
    EarliestDateNeeded? NeedBeforeDate? PickupLocation? PickupExpiryDate? DateOfUserRequest? DateAvailable?
    ItemOptionalFields? UserOptionalFields? Ext?
ItemShipped
    InitiationHeader? RequestId? ItemId? UserId? DateShipped ShippingInformation ItemOptionalFields?
    UserOptionalFields? Ext?
ItemUpdated
    InitiationHeader? ItemId DeleteItemFields? AddItemFields? Ext?
LookupAgency
    InitiationHeader? AgencyId AgencyElementType+ Ext?
LookupItem
    InitiationHeader? ItemId? RequestId? ItemElementType* CurrentBorrowerDesired? CurrentRequestersDesired? Ext?
LookupItemSet
    InitiationHeader? BibliographicId* HoldingsSetId* ItemId* ItemElementType* CurrentBorrowerDesired?
    CurrentRequestersDesired? MaximumItemsCount? NextItemToken? Ext?
LookupRequest
    InitiationHeader? UserId? AuthenticationInput* ItemId? RequestType? RequestId? RequestElementType*
    ItemElementType* UserElementType* Ext?
LookupUser
    InitiationHeader? UserId? AuthenticationInput* UserElementType* LoanedItemsDesired? RequestedItemsDesired?
    UserFiscalAccountDesired? Ext?
RecallItem
    InitiationHeader? MandatedAction? ItemId DesiredDateDue? ShippingInformation? ItemElementType* UserElementType*
    Ext?
RenewItem
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* ItemId ItemElementType* UserElementType*
    DesiredDateDue? DesiredDateForReturn? AcknowledgedFeeAmount? PaidFeeAmount? AcknowledgedItemUseRestrictionType*
    Ext?
ReportCirculationStatusChange
    InitiationHeader? MandatedAction? ItemId UserId? AuthenticationInput* ItemReportedReturned?
    ItemReportedNeverBorrowed? ItemReportedLost? ItemReportedMissing? ItemElementType* UserElementType* Ext?
RequestItem
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* BibliographicId* ItemId* RequestId? RequestType
    RequestScopeType ItemOptionalFields? ShippingInformation? EarliestDateNeeded? NeedBeforeDate? PickupLocation?
    PickupExpiryDate? AcknowledgedFeeAmount? PaidFeeAmount? AcknowledgedItemUseRestrictionType* ItemElementType*
    UserElementType* Ext?
SendUserNotice
    InitiationHeader? MandatedAction? UserId DateToSend? UserNoticeDetails Ext?
UndoCheckOutItem
    InitiationHeader? MandatedAction? ItemId UserId? AuthenticationInput* RequestId? Ext?
UpdateAgency
    InitiationHeader? MandatedAction? AgencyId DeleteAgencyFields? AddAgencyFields? Ext?
UpdateCirculationStatus
    InitiationHeader? MandatedAction? ItemId CirculationStatus Ext?
UpdateItem
    InitiationHeader? MandatedAction? ItemId DeleteItemFields? AddItemFields? Ext?
UpdateRequestItem
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* ItemId? RequestType? RequestId?
    DeleteRequestFields? AddRequestFields? ItemElementType* UserElementType* Ext?
UpdateUser
    InitiationHeader? MandatedAction? UserId? AuthenticationInput* DeleteUserFields? AddUserFields? Ext?
UserCreated
    InitiationHeader? UserId NameInformation UserAddressInformation* DateOfBirth? UserLanguage* UserPrivilege*
    BlockOrTrap* Ext?
UserFiscalTransactionCreated
    InitiationHeader? UserId FiscalTransactionInformation Ext?
UserNoticeSent
    InitiationHeader? UserId DateSent UserNoticeDetails Ext?
UserUpdated
    InitiationHeader? UserId DeleteUserFields? AddUserFields? Ext?
"""

RESPONSES = """
AcceptItemResponse
    ResponseHeader? Problem* RequestId? ItemId? Ext?
AgencyCreatedResponse AgencyUpdatedResponse CirculationStatusChangeReportedResponse CirculationStatusUpdatedResponse
ItemCheckedInResponse ItemCheckedOutResponse ItemCreatedResponse ItemRecallCancelledResponse ItemRecalledResponse
ItemReceivedResponse ItemRenewedResponse ItemRequestCancelledResponse ItemRequestUpdatedResponse
ItemRequestedResponse ItemShippedResponse ItemUpdatedResponse UserCreatedResponse
UserFiscalTransactionCreatedResponse UserNoticeSentResponse UserUpdatedResponse
    ResponseHeader? Problem* Ext?
CancelRecallItemResponse
    ResponseHeader? Problem* ItemId? UserId? FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields?
    Ext?
CancelRequestItemResponse
    ResponseHeader? Problem* RequestId? ItemId? UserId? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields? Ext?
CheckInItemResponse
    ResponseHeader? Problem* ItemId? UserId? RoutingInformation? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields? Ext?
CheckOutItemResponse
    ResponseHeader? Problem* RequiredFeeAmount? RequiredItemUseRestrictionType* ItemId? UserId? DateDue?
    IndeterminateLoanPeriodFlag? NonReturnableFlag? RenewalCount? ElectronicResource? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields? Ext?
CreateAgencyResponse UpdateAgencyResponse
    ResponseHeader? Problem* AgencyId? Ext?
CreateItemResponse DeleteItemResponse UpdateCirculationStatusResponse UpdateItemResponse
    ResponseHeader? Problem* ItemId? Ext?
CreateUserFiscalTransactionResponse
    ResponseHeader? Problem* UserId? FiscalTransactionReferenceId? Ext?
CreateUserResponse DeleteUserResponse UpdateUserResponse
    ResponseHeader? Problem* UserId? Ext?
LookupAgencyResponse
    ResponseHeader? Problem* AgencyId? OrganizationNameInformation* AgencyAddressInformation* AuthenticationPrompt*
    ApplicationProfileSupportedType* ConsortiumAgreement* AgencyUserPrivilegeType* Ext?
LookupItemResponse
    ResponseHeader? Problem* RequestId? ItemId? HoldPickupDate? DateRecalled? ItemTransaction? ItemOptionalFields?
    Ext?
LookupItemSetResponse
    ResponseHeader? Problem* BibInformation* NextItemToken? Ext?
LookupRequestResponse
    ResponseHeader? Problem* RequestId? ItemId? UserId? RequestType? RequestScopeType? RequestStatusType?
    HoldQueuePosition? ShippingInformation? EarliestDateNeeded? NeedBeforeDate? PickupDate? PickupLocation?
    PickupExpiryDate? DateOfUserRequest? DateAvailable? AcknowledgedFeeAmount? PaidFeeAmount? ItemOptionalFields?
    UserOptionalFields? Ext?
LookupUserResponse
    ResponseHeader? Problem* UserId? UserFiscalAccount* LoanedItemsCount* LoanedItem* RequestedItemsCount*
    RequestedItem* UserOptionalFields? Ext?
RecallItemResponse
    ResponseHeader? Problem* ItemId? UserId? DateDue? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields? Ext?
RenewItemResponse
    ResponseHeader? Problem* RequiredFeeAmount? RequiredItemUseRestrictionType* Pending? ItemId? UserId? DateDue?
    DateForReturn? RenewalCount? FiscalTransactionInformation? ItemOptionalFields? UserOptionalFields? Ext?
ReportCirculationStatusChangeResponse
    ResponseHeader? Problem* ItemId? UserId? ItemOptionalFields? UserOptionalFields? Ext?
RequestItemResponse
    ResponseHeader? Problem* RequiredFeeAmount? RequiredItemUseRestrictionType* RequestId? ItemId? UserId?
    RequestType? RequestScopeType? ShippingInformation? DateAvailable? HoldPickupDate? FiscalTransactionInformation?
    ItemOptionalFields? UserOptionalFields? Ext?
SendUserNoticeResponse
    ResponseHeader? Problem* UserId? DateSent? DateWillSend? Ext?
UndoCheckOutItemResponse
    ResponseHeader? Problem* ItemId? UserId? FiscalTransactionInformation? Ext?
UpdateRequestItemResponse
    ResponseHeader? Problem* RequiredFeeAmount? RequiredItemUseRestrictionType*@2.01 ItemId? UserId? RequestType?
    RequestScopeType? DateAvailable? HoldPickupDate? FiscalTransactionInformation? ItemOptionalFields?
    UserOptionalFields? Ext?
"""

PARTS = """
AccountBalance AcknowledgedFeeAmount Amount PaidFeeAmount RequiredFeeAmount
    CurrencyCode MonetaryValue Ext?
AccountDetails
    AccrualDate FiscalTransactionInformation Ext?
AddAgencyFields DeleteAgencyFields
    OrganizationNameInformation* AgencyAddressInformation* AuthenticationPrompt* ApplicationProfileSupportedType*
    ConsortiumAgreement* AgencyUserPrivilegeType* Ext?
AddItemFields DeleteItemFields
    BibliographicDescription? ItemUseRestrictionType* ItemDescription? Location* PhysicalCondition? SecurityMarker?
    SensitizationFlag? Ext?
AddRequestFields DeleteRequestFields
    UserId? ItemId? RequestType? RequestScopeType? RequestStatusType? ShippingInformation? EarliestDateNeeded?
    NeedBeforeDate? PickupLocation? PickupExpiryDate? DateOfUserRequest? DateAvailable? AcknowledgedFeeAmount?
    PaidFeeAmount? Ext?
AddUserFields DeleteUserFields
    AuthenticationInput* NameInformation? UserAddressInformation* DateOfBirth? UserLanguage* UserPrivilege*
    BlockOrTrap* Ext?
AgencyAddressInformation
    AgencyAddressRoleType ValidFromDate? ValidToDate? PhysicalAddress? ElectronicAddress? Ext?
AuthenticationInput
    AuthenticationInputData AuthenticationDataFormatType AuthenticationInputType Ext?
AuthenticationPrompt
    PromptOutput PromptInput Ext?
BibInformation
    BibliographicId? BibliographicDescription? TitleHoldQueueLength? CurrentRequester* HoldingsSet* Problem*
BibliographicDescription
    Author? AuthorOfComponent? BibliographicItemId? BibliographicRecordId* ComponentId? Edition? Pagination?
    PlaceOfPublication? PublicationDate? PublicationDateOfComponent? Publisher? SeriesTitleNumber? Title?
    TitleOfComponent? BibliographicLevel? SponsoringBody? ElectronicDataFormatType? Language? MediumType? Ext?
BibliographicId
    BibliographicItemId? BibliographicRecordId? Ext?
BibliographicItemId
    BibliographicItemIdentifier BibliographicItemIdentifierCode? Ext?
BibliographicRecordId
    BibliographicRecordIdentifier AgencyId? BibliographicRecordIdentifierCode? Ext?
BlockOrTrap
    AgencyId BlockOrTrapType ValidFromDate? ValidToDate? Ext?
ChronologyLevelInstance
    ChronologyLevel? ChronologyCaption? ChronologyValue Ext?
ComponentId
    ComponentIdentifierType ComponentIdentifier Ext?
CurrentBorrower CurrentRequester
    UserId Ext?
Destination
    BinNumber? Location? Ext?
ElectronicAddress
    ElectronicAddressType ElectronicAddressData Ext?
ElectronicResource
    ElectronicDataFormatType? ActualResource? ReferenceToResource? Ext?
EnumerationLevelInstance
    EnumerationLevel? EnumerationCaption? EnumerationValue Ext?
FiscalTransactionInformation
    FiscalActionType FiscalTransactionReferenceId? RelatedFiscalTransactionReferenceId* FiscalTransactionType
    ValidFromDate? ValidToDate? Amount PaymentMethodType? FiscalTransactionDescription? RequestId? ItemDetails? Ext?
FiscalTransactionReferenceId RelatedFiscalTransactionReferenceId
    AgencyId FiscalTransactionIdentifierValue Ext?
FromAgencyId OnBehalfOfAgency ToAgencyId
    AgencyId Ext?
HoldingsChronology
    ChronologyLevelInstance+ Ext?
HoldingsEnumeration
    EnumerationLevelInstance+ Ext?
HoldingsInformation SummaryHoldingsInformation
    StructuredHoldingsData* UnstructuredHoldingsData? Ext?
HoldingsSet
    HoldingsSetId? BibliographicDescription? Location? CallNumber? SummaryHoldingsInformation? ElectronicResource?
    ItemInformation* Ext? Problem*
InitiationHeader
    FromSystemId? FromSystemAuthentication? FromAgencyId FromAgencyAuthentication? OnBehalfOfAgency? ToSystemId?
    ToAgencyId ApplicationProfileType? Ext?
ItemDescription
    CallNumber? CopyNumber? ItemDescriptionLevel? HoldingsInformation? NumberOfPieces? Ext?
ItemDetails
    ItemId BibliographicDescription DateCheckedOut? DateRenewed* DateDue? IndeterminateLoanPeriodFlag?
    NonReturnableFlag? DateReturned? Ext?
ItemId
    AgencyId? ItemIdentifierType? ItemIdentifierValue Ext?
ItemInformation
    ItemId? RequestId* CurrentBorrower? CurrentRequester* DateDue? DateRecalled? HoldPickupDate? ItemTransaction?
    ItemOptionalFields? ItemNote? Ext? Problem*
ItemOptionalFields
    BibliographicDescription? ItemUseRestrictionType* CirculationStatus? HoldQueueLength? ItemDescription? Location*
    PhysicalCondition? ElectronicResource? SecurityMarker? SensitizationFlag? DateDue?@2.02 Ext?
ItemReportedReturned
    DateReportedReturned Ext?
ItemTransaction
    CurrentBorrower? CurrentRequester* Ext?
LoanedItem
    ItemId BibliographicId*@2.02 ReminderLevel? DateDue? IndeterminateLoanPeriodFlag? Amount? Title? MediumType?
    Ext?
LoanedItemsCount
    CirculationStatus? ItemUseRestrictionType? LoanedItemCountValue Ext?
Location
    LocationType LocationName ValidFromDate? ValidToDate? Ext?
LocationName
    LocationNameInstance+ Ext?
LocationNameInstance
    LocationNameLevel LocationNameValue Ext?
MandatedAction
    DateEventOccurred Ext?
NameInformation
    PersonalNameInformation? OrganizationNameInformation* Ext?
NoticeItem
    ItemDetails Amount? Ext?
OrganizationNameInformation
    OrganizationNameType OrganizationName Ext?
Pending
    DateOfExpectedReply? Ext?
PersonalNameInformation
    StructuredPersonalUserName? UnstructuredPersonalUserName? Ext?
PhysicalAddress
    StructuredAddress? UnstructuredAddress? PhysicalAddressType Ext?
PhysicalCondition
    PhysicalConditionType PhysicalConditionDetails? Ext?
PreviousUserId
    AgencyId UserIdentifierValue ValidFromDate? ValidToDate? Ext?
Problem
    ProblemType ProblemDetail? ProblemElement? ProblemValue? Ext?
PromptInput
    AuthenticationInputType AuthenticationDataFormatType SensitiveDataFlag? Ext?
PromptOutput
    AuthenticationPromptData AuthenticationPromptType Ext?
RequestId
    AgencyId? RequestIdentifierType? RequestIdentifierValue Ext?
RequestedItem
    RequestId? ItemId? BibliographicId*@2.02 RequestType RequestStatusType DatePlaced PickupDate? PickupLocation?
    PickupExpiryDate? ReminderLevel? HoldQueuePosition? Title? MediumType? Ext?
RequestedItemsCount
    RequestType? CirculationStatus? ItemUseRestrictionType? RequestedItemCountValue Ext?
ResponseHeader
    FromSystemId? FromSystemAuthentication? FromAgencyId FromAgencyAuthentication? ToSystemId? ToAgencyId Ext?
RoutingInformation
    RoutingInstructions Destination RequestType? UserId? NameInformation? Ext?
ShippingInformation
    ShippingInstructions? ShippingNote? PhysicalAddress? ElectronicAddress? Ext?
StructuredAddress
    LocationWithinBuilding? HouseName? Street? PostOfficeBox? District? Line1? Line2? Locality? Region? Country?
    PostalCode? CareOf? Ext?
StructuredHoldingsData
    HoldingsEnumeration? HoldingsChronology? Ext?
StructuredPersonalUserName
    Prefix? GivenName? Initials? Surname Suffix? Ext?
UnstructuredAddress
    UnstructuredAddressType UnstructuredAddressData Ext?
UserAddressInformation
    UserAddressRoleType ValidFromDate? ValidToDate? PhysicalAddress? ElectronicAddress? Ext?
UserFiscalAccount
    AccountBalance AccountDetails* Ext?
UserId
    AgencyId? UserIdentifierType? UserIdentifierValue Ext?
UserNoticeDetails
    NoticeType NoticeContent? NoticeItem* UserFiscalAccount? UserPrivilege? Ext?
UserOptionalFields
    NameInformation? UserAddressInformation* DateOfBirth? UserLanguage* UserPrivilege* BlockOrTrap* UserId*
    PreviousUserId* Ext?
UserPrivilege
    AgencyId AgencyUserPrivilegeType ValidFromDate? ValidToDate? UserPrivilegeFee? UserPrivilegeStatus?
    UserPrivilegeDescription? Ext?
UserPrivilegeFee
    Amount PaymentMethodType? Ext?
UserPrivilegeStatus
    UserPrivilegeStatusType DateOfUserPrivilegeStatus? Ext?
"""

LEAVES: dict[Kind, str] = {
    "any": "Ext",
    "empty": """
        CurrentBorrowerDesired CurrentRequestersDesired ElectronicResourceProvidedFlag IndeterminateLoanPeriodFlag
        ItemReportedLost ItemReportedMissing ItemReportedNeverBorrowed LoanedItemsDesired NonReturnableFlag
        RenewalNotPermitted RequestedItemsDesired ResourceDesired SensitiveDataFlag SensitizationFlag
        UserFiscalAccountDesired
    """,
    "scheme": """
        AcknowledgedItemUseRestrictionType AgencyAddressRoleType AgencyElementType AgencyId AgencyUserPrivilegeType
        ApplicationProfileSupportedType ApplicationProfileType AuthenticationDataFormatType AuthenticationInputType
        AuthenticationPromptType BibliographicItemIdentifierCode BibliographicLevel
        BibliographicRecordIdentifierCode BlockOrTrapType CirculationStatus ComponentIdentifierType
        ConsortiumAgreement CurrencyCode ElectronicAddressType ElectronicDataFormatType FiscalActionType
        FiscalTransactionType FromSystemId ItemDescriptionLevel ItemElementType ItemIdentifierType
        ItemUseRestrictionType Language LocationType MediumType NoticeType OrganizationNameType PaymentMethodType
        PhysicalAddressType PhysicalConditionType PickupLocation ProblemType RequestElementType
        RequestIdentifierType RequestScopeType RequestStatusType RequestType RequestedActionType
        RequiredItemUseRestrictionType SecurityMarker ToSystemId UnstructuredAddressType UserAddressRoleType
        UserElementType UserIdentifierType UserLanguage UserPrivilegeStatusType
    """,
    "dateTime": """
        AccrualDate DateAvailable DateCheckedOut DateDue DateEventOccurred DateForReturn DateOfBirth
        DateOfExpectedReply DateOfUserPrivilegeStatus DateOfUserRequest DatePlaced DateRecalled DateReceived
        DateRenewed DateReportedReturned DateReturned DateSent DateShipped DateToSend DateWillSend DesiredDateDue
        DesiredDateForReturn EarliestDateNeeded HoldPickupDate NeedBeforeDate PickupDate PickupExpiryDate
        ValidFromDate ValidToDate
    """,
    "integer": "MonetaryValue",
    "count": """
        HoldQueueLength LoanedItemCountValue ReminderLevel RenewalCount RequestedItemCountValue TitleHoldQueueLength
    """,
    "ordinal": "ChronologyLevel EnumerationLevel HoldQueuePosition LocationNameLevel MaximumItemsCount NumberOfPieces",
    "text": """
        ActualResource AuthenticationInputData AuthenticationPromptData Author AuthorOfComponent
        BibliographicItemIdentifier BibliographicRecordIdentifier BinNumber CallNumber CareOf ChronologyCaption
        ChronologyValue ComponentIdentifier CopyNumber Country District Edition ElectronicAddressData
        EnumerationCaption EnumerationValue FiscalTransactionDescription FiscalTransactionIdentifierValue
        FromAgencyAuthentication FromSystemAuthentication GivenName HoldingsSetId HouseName Initials
        ItemIdentifierValue ItemNote Line1 Line2 Locality LocationNameValue LocationWithinBuilding NextItemToken
        NoticeContent OrganizationName Pagination PhysicalConditionDetails PlaceOfPublication PostOfficeBox
        PostalCode Prefix ProblemDetail ProblemElement ProblemValue PublicationDate PublicationDateOfComponent
        Publisher ReferenceToResource Region RequestIdentifierValue RoutingInstructions SeriesTitleNumber
        ShippingInstructions ShippingNote SponsoringBody Street Suffix Surname Title TitleOfComponent
        UnstructuredAddressData UnstructuredHoldingsData UnstructuredPersonalUserName UserElementEnum
        UserIdentifierValue UserPrivilegeDescription
    """,
}

SECRET = ("AuthenticationInputData", "FromAgencyAuthentication", "FromSystemAuthentication")

# UserIdentifierValue is a full card number; ProblemValue and NoticeContent repeat data from or for a patron.
PERSONAL = """
    Prefix GivenName Initials Surname Suffix UnstructuredPersonalUserName DateOfBirth UserIdentifierValue
    LocationWithinBuilding HouseName Street PostOfficeBox District Line1 Line2 Locality Region Country PostalCode CareOf
    UnstructuredAddressData ElectronicAddressData NoticeContent ProblemValue
"""

SINCE = {"": 0, "2.01": 1, "2.02": 2}


def table(content: str, leaves: Mapping[Kind, str]) -> Mapping[str, Element]:
    """The elements that `content` (rows as above) and `leaves` (names by kind) describe, by name."""
    found = {name: Element(name, "complex", children) for name, children in _rows(content)}
    personal = PERSONAL.split()
    for kind, names in leaves.items():
        for name in names.split():
            found[name] = Element(name, kind, secret=name in SECRET, personal=name in personal)
    return MappingProxyType(found)


def _rows(content: str) -> Iterator[tuple[str, Mapping[str, Child]]]:
    for names, places in re.findall(r"((?:^\S.*\n)+)((?:^ .*\n)+)", content, re.MULTILINE):
        children = dict[str, Child]()
        for place in places.split():
            marked, _, version = place.partition("@")
            child = marked.rstrip("?*+")
            mark = marked[len(child) :]
            children[child] = Child(child, required=mark in ("", "+"), repeats=mark in ("*", "+"), since=SINCE[version])
        for name in names.split():
            yield name, MappingProxyType(children)


ELEMENTS = table(DOCUMENT + INITIATIONS + RESPONSES + PARTS, LEAVES)

SERVICES = ELEMENTS["NCIPMessage"].children.keys() - {"Ext"}
"""The elements allowed under NCIPMessage: every initiation, every response, and Problem."""

_PROBLEMS = Element("NCIPMessage", "complex", {"Problem": ELEMENTS["NCIPMessage"].children["Problem"]})


GENERIC: Final = "Response"
"""No element of NCIP: Alma's answer to an event, where ItemRequestedResponse belongs (seen in CSUSM's NCIP-Relay)."""


def model(service: str) -> Element:
    """The content model of a service; for "Problem", that of an NCIPMessage without a service."""
    return _PROBLEMS if service == "Problem" else ELEMENTS["ItemRequestedResponse" if service == GENERIC else service]


def place(element: Element, name: str) -> Child | None:
    """The place of `name` inside `element`; None if it is not allowed there."""
    if element.kind == "any" and name in ELEMENTS:
        return Child(name, required=False, repeats=True)
    return element.children.get(name)
