"""The composition root, the only module that chooses the clock, the reactor and the concrete classes (law 3)."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from hkall_gateway import __version__
from hkall_gateway.app import carriers, gauges, logs
from hkall_gateway.app.gauges import Gauges, Pulse, terminals_seen
from hkall_gateway.app.health_pages import Monitored, ops_site
from hkall_gateway.app.heartbeat import PAGES, Heartbeat, no_report
from hkall_gateway.app.local_system import LocalSystemParts
from hkall_gateway.app.machine import free_bytes, instance, number, runs
from hkall_gateway.app.pages_process import PagesProcess
from hkall_gateway.app.resources import Reloaded, Resources, Serving
from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.jobs.rounds import Rounds
from hkall_gateway.clock import now
from hkall_gateway.config import fingerprints, gateway
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.library import library_of, new_request_id
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.config.reloading import keep_until_restart
from hkall_gateway.config.secret_files import SecretFiles
from hkall_gateway.db import bind, cards, instances
from hkall_gateway.db.database import Database
from hkall_gateway.db.engine.connect import database_file, open_engine
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.instances import Instance
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.courier import Courier, Schedule
from hkall_gateway.ils.local_system import ConnectedSystem, WebPins
from hkall_gateway.ils.tools import Guarded
from hkall_gateway.net import tls
from hkall_gateway.net.bounded_http import BoundedSite, Bounds
from hkall_gateway.net.endpoints import CannotOpen, numbered, server_endpoint
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.connection_limit import AddressQueue, ConnectionLimit, Refusals, guard_port
from hkall_gateway.net.limits.fair_reads import BodyBudget, FairReads, use_fair_reads
from hkall_gateway.net.limits.rate_limiter import Guesses
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.net.proxy_protocol import ProxyProtocolFactory
from hkall_gateway.net.secrets import Secrets, WrongPins, ignore_lock
from hkall_gateway.observability.log_context import VERSION
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.key_sets import MOST_BYTES
from hkall_gateway.peers.protocol import House, Peers, Server
from hkall_gateway.protocols import protocols_in_use
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2 import dispatch as sip2
from hkall_gateway.sip2.dispatch import Listener
from hkall_gateway.sip2.exchange import TerminalLog
from hkall_gateway.sip2.server import TerminalFactory

if TYPE_CHECKING:
    from hkall_gateway.web.server import WebServer

LOG = structlog.get_logger()

PIN_ATTEMPTS, PIN_WINDOW_S = 5, 900.0
HASHING_THREADS = 1
"""Number of threads that hash PINs. As many separate threads hash login secrets, so that logins do not delay patrons."""
OPS_BODY, OPS_IDLE_S = 4096, 30.0


def the_reactor() -> Any:
    """Return Twisted's reactor, which the first call installs. All other code gets the reactor as an argument.

    Make the reactor use the monotonic clock. Twisted uses the time of day, so setting the clock back would stop all timers.
    """
    from twisted.internet import reactor  # noqa: TID251  # the only import of the reactor

    found: Any = reactor  # the annotated interfaces do not allow setting `seconds`
    found.seconds = time.monotonic
    return found


def _limit(services: gateway.EndpointConfig, *, queues: bool = False) -> ConnectionLimit:
    most = services.max_connections, services.max_connections_per_address, services.max_unproven_per_address
    return ConnectionLimit(*most, queues=queues)


def _ignore_unavailable(failure: Failure) -> None:
    """Ignore an unavailable database, which has already been logged. Re-raise any other failure."""
    failure.trap(Unavailable)  # type: ignore[no-untyped-call]  # it has no types


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The rules by which a port admits connections.

    Attributes:
        admits: Returns whether an IP address may connect.
        refusals: Counts and logs refused connections.
        balancers: Load balancers, which must send a PROXY header.
        client_ca: Authorities that sign client certificates, for an `ssl:` port.
    """

    admits: Callable[[str], bool]
    limit: ConnectionLimit
    refusals: Refusals
    balancers: AllowList
    client_ca: Path | None = None

    def judge(self, address: str) -> str:
        """Return the reason to refuse a new connection, or "". Admit balancers, whose PROXY header is checked later."""
        if self.balancers.admits(address):
            return ""
        if not self.admits(address):
            return "address"
        return "" if self.limit.has_room(address) else "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One entrance of a protocol of partners: the endpoints at which it listens, and what answers there."""

    protocol: str
    endpoints: tuple[str, ...]
    server: Server
    bounds: Bounds


def tcp_ports(listening: Iterable[Any]) -> Iterator[int]:  # Twisted's ports have no common type
    """Yield the numbers of the network ports among the opened ports."""
    for port in listening:
        number = getattr(port.getHost(), "port", None)
        if number is not None:
            yield number


SECRET_USE_EVERY: Final = timedelta(minutes=1)
"""Time between two writes about the same secret, since a partner may send it many times a second."""
SAME_ROOM_S: Final = 0.05
"""Seconds for which a check of the disk's free space is valid, so that many requests at once share one system call."""


class Daemon:
    """A gateway that can be started, reloaded and stopped.

    Attributes:
        clock: Returns the current time as an aware datetime in UTC. The demo passes an adjustable clock.
        serving: Parts of the configuration to serve. This process serves web pages only if the value is WEB_ALONE.
        pages: Child process that serves the web pages.
        is_child: Whether this is that process, whose environment lacks the variables that it does not use.
        secret_files: The files whose secrets a reload reads again, into `environ`.
    """

    def __init__(
        self,
        config: GatewayConfig,
        reactor: Any,
        clock: Callable[[], datetime] = now,
        environ: MutableMapping[str, str] = os.environ,
        serving: Serving = Serving.ALL,
        pages: PagesProcess | None = None,
        *,
        is_child: bool = False,
        secret_files: SecretFiles | None = None,
    ) -> None:
        self._secret_files = secret_files
        self._reactor, self._clock, self._environ, self._serving, self._pages = reactor, clock, environ, serving, pages
        self._is_child = is_child
        self._configure(config, library_of(config))
        file = database_file(config.database.url)
        self._database_folder = file.absolute().parent if file is not None else None
        self._room, self._room_checked_s = True, -SAME_ROOM_S
        self.metrics = Metrics()
        self._hashing, self._hashing_logins = (ThreadPool(0, HASHING_THREADS, name) for name in ("hashing", "logins"))
        self._means = Resources(reactor=reactor, clock=clock, environ=environ, metrics=self.metrics, config=lambda: self.config)
        self._local = LocalSystemParts(self._means, self._verify_pin)
        self.secrets = self._make_secrets(self._hashing, self._wrong_pins(self._store_card_lock))
        self._logins = self._make_secrets(self._hashing_logins, self._wrong_pins())
        self._activity = TerminalLog()
        self._login_queue, self._guesses, self._proofs = AddressQueue(), Guesses(), Guesses()
        self._fair = FairReads(reactor, time.thread_time)
        threads = config.web.most_threads if config.web and not serving.protocols else 0
        engine = open_engine(config.database.url, config.database.limits(), threads)
        here = (
            random.random,
            gauges.measure_groups(self.metrics, reactor.seconds),
            reactor.seconds,
            partial(reactor.callLater, 0),
            self._fair.together,
        )
        self.store = Database(engine, self._make_unit, reactor.callFromThread, config.database.batch_units, *here)
        self._engine = engine
        ils = self._local.connector(self.store, self._wrong_pins(self._store_card_lock))
        web_pins = WebPins(self._check_pin, ils.check_pin if isinstance(ils, Guarded) else ils.verify_pin)
        local = ConnectedSystem(self.store, ils, lambda: self.library, clock, self._local.terms, web_pins)
        self.circulation = Circulation(self.store, local, lambda: self.library, clock)
        self.courier = self._make_courier()
        self.rounds = Rounds(self.store, lambda: self.library, clock, reactor, instance())
        me = Instance(
            name=self._instance_name,
            host=os.uname().nodename,
            pid=os.getpid(),
            version=__version__,
            since=clock(),
            seen_at=clock(),
        )
        trusted, alone = bool(environ.get("HKALL_TRUST_CLOCK")), engine.dialect.name == "sqlite" and serving.protocols
        self.heartbeat = Heartbeat(self.store, me, reactor, clock, runs, self.metrics, trusted, self._terminal_report, alone)
        self._sip2_services = self._make_sip2_services()
        self._terminals = self._make_terminals()
        self._partners = self._make_partners()
        self._ops = self._make_ops()
        self._web = self._make_web()
        self._ports: list[Any] = []
        self._certificates: list[tls.Certificates] = []
        self._pulse = Pulse(reactor, self.metrics)
        self._recording: Deferred[None] = succeed(None)
        self._secret_uses: dict[tuple[str, str], datetime] = {}

    def _configure(self, config: GatewayConfig, library: Library) -> None:
        self.config, self.library, self._silent = config, library, library.silent

    def _make_secrets(self, pool: ThreadPool, wrong: WrongPins) -> Secrets:
        in_thread: Any = partial(deferToThreadPool, self._reactor, pool)
        return Secrets(in_thread, self._reactor.seconds, secrets.token_bytes(32), wrong)

    def _wrong_pins(self, on_lock: Callable[[str, float], None] = ignore_lock) -> WrongPins:
        return WrongPins(PIN_ATTEMPTS, PIN_WINDOW_S, self._reactor.seconds, on_lock)

    def _store_card_lock(self, card: str, seconds: float) -> None:
        """Store in the database that wrong PINs locked a card, since another process may serve the web pages."""
        now = self._clock()
        locked = bind(cards.lock, card, now + timedelta(seconds=seconds), now)
        written = self.store.write(locked, LockSet(card), repeatable=True)
        _ = written.addErrback(_ignore_unavailable)

    def _make_unit(self, connection: Connection) -> UnitOfWork:
        return UnitOfWork(connection, new_request_id, self._silent, self._report_moves, self._has_room)

    def _has_room(self) -> bool:
        """Check that an SQLite file's disk has, or had SAME_ROOM_S ago, the reserved space. Return True without such a file."""
        now_s, database = self._reactor.seconds(), self.config.database
        if now_s - self._room_checked_s >= SAME_ROOM_S:
            free = free_bytes(self._database_folder) if self._database_folder is not None and database.reserve_mb else None
            self._room, self._room_checked_s = free is None or free >= database.reserve_mb * 1_000_000, now_s
        return self._room

    async def _verify_pin(self, card: str, stored: Sensitive, pin: Sensitive) -> bool:
        return await self.secrets.verify(card, stored.reveal(), pin.reveal())

    async def _check_pin(self, _card: str, stored: Sensitive, pin: Sensitive) -> bool:
        """Check a PIN in the login threads, so that guesses on the web do not delay terminals."""
        return await self._logins.compare(stored.reveal(), pin.reveal())

    def _make_courier(self) -> Courier:
        c = self.config.courier
        schedule = Schedule(
            attempts=c.attempts, first_wait_s=c.first_wait_s, longest_wait_s=c.longest_wait_s, draw=random.random
        )
        kinds = carriers.make_carriers(self._means, self.store, lambda: self.library, self._local.carrier())
        here = (self._reactor, self._clock, instance())
        limits = (partial(carriers.channel_terms, self._means), carriers.circuit_settings(self._means))
        return Courier(self.store, self.circulation, kinds, schedule, *here, *limits)

    def _make_sip2_services(self) -> sip2.Sip2Services:
        library, ils = self.config.library, self.config.ils
        terminals = config_mapping.terminals(self.config, self.library.policy)
        upstream, own_logins = self._local.upstream()
        return sip2.Sip2Services(
            circulation=self.circulation,
            terminals=terminals,
            secrets=self._logins,
            agency=library.agency,
            library_name=library.name,
            timezone=HONG_KONG,
            metrics=self.metrics,
            now=self._clock,
            upstream=upstream,
            own_logins=own_logins,
            logins=self._login_queue,
            guesses=self._guesses,
            wrong_pins=self.config.sip2.wrong_pins_per_address,
            institution=ils.institution,
            budget_until=self._local.budget_until if ils.is_living else None,
            known=self._local.known if ils.is_living else None,
            activity=self._activity,
            undoes_checkouts=ils.unanswered_checkout == "undo",
            timeout=self._timeout("sip2", self.config.sip2.answer_within_s),
            late_execution=timedelta(seconds=ils.late_execution_s),
        )

    def _make_peers(self, protocol: str) -> Peers:
        """Return the callers and settings of one protocol of partners."""
        table = self.config.table_of(protocol)
        get = AgentPost(self._reactor, most_bytes=MOST_BYTES).get
        return Peers(
            protocol=protocol,
            circulation=self.circulation,
            callers=config_mapping.callers(self.config, self._environ, protocol, get),
            agency=self.config.library.agency,
            metrics=self.metrics,
            now=self._clock,
            settings=table,
            timeout=self._timeout(protocol, table.answer_within_s),
            other_names=table.other_names,
            proofs=self._proofs,
            guesses=self._guesses,
            verify=self._logins.verify,
            places=config_mapping.places(self.config),
            name_order=self.config.library.name_order or "",
            public_keys=config_mapping.public_keys(self.config),
        )

    def _timeout(self, protocol: str, seconds: float) -> Timeout:
        return Timeout(self._reactor, seconds, gauges.expiry_reporter(self.metrics, protocol))

    def _make_terminals(self) -> list[tuple[str, TerminalFactory]]:
        """Create the connection factory for each terminal port. All ports share one connection limit."""
        services = self.config.sip2
        limit, refusals = _limit(services, queues=True), self._refusals("sip2")

        def port(listener: Listener) -> TerminalFactory:
            waits = float(services.idle_timeout_s), float(services.login_timeout_s)
            return TerminalFactory(lambda: self._sip2_services, limit, refusals, self._reactor, *waits, listener)

        return [(endpoint, port(listener)) for endpoint, listener in config_mapping.listeners(services)]

    def _terminal_report(self, now: datetime) -> Callable[[UnitOfWork], None]:
        """Return a function that writes, in the heartbeat's transaction, what terminals and partners have done."""
        if not self._serving.protocols:
            return no_report(now)
        lines = [line.terminal for _, factory in self._terminals for line in factory.lines]
        rows = terminals_seen(instance(), self._sip2_services, lines, now)
        uses = self._new_secret_uses()

        def write(unit: UnitOfWork) -> None:
            instances.write_terminals(unit, instance(), rows, now)
            instances.write_secret_uses(unit, uses)

        return write

    def _new_secret_uses(self) -> instances.SecretUses:
        """Return the secrets that partners and clients have used since the last call."""
        uses: dict[tuple[str, str], datetime] = {}
        for (agency, variable), seconds in self.metrics.secret_last_used.samples():
            used_at = datetime.fromtimestamp(seconds, UTC)
            last_at = self._secret_uses.get((agency, variable))
            if last_at is None or used_at - last_at >= SECRET_USE_EVERY:
                uses[agency, variable] = used_at
        self._secret_uses |= uses
        return uses

    def _make_partners(self) -> list[Entrance]:
        """Create the entrances of each protocol of partners. Those of one protocol share its connection limit."""
        made: list[Entrance] = []
        for protocol in protocols_in_use():
            table = self.config.table_of(protocol.name)
            bounds = Bounds(
                connections=_limit(table),
                bodies=BodyBudget(table.max_unfinished_bytes),
                refusals=self._refusals(protocol.name),
                max_body_bytes=table.max_body_bytes,
            )
            house = House(reactor=self._reactor, bounds=bounds, balancers=AllowList(table.proxy_from))
            endpoints = self.config.endpoints_of(protocol)
            for key, server in protocol.servers(self._make_peers(protocol.name), house).items():
                entrance = Entrance(
                    protocol=protocol.name,
                    endpoints=endpoints[key],
                    server=server,
                    bounds=bounds,
                )
                made.append(entrance)
        return made

    def _make_ops(self) -> BoundedSite:
        """Create the monitoring site, which needs no authentication."""
        most = self.config.ops.max_connections
        bounds = Bounds(
            connections=ConnectionLimit(most, most, most),
            bodies=BodyBudget(0),
            refusals=self._refusals("ops"),
            max_body_bytes=OPS_BODY,
            idle_s=OPS_IDLE_S,
        )
        written = (database_file(self.config.database.url), self.config.logs.file)
        folders = {str(file.absolute().parent): file.absolute().parent for file in written if file is not None}
        gauges = Gauges(
            self.library.agency,
            self._clock,
            lambda: [row.agency for row in self.config.partners],
            lambda: {name: free_bytes(folder) for name, folder in folders.items()},
        )
        monitored = Monitored(
            store=self.store,
            gauges=gauges,
            clock=self._reactor,
            listening=lambda: bool(self._ports),
            writable=lambda: self.heartbeat.written,
            ils_away=lambda: self._local.away,
            pages=self._pages,
        )
        return ops_site(monitored, self.metrics.registry, bounds)

    def _make_web(self) -> WebServer | None:
        """Create the web server if this is the web process. No other process imports the web libraries."""
        if self.config.web is None or self._serving.protocols:
            return None
        from hkall_gateway.app.web import web_server

        parts = (self.store, self._engine, self._make_unit, self.circulation, lambda: self.library)
        timeout = self._timeout("web", self.config.web.answer_within_s)
        return web_server(self._means, *parts, self._refusals("web"), self._make_peers, timeout)

    @property
    def _instance_name(self) -> str:
        """Return this process's name in the database. A web process, which may run beside a gateway, has a suffix."""
        return instance() if self._serving.protocols else f"{instance()}{PAGES}"

    def _refusals(self, protocol: str) -> Refusals:
        return Refusals(protocol, self.metrics, self._clock)

    async def start(self, patience_s: float = 0.0) -> None:
        """Write the configured partners to the database, open every endpoint, and start the courier.

        Wait up to `patience_s` seconds for a predecessor with the same name to exit. Raises NameTaken, FileTaken, ClockBehind,
        CannotOpen or PagesNotStarted if the gateway cannot start.
        """
        self._hashing.start()
        self._hashing_logins.start()
        await self.heartbeat.start(patience_s)
        await self._write_partners()
        if self._serving.protocols:
            await self._start_protocols()
        elif self._web is not None and self.config.web is not None:
            self._web.start()
            for text in self.config.web.listen:
                await self._listen(text, self._web.site, shared=self.config.web.share_ports)
        await self.heartbeat.tell_ports(tcp_ports(self._ports))
        self._recording = ensureDeferred(self._record_configuration(self._recording))
        of_pages = await self._pages.start() if self._pages else 0
        listening = self.ports + of_pages
        LOG.info("daemon.started", version=__version__, log_version=VERSION, instance=self._instance_name, listening=listening)

    @property
    def ports(self) -> int:
        """Number of ports that this process has opened."""
        return len(self._ports)

    async def _start_protocols(self) -> None:
        for text, terminals in self._terminals:
            balancers, limit = terminals.listener.proxy_from, terminals.limit
            admission = Admission(
                admits=lambda address: self._sip2_services.admits(address),
                limit=limit,
                refusals=terminals.refusals,
                balancers=balancers,
                client_ca=self.config.sip2.client_ca,
            )
            await self._listen(text, terminals, admission, shared=self.config.sip2.share_ports)
        for entrance in self._partners:
            for text in entrance.endpoints:
                await self._listen_to_partners(text, entrance)
        for text in self.config.ops.listen:
            await self._listen(text, self._ops)
        await self.courier.start()
        self.rounds.start()
        self._pulse.start()

    async def _listen_to_partners(self, text: str, entrance: Entrance) -> None:
        table, bounds = self.config.table_of(entrance.protocol), entrance.bounds
        admission = Admission(
            admits=lambda address: entrance.server.admits(address),
            limit=bounds.connections,
            refusals=bounds.refusals,
            balancers=AllowList(table.proxy_from),
            client_ca=table.client_ca,
        )
        await self._listen(text, entrance.server, admission, shared=table.share_ports)

    async def _listen(self, text: str, factory: Any, admission: Admission | None = None, *, shared: bool = False) -> None:
        """Open a port. Without `admission`, every IP address may connect. A PROXY header precedes the TLS handshake."""
        text, around = numbered(text, number()), partial(self._behind_balancer, admission)
        if text.startswith(tls.KIND):
            endpoint = self._tls_endpoint(text, admission, around, shared=shared)
        else:
            endpoint, factory = server_endpoint(self._reactor, text, shared=shared), around(factory)
        try:
            opened = await endpoint.listen(factory)
        except CannotListenError as error:
            why = error.socketError.strerror or str(error.socketError)
            raise CannotOpen(f"{text}: {why}: choose another port or address, or end the program that has it") from None
        port = use_fair_reads(opened, self._fair)
        self._ports.append(guard_port(port, admission.judge, admission.refusals) if admission else port)

    def _tls_endpoint(self, text: str, admission: Admission | None, around: Callable[[Any], Any], *, shared: bool) -> Any:
        authorities = admission.client_ca if admission else None
        try:
            made = tls.tls_entrance(self._reactor, text, shared=shared, authorities=authorities, around=around)
        except tls.ERRORS as error:
            raise CannotOpen(f"{text}: {error}: see `hkall-gateway check-config`, as the gateway's user") from None
        self._certificates.append(made.certificates)
        return made

    def _behind_balancer(self, admission: Admission | None, factory: Any) -> Any:
        """Wrap `factory` in the PROXY protocol if load balancers connect to the port."""
        if admission is None or not admission.balancers:
            return factory
        return ProxyProtocolFactory(factory, admission.balancers, admission.refusals, self._reactor)

    def _renew_certificates(self) -> None:
        for shown in self._certificates:
            try:
                shown.renew()
            except tls.ERRORS as error:
                LOG.error("tls.not_renewed", port=shown.port, why=f"{type(error).__name__}: {error}")
        if self._certificates:
            LOG.info("tls.renewed", ports=len(self._certificates))

    async def reload(self, path: Path) -> Reloaded:
        """Reload the configuration, the policy and the certificates. If there are errors, keep the current configuration.

        Keys that need a restart keep their values, and the result lists them. Write the partners to the database as at the
        start. Make the web process reload too, and merge both results.
        """
        own = await self._reload_own(path)
        pages = await self._pages.reload() if self._pages else Reloaded()
        return Reloaded(
            errors=tuple(dict.fromkeys([*own.errors, *pages.errors])),
            waiting=tuple(dict.fromkeys([*own.waiting, *pages.waiting])),
        )

    async def _reload_own(self, path: Path) -> Reloaded:
        self._renew_certificates()
        fresh = self._secret_files.changed(self._environ) if self._secret_files else {}
        before = {name: self._environ[name] for name in fresh if name in self._environ}
        self._environ.update(fresh)
        try:
            read = gateway.load(path, None if self._is_child else self._environ)
            library = library_of(read)
            config, waiting = keep_until_restart(self.config, read)
            missing = sorted(config_mapping.variables_of_pages(config) - self._environ.keys()) if self._is_child else ()
            waiting = (*waiting, *(f"variable {name} of the pages" for name in missing))
            self._apply_configuration(config, library)
        except ConfigErrors as error:
            errors = tuple(f"{where}: {what}" for where, what in error.errors)
            LOG.error("config.not_changed", errors=errors)
            for name in fresh.keys() - before.keys():
                del self._environ[name]
            self._environ.update(before)
            return Reloaded(errors=errors)
        if waiting:
            LOG.warning("config.needs_restart", keys=waiting)
        with suppress(Unavailable):  # already logged, and the next reload or start writes the partners
            await self._write_partners()
        if fresh:
            LOG.info("config.secrets_changed", keys=sorted(fresh))
        LOG.info("config.changed", terminals=len(config.sip2.terminals), partners=len(config.partners))
        self._recording = ensureDeferred(self._record_configuration(self._recording))
        return Reloaded(waiting=waiting)

    async def _record_configuration(self, before: Deferred[None]) -> None:
        """Record what this gateway holds now, for `check-config --diff`. The pages' process holds the same.

        `before` is the record before this one, which must not be written later.
        """
        await before
        if self._is_child:
            return
        work = partial(fingerprints.take, self.config, self.library.policy, dict(self._environ))
        held: str = await deferToThreadPool(self._reactor, self._hashing, work)
        own_row = unlocked("only this gateway writes its row")
        record = bind(instances.record_configuration, self._instance_name, held, self._clock())
        with suppress(Unavailable):  # already logged, and the next reload or start writes it
            await self.store.write(record, own_row)

    async def _write_partners(self) -> None:
        partners = [partner.plain() for partner in self.config.partners]
        in_order = unlocked("one upsert, with its rows in a fixed order")
        await self.store.write(lambda unit: unit.partners.write(partners), in_order)

    def _apply_configuration(self, config: GatewayConfig, library: Library) -> None:
        """Apply a configuration. Raises ConfigErrors and changes nothing if a key that needs a restart contradicts it."""
        before = self.config, self.library
        self._configure(config, library)
        try:
            listeners = list(config_mapping.listeners(config.sip2))
            sip2_services = self._make_sip2_services()
            peers = {entrance.protocol: self._make_peers(entrance.protocol) for entrance in self._partners}
        except KeyError as missing:
            self._configure(*before)
            what = "a key that needs a restart still names it: restart the gateway"
            raise ConfigErrors(Path(), [(str(missing), what)]) from missing
        for (_, terminals), (_, listener) in zip(self._terminals, listeners, strict=True):
            terminals.listener = listener
        self._sip2_services = sip2_services
        for entrance in self._partners:
            entrance.server.serve(peers[entrance.protocol])

    async def stop(self) -> None:
        """Refuse new work, finish the work in progress, and close everything. Stop the web process at the same time."""
        pages_end = ensureDeferred(self._pages.stop()) if self._pages else None
        self._pulse.stop()
        self._local.stop()
        await self._close_ports()
        draining = [terminals.drain() for _, terminals in self._terminals]
        for drained in draining:
            await drained
        for entrance in self._partners:
            await entrance.server.drain()
        if self._web is not None:
            await self._web.stop()
        if self._serving.protocols:
            await self.rounds.stop()
            await self.courier.stop()
        await self.heartbeat.stop()
        await self._recording
        self.store.close()
        self._engine.dispose()
        self._stop_hashing()
        if pages_end is not None:
            await pages_end
        LOG.info("daemon.stopped")

    async def withdraw(self) -> None:
        """Close the opened ports and sign off after a failed start, so that this gateway does not count as gone."""
        await self._close_ports()
        if self._pages:
            await self._pages.stop()
        await self.heartbeat.stop()
        await self._recording
        self._stop_hashing()

    def _stop_hashing(self) -> None:
        """End the threads that hash, which would keep the process alive."""
        self._hashing.stop()
        self._hashing_logins.stop()

    async def _close_ports(self) -> None:
        for port in self._ports:
            await port.stopListening()
        self._ports.clear()

    def _report_moves(self, moves: Sequence[JournalEntry]) -> None:
        self.courier.nudge()
        for move in moves:
            logs.log_move(move)
        gauges.count_moves(self.metrics, moves)
