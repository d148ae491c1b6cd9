"""Builds the web server. Imported only if [web] is configured, since the web libraries are an optional dependency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from twisted.internet.defer import Deferred

from hkall_gateway.app import carriers
from hkall_gateway.app.resources import PerConfiguration, Resources
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.results import Refused
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.web import Oidc
from hkall_gateway.db import bind, instances
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import unlocked
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.live_status import LiveStatus
from hkall_gateway.net.bounded_http import Bounds
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.connection_limit import ConnectionLimit, Refusals
from hkall_gateway.net.limits.fair_reads import BodyBudget
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.peers.protocol import Peers, Shelves
from hkall_gateway.protocols import find_protocol
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH
from hkall_gateway.rules.vocabulary import Holding, Sensitive
from hkall_gateway.web.app import MOST_BYTES, make_app
from hkall_gateway.web.bridge import CirculationBridge
from hkall_gateway.web.callers import Callers, Share
from hkall_gateway.web.limits import PageLimits
from hkall_gateway.web.server import WebServer
from hkall_gateway.web.services import ErasedMarks, HomeLibrary, OidcSettings, StaffAccount, WebServices, WebSettings
from hkall_gateway.web.visits import Visits

LOG = structlog.get_logger()

REPORTED_EVERY: Final = timedelta(hours=1)
"""Minimum time between two reports about reverse proxies."""


def web_server(
    means: Resources,
    store: Store,
    engine: Engine,
    make_unit: Callable[[Connection], UnitOfWork],
    circulation: Circulation,
    library: Callable[[], Library],
    refusals: Refusals,
    peers: Callable[[str], Peers],
    timeout: Timeout,
) -> WebServer:
    """Create the web server. A reload changes accounts, names and colours, but not limits and threads.

    `peers` returns a protocol's callers and settings, to replay quarantined documents. `timeout` limits each command.
    """
    table = means.config().web
    assert table is not None, "the daemon asks only where [web] is configured"
    connections = ConnectionLimit(table.max_connections, table.max_connections, table.max_connections_per_address)
    bridge = CirculationBridge(means.reactor, store, engine, make_unit, timeout)
    settings = PerConfiguration(means.config, lambda: settings_of(means.config(), means.environ))
    ask = partial(_ask_statuses, carriers.PartnerClients(means, library), library)
    live = LiveStatus(store, ask, carriers.circuit_settings(means), means.clock, means.reactor.callFromThread)
    app = make_app(
        WebServices(
            circulation=circulation,
            bridge=bridge,
            visits=Visits(bridge, means.clock),
            library=library,
            settings=settings,
            now=means.clock,
            seconds=means.reactor.seconds,
            metrics=means.metrics,
            replay=partial(_replay_document, means, peers),
            erased=partial(_erasure_marks, means),
            document=_show_document,
            live_status=live,
        )
    )
    return WebServer(
        app,
        bridge,
        Bounds(connections=connections, bodies=BodyBudget(MOST_BYTES * 16), refusals=refusals, max_body_bytes=MOST_BYTES),
        means.reactor,
        {share: table.threads if share is Share.STAFF else table.threads_of_others for share in Share},
        lambda: settings().proxies,
        table.max_connections,
        table.max_connections_per_address,
        Callers(store, settings, means.clock, means.reactor),
        PageLimits(app, lambda: settings().pages_per_minute, means.metrics, means.clock),
        ProxyReports(store, means.clock).report,
        live.stop,
    )


class ProxyReports:
    """Logs and records, for `doctor`, that a reverse proxy has named no address of a caller. Used in the reactor's thread."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._recorded_at: datetime | None = None

    def report(self, proxy: str) -> None:
        """Report a proxy, at most once in REPORTED_EVERY."""
        now = self._now()
        if self._recorded_at is not None and now - self._recorded_at < REPORTED_EVERY:
            return
        self._recorded_at = now
        LOG.warning("web.proxy_unreadable", peer=proxy)
        _ = Deferred.fromCoroutine(self._record(now))

    async def _record(self, now: datetime) -> None:
        with suppress(Unavailable):  # the next report is recorded
            await self._store.write(bind(instances.record, instances.PROXY, now), unlocked("one upsert"))


async def _ask_statuses(
    clients: carriers.PartnerClients,
    library: Callable[[], Library],
    partner: Partner,
    bib_id: str,
    copies: Sequence[Holding],
) -> Mapping[str, str] | None:
    """Query a partner for the statuses of its copies of a title. Do not log statuses in the policy as unknown."""
    client = clients.of(partner)
    if not isinstance(client, Shelves):
        return None
    return await client.statuses(partner, bib_id, copies, library().policy.lendable_statuses)


def _show_document(message: PartnerMessage, partner: Partner, agency: str) -> str:
    """Return the document that would be sent now, in the partner's protocol."""
    return find_protocol(partner.protocol).operator.show(message, partner, agency)


def _erasure_marks(means: Resources) -> ErasedMarks:
    """Return the file that marks erased persons, as configured in [privacy], or else beside the SQLite database."""
    config = means.config()
    url, key = make_url(config.database.url), means.environ.get(config.privacy.erased_key_env or "", "").encode()
    beside = Path(f"{url.database}.erased") if url.get_backend_name() == "sqlite" else None
    return ErasedMarks(config.privacy.erased_file or beside, key)


async def _replay_document(means: Resources, peers: Callable[[str], Peers], kept: QuarantinedDocument) -> str | Refused:
    """Replay a quarantined document. Return the problem as a text, "" on success, or a refusal."""
    protocol = config_mapping.protocol_of(means.config(), kept.agency)
    return await protocol.operator.replay(peers(protocol.name), kept.agency, kept.digest, kept.document)


def settings_of(config: GatewayConfig, environ: Mapping[str, str]) -> WebSettings:
    """Convert the [web] table to the settings that the web pages use."""
    table, library = config.web, config.library
    assert table is not None, "asked only where [web] is configured"
    name = table.name or library.name
    return WebSettings(
        public_url=table.public_url,
        names={ENGLISH: name, CHINESE: table.name_zh or library.name_zh or name},
        languages=library.languages,
        brand=table.brand,
        logo=table.logo,
        staff={
            row.login: StaffAccount(login=row.login, name=row.name, secret_hash=row.secret_hash, role=StaffRole.of(row.role))
            for row in table.staff
        },
        proxies=AllowList(table.proxy_from),
        oidc=_oidc_client(table.oidc, environ) if table.oidc else None,
        partners=tuple(
            HomeLibrary(agency=row.agency, name=row.name, discovery_url=row.discovery_url or "") for row in config.partners
        ),
        partner_names_zh=config_mapping.partner_names_zh(config),
        places={ENGLISH: library.place_names, CHINESE: {**library.place_names, **library.place_names_zh}},
        hold_slip=table.hold_slip,
        pages_per_minute=table.pages_per_minute,
    )


def _oidc_client(table: Oidc, environ: Mapping[str, str]) -> OidcSettings:
    roles = {value: StaffRole.of(word) for value, word in table.roles.items()}
    secret = Sensitive(environ.get(table.client_secret_env, ""))
    return OidcSettings(
        issuer=table.issuer,
        client_id=table.client_id,
        secret=secret,
        role_claim=table.role_claim,
        roles=roles,
        card_claim=table.card_claim or "",
    )
