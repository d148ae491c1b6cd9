"""The [ils] table: the library's own system, how it is asked, and the fallback while it is away."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hkall_gateway.config.loading import Strict
from hkall_gateway.config.values import IlsSystem, Natural, NcipDialect, PortNumber, Seconds, Text, Variable, WebUrl


class IlsConfig(Strict):
    """Our own library system: the source of facts about borrowers, and the fallback while it is away."""

    system: IlsSystem = Field(
        default="",
        description="its system, a row of [systems](systems.md): its keys apply where this table has none",
    )
    connector: Text = Field(default="snapshot", description="snapshot, sip2, ncip, manual or an installed one")
    host: str = Field(default="", description="sip2, relay: its host")
    port: PortNumber = Field(default=6001, description="sip2, relay: its port")
    tls: bool = Field(default=False, description="sip2, relay: use TLS, and verify the certificate by known authorities")
    dialect: Text = Field(default="standard", description="sip2, relay: its dialect, a row like a terminal's")
    login: str = Field(default="", description="sip2: our login there")
    location: str = Field(default="", description="sip2: the location code (CP) of our login")
    institution: str = Field(default="", description="sip2, relay: its institution id (AO), if it is not our agency")
    connections: Natural = Field(default=2, description="sip2: connections kept open for our own queries")
    url: WebUrl | None = Field(default=None, description="ncip: URL of its responder")
    agency: str = Field(default="", description="ncip: its AgencyId, if it is not ours")
    ncip_dialect: NcipDialect = Field(default="direct", description="ncip: row of ncip/codec/dialects.py")
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
    password_env: Variable | None = Field(default=None, description="variable with our password there")
    timeout_s: Seconds = Field(default=3.0, description="time limit of one query")
    message_timeout_s: Seconds = Field(
        default=2.0, description="time limit of all queries of one terminal's message; must be shorter than the terminals' own"
    )
    fallback: Literal["allow", "refuse"] = Field(
        default="allow", description="while it is away: decide by cached and loaded facts and flag it, or answer 'try again'"
    )
    keep_s: Annotated[float, Field(ge=0)] = Field(
        default=900.0, description="while it is away: greatest age of its last answer; then the loaded file is used"
    )
    pin: Literal["refuse", "loaded", "unchecked"] = Field(
        default="refuse",
        description="where it cannot check a PIN: none is right, the hash of the loaded file decides, or any is taken",
    )
    answered_card: Literal["follow", "ignore"] = Field(
        default="follow",
        description="sip2, ncip: follow: another card number in its answer is the reader's new card; ignore: it is no card",
    )
    relay: bool = Field(default=False, description="messages of terminals that are not about HKALL go to its SIP2 server")
    relay_login: Literal["terminal", "gateway"] = Field(
        default="terminal", description="relay: each terminal's own login and password there, or `login` for all"
    )
    unanswered_checkout: Literal["list", "undo"] = Field(
        default="list",
        description="relay: an unanswered checkout that it carried out is shown to staff, or cancelled if the item was in",
    )

    @property
    def is_living(self) -> bool:
        """Whether the connector queries a system that may be away."""
        return self.relay or self.connector not in ("snapshot", "manual")
