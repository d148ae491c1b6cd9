"""The web process (in the logs: the pages' process), which `serve` starts as a child, and the socket between both processes.

Parent and child share only the database and the files. Over the socket, the parent makes the child reload, and queries the
child's metrics and readiness. When one process dies, the other process notices that the socket is closed. The parent then
starts another child. It also kills a child that does not answer for half a minute. A child finishes its requests and exits.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from hkall_gateway.app.resources import Reloaded
from hkall_gateway.clock import ScheduledCall, cancel
from hkall_gateway.net.endpoints import server_endpoint
from hkall_gateway.observability.log_console import LogFormat

LOG = structlog.get_logger()

ANSWER_S: Final = 1.0
"""Time limit for the child's answers to queries for /metrics and /readyz, in seconds."""
RELOAD_S: Final = 30.0
WATCH_S: Final = 5.0
"""Time between two queries that check whether the child answers, and the time limit for each answer, in seconds."""
MOST_UNANSWERED: Final = 6
"""Number of consecutive unanswered checks, in all 30 seconds, after which the child is killed. Checks are counted instead of
seconds, because a parent that was suspended itself finds that time has passed without an answer."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""First and longest pause before restarting the child. Pauses double until a child has run for LONGEST_PAUSE_S."""
END_S: Final = 15.0
"""Seconds after which a child is killed if it still runs after being asked to stop or after closing the socket."""
FIRST_PASSED: Final = 3
"""Descriptor of the first socket that systemd passes. Source: sd_listen_fds(3)."""

Question = Callable[[], Coroutine[Deferred[Any], Any, object]]
NO_ANSWER: Final = (defer.TimeoutError, ConnectionLost)
"""Errors with which a query fails if the other process does not answer."""
Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of a sample."""


class PagesNotStarted(Exception):
    """The first child exited before it was ready. `code` is the exit code, negative for a signal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the pages' process ended before it was ready ({_way_of_end(code)}): its own line says why")
        self.code = code


def _way_of_end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


class Channel(Int32StringReceiver):
    """One end of the socket. Sends queries by name, and answers queries from the other end.

    `answers` maps each query to the function that answers it. `ended` is called when the connection is lost.
    """

    MAX_LENGTH = 1 << 26

    def __init__(self, answers: Mapping[str, Question], ended: Callable[[], object]) -> None:
        self._answers, self._on_end = answers, ended
        self._query_count, self._waiting = 0, dict[int, Deferred[Any]]()

    def ask(self, question: str, clock: Any, patience_s: float | None) -> Deferred[Any]:
        """Send a query. Return a Deferred that fails with NO_ANSWER after `patience_s` seconds or a disconnect."""
        self._query_count += 1
        number, answer = self._query_count, Deferred[Any]()
        self._waiting[number] = answer
        self._send(number, question)
        if patience_s is not None:
            _ = answer.addTimeout(patience_s, clock)
        return answer.addBoth(self._forget_question, number)

    def stringReceived(self, data: bytes) -> None:  # noqa: N802  # Twisted's own name
        """Handle an answer, or answer a query."""
        number, content = orjson.loads(data)
        if number > 0:
            answer = Deferred.fromCoroutine(self._answers[content]())
            _ = answer.addCallback(partial(self._send, -number)).addErrback(_log_bug)
        elif waiting := self._waiting.get(-number):
            waiting.callback(content)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802
        """Fail all unanswered queries."""
        for waiting in tuple(self._waiting.values()):
            waiting.errback(ConnectionLost())
        self._on_end()

    def _send(self, number: int, content: object) -> None:
        if self.connected:
            self.sendString(orjson.dumps((number, content)))  # type: ignore[no-untyped-call]  # it has no types

    def _forget_question(self, result: Any, number: int) -> Any:
        del self._waiting[number]
        return result


def _log_bug(failure: Failure) -> None:
    LOG.error("pages.bug", trace=failure.getTraceback())


def connect(reactor: Any, own: socket.socket, answers: Mapping[str, Question], ended: Callable[[], object]) -> Channel:
    """Create a channel on one end of a socket pair. The reactor takes ownership of the socket."""
    channel = Channel(answers, ended)
    factory: Any = Factory.forProtocol(lambda: channel)
    with own:
        own.setblocking(False)
        reactor.adoptStreamConnection(own.fileno(), socket.AF_UNIX, factory)
    return channel


def counter_samples(registry: CollectorRegistry) -> list[tuple[str, dict[str, str], float]]:
    """Return the samples of counters and histograms, which can be added to another process's samples."""
    families = (family for family in registry.collect() if family.type in {"counter", "histogram"})
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


class CombinedRegistry(Collector):
    """The parent's registry with the children's counters and histograms added.

    Keeps a child's last samples when the child exits or does not answer, since Prometheus treats a falling counter as a reset.
    """

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own
        self._former, self._present = dict[Series, float](), dict[Series, float]()

    def take(self, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        """Replace the samples of the running child."""
        self._present = {(name, tuple(sorted(labels.items()))): value for name, labels, value in samples}

    def child_ended(self) -> None:
        """Keep an exited child's samples permanently, since the next child counts from zero."""
        self._former, self._present = self._children(), {}

    def collect(self) -> Iterable[Metric]:
        """Return all metric families, with sums over parent and children."""
        children = self._children()
        for family in self._own.collect():
            if children and family.type in {"counter", "histogram"}:
                family.samples = list(_add_samples(family, children))
            yield family

    def _children(self) -> dict[Series, float]:
        return {key: self._former.get(key, 0.0) + self._present.get(key, 0.0) for key in {**self._former, **self._present}}


def _add_samples(family: Metric, children: dict[Series, float]) -> Iterable[Sample]:
    names = {f"{family.name}{suffix}" for suffix in ("_total", "_bucket", "_count", "_sum")}
    of_family = {key: children.pop(key) for key in [key for key in children if key[0] in names]}
    for sample in family.samples:
        yield sample._replace(value=sample.value + of_family.pop((sample.name, tuple(sorted(sample.labels.items()))), 0.0))
    for (name, labels), value in of_family.items():
        yield Sample(name, dict(labels), value)


class PagesProcess:
    """Starts the child, restarts it after an exit, and queries it. Use this class only in the reactor's thread.

    `endpoints` holds the web pages' endpoint strings. Sockets from systemd are passed on to the child.
    """

    def __init__(
        self, path: Path, log_format: LogFormat | None, endpoints: Iterable[str], reactor: Any, environ: Mapping[str, str]
    ) -> None:
        drawn = ("--log-format", log_format) if log_format else ()
        self._command = (sys.executable, "-P", "-m", "hkall_gateway", "serve", "--only", "web", "--config", str(path), *drawn)
        self._passed = tuple(text for text in endpoints if text.startswith("systemd:"))
        self._reactor, self._environ, self._sockets = reactor, dict(environ), list[int]()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._ready, self._gone = Deferred[int](), Deferred[None]()
        self._leaving, self._began_s, self._pause_s = False, 0.0, 0.0
        self._begins: ScheduledCall | None = None
        self._watches: ScheduledCall | None = None
        self._unanswered = 0
        self._kills: ScheduledCall | None = None
        self._registry: CombinedRegistry | None = None

    async def start(self) -> int:
        """Start the child, wait until its ports are open, and return their number. Raises PagesNotStarted or NotPassed."""
        self._sockets = [server_endpoint(self._reactor, text).fileno for text in self._passed]
        if self._sockets:
            count = max(self._sockets) + 1 - FIRST_PASSED
            names = self._environ.get("LISTEN_FDNAMES", "").split(":")[:count]
            self._environ |= {"LISTEN_FDS": str(count), "LISTEN_FDNAMES": ":".join(names)}
        self._start_child()
        return await self._ready

    async def stop(self) -> None:
        """Ask the child to finish its requests, and wait until it has exited."""
        self._leaving = True
        cancel(self._begins)
        if self._process is not None:
            self._process.terminate()
            self._kill_later(self._process)
            await self._gone

    async def reload(self) -> Reloaded:
        """Make the child reload, and return the result. Do nothing without a child, since a new child reads the files."""
        if self._channel is None:
            return Reloaded()
        try:
            errors, waiting = await self._channel.ask("reload", self._reactor, RELOAD_S)
        except NO_ANSWER:
            return Reloaded(errors=(f"the pages' process has ended, or has not answered within {RELOAD_S:.0f} s",))
        return Reloaded(errors=tuple(errors), waiting=tuple(waiting))

    async def is_ready(self) -> bool:
        """Check whether the child answers and has opened its ports."""
        return bool(await self._ask_child("ports"))

    async def add_metrics(self, own: CollectorRegistry) -> CombinedRegistry:
        """Return this process's registry with the children's counts added."""
        registry = self._registry = self._registry or CombinedRegistry(own)
        if (samples := await self._ask_child("metrics")) is not None:
            registry.take(samples)
        return registry

    async def _ask_child(self, question: str) -> Any:
        """Return the child's answer, or None if the child does not answer in time."""
        with suppress(*NO_ANSWER):
            return await self._channel.ask(question, self._reactor, ANSWER_S) if self._channel else None
        return None

    def _start_child(self) -> None:
        own, its = socket.socketpair()
        with its:
            passed, command = (its.fileno(), *self._sockets), (*self._command, "--channel", str(its.fileno()))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=passed, env=self._environ)
        self._process, self._began_s = process, self._reactor.seconds()
        self._channel = connect(self._reactor, own, {}, partial(self._kill_later, process))
        _ = self._channel.ask("ports", self._reactor, None).addCallbacks(
            self._connect_channel, lambda lost: lost.trap(*NO_ANSWER)
        )
        threading.Thread(target=self._reap, args=(process,), name="pages", daemon=True).start()

    def _connect_channel(self, ports: int) -> None:
        self._unanswered = 0
        self._watch_later()
        if not self._ready.called:
            self._ready.callback(ports)

    def _watch_later(self) -> None:
        self._watches = self._reactor.callLater(WATCH_S, self._watch)

    def _watch(self) -> None:
        """Check that the child answers. A child that hangs would keep its ports, so that browsers wait and get no error."""
        if self._channel is not None:
            _ = self._channel.ask("ports", self._reactor, WATCH_S).addCallbacks(self._note_answer, self._note_silence)

    def _note_answer(self, _ports: int) -> None:
        self._unanswered = 0
        self._watch_later()

    def _note_silence(self, failure: Failure) -> None:
        if failure.check(ConnectionLost) or self._process is None:  # type: ignore[no-untyped-call]  # it has no types
            return  # the child is about to end, or has ended
        self._unanswered += 1
        if self._unanswered < MOST_UNANSWERED:
            self._watch()
        else:
            LOG.error("pages.silent", silent_s=WATCH_S * MOST_UNANSWERED)
            self._process.kill()

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        self._reactor.callFromThread(self._child_ended, code)

    def _child_ended(self, code: int) -> None:
        self._process = self._channel = None
        cancel(self._kills)
        cancel(self._watches)
        if self._registry:
            self._registry.child_ended()
        if self._leaving:
            self._gone.callback(None)
        elif not self._ready.called:
            self._ready.errback(PagesNotStarted(code))
        else:
            self._schedule_restart(_way_of_end(code))

    def _schedule_restart(self, why: str) -> None:
        long = self._reactor.seconds() - self._began_s >= LONGEST_PAUSE_S
        self._pause_s = FIRST_PAUSE_S if long else min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
        LOG.error("pages.ended", why=why, again_in_s=self._pause_s)
        self._begins = self._reactor.callLater(self._pause_s, self._restart_child)

    def _restart_child(self) -> None:
        try:
            self._start_child()
        except OSError as error:  # out of memory or file descriptors
            self._schedule_restart(str(error))

    def _kill_later(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the child if it is still running after END_S seconds."""
        if process.returncode is None and not (self._kills and self._kills.active()):
            self._kills = self._reactor.callLater(END_S, process.kill)
