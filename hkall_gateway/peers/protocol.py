"""What a protocol of partners is to the rest of the gateway: one `PartnerProtocol`, a row of the table of protocols.

The package's own rows stand in `hkall_gateway/protocols.py`. Another distribution offers its row as an entry point in GROUP.
Circulation knows a partner by its `Traits` alone. Everything else asks the row of the partner's protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from hkall_gateway.observability.examination import DoctorRow, Probe, Report
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.stored_words import DeliveryKind

if TYPE_CHECKING:  # the configuration loads the rows, and each command loads the configuration
    from twisted.internet.defer import Deferred

    from hkall_gateway.circulation.circulation import Circulation
    from hkall_gateway.circulation.results import DeliveryResult, Refused
    from hkall_gateway.net.bounded_http import Bounds
    from hkall_gateway.net.http_post import HttpReply, Post
    from hkall_gateway.net.limits.allow_list import AllowList
    from hkall_gateway.net.limits.rate_limiter import Guesses
    from hkall_gateway.net.limits.timeout import Timeout
    from hkall_gateway.observability.metrics import Metrics
    from hkall_gateway.peers.callers import Caller, Verify
    from hkall_gateway.peers.exchanges import PartnerExchange
    from hkall_gateway.rules.callers import PartnerAccess
    from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
    from hkall_gateway.rules.partners import Partner, RenewalMode
    from hkall_gateway.rules.vocabulary import Holding, Request


class NoKeys(BaseModel):
    """The keys of a table in which a protocol has none of its own."""


S = TypeVar("S", bound=BaseModel)

GROUP: Final = "hkall_gateway.protocols"

DECISIONS: Final = frozenset(
    {
        Notification.ASK_LENDER,
        Notification.CANCEL_AT_LENDER,
        Notification.ASK_LENDER_TO_RENEW,
        Notification.ASK_LENDER_LATER_DATE,
        Notification.TELL_LENDER_RENEWED,
    }
)
"""Messages that the lender may accept or refuse. All other messages report events that have happened."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """All that the rest of the gateway may know of how a partner's protocol works.

    Attributes:
        decides_apart: Whether a reply only confirms receipt, and yes or no comes in a message of its own.
        tells: The messages that the partner understands. Others are settled without being sent.
        looks: Whether the partner answers questions about its shelves.
        renewal_modes: The values of `renewal_mode` that the protocol can carry out.
    """

    decides_apart: bool
    tells: frozenset[Notification]
    looks: bool
    renewal_modes: tuple[RenewalMode, ...]


@dataclass(frozen=True, kw_only=True)
class Peers:
    """What the servers of a protocol need of the gateway. The callers are those of this protocol alone.

    Attributes:
        settings: The protocol's table in gateway.toml, with the keys of `PartnerProtocol.settings`.
        other_names: Further AgencyIds by which peers may address us.
        verify: Compares a secret with a stored hash, outside the reactor's thread.
        proofs: Counts recent failed authentications.
        guesses: Counts recent wrong PINs.
        places: Pickup location code -> name, in display order.
        public_keys: JSON Web Key Set of our signing keys, or b"".
    """

    protocol: str
    circulation: Circulation
    callers: Mapping[str, Caller]
    agency: str
    metrics: Metrics
    now: Callable[[], datetime]
    settings: BaseModel
    timeout: Timeout | None
    other_names: tuple[str, ...]
    proofs: Guesses
    guesses: Guesses
    verify: Verify
    places: Mapping[str, str] = field(default_factory=dict)
    name_order: str = ""
    public_keys: bytes = b""


@dataclass(frozen=True, kw_only=True)
class House:
    """What all entrances of a protocol share: the reactor, the limits on connections, and load balancers."""

    reactor: Any
    bounds: Bounds
    balancers: AllowList


class Server(Protocol):
    """One kind of entrance of a protocol: an HTTP site, or a factory for raw TCP connections.

    It is also the factory that Twisted's endpoints take.
    """

    bounds: Bounds

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""

    def serve(self, peers: Peers) -> None:
        """Use these callers and settings from now on, after a reload."""

    def drain(self) -> Deferred[None]:
        """Stop accepting documents, answer the waiting ones, and close all connections."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a protocol's client needs of the gateway.

    Attributes:
        agency: Our own AgencyId.
        secrets: AgencyId -> the secret that the partner expects.
        post: Posts a document with the protocol's content type.
        posts: AgencyId -> the same, with our Authorization header, for partners that require one.
        note: Counts an exchange.
    """

    agency: str
    secrets: Mapping[str, str]
    post: Post
    posts: Mapping[str, Post]
    note: Callable[[PartnerExchange], None] = lambda _exchange: None
    seconds: Callable[[], float] = lambda: 0.0
    now: Callable[[], datetime]

    async def send(self, partner: Partner, service: str, url: str, body: bytes) -> HttpReply | DeliveryResult:
        """Post a document with our proof, and count the exchange.

        Returns:
            The reply with any status, or the result of a delivery without a reply.
        """
        from hkall_gateway.circulation.results import DeliveryResult
        from hkall_gateway.net.http_post import NoReply, NotSent
        from hkall_gateway.peers.exchanges import PartnerExchange

        post = self.posts.get(partner.agency, self.post)
        began_s = self.seconds()
        failure = ""
        try:
            return await post(url, body, partner.timeout_s)
        except NotSent as failed:
            failure = failed.kind
            return DeliveryResult(kind=DeliveryKind.UNREACHABLE, detail=str(failed))
        except NoReply as failed:
            failure = failed.kind
            return DeliveryResult(kind=DeliveryKind.UNKNOWN, detail=str(failed))
        finally:
            exchange = PartnerExchange(
                partner=partner.agency,
                service=service,
                seconds=self.seconds() - began_s,
                failure=failure,
            )
            self.note(exchange)


class PartnerClient(Protocol):
    """Sends messages to the partners of a protocol."""

    async def deliver(
        self, message: PartnerMessage, partner: Partner, *, unsure: bool = False, look_for: Collection[str] = ()
    ) -> DeliveryResult:
        """Send one message once. Return failures of the partner or the network as results.

        Args:
            message: The message, with present facts.
            partner: The recipient.
            unsure: Whether an earlier attempt may have arrived.
            look_for: Status words of available items, if the shelf is to be looked up before a request.
        """


@runtime_checkable
class Shelves(PartnerClient, Protocol):
    """A client that also answers questions, for a protocol whose traits may say `looks`."""

    async def statuses(
        self, partner: Partner, bib_id: str, copies: Sequence[Holding], listed: Collection[str] = ()
    ) -> Mapping[str, str] | None:
        """Return barcode -> status for a partner's copies of a title, or None if there is no usable reply."""

    async def positions(self, request: Request, partner: Partner, number: str) -> tuple[tuple[str, ...] | None, str]:
        """Return the positions at which a request may stand at the partner (None if unknown), and the barcode."""


async def no_examination(_report: Report, _line: Line, _partner: Partner) -> None:
    """Do nothing. This is the default for protocols without checks of their own."""


def no_notes(_partner: Partner, _access: PartnerAccess) -> Iterable[str]:
    """Note nothing. This is the default for protocols without notes of their own."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What an operator asks of a protocol, apart from the wire.

    Attributes:
        show: Returns the document of a message as it would be sent now, without the secret, or "" if there is none.
        replay: Handles a document of the quarantine again, given the agency and the digest. Returns the problem in words,
            "" on success, or a refusal.
        word: Words a refusal as the protocol would answer a document of this service.
        address: Returns the URL or HOST:PORT at which the doctor command tries to reach a partner.
        probes: Built-in checks of the doctor command for a partner that was reached.
        rows: The checks that `examine` reports, in order.
        examine: Runs the protocol's own checks of a partner that was reached. A test message must change nothing there.
        notes: Yields what the site still has to decide about a valid [[partners]] row, for `check-config`.
    """

    show: Callable[[PartnerMessage, Partner, str], str]
    replay: Callable[[Peers, str, str, str], Awaitable[str | Refused]]
    word: Callable[[Refused, str], str]
    address: Callable[[Partner], str]
    probes: tuple[Probe, ...] = ()
    rows: tuple[DoctorRow, ...] = ()
    examine: Callable[[Report, Line, Partner], Awaitable[None]] = no_examination
    notes: Callable[[Partner, PartnerAccess], Iterable[str]] = no_notes


@dataclass(frozen=True, kw_only=True)
class PartnerProtocol:
    """One protocol of partners.

    Attributes:
        name: Name of its table in gateway.toml, of its path, and of its channel in the journal and the log.
        titles: Its name for people, by language.
        settings: Its own keys of the table [NAME], beside those that all protocols of partners have.
        partner_settings: Its own keys of [partners.NAME]. The directory keeps them in `Partner.terms`.
        flat_keys: Keys of [partners.NAME] that are fields of `Partner`, and also stand in [[partners]] as they did before
            there was a table for each protocol.
        needs: Keys of [partners.NAME] that must be set although they have a default.
        content_type: Content-Type of what it posts.
        traits: What the rest of the gateway may know of a partner.
        listens: The keys of its table that list endpoints, one for each kind of entrance.
        servers: Creates its entrances, by the key of `listens` that lists the endpoints of each.
        client: Creates the client.
        operator: What an operator asks.
        hidden: Names of fields that the log hides.
    """

    name: str
    titles: Mapping[str, str]
    settings: type[BaseModel] = NoKeys
    partner_settings: type[BaseModel] = NoKeys
    flat_keys: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    content_type: str
    traits: Callable[[Partner], Traits]
    listens: tuple[str, ...] = ("listen",)
    servers: Callable[[Peers, House], Mapping[str, Server]]
    client: Callable[[Line], PartnerClient]
    operator: Operator
    hidden: frozenset[str] = frozenset()


def terms_of(partner: Partner, settings: type[S]) -> S:
    """Return the partner's keys of [partners.NAME], as the directory keeps them."""
    return settings.model_validate_json(partner.terms or "{}")


class BadProtocol(Exception):
    """No protocol has this name, or it cannot be loaded."""
