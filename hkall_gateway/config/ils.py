"""The tables [ils] for the library's own system and its fallback, and [marc] for the fields in MARC records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, Field, create_model

from hkall_gateway.config.loading import Strict, record_from_row
from hkall_gateway.config.values import IlsSystem
from hkall_gateway.ils.adapter import Adapter
from hkall_gateway.ils.installed import find_adapter
from hkall_gateway.ils.settings import NcipSettings, NoSettings, Sip2Settings
from hkall_gateway.rules.marc_fields import NUMBER_IN_IDENTIFIER, TITLE_SOURCES, ItemField, MarcMapping, overlaid, source
from hkall_gateway.rules.values import Agency, Seconds, Text
from hkall_gateway.rules.vendor_words.availability import ON_SHELF


def _source(text: str) -> str:
    source(text)
    return text


Source: TypeAlias = Annotated[str, AfterValidator(_source)]


def _identifier(text: str) -> str:
    if text.count(NUMBER_IN_IDENTIFIER) != 1:
        raise ValueError(f"{text!r} does not have {NUMBER_IN_IDENTIFIER} once, as oai:cuhk.edu.hk:{NUMBER_IN_IDENTIFIER}")
    return text


Identifier: TypeAlias = Annotated[str, AfterValidator(_identifier)]
Sources: TypeAlias = tuple[Source, ...]
_USUAL: Final = TITLE_SOURCES


class MarcItem(Strict, ItemField):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """A MARC field that describes one copy per occurrence. The row replaces the packaged row for its tag, and comes first."""


class Marc(Strict):
    """Which fields of MARC21 and MARCXML files have the data of titles and copies. A source is 245abnp, 001 or 008/35-37."""

    bib_id: Sources = Field(default=_USUAL["bib_id"], min_length=1, description="the union catalogue's number")
    local_bib_id: Sources = Field(default=_USUAL["local_bib_id"], description="the owner's own number")
    title: Sources = Field(default=_USUAL["title"], min_length=1, description="the title; its linked 880 is kept beside it")
    author: Sources = Field(default=_USUAL["author"], description="authors, the main one first; linked 880s as well")
    isbn: Sources = Field(default=_USUAL["isbn"], description="ISBNs")
    published: Sources = Field(default=_USUAL["published"], description="place, publisher and year")
    language: Sources = Field(default=_USUAL["language"], description="language of the text")
    items: tuple[MarcItem, ...] = Field(default=(), description="fields of copies")
    agencies: Mapping[Text, Agency] = Field(default={}, description="agency of each code that `agency` of an item may hold")
    no_status: Text = Field(default=ON_SHELF, description="status of a copy without one")

    oai_identifier: Identifier | None = Field(
        default=None,
        description="form of OAI-PMH identifiers, as oai:cuhk.edu.hk:{bib_id}; needed for deleted records of a harvest",
    )

    def plain(self) -> MarcMapping:
        """Return the MARC reader's mapping."""
        titles = {fact: tuple(map(source, getattr(self, fact))) for fact in TITLE_SOURCES}
        items = overlaid(tuple(record_from_row(ItemField, row) for row in self.items))
        return MarcMapping(
            titles=titles,
            items=items,
            agencies=self.agencies,
            no_status=self.no_status,
            oai_identifier=self.oai_identifier or "",
        )


def _pin_by_its_present_name(value: object) -> object:
    """Accept the former name of "trust"."""
    return "trust" if value == "unchecked" else value


class SharedIlsConfig(Strict):
    """The keys of [ils] that every adapter has."""

    system: IlsSystem = Field(
        default="",
        description="its system, a row of [systems](systems.md): its keys apply where this table has none",
    )
    connector: Text = Field(default="snapshot", description="the adapter: snapshot, sip2, ncip, manual or an installed one")
    message_timeout_s: Seconds = Field(
        default=2.0, description="time limit of all queries of one terminal's message; must be shorter than the terminals' own"
    )
    fallback: Literal["allow", "refuse"] = Field(
        default="allow", description="while it is away: decide by cached and loaded facts and flag it, or answer 'try again'"
    )
    keep_s: Annotated[float, Field(ge=0)] = Field(
        default=900.0, description="while it is away: greatest age of its last answer; then the loaded file is used"
    )
    pin: Annotated[Literal["refuse", "loaded", "trust"], BeforeValidator(_pin_by_its_present_name)] = Field(
        default="loaded",
        description="what decides about a PIN if the system does not say whether it is right (no CQ in 24 and 64, or no way to"
        " ask): the hash of the loaded file, or `trust` for every PIN. With `refuse`, and without a hash, the PIN is unknown:"
        " the reader is asked to try again, and it does not count as a wrong PIN",
    )
    relay: bool = Field(default=False, description="messages of terminals that are not about HKALL go to its SIP2 server")
    relay_login: Literal["terminal", "gateway"] = Field(
        default="terminal", description="relay: each terminal's own login and password there, or `login` for all"
    )
    unanswered_checkout: Literal["list", "undo"] = Field(
        default="list",
        description="relay: an unanswered checkout that it carried out is shown to staff, or cancelled if the item was in",
    )
    late_execution_s: Seconds = Field(
        default=60.0,
        description="relay: seconds after an unanswered message within which the system may still carry it out; until then its"
        " outcome is not certain, and the item is looked up afterwards",
    )

    @property
    def is_living(self) -> bool:
        """Whether the adapter or the relay queries a live system, which may be unreachable."""
        return self.relay or find_adapter(self.connector).is_live


class IlsConfig(Sip2Settings, NcipSettings, SharedIlsConfig):
    """Our own library system, which provides data about borrowers, and the fallback while that system is unreachable."""


def with_keys_of(adapter: Adapter) -> type[IlsConfig]:
    """Return the model for an [ils] table that includes the adapter's keys."""
    if issubclass(IlsConfig, adapter.settings) or adapter.settings is NoSettings:
        return IlsConfig
    bases = (cast("type[IlsConfig]", adapter.settings), IlsConfig)  # IlsConfig's strictness takes precedence
    return create_model("IlsConfig", __base__=bases, __doc__=IlsConfig.__doc__)
