"""gateway.toml: our library, the systems that may connect, and all timeouts and limits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, create_model

from hkall_gateway.config.crosschecks import find_cross_faults, find_protocol_faults
from hkall_gateway.config.dialects import DialectConfig
from hkall_gateway.config.ils import IlsConfig, Marc, with_keys_of
from hkall_gateway.config.loading import ConfigErrors, Fault, Strict, Table, dotted, model, read, record_from_row, with_defaults
from hkall_gateway.config.nested import flatten_protocols
from hkall_gateway.config.values import (
    TERMINALS_WAIT_S,
    Argon2Hash,
    ClientSystem,
    DatabaseUrl,
    Endpoint,
    File,
    KeySetFile,
    OptionalWebUrl,
    PartnerSystem,
    SigningKeyFile,
)
from hkall_gateway.config.web import Web
from hkall_gateway.db.engine.connect import Limits
from hkall_gateway.ils.installed import BadAdapter, find_adapter
from hkall_gateway.ils.settings import DialectName
from hkall_gateway.net.limits.rate_limiter import OF_A_CALLER, OF_A_TERMINAL, OF_AN_ADDRESS
from hkall_gateway.protocols import BadProtocol, PartnerProtocol, find_protocol
from hkall_gateway.rules.callers import LOOPBACK, AgencyAccess, Client, OurClaims, PartnerAccess, PeerClaims, Terminal
from hkall_gateway.rules.partners import Charges, Meaning, Partner, PartnerKeys
from hkall_gateway.rules.plain_text import listed
from hkall_gateway.rules.values import Agency, Natural, Network, PortNumber, Seconds, Text, Variable, Variables, WebUrl

Language = Literal["en", "zh-Hant"]


class LibraryConfig(Strict):
    """Our own library."""

    agency: Agency = Field(description="our AgencyId and SIP2 institution id")
    name: Text = Field(description="our name as people call it")
    timezone: Literal["Asia/Hong_Kong"] = Field(
        default="Asia/Hong_Kong", description="our time zone: all rules count days in it"
    )
    languages: tuple[Language, ...] = Field(
        default=("en", "zh-Hant"), min_length=1, description="languages of letters and screens, the usual one first"
    )
    pickup_locations: tuple[Text, ...] = Field(min_length=1, description="codes of the pickup locations, the default one first")
    name_zh: str = Field(default="", description="our name in Chinese letters; empty = as above")
    place_names: Mapping[Text, Text] = Field(default={}, description="names of the pickup locations in letters, by code")
    place_names_zh: Mapping[Text, Text] = Field(default={}, description="the same in Chinese letters; missing = as above")
    name_order: Literal["surname_first", "given_first"] | None = Field(
        default=None,
        description="the part of a patron's name that is the surname, if it has no comma; without it names are not split",
    )


class DatabaseConfig(Strict):
    """The database."""

    url: DatabaseUrl = Field(description="sqlite:///file or postgresql+psycopg://user@host/db")
    batch_units: Natural = Field(default=256, description="messages that share one durable commit at most; 1 = one each")
    reserve_mb: int = Field(
        default=100,
        ge=0,
        description="SQLite: with less free space on its disk (MB) new requests are refused, returns and loans go on; 0 = off",
    )
    statement_timeout_s: Seconds = Field(default=15.0, description="PostgreSQL: time limit of one statement")
    lock_timeout_s: Seconds = Field(default=2.0, description="PostgreSQL: time limit for waiting on another gateway's lock")
    idle_timeout_s: Seconds = Field(
        default=10.0, description="PostgreSQL: how long a gateway that has stopped may keep its rows locked"
    )
    connect_timeout_s: Natural = Field(default=3, description="PostgreSQL: time limit for connecting to a server, at least 2")

    def limits(self) -> Limits:
        """Return the database timeouts."""
        return Limits(
            statement_s=self.statement_timeout_s,
            lock_s=self.lock_timeout_s,
            idle_s=self.idle_timeout_s,
            connect_s=self.connect_timeout_s,
        )


class PolicyFile(Strict):
    """The file with the site's own rules."""

    file: File | None = Field(default=None, description="overlays the rules that the package ships")


BALANCERS: Final = "load balancers that must send a PROXY header, in the clear: on an ssl: port before the handshake"


class EndpointConfig(Strict):
    """Keys that SIP2 and NCIP share."""

    listen: tuple[Endpoint, ...] = Field(
        default=(),
        description="Twisted endpoints: tcp:6001:interface=127.0.0.1, ssl:6443:…; {instance} is this gateway's number",
    )
    share_ports: bool = Field(
        default=False,
        description="other gateways of this machine listen there too (SO_REUSEPORT); the kernel deals out callers",
    )
    max_connections: Natural = Field(default=500, description="open connections in all")
    max_connections_per_address: Natural = Field(default=500, description="open connections of one IPv4 address or IPv6 /64")
    max_unproven_per_address: Natural = Field(
        default=20, description="of these, connections that are not logged in or proven; behind a balancer, of its caller"
    )
    proxy_from: tuple[Network, ...] = Field(default=(), description=BALANCERS)


class TerminalConfig(Strict, Terminal):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """One terminal login."""

    secret_hash: Argon2Hash = Field(repr=False, description="Argon2id hash of 93 CO, from `hash-secret`")
    role: Literal["counter", "selfcheck", "bookdrop", "lookup"] = Field(
        description="what it may do: a row of `[[roles]]` of the policy; lookup: an e-book platform that checks patrons"
    )
    dialect: Text = Field(default="standard", description="row of sip2/codec/dialects.toml, or of [[sip2.dialects]]")
    language: Language | None = Field(
        default=None, description="language of its screen if neither message nor patron names one; default: our first language"
    )
    allow_from: tuple[Network, ...] = Field(default=LOOPBACK, description="networks that it calls from")
    takes_money: bool | None = Field(
        default=None, description="selfcheck: it has a till, and may send 37 (fee paid); default: no"
    )
    wrong_pins: Natural | None = Field(
        default=None, description="as `wrong_pins` of `[sip2]`, for this terminal: many patrons log in by an e-book platform"
    )
    offline: bool | None = Field(
        default=None,
        description="counter, selfcheck: it goes on while the connection is down; what it reports as done (no block) is taken, "
        "for the holder alone and never for longer than the policy; default: no",
    )


class ListenerConfig(Strict):
    """One port for terminals with its own settings, in addition to the ports in `listen`."""

    endpoint: Endpoint = Field(description="Twisted endpoint: tcp:6002, ssl:6443:privateKey=…:certKey=…")
    login: Literal["required", "optional", "by-address", "telnet"] = Field(
        default="required", description="which terminals must log in, and how"
    )
    terminal: str = Field(default="", description="optional, by-address: the login of callers that do not log in")
    dialect: Text | None = Field(default=None, description="row that frames the lines; without it the login's own does")
    proxy_from: tuple[Network, ...] = Field(default=(), description=BALANCERS)


class FramingConfig(Strict):
    """Callers whose messages are framed differently, on every port."""

    callers: tuple[Network, ...] = Field(alias="from", min_length=1, description="networks that they call from")
    dialect: Text = Field(description="row that frames their lines")


class Sip2Config(EndpointConfig):
    """The SIP2 server for terminals."""

    idle_timeout_s: Natural = Field(default=900, description="idle timeout in seconds; then the connection is closed")
    login_timeout_s: Natural = Field(default=60, description="time to log in")
    answer_within_s: Annotated[float, Field(gt=0, le=120)] = Field(
        default=TERMINALS_WAIT_S,
        description="then 'try again' is answered, and the message has no effect any more; at most four fifths of what 98 "
        "tells the terminal (`timeout_tenths`): most give up after 10 s",
    )
    wrong_pins: Natural = Field(
        default=OF_A_TERMINAL,
        description="wrong PINs of one terminal within a quarter of an hour; then its PINs are refused unchecked",
    )
    wrong_pins_per_address: Natural = Field(
        default=OF_AN_ADDRESS, description="the same for all terminals of one IPv4 address or IPv6 /64 together"
    )
    client_ca: File | None = Field(
        default=None, description="authorities of the certificates that terminals may show over TLS, on every `ssl:` port"
    )
    listeners: tuple[ListenerConfig, ...] = Field(default=(), description="further ports with their own settings")
    framings: tuple[FramingConfig, ...] = Field(default=(), description="framing by address")
    terminals: tuple[TerminalConfig, ...] = Field(default=(), description="terminals that may log in")
    dialects: tuple[DialectConfig, ...] = Field(default=(), description="makes of terminals that no packaged row fits")


class ProtocolConfig(EndpointConfig):
    """The servers of a protocol of partners."""

    max_body_bytes: Natural = Field(default=1_048_576, description="a longer document is refused with HTTP 413")
    max_unfinished_bytes: Natural = Field(
        default=16_777_216,
        description="memory for documents that have not ended, beyond 64 KiB of each; then the oldest is refused with HTTP 503",
    )
    answer_within_s: Seconds = Field(default=20.0, description="then 'try again' is answered; peers wait about 30 s")
    other_names: tuple[Agency, ...] = Field(
        default=(), description="AgencyIds by which partners may address us (ToAgencyId) beside `[library] agency`"
    )
    wrong_pins: Natural = Field(
        default=OF_A_CALLER,
        description="wrong PINs by one partner or client within a quarter of an hour; then its PINs are refused unchecked",
    )
    client_ca: File | None = Field(default=None, description="authorities of the certificates that callers may show over TLS")


class NcipConfig(ProtocolConfig):
    """The NCIP server for partners and the discovery layer."""

    listen_v1_tcp: tuple[Endpoint, ...] = Field(default=(), description="raw TCP endpoints for NCIP version 1")


class ChargesConfig(Strict, Charges):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """The owner's charges for a lost or damaged book."""


class Jwt(Strict, PeerClaims):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """The signed tokens (JWT, RFC 7523) by which a caller proves its identity, as OpenRS does."""

    jwks_file: KeySetFile | None = Field(default=None, description="its public keys: a JSON Web Key Set")
    jwks_url: WebUrl | None = Field(default=None, description="or where it publishes them; kept for an hour")


class OurJwt(Strict, OurClaims):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """The signed tokens (JWT, RFC 7523) by which we prove our identity to a partner, as OpenRS requires."""

    key_file: SigningKeyFile = Field(
        description="our private key, PEM or a JSON Web Key; its public half stands at /.well-known/jwks.json of the NCIP port"
    )
    claims: Mapping[Text, str] = Field(default={}, description="further claims; OpenRS: `protocol` is `NCIP2`")


class OurProof(Strict):
    """Our Authorization header for a partner: HTTP Basic, a bearer secret or signed tokens."""

    basic_login: str = Field(default="", description="HTTP Basic: our name there; empty = our AgencyId")
    basic_password_env: Variable | None = Field(default=None, description="HTTP Basic: variable with our password there")
    bearer_env: Variable | None = Field(default=None, description="variable with our secret there, sent as Bearer")
    jwt: OurJwt | None = Field(default=None, description="tokens that we sign")


class PeerConfig(Strict, AgencyAccess):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """Keys that define how a partner or client proves its identity to us, and what it may use."""

    secret_env: Variables = Field(
        default=(),
        description="variable with its FromAgencyAuthentication; a partner's is ours to it, too. A list of two while a secret "
        "is replaced: both are accepted, and we send the first",
    )
    basic_login: str = Field(default="", description="HTTP Basic: the name; empty = its AgencyId")
    basic_hash: Argon2Hash | None = Field(
        default=None, repr=False, description="HTTP Basic: Argon2id hash of the password, from `hash-secret`"
    )
    bearer_hash: Argon2Hash | None = Field(
        default=None,
        repr=False,
        description="Argon2id hash of a secret that it sends as `Authorization: Bearer`, from `hash-secret`",
    )
    jwt: Jwt | None = Field(default=None, description="signed tokens that it sends as `Authorization: Bearer`")
    wrong_pins: Natural | None = Field(default=None, description="as `wrong_pins` of `[ncip]`, for this one alone")


class PartnerConfig(PeerConfig, PartnerAccess, PartnerKeys):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """Another library in the consortium."""

    name_zh: str = Field(default="", description="the same in Chinese, for pages and letters; empty = as above")
    url: OptionalWebUrl = Field(default="", description="URL of its NCIP responder; needed for a partner with NCIP")
    discovery_url: WebUrl | None = Field(
        default=None, description="where its own patrons search HKALL and request; our request page leads them there"
    )
    system: PartnerSystem = Field(
        default="", description="its system, a row of [systems](systems.md): its keys apply where this row has none"
    )
    dialect: DialectName = Field(default="direct", description="row of ncip/codec/dialects.py")
    attempts: Natural | None = Field(default=None, description="attempts at one message; default: those of [courier]")
    our_proof: OurProof = Field(default=OurProof(), description="our own proof there, beside `secret_env`")
    problems: Mapping[Text, Meaning] = Field(  # type: ignore[assignment]  # a table in the file, pairs in the record
        default={},
        description="the meaning of its own ProblemTypes, or of words in its ProblemDetail or ProblemValue: refused, later, "
        "already or fault (a person must mend the channel)",
    )
    charges: ChargesConfig = Field(default=ChargesConfig(), description="loss and damage")

    @property
    def _own_table(self) -> tuple[str, BaseModel] | None:
        """The name of the installed protocol whose table the row has, and the table."""
        for name in type(self).model_fields.keys() - PartnerConfig.model_fields.keys():
            table = getattr(self, name)
            if table is not None:
                return name, table
        return None

    def plain(self) -> Partner:
        """Return the directory entry for this partner.

        The rest of the gateway reads there how the partner is reached and whether it is asked about its shelves. With a
        protocol of its own table, the protocol says so.
        """
        charges = record_from_row(Charges, self.charges)
        partner = record_from_row(Partner, self, problems=tuple(self.problems.items()), charges=charges)
        if self._own_table is None:
            return partner
        name, table = self._own_table
        protocol = find_protocol(name)
        partner = replace(partner, protocol=name, terms=table.model_dump_json())
        looks = protocol.traits(partner).looks
        return replace(
            partner,
            url=protocol.operator.address(partner),
            can_lookup_items=looks,
            can_lookup_request=looks,
        )


class ClientConfig(PeerConfig, Client):  # type: ignore[misc]  # mypy does not know that pydantic freezes it
    """A system other than a library that may send us NCIP: the discovery layer."""

    system: ClientSystem = Field(
        default="", description="its system, a row of [systems](systems.md): its keys apply where this row has none"
    )


class Smtp(Strict):
    """The mail server and the sender of letters."""

    host: Text = Field(default="127.0.0.1", description="the mail server")
    port: PortNumber = Field(default=25, description="its port")
    sender: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] = Field(alias="from", description="the letters' From address")
    login: str = Field(default="", description="our login there, if it requires one")
    password_env: Variable | None = Field(default=None, description="variable with our password there")
    starttls: bool = Field(default=False, description="encrypt after the greeting")
    bounce_key_env: Variable | None = Field(
        default=None, description="variable with the key that signs Message-IDs; without it `bounce` refuses all reports"
    )


class Ops(Strict):
    """The endpoints for monitoring: /healthz, /readyz and /metrics."""

    listen: tuple[Endpoint, ...] = Field(
        default=(), description="Twisted endpoints; of several gateways one each: tcp:808{instance}:interface=127.0.0.1"
    )
    max_connections: Natural = Field(default=20, description="open connections; for one more the oldest is closed")


class CourierConfig(Strict):
    """The courier's retries and timeouts."""

    attempts: Natural = Field(default=12, description="then the message is a dead letter")
    first_wait_s: Natural = Field(default=30, description="after the first failure")
    longest_wait_s: Natural = Field(default=21_600, description="between two attempts")
    breaker_failures: Natural = Field(
        default=5,
        description="failures in a row after which the channel to a partner counts as down; failures of one moment count once",
    )
    probe_s: Natural = Field(
        default=60,
        description="longest pause in seconds before the next message tries a channel that failed; the first pause is "
        "2 seconds, and each failure doubles it",
    )
    give_up_s: Natural = Field(default=259_200, description="a channel down for longer costs each such trial one attempt")


class Logs(Strict):
    """The log's level, destination and contents."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="lowest level that is written")
    file: File | None = Field(default=None, description="log file; default: standard output")
    patron_key_env: Variable | None = Field(
        default=None, description="variable with the key of patron_ref; without it each start has its own"
    )
    titles: bool = Field(default=False, description="show titles of books")


class Privacy(Strict):
    """The file that marks erased patrons (`patron erase`)."""

    erased_file: File | None = Field(
        default=None,
        description="their marks, for a restore; best on another disk. Without it FILE.erased beside an SQLite database, or "
        "hkall.erased beside this file",
    )
    erased_key_env: Variable | None = Field(
        default=None, description="variable with the key of these marks; without it a mark can be found by trying card numbers"
    )


class GatewayConfig(Strict):
    """The configuration file gateway.toml."""

    library: LibraryConfig
    database: DatabaseConfig
    policy: PolicyFile = PolicyFile()
    sip2: Sip2Config = Sip2Config()
    ncip: NcipConfig = NcipConfig()
    partners: tuple[PartnerConfig, ...] = ()
    clients: tuple[ClientConfig, ...] = ()
    ils: IlsConfig = IlsConfig()
    smtp: Smtp | None = None
    ops: Ops = Ops()
    web: Web | None = None
    marc: Marc = Marc()
    courier: CourierConfig = CourierConfig()
    logs: Logs = Logs()
    privacy: Privacy = Privacy()

    def table_of(self, protocol: str) -> ProtocolConfig:
        """Return the table of a protocol's servers. Without such a table in the file, it listens nowhere."""
        table: ProtocolConfig | None = getattr(self, protocol, None)
        return ProtocolConfig() if table is None else table

    def endpoints_of(self, protocol: PartnerProtocol) -> dict[str, tuple[str, ...]]:
        """Return the endpoints at which a protocol listens, by the key of its table that lists them."""
        table = self.table_of(protocol.name)
        return {key: getattr(table, key, ()) for key in protocol.listens}


def _model_for(tables: Table) -> type[GatewayConfig]:
    """Return the model for `tables`, with the keys of the adapter in [ils] and of the installed protocols that they name."""
    return _with_protocols(_with_adapter(tables), tables)


def _with_adapter(tables: Table) -> type[GatewayConfig]:
    ils = tables.get("ils")
    connector = ils.get("connector") if isinstance(ils, dict) else None
    try:
        found = with_keys_of(find_adapter(connector)) if isinstance(connector, str) else IlsConfig
    except BadAdapter:  # reported by `find_cross_faults`
        return GatewayConfig
    return GatewayConfig if found is IlsConfig else create_model("GatewayConfig", __base__=GatewayConfig, ils=(found, ...))


def _with_protocols(base: type[GatewayConfig], tables: Table) -> type[GatewayConfig]:
    rows = tables.get("partners")
    named = [name for row in rows if isinstance(row, dict) for name in row] if isinstance(rows, list) else []
    servers: dict[str, Any] = {}
    partners: dict[str, Any] = {}
    for name in dict.fromkeys([*tables, *named]):
        if name in PartnerConfig.model_fields or name in base.model_fields:
            continue
        try:
            protocol = find_protocol(name)
        except BadProtocol:  # an unknown key, which the model reports
            continue
        table = _strict(protocol.settings, ProtocolConfig, f"The servers of {name}.")
        has_needed_keys = any(field.is_required() for field in table.model_fields.values())
        servers[name] = (table, ... if has_needed_keys else table())
        partners[name] = (_strict(protocol.partner_settings, Strict, f"A partner with {name}.") | None, None)
    if not servers:
        return base
    rows_model = _with_partner_tables(partners)
    return create_model("GatewayConfig", __base__=base, partners=(tuple[rows_model, ...], ()), **servers)  # type: ignore[valid-type]


def _with_partner_tables(tables: dict[str, Any]) -> Any:
    """Return the model of a row of [[partners]] that may have these nested tables."""
    # A subclass would take the default of an overridden field from the record that declares it, unless it is named again.
    overridden: dict[str, Any] = {}
    for name in PartnerConfig.__annotations__:
        field = PartnerConfig.model_fields[name]
        overridden[name] = (field.annotation, field)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydantic takes the records' defaults for shadowed attributes
        return create_model("PartnerConfig", __base__=PartnerConfig, **{**overridden, **tables})


def _check_renewal_modes(config: GatewayConfig) -> Iterator[Fault]:
    """Report partners that are to be asked, or told, of renewals in a way that their protocol does not know."""
    for index, row in enumerate(config.partners):
        partner = row.plain()
        modes = find_protocol(partner.protocol).traits(partner).renewal_modes
        if partner.renewal_mode not in modes:
            yield dotted(("partners", index, "renewal_mode")), f"must be {listed(modes)} with {partner.protocol}"


def _strict(own: type[BaseModel], base: type[Strict], about: str) -> Any:
    """Return the model of a table with a protocol's own keys, as strict as all tables."""
    return create_model(own.__name__, __base__=(own, base), __doc__=about)


def load(file: Path, environ: Mapping[str, str] | None) -> GatewayConfig:
    """Load the configuration in `file`. Raises ConfigErrors with all errors.

    `environ` must have the variables named by `…_env` keys. None skips this check. The values are only read when needed.
    """
    given, nested = flatten_protocols(read(file))
    tables = with_defaults(given)
    gateway, faults = model(_model_for(tables), tables, file)
    faults += find_cross_faults(tables, environ)
    faults += find_protocol_faults(given, tables)
    if gateway is not None:
        faults += _check_renewal_modes(gateway)
    faults = [(nested.get(path, path), message) for path, message in faults]
    if gateway is None or faults:
        raise ConfigErrors(file, faults)
    return gateway
