"""The callers (terminals, partners and clients): how they are authenticated, and what they may use.

The configuration models inherit from these records, so that each key is declared once. Source: the configuration page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field

from hkall_gateway.rules.values import Agency, Algorithm, Certificate, Natural, Network, Text, Zone

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True, kw_only=True)
class AgencyAccess:
    """The configuration keys that partners and clients have in common."""

    agency: Annotated[Agency, Field(description="its AgencyId")]
    certificate: Annotated[Certificate, Field(description="SHA-256 fingerprint or common name of the one that it shows")] = ""
    by_address: Annotated[bool, Field(description="its address alone proves its identity, where no secret comes")] = False
    allow_from: Annotated[tuple[Network, ...], Field(description="networks that it calls from")] = LOOPBACK
    request_agencies: Annotated[
        tuple[Agency, ...],
        Field(description="further AgencyIds under which it numbers its requests; a broker's libraries, ours if it uses ours"),
    ] = ()
    max_connections: Annotated[Natural, Field(description="open connections that have proven to be its own")] = 100


@dataclass(frozen=True, kw_only=True)
class PartnerAccess(AgencyAccess):
    """What a partner may use, and how to read the partner's documents."""

    timezone: Annotated[Zone, Field(description="the zone of its dates without one")] = "Asia/Hong_Kong"
    request_id_in_ext: Annotated[
        bool, Field(description="its RequestId stands in the Ext of each reply, also beside a Problem")
    ] = False
    lookups_per_minute: Annotated[Natural, Field(description="look-ups that it may send to us")] = 60
    sees_patrons: Annotated[
        bool | None,
        Field(
            description="a broker: it gets names, addresses, loans and debts also without a PIN or an open request; default: no"
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Client(AgencyAccess):
    """A system that may send us NCIP messages without being a library, such as a discovery layer."""

    request_status: Annotated[
        Literal["niso", "label"],
        Field(
            description="RequestStatusType: NISO's value with the record's word (HKALL REQUESTD …) in Ext, or that word itself"
        ),
    ] = "niso"
    request_type: Annotated[
        Text,
        Field(description="RequestType that it reads in a patron's list; VuFind's XCNCIP2 driver shows `Hold` alone"),
    ] = "Loan"
    pin: Annotated[
        Literal["checked", "optional", "required", "blocks"],
        Field(
            description="checked: a PIN that it sends is compared, an empty one too; optional: an empty one counts as none; "
            "required: no action of its readers without a PIN; blocks: so too, but LookupUser without one tells blocks alone, "
            "LookupRequest no patron"
        ),
    ] = "checked"
    without_header: Annotated[
        bool, Field(description="a document without InitiationHeader is its own; it must still prove its identity")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """One terminal login. `secret_hash` is an Argon2id hash. `role` is a role in the policy."""

    login: Annotated[Text, Field(description="93 CN")]
    secret_hash: str = field(repr=False)
    role: str
    location: Annotated[Text, Field(description="its location code")]
    max_connections: Annotated[Natural, Field(description="open connections that are logged in with it")] = 100
    certificate: Annotated[
        Certificate,
        Field(
            description="SHA-256 fingerprint or common name of the certificate that it must show over TLS, beside its"
            " password; needs `client_ca` of `[sip2]`"
        ),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class PeerClaims:
    """The required claims of signed tokens (JWT, RFC 7523) that authenticate a caller such as OpenRS."""

    issuer: Annotated[Text, Field(description="`iss` of its tokens")]
    audience: Annotated[Text, Field(description="`aud` of its tokens: our name there")]
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, description="accepted signature algorithms")] = (
        "RS256",
        "ES256",
    )
    subject: Annotated[str, Field(description="`sub` of its tokens; empty = any. OpenRS: its SystemId")] = ""


@dataclass(frozen=True, kw_only=True)
class OurClaims:
    """The claims of signed tokens (JWT, RFC 7523) that authenticate us to a partner such as OpenRS."""

    issuer: Annotated[Text, Field(description="`iss`: our name at the partner")]
    subject: Annotated[Text, Field(description="`sub`: the sender; OpenRS: our SystemId there, as `from_system_id`")]
    audience: Annotated[Text, Field(description="`aud`: the partner's own name; OpenRS: `dcb`")]
    algorithm: Annotated[Algorithm, Field(description="signature")] = "RS256"
    lifetime_s: Annotated[int, Field(ge=10, le=900, description="lifetime of one token")] = 300
