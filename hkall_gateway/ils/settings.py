"""The keys of `[ils]` that each adapter of this package reads."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, Field

from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.rules.plain_text import listed, nearest
from hkall_gateway.rules.values import Natural, PortNumber, Seconds, Text, Variable, WebUrl


class NoSettings(BaseModel):
    """The settings of an adapter without keys of its own."""


def _dialect_name(name: str) -> str:
    if name not in DIALECTS:
        raise ValueError(f"must be {listed(DIALECTS)}{nearest(name, DIALECTS)}")
    return name


DialectName: TypeAlias = Annotated[str, AfterValidator(_dialect_name)]


class LiveSettings(BaseModel):
    """Keys for adapters that query a live system."""

    password_env: Variable | None = Field(default=None, description="variable with our password there")
    timeout_s: Seconds = Field(default=3.0, description="time limit of one query")
    answered_card: Literal["follow", "ignore"] = Field(
        default="follow",
        description="sip2, ncip: follow: another card number in its answer is the reader's new card; ignore: it is no card",
    )


class Sip2Settings(LiveSettings):
    """Keys for the SIP2 adapter. The relay uses the same server."""

    host: str = Field(default="", description="sip2, relay: its host")
    port: PortNumber = Field(default=6001, description="sip2, relay: its port")
    tls: bool = Field(default=False, description="sip2, relay: use TLS, and verify the certificate by known authorities")
    dialect: Text = Field(default="standard", description="sip2, relay: its dialect, a row like a terminal's")
    login: str = Field(default="", description="sip2: our login there")
    location: str = Field(default="", description="sip2: the location code (CP) of our login")
    institution: str = Field(default="", description="sip2, relay: its institution id (AO), if it is not our agency")
    connections: Natural = Field(default=2, description="sip2: connections kept open for our own queries")


class NcipSettings(LiveSettings):
    """Keys for the NCIP adapter."""

    url: WebUrl | None = Field(default=None, description="ncip: URL of its responder")
    agency: str = Field(default="", description="ncip: its AgencyId, if it is not ours")
    ncip_dialect: DialectName = Field(default="direct", description="ncip: row of ncip/codec/dialects.py")
    card_input_type: Text = Field(
        default="Barcode Id", description="ncip: AuthenticationInputType of a card, where a PIN is checked with it"
    )
    pin_input_type: Text = Field(default="PIN", description="ncip: AuthenticationInputType of a PIN")
    pin_with_user_id: bool = Field(
        default=False, description="ncip: a PIN is checked beside the card's UserId, and not beside an input for the card"
    )
    unknown_user: tuple[Text, ...] = Field(
        default=("Unknown User",),
        description="ncip: a ProblemType, or words of a ProblemDetail or ProblemValue, that say that there is no such patron",
    )
    wrong_pin: tuple[Text, ...] = Field(
        default=("User Authentication Failed", "Non-Unique User"), description="ncip: the same for a wrong PIN"
    )
    tells_loans: bool = Field(
        default=True, description="ncip: no loan in its answer means that there is none; else the loaded count stands"
    )
    looks_up_items: bool = Field(
        default=True, description="ncip: it answers LookupItem; else our shelves are as they were loaded"
    )
