"""Runs the daemon in a process, with the log, the signal handlers and the exit code."""

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
from hkall_gateway.config import mapping as config_mapping
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.secret_files import SecretFiles
from hkall_gateway.db.engine.connect import GROUP_READS, private
from hkall_gateway.db.engine.db_errors import Unavailable, name_of
from hkall_gateway.net.endpoints import CannotOpen, NotPassed, numbered
from hkall_gateway.observability.background_writer import BackgroundWriter
from hkall_gateway.observability.log_console import LogFormat, renderer_for

LOG = structlog.get_logger()

YOUNG: Final = (5_000, 10, 10)
"""Thresholds for the garbage collector. One iteration of a busy reactor creates more objects than Python's default of 700, and
reference counting frees all of them. Since long-lived objects are frozen, collections no longer cause the longest pauses."""

REFUSED, WRONG = 1, 2
"""Exit codes: the gateway could not start (1), or the configuration does not match the way of starting (2)."""

RUN_KEY: Final = "HKALL_RUN_KEY"
"""Variable that passes the log's key for card numbers to the web process. The key is random, used if the site sets no key."""

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
"""Variable with the folder in which systemd shows the credentials of the service."""
CREDENTIALS_OF_PAGES: Final = "HKALL_CREDENTIALS_OF_PAGES"
"""Variable that passes this folder to the web process."""

TO_END: Final = (signal.SIGTERM, signal.SIGINT)

PREDECESSOR_S: Final = 15.0
"""Seconds that a new web process waits until a killed parent's web process has finished its requests."""

NICENESS: Final = 10
"""Niceness of the web process, so that pages do not delay terminals and partners."""

SERVES: Final = "STATUS=serving"
OLD_CONFIGURATION: Final = "STATUS=serving with the old configuration: the new one has errors, see the log"
"""Status texts for `systemctl status`."""


def serve(
    path: Path,
    beside: Callable[[Any], Any] | None = None,
    serving: Serving = Serving.ALL,
    log_format: LogFormat | None = None,
    started: Callable[[], object] = lambda: None,
    channel: int | None = None,
) -> int:
    """Run until SIGTERM or SIGINT and return the exit code. Handle signals that arrive during the start afterwards.

    Args:
        path: Configuration file.
        beside: Creates the parts that the demo runs in this process.
        serving: Parts of the configuration to serve.
        log_format: Format of the log, or None for "console" on a terminal and "json" elsewhere.
        started: Called when all ports are open.
        channel: Descriptor of the socket to the parent, if this is the web process.
    """
    reactor = the_reactor()
    early = _early_signals()
    is_child = channel is not None
    config = gateway.load(path, None if is_child else os.environ)  # a child gets only the variables that it uses
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the default of 1,024 is too low for our connection limits
    os.environ.setdefault(RUN_KEY, secrets.token_hex(32))
    pages = None
    if serving is Serving.ALL and config.web is not None:
        endpoints = (numbered(text, machine.number()) for text in config.web.listen)
        environ = config_mapping.environment_of_pages(config, os.environ)
        # Under its usual name the child's command would read all secrets from this folder. A reload of the child needs the
        # folder for the variables that the child has.
        if folder := environ.pop(CREDENTIALS_DIRECTORY, None):
            environ[CREDENTIALS_OF_PAGES] = folder
        pages = PagesProcess(path, log_format, endpoints, reactor, environ)
    parent = socket.socket(fileno=channel) if channel is not None else None
    if parent:
        os.nice(NICENESS)
    log = _start_log(config, log_format, shared=bool(pages or parent))
    ended: list[int] = []
    process = Process(
        path=path,
        reactor=reactor,
        log=log,
        service=ServiceManager({} if parent else os.environ, os.getpid()),
        pages=pages,
        parent=parent,
    )
    # Start the daemon in the running reactor, since an error at the start stops the reactor.
    reactor.callWhenRunning(lambda: ensureDeferred(process.live(config, beside, ended, serving, started, early)))
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        log.close()
    return ended[0] if ended else 0


def _early_signals() -> list[int]:
    """Collect signals until the daemon can handle them. Without this, a signal would end the process at once.

    A second SIGTERM or SIGINT still ends the process at once, in case the start hangs.
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
    observer: Any = logs.log_twisted_event  # mypy takes the zope interface for a class; any callable is an observer
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    return log


def _open_log(path: Path) -> FileIO:
    """Open the log file for appending. Make a new file readable by its owner and group."""
    private(path, GROUP_READS)
    return open(path, "ab", buffering=0)


def _count_dropped(daemon: Daemon, log: BackgroundWriter) -> None:
    """Count dropped log lines, and log the number as soon as the log accepts lines again."""

    def lost(count: int) -> None:
        daemon.metrics.log_dropped.inc(count)
        LOG.warning("log.dropped", lines=count)

    log.dropped = lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The daemon's environment: the log, the service manager, and either the web process or the socket to the parent."""

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
        """Start the daemon, then handle signals. If the daemon cannot start, log the reason and stop the reactor."""
        daemon = None
        try:
            is_child = self.parent is not None
            credentials = os.environ.get(CREDENTIALS_OF_PAGES if is_child else CREDENTIALS_DIRECTORY)
            files = SecretFiles(self.path, os.environ, credentials, adds=not is_child)
            daemon = Daemon(config, self.reactor, serving=serving, pages=self.pages, is_child=is_child, secret_files=files)
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
        gc.freeze()  # existing objects live until the exit, so collections can skip them
        gc.set_threshold(*YOUNG)
        self._handle_signals(daemon)
        self.service.notify(READY, SERVES)
        self.service.watch(self.reactor)
        for number in dict.fromkeys(early):
            signal.raise_signal(number)
        started()

    def _handle_signals(self, daemon: Daemon) -> None:
        """Handle SIGTERM, SIGINT and SIGHUP, and answer the parent's queries."""
        leaving: list[Any] = []
        log_file = daemon.config.logs.file  # a change of this key takes effect only after a restart

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
                if log_file:  # log rotation may have renamed the current file
                    self.log.continue_on(_open_log(log_file))
            except OSError as error:
                LOG.error("log.not_reopened", why=str(error))
            done = Reloaded(errors=("the reload failed: see the log",))
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
