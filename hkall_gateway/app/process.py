"""The process around the daemon: its log, its signals and its exit code."""

from __future__ import annotations

import gc
import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.exc import OperationalError
from twisted.internet.defer import ensureDeferred
from twisted.logger import globalLogBeginner

from hkall_gateway.app import logs, machine
from hkall_gateway.app.daemon import Daemon, the_reactor
from hkall_gateway.app.heartbeat import ClockBehind, FileTaken, NameTaken
from hkall_gateway.app.pages_process import PagesNotStarted, PagesProcess, connect, counter_samples
from hkall_gateway.app.resources import Reloaded, Serving
from hkall_gateway.app.service_manager import READY, STOPPING, ServiceManager
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.db.engine.connect import GROUP_READS, private
from hkall_gateway.db.engine.db_errors import Unavailable, name_of
from hkall_gateway.net.endpoints import CannotOpen, NotPassed, numbered
from hkall_gateway.observability.background_writer import BackgroundWriter
from hkall_gateway.observability.log_console import LogFormat, renderer_for

LOG = structlog.get_logger()

YOUNG: Final = (5_000, 10, 10)
"""Thresholds of the garbage collector. One iteration of a busy reactor makes more than Python's default of 700 new objects, and
reference counting frees all of them. With long-lived objects frozen, collections no longer cause the longest waits."""

REFUSED, WRONG = 1, 2
"""Exit codes: it could not start; its configuration does not fit the way in which it was started."""

RUN_KEY: Final = "HKALL_RUN_KEY"
"""The variable by which the pages' process has the key of this run for card numbers in the log, where the site has set none."""

TO_END: Final = (signal.SIGTERM, signal.SIGINT)

PREDECESSOR_S: Final = 15.0
"""How long a pages' process waits for that of a parent that was killed: until it has finished its pages."""

SERVES: Final = "STATUS=serving"
OLD_CONFIGURATION: Final = "STATUS=serving with the old configuration: the new one has errors, see the log"
"""What `systemctl status` shows."""


def serve(
    path: Path,
    beside: Callable[[Any], Any] | None = None,
    serving: Serving = Serving.ALL,
    log_format: LogFormat | None = None,
    started: Callable[[], object] = lambda: None,
    channel: int | None = None,
) -> int:
    """Run until SIGTERM or SIGINT and return the exit code. A signal during the start is obeyed after it.

    `beside` starts the parts that the demo adds to this process. `serving`: the parts of the configuration that are served.
    `log_format`: by default "console" if the log goes to a terminal. `started` is called once all ports are open. `channel` is
    the descriptor of the socket to the parent, if this is the pages' process.
    """
    reactor = the_reactor()
    early = _early_signals()
    config = gateway.load(path, os.environ)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the usual 1,024 are fewer than the connections of both protocols
    os.environ.setdefault(RUN_KEY, secrets.token_hex(32))
    pages = None
    if serving is Serving.ALL and config.web is not None:
        endpoints = (numbered(text, machine.number()) for text in config.web.listen)
        pages = PagesProcess(path, log_format, endpoints, reactor, os.environ)
    parent = socket.socket(fileno=channel) if channel is not None else None
    log = _start_log(config, log_format, shared=bool(pages or parent))
    ended: list[int] = []
    process = Process(path, reactor, log, ServiceManager({} if parent else os.environ, os.getpid()), pages, parent)
    # Only once it runs: an error at the start stops the reactor, and a reactor that does not run yet cannot be stopped.
    reactor.callWhenRunning(lambda: ensureDeferred(process.live(config, beside, ended, serving, started, early)))
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        log.close()
    return ended[0] if ended else 0


def _early_signals() -> list[int]:
    """Note signals until the daemon can obey them; without handlers they would end the process at once.

    A second signal to end does that, since the start may hang.
    """
    early: list[int] = []

    def note(number: int, _frame: object) -> None:
        early.append(number)
        if number in TO_END:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGHUP, *TO_END):
        signal.signal(number, note)
    return early


def _start_log(config: GatewayConfig, log_format: LogFormat | None, *, shared: bool) -> BackgroundWriter:
    key = (os.environ.get(config.logs.patron_key_env or "") or os.environ[RUN_KEY]).encode()
    stream = _open_log(config.logs.file) if config.logs.file else os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    log = BackgroundWriter(stream, shared=shared)
    logs.configure(
        log, now, config.logs.level, key, config.logs.titles, draw=renderer_for(stream, log_format, os.environ), for_good=True
    )
    observer: Any = logs.log_twisted_event  # to mypy a zope interface is a class; to Twisted any callable is an observer
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    return log


def _open_log(path: Path) -> FileIO:
    """Open the log to append to it; a new file is readable by its owner and group."""
    private(path, GROUP_READS)
    return open(path, "ab", buffering=0)


def _count_dropped(daemon: Daemon, log: BackgroundWriter) -> None:
    """Count the lines that the log dropped, and log their number as soon as it accepts a line again."""

    def lost(count: int) -> None:
        daemon.metrics.log_dropped.inc(count)
        LOG.warning("log.dropped", lines=count)

    log.dropped = lost


@dataclass(frozen=True, slots=True)
class Process:
    """What is around the daemon: log, service manager, and the pages' process or the socket to the parent."""

    path: Path
    reactor: Any
    log: BackgroundWriter
    service: ServiceManager
    pages: PagesProcess | None
    parent: socket.socket | None

    async def live(
        self,
        config: GatewayConfig,
        beside: Callable[[Any], Any] | None,
        ended: list[int],
        serving: Serving,
        started: Callable[[], object],
        early: list[int],
    ) -> None:
        """Start the daemon and obey signals from then on, or say why it cannot start, and stop the reactor."""
        daemon = None
        try:
            daemon = Daemon(config, self.reactor, serving=serving, pages=self.pages)
            _count_dropped(daemon, self.log)
            company = beside(self.reactor) if beside else None
            if company:
                await company.start()
            await daemon.start(PREDECESSOR_S if self.parent else 0.0)
        except Exception as error:
            if isinstance(error, (CannotOpen, ClockBehind, FileTaken, NameTaken, PagesNotStarted)):
                LOG.error("daemon.not_started", why=str(error))
            elif isinstance(error, (Unavailable, OperationalError)):
                LOG.error("daemon.not_started", why=f"the database: {name_of(error)}")
            else:
                LOG.exception("daemon.not_started")
            if daemon is not None:
                await daemon.withdraw()
            wrong = isinstance(error, NotPassed) or (isinstance(error, PagesNotStarted) and error.code == WRONG)
            ended.append(WRONG if wrong else REFUSED)
            self.reactor.stop()
            return
        gc.collect()
        gc.freeze()  # the objects that exist now live until the end: collections skip them
        gc.set_threshold(*YOUNG)
        self._handle_signals(daemon)
        self.service.notify(READY, SERVES)
        self.service.watch(self.reactor)
        for number in dict.fromkeys(early):
            signal.raise_signal(number)
        started()

    def _handle_signals(self, daemon: Daemon) -> None:
        """Obey the signals of the operator, and the parent's queries."""
        leaving: list[Any] = []
        log_file = daemon.config.logs.file  # another one needs a restart

        def leave() -> None:
            if not leaving:
                self.service.notify(STOPPING)
                leaving.append(ensureDeferred(end()))

        async def end() -> None:
            try:
                await daemon.stop()
            except Exception:
                LOG.exception("daemon.stop_failed")
            self.reactor.stop()

        async def reload() -> tuple[tuple[str, ...], tuple[str, ...]]:
            self.service.reloading()
            try:
                if log_file:  # a rotation has renamed the one before
                    self.log.continue_on(_open_log(log_file))
            except OSError as error:
                LOG.error("log.not_reopened", why=str(error))
            done = Reloaded(("the reload failed: see the log",))
            try:
                done = await daemon.reload(self.path)
            except Exception:
                LOG.exception("config.not_changed")
            waiting = f"{SERVES}; a restart is needed for {', '.join(done.waiting)}" if done.waiting else SERVES
            self.service.notify(READY, OLD_CONFIGURATION if done.errors else waiting)
            self.service.reloaded(done.errors, done.waiting)
            return done.errors, done.waiting

        async def ports() -> int:
            return daemon.ports

        async def metrics() -> Any:
            return counter_samples(daemon.metrics.registry)

        def in_reactor(work: Callable[..., object]) -> Callable[..., None]:
            return lambda *_: self.reactor.callFromThread(work)

        for number in TO_END:
            signal.signal(number, in_reactor(leave))
        signal.signal(signal.SIGHUP, in_reactor(lambda: ensureDeferred(reload())))
        if self.parent is not None:
            connect(self.reactor, self.parent, {"ports": ports, "metrics": metrics, "reload": reload}, leave)
