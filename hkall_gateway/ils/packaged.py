"""The adapters in this package and their settings. An adapter's module is only imported when the adapter is built."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field

from hkall_gateway.ils.adapter import Adapter, Probe
from hkall_gateway.ncip.codec.dialects import DIALECTS
from hkall_gateway.rules.plain_text import listed, nearest
from hkall_gateway.rules.values import Natural, PortNumber, Seconds, Text, Variable, WebUrl

if TYPE_CHECKING:
    from hkall_gateway.circulation.ports import LocalIls
    from hkall_gateway.ils.tools import ConnectorTools


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


def _build_snapshot(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.snapshot import Snapshot

    return Snapshot(tools)


def _build_manual(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.snapshot import Manual

    return Manual(tools)


def _build_sip2(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.sip2 import Sip2

    return Sip2(tools)


def _build_ncip(tools: ConnectorTools) -> LocalIls:
    from hkall_gateway.ils.ncip import Ncip

    return Ncip(tools)


def sip2_address(settings: BaseModel) -> str:
    """Return the SIP2 server's HOST:PORT."""
    return f"{settings.host}:{settings.port}" if isinstance(settings, Sip2Settings) else ""


def shown_url(url: str) -> str:
    """Return a URL for display, without its query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _ncip_address(settings: BaseModel) -> str:
    return shown_url(settings.url) if isinstance(settings, NcipSettings) and settings.url else ""


PACKAGED: Final[Mapping[str, Adapter]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Adapter(name="snapshot", build=_build_snapshot, is_live=False, probes=(Probe.LOADED,)),
            Adapter(name="manual", build=_build_manual, is_live=False, probes=(Probe.LOADED,)),
            Adapter(
                name="sip2",
                build=_build_sip2,
                settings=Sip2Settings,
                needs=("host",),
                probes=(Probe.SIP2,),
                address=sip2_address,
            ),
            Adapter(
                name="ncip",
                build=_build_ncip,
                settings=NcipSettings,
                needs=("url",),
                probes=(Probe.NCIP, Probe.CARD),
                address=_ncip_address,
            ),
        )
    }
)
