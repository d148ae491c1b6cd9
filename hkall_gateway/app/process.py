"""The process around the daemon: its log, its signals, its exit code."""

from __future__ import annotations

import gc
import os
import resource
import secrets
import signal
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.exc import OperationalError
from twisted.internet.defer import ensureDeferred
from twisted.logger import globalLogBeginner

from hkall_gateway.app import logs
from hkall_gateway.app.daemon import Daemon, Reloaded, the_reactor
from hkall_gateway.app.heartbeat import ClockBehind, FileTaken, NameTaken
from hkall_gateway.app.resources import Serving
from hkall_gateway.app.service_manager import READY, STOPPING, ServiceManager
from hkall_gateway.clock import now
from hkall_gateway.config import gateway
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.db.engine.connect import GROUP_READS, private
from hkall_gateway.db.engine.db_errors import Unavailable, name_of
from hkall_gateway.net.endpoints import CannotOpen, NotPassed
from hkall_gateway.observability.background_writer import BackgroundWriter
from hkall_gateway.observability.log_console import LogFormat, drawing_on

LOG = structlog.get_logger()

YOUNG: Final = (5_000, 10, 10)
"""Thresholds of the garbage collector. One iteration of a busy reactor makes more than Python's default of 700 new objects, and
reference counting frees all of them. With long-lived objects frozen, collections no longer cause the longest waits."""

REFUSED, WRONG = 1, 2
"""Exit codes: it could not start; its configuration does not fit the way in which it was started."""

TO_END: Final = (signal.SIGTERM, signal.SIGINT)

SERVES: Final = "STATUS=serving"
OLD_CONFIGURATION: Final = "STATUS=serving with the old configuration: the new one has errors, see the log"
"""What `systemctl status` shows."""


def serve(
    path: Path,
    beside: Callable[[Any], Any] | None = None,
    serving: Serving = Serving.ALL,
    log_format: LogFormat | None = None,
    started: Callable[[], object] = lambda: None,
) -> int:
    """Runs until SIGTERM or SIGINT and returns the exit code. A signal that comes during the start is obeyed after it.

    `beside` starts the parts that the demo adds to this process; `serving`: the parts of the configuration that are served;
    `log_format`: without one, "console" if the log goes to a terminal. `started` is called once all ports are open.
    """
    reactor = the_reactor()
    early = _early_signals()
    config = gateway.load(path, os.environ)
    _allow_files()
    log = _begin_log(config, log_format)
    ended: list[int] = []
    # Only once it runs: an error at the start stops the reactor, and a reactor that does not run yet cannot be stopped.
    reactor.callWhenRunning(lambda: ensureDeferred(_live(path, config, reactor, beside, ended, log, serving, started, early)))
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        log.close()
    return ended[0] if ended else 0


def _early_signals() -> list[int]:
    """Returns where signals are noted until the daemon can obey them; without handlers they would end the process at once.

    A second signal to end does that, as it may be the start that hangs.
    """
    early: list[int] = []

    def note(number: int, _frame: object) -> None:
        early.append(number)
        if number in TO_END:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGHUP, *TO_END):
        signal.signal(number, note)
    return early


def _allow_files() -> None:
    """Raises the limit of open files as far as the system allows.

    The usual 1,024 are fewer than the connections of both protocols.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _begin_log(config: GatewayConfig, log_format: LogFormat | None) -> BackgroundWriter:
    key = os.environ.get(config.logs.patron_key_env or "", "").encode() or secrets.token_bytes(32)
    stream = _open_log(config.logs.file) if config.logs.file else os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    log = BackgroundWriter(stream)
    logs.configure(
        log, now, config.logs.level, key, config.logs.titles, draw=drawing_on(stream, log_format, os.environ), for_good=True
    )
    globalLogBeginner.beginLoggingTo([logs.bridge()], redirectStandardIO=False, discardBuffer=True)
    return log


def _open_log(path: Path) -> FileIO:
    """Opens the log to append to it; a new file is readable by its owner and group."""
    private(path, GROUP_READS)
    return open(path, "ab", buffering=0)


def _count_lost(daemon: Daemon, log: BackgroundWriter) -> None:
    """Counts the lines that the log dropped, and logs their number as soon as it accepts a line again."""

    def lost(count: int) -> None:
        daemon.metrics.log_dropped.inc(count)
        LOG.warning("log.dropped", lines=count)

    log.dropped = lost


async def _live(
    path: Path,
    config: GatewayConfig,
    reactor: Any,
    beside: Any,
    ended: list[int],
    log: BackgroundWriter,
    serving: Serving,
    started: Callable[[], object],
    early: list[int],
) -> None:
    daemon = None
    try:
        daemon = Daemon(config, reactor, serving=serving)
        _count_lost(daemon, log)
        company = beside(reactor) if beside else None
        if company:
            await company.start()
        await daemon.start()
    except Exception as error:
        if isinstance(error, (CannotOpen, ClockBehind, FileTaken, NameTaken)):
            LOG.error("daemon.not_started", why=str(error))
        elif isinstance(error, (Unavailable, OperationalError)):
            LOG.error("daemon.not_started", why=f"the database: {name_of(error)}")
        else:
            LOG.exception("daemon.not_started")
        if daemon is not None:
            await daemon.withdraw()
        ended.append(WRONG if isinstance(error, NotPassed) else REFUSED)
        reactor.stop()
        return
    gc.collect()
    gc.freeze()  # the objects that exist now live until the end: collections skip them
    gc.set_threshold(*YOUNG)
    service = ServiceManager(os.environ, os.getpid())
    _obey_signals(daemon, path, reactor, service, log)
    service.notify(READY, SERVES)
    service.watch(reactor)
    for number in dict.fromkeys(early):
        signal.raise_signal(number)
    started()


def _obey_signals(daemon: Daemon, path: Path, reactor: Any, service: ServiceManager, log: BackgroundWriter) -> None:
    leaving: list[Any] = []
    log_file = daemon.config.logs.file  # another one needs a restart

    def leave() -> None:
        if not leaving:
            service.notify(STOPPING)
            leaving.append(ensureDeferred(_leave(daemon, reactor)))

    async def read_again() -> None:
        done = Reloaded(("the reload failed: see the log",))
        try:
            done = await daemon.reload(path)
        except Exception:
            LOG.exception("config.not_changed")
        finally:
            waiting = f"{SERVES}; a restart is needed for {', '.join(done.waiting)}" if done.waiting else SERVES
            service.notify(READY, OLD_CONFIGURATION if done.errors else waiting)
            service.reloaded(done.errors, done.waiting)

    def reload() -> None:
        service.reloading()
        if log_file:
            _reopen(log, log_file)
        ensureDeferred(read_again())

    def in_reactor(work: Callable[..., object]) -> Callable[..., None]:
        return lambda *_: reactor.callFromThread(work)

    for number in TO_END:
        signal.signal(number, in_reactor(leave))
    signal.signal(signal.SIGHUP, in_reactor(reload))


def _reopen(log: BackgroundWriter, path: Path) -> None:
    """Continues the log on the file that has this name now, after a rotation renamed the one before."""
    try:
        log.continue_on(_open_log(path))
    except OSError as error:
        LOG.error("log.not_reopened", why=str(error))


async def _leave(daemon: Daemon, reactor: Any) -> None:
    try:
        await daemon.stop()
    except Exception:
        LOG.exception("daemon.stop_failed")
    reactor.stop()
