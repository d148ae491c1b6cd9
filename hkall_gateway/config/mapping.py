"""Maps configuration tables to the records that the protocols use, at startup and at a reload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from hkall_gateway.config import gateway
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import record_from_row
from hkall_gateway.delivery.letters import Sender
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.peers.authentication import (
    HttpProof,
    OurProof,
    Signer,
    TokenRule,
    basic,
    bearer,
    make_public_key_set,
    signed,
    signing_key,
)
from hkall_gateway.peers.callers import Caller, NamedSecret
from hkall_gateway.peers.key_sets import FileKeys, Get, UrlKeys, no_get
from hkall_gateway.protocols import DEFAULT, PartnerProtocol, find_protocol
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.policy import messages_of
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect, differing
from hkall_gateway.sip2.dispatch import FramingRule, Listener, TerminalRow


def terminals(config: GatewayConfig, policy: Policy) -> dict[str, TerminalRow]:
    """Return the terminals that may log in, by login. The default language is the library's first language."""
    makes = makes_of_terminals(config.sip2)
    return {
        row.login: record_from_row(
            TerminalRow,
            row,
            dialect=makes[row.dialect],
            allow_from=AllowList(row.allow_from),
            language=row.language or config.library.languages[0],
            messages=messages_of(row.role, policy, takes_money=bool(row.takes_money)),
            offline=bool(row.offline),
            wrong_pins=row.wrong_pins or config.sip2.wrong_pins,
        )
        for row in config.sip2.terminals
    }


def makes_of_terminals(endpoint: gateway.Sip2Config) -> dict[str, Sip2Dialect]:
    """Return the packaged dialects and the site's own dialects, by name."""
    makes = dict(DIALECTS)
    for row in endpoint.dialects:
        own = {name: value for name, value in row.model_dump(exclude={"like"}).items() if value is not None}
        makes[row.name] = differing(DIALECTS[row.like], own)
    return makes


def listeners(endpoint: gateway.Sip2Config) -> Iterator[tuple[str, Listener]]:
    """Yield the ports in `listen`, then the ports in `listeners`, which have their own settings."""
    makes = makes_of_terminals(endpoint)
    framings = tuple(FramingRule(AllowList(row.callers), makes[row.dialect]) for row in endpoint.framings)
    plain = Listener(framings=framings, proxy_from=AllowList(endpoint.proxy_from))
    yield from ((endpoint, plain) for endpoint in endpoint.listen)
    for row in endpoint.listeners:
        framing = makes[row.dialect] if row.dialect else None
        yield (
            row.endpoint,
            Listener(
                login=row.login, terminal=row.terminal, framing=framing, framings=framings, proxy_from=AllowList(row.proxy_from)
            ),
        )


def framing_of_ils(config: GatewayConfig) -> Sip2Dialect:
    """Return the SIP2 framing used by the library's own system."""
    return makes_of_terminals(config.sip2)[config.ils.dialect]


def callers(config: GatewayConfig, environ: Mapping[str, str], protocol: str, get: Get = no_get) -> dict[str, Caller]:
    """Return the partners and clients that may send messages in a protocol, by agency. `get` fetches keys from `jwks_url`.

    A caller of another protocol is left out, so that its secret opens nothing here.
    """
    found: dict[str, Caller] = {}
    clients = config.clients if protocol == DEFAULT else ()
    rows: tuple[gateway.PeerConfig, ...] = (*config.partners, *clients)
    for row in rows:
        partner = row.plain() if isinstance(row, gateway.PartnerConfig) else None
        if partner is not None and partner.protocol != protocol:
            continue
        access = record_from_row(PartnerAccess, row) if partner else record_from_row(Client, row)
        pins = row.wrong_pins or config.table_of(protocol).wrong_pins
        secrets = tuple(NamedSecret(variable=name, text=environ.get(name, "")) for name in row.secret_env)
        found[row.agency] = Caller(access=access, secrets=secrets, partner=partner, wrong_pins=pins, http=_http_proof(row, get))
    return found


def protocol_of(config: GatewayConfig, agency: str) -> PartnerProtocol:
    """Return the protocol of a partner or client. An agency that is no longer in the file counts as one with DEFAULT."""
    named = {row.agency: row.plain().protocol for row in config.partners}
    return find_protocol(named.get(agency, DEFAULT))


def _http_proof(row: gateway.PeerConfig, get: Get) -> HttpProof:
    rule, jwt = None, row.jwt
    if jwt:
        rule = record_from_row(
            TokenRule, jwt, keys=FileKeys(jwt.jwks_file) if jwt.jwks_file else UrlKeys(jwt.jwks_url or "", get)
        )
    return HttpProof(login=row.basic_login, password_hash=row.basic_hash or "", bearer_hash=row.bearer_hash or "", token=rule)


def places(config: GatewayConfig) -> dict[str, str]:
    """Return the names of our pickup locations, by code, in the configured order."""
    library = config.library
    return {code: library.place_names.get(code, code) for code in library.pickup_locations}


def environment_of_pages(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the web process: without the secrets that only the process of terminals and partners uses."""
    unused = set(_named_variables(config.model_dump())) - variables_of_pages(config)
    return {name: value for name, value in environ.items() if name not in unused}


def variables_of_pages(config: GatewayConfig) -> set[str]:
    """Return the variables that the web process reads.

    The pages log patrons in at the library's own system and at the identity provider, mark erased patrons, and query partners
    for the live status of their copies.
    """
    queried = [partner.model_dump() for partner in config.partners if partner.plain().can_lookup_items]
    tables = [config.web, config.ils, config.privacy, config.logs, config.database]
    dumped = [table.model_dump() for table in tables if table is not None]
    return set(_named_variables([*queried, *dumped]))


def named_variables(config: GatewayConfig) -> tuple[str, ...]:
    """Return the names of all variables that the configuration names, each once, in its order."""
    return tuple(dict.fromkeys(_named_variables(config.model_dump())))


def named_variables_of(table: BaseModel) -> tuple[str, ...]:
    """Return the names of the variables that a table names."""
    return tuple(_named_variables(table.model_dump()))


def _named_variables(value: object, key: str = "") -> Iterator[str]:
    """Yield the names of all variables in a dumped table, which are the values of its `…_env` keys."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _named_variables(each, str(name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _named_variables(each, key)
    elif isinstance(value, str) and key.endswith("_env"):
        yield value


def agreed_secrets(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the secret that we send to each agency, the first of two, or "" for an agency without a secret."""
    rows: tuple[gateway.PeerConfig, ...] = (*config.partners, *config.clients)
    return {row.agency: environ.get(row.secret_env[0], "") if row.secret_env else "" for row in rows}


def our_proofs(config: GatewayConfig, environ: Mapping[str, str]) -> dict[str, OurProof]:
    """Return our credentials for the Authorization header, by agency, for the partners that require credentials."""
    proofs = {row.agency: _our_proof(row.our_proof, config.library.agency, environ) for row in config.partners}
    return {agency: proof for agency, proof in proofs.items() if proof is not None}


def _our_proof(row: gateway.OurProof, agency: str, environ: Mapping[str, str]) -> OurProof | None:
    if row.basic_password_env:
        return basic(row.basic_login or agency, environ.get(row.basic_password_env, ""))
    if row.bearer_env:
        return bearer(environ.get(row.bearer_env, ""))
    return signed(record_from_row(Signer, row.jwt, key=signing_key(row.jwt.key_file.read_bytes()))) if row.jwt else None


def public_keys(config: GatewayConfig) -> bytes:
    """Return the JSON Web Key Set with the public halves of our signing keys, or b"" if we sign no tokens."""
    files = [row.our_proof.jwt.key_file for row in config.partners if row.our_proof.jwt]
    return make_public_key_set(signing_key(file.read_bytes()) for file in files) if files else b""


def sender(config: GatewayConfig, address: str, key: Sensitive) -> Sender:
    """Return the sender of our letters, which link to the web pages if configured. `key` signs the Message-IDs."""
    library = config.library
    record_url = f"{config.web.public_url}/record" if config.web else ""
    return Sender(
        address=address,
        library=library.name,
        places=library.place_names,
        library_zh=library.name_zh,
        places_zh=library.place_names_zh,
        languages=library.languages,
        key=key,
        record_url=record_url,
        lenders_zh=partner_names_zh(config),
    )


def partner_names_zh(config: GatewayConfig) -> dict[str, str]:
    """Return the configured Chinese names of partners, by agency."""
    return {row.agency: row.name_zh for row in config.partners if row.name_zh}
