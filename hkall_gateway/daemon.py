"""The composition root: the one place that knows the clock, the reactor and which concrete part is used (law 3)."""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThreadPool
from twisted.logger import globalLogBeginner
from twisted.python.threadpool import ThreadPool

from hkall_gateway import __version__, logs
from hkall_gateway.config import gateway, policy
from hkall_gateway.config.gateway import Gateway
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.connectors.tools import Tools
from hkall_gateway.courier import Courier, Schedule
from hkall_gateway.desk.asks import Answer
from hkall_gateway.desk.desk import Desk
from hkall_gateway.desk.house import House
from hkall_gateway.edge.counters import Counters
from hkall_gateway.edge.secrets import Secrets, WrongPins
from hkall_gateway.mail.letters import Sender
from hkall_gateway.mail.smtp import Mailer, smtp_post
from hkall_gateway.ops.pages import ops_site
from hkall_gateway.rules.vocabulary import By, Sensitive
from hkall_gateway.store.database import Database, open_engine
from hkall_gateway.store.outbox import OutboxRow
from hkall_gateway.store.unit import Move, Unit

LOG = structlog.get_logger()

STOP_S = 4.5
PIN_ATTEMPTS, PIN_WINDOW_S = 5, 900.0
HASHING_THREADS = 1


def now() -> datetime:
    """This instant, aware and in UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one clock of the program


def new_request_id() -> str:
    """A number that no other gateway makes: twelve characters that cannot be misread."""
    return "R-" + "".join(secrets.choice("23456789ABCDEFGHJKMNPQRSTVWXYZ") for _ in range(12))


def house_of(config: Gateway) -> House:
    """Who we are, with the published rules and the site's own on top. Raises ConfigErrors."""
    library = config.library
    return House(library.agency, library.name, policy.load(config.policy.file), library.pickup_locations)


def make_unit(house: House, listen: Callable[[Sequence[Move]], None] | None = None) -> Callable[[Connection], Unit]:
    """A unit that makes real request numbers and sends only the letters that the policy sends."""
    heard = {"listen": listen} if listen else {}
    return lambda connection: Unit(connection, new_request_id, house.silent, **heard)


@dataclass(slots=True)
class Now:
    """What a reload may change while the doors stay open."""

    config: Gateway
    house: House


class Daemon:
    """One running gateway: made from a configuration, started, reloaded, stopped."""

    def __init__(self, config: Gateway, reactor: Any) -> None:
        self._reactor = reactor
        self._at = Now(config, house_of(config))
        self.counters = Counters()
        self._pool = ThreadPool(0, HASHING_THREADS, "hashing")
        self.secrets = self._secrets()
        self.store = self._open_store()
        self.desk = Desk(self.store, self._connector(), lambda: self._at.house, now)
        self._doors: list[Any] = []
        self.courier = self._courier()

    # ---- made of

    def _secrets(self) -> Secrets:
        in_thread = partial(deferToThreadPool, self._reactor, self._pool)
        wrong = WrongPins(PIN_ATTEMPTS, PIN_WINDOW_S, self._reactor.seconds)
        return Secrets(in_thread, self._reactor.seconds, secrets.token_bytes(32), wrong)

    def _open_store(self) -> Database:
        engine = open_engine(self._at.config.database.url)
        return Database(engine, self._unit, self._reactor.callFromThread)

    def _unit(self, connection: Connection) -> Unit:
        return Unit(connection, new_request_id, self._at.house.silent, self._moved)

    def _connector(self) -> Any:
        ils = self._at.config.ils
        made = {e.name: e for e in entry_points(group="hkall_gateway.connectors")}[ils.connector].load()
        tools = Tools(self.store, self._at.config.library.agency, self._verify_pin, ils.model_dump())
        return made(tools)

    async def _verify_pin(self, card: str, stored: Sensitive, pin: Sensitive) -> bool:
        return await self.secrets.verify(f"patron {card}", stored.reveal(), pin.reveal())

    def _courier(self) -> Courier:
        c = self._at.config.courier
        schedule = Schedule(c.attempts, c.first_wait_s, c.longest_wait_s, random.random)
        carriers = {"ncip": self._initiator(), "mail": self._mailer()}
        return Courier(self.store, self.desk, carriers, schedule, self._reactor, now, instance(), self._in_flight)

    def _initiator(self) -> Callable[[OutboxRow], Any]:
        raise NotImplementedError

    def _mailer(self) -> Callable[[OutboxRow], Any]:
        smtp = self._at.config.smtp
        if smtp is None:
            return _no_mail
        post = smtp_post(self._reactor, smtp.host, smtp.port)
        return Mailer(self.store, post, Sender(smtp.sender, self._at.config.library.name, {}), lambda: self._at.house, now).deliver

    def _in_flight(self, recipient: str) -> int:
        return next((p.in_flight for p in self._at.config.partners if p.agency == recipient), 4)

    # ---- what is heard of every committed unit

    def _moved(self, moves: Sequence[Move]) -> None:
        for move in moves:
            _log_move(move)
            if move.outcome == "ok":
                self.counters.add("transitions_total", move.source, move.target)
        self.courier.nudge()


async def _no_mail(_row: OutboxRow) -> Answer:
    return Answer("undeliverable", detail="no [smtp] in the configuration")


def _log_move(move: Move) -> None:
    event = "decision.refused" if move.event == "REFUSED" else "transition"
    LOG.info(
        event,
        request_id=move.request,
        step=move.event,
        **{"from": move.source, "to": move.target},
        rule=move.rule,
        outcome=move.outcome,
        partner=move.partner,
        patron=move.patron,
        actor=move.by.who,
        channel=move.by.channel,
        msg_id=move.by.message,
        corr_id=move.by.corr,
    )


def instance() -> str:
    """The name of this gateway among those on one database."""
    return f"{os.uname().nodename}-{os.environ.get('HKALL_INSTANCE', '1')}"
