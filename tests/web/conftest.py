"""A world behind Flask's test client: real store and circulation service, in memory, with the world's clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import TestResponse

from hkall_gateway.circulation.ports import LiveStatuses
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.ncip.transport.client import show_document
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.web import limits
from hkall_gateway.web.app import make_app
from hkall_gateway.web.middleware import Middleware
from hkall_gateway.web.paths import API_ROOT
from hkall_gateway.web.services import EXTENSION, ErasedMarks, Replay, StaffAccount, WebServices, WebSettings
from hkall_gateway.web.visits import Visits
from tests.web.direct_bridge import DirectBridge

WORLD = Path(__file__).parents[2] / "fixtures" / "worlds" / "consortium.toml"
PASSWORD = "open sesame"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""A fast hash, since hundreds of tests log in."""
NAMES = {"en": "HKU Libraries", "zh-Hant": "香港大學圖書館"}
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
FORM_KEY = re.compile(r'name="form_key" value="([^"]+)"')


def settings(**changed: Any) -> WebSettings:
    """WebSettings with one account for each role, named as the role."""
    accounts = {
        role.word: StaffAccount(login=role.word, name=f"Desk {role.word}", secret_hash=HASH, role=role) for role in StaffRole
    }
    usual = WebSettings(
        public_url="https://hkall.test", names=NAMES, languages=("en", "zh-Hant"), brand="#0f5c4a", staff=accounts
    )
    return replace(usual, **changed)


class Compiled(BytecodeCache):
    """A cache of compiled templates shared by all applications of a process."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if found := self._code.get(bucket.key):
            bucket.bytecode_from_string(found)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


@dataclass
class Browser:
    """A browser for the pages: keeps cookies, and fills in hidden form fields."""

    client: FlaskClient
    address: str = "192.0.2.7"

    def get(self, path: str, **named: Any) -> TestResponse:
        return self.client.get(path, environ_base={"REMOTE_ADDR": self.address}, **named)

    def post(self, path: str, at: str = "", **fields: str) -> TestResponse:
        """Send the form of the page `at` (or of `path`) with these fields."""
        return self.send(path, **{**self.hidden_fields(at or path), **fields})

    def hidden_fields(self, at: str) -> dict[str, str]:
        """Load a page, and return the hidden fields that all of its forms have."""
        page = self.get(at).text
        token, key = TOKEN.search(page), FORM_KEY.search(page)
        assert token, f"{at} has no form"
        assert key, f"{at} has no form"
        return {"csrf_token": token[1], "form_key": key[1]}

    def send(self, path: str, **fields: str) -> TestResponse:
        """Send fields without loading a page first."""
        return self.client.post(path, data=fields, environ_base={"REMOTE_ADDR": self.address})

    def log_in(self, login: str, password: str = PASSWORD, **fields: str) -> TestResponse:
        return self.post("/staff/login", login=login, password=password, **fields)


async def no_replay(_document: QuarantinedDocument) -> str | Refused:
    """By default, no document is reprocessed."""
    raise NotImplementedError


@cache
def pattern() -> tuple[Flask, Flask]:
    """The pages and the API without services; creating their routes takes longer than most tests."""
    unused: Any = SimpleNamespace(seconds=lambda: 0.0)
    pages = make_app(unused)
    whole: Any = pages.wsgi_app
    return pages, whole._app.mounts[API_ROOT].__self__


def copied_app(services: WebServices) -> Flask:
    """An app as `make_app` returns it, with the routes and templates of the pattern."""
    pages, api = (copy(one) for one in pattern())
    shared = limits.shared(services)
    for one in (pages, api):
        one.extensions = {**one.extensions, **shared, EXTENSION: services}
    both = DispatcherMiddleware(partial(Flask.wsgi_app, pages), {API_ROOT: api.wsgi_app})
    pages.wsgi_app = Middleware(both, services)  # type: ignore[method-assign]  # as make_app does
    return pages


@dataclass
class Site:
    """The pages of one world."""

    world: World
    settings: WebSettings = field(default_factory=settings)
    metrics: Metrics = field(default_factory=Metrics)
    seconds: float = 0.0
    replay: Replay = no_replay
    erased: Path | None = None
    own_routes: bool = False
    """Whether a test adds routes or changes the configuration: its app then shares nothing with those of other tests."""

    @cached_property
    def app(self) -> Flask:
        bridge = DirectBridge(self.world.store)
        services = WebServices(
            circulation=self.world.circulation,
            bridge=bridge,
            visits=Visits(bridge, lambda: self.world.now),
            library=lambda: self.world.circulation.library,
            settings=lambda: self.settings,
            now=lambda: self.world.now,
            seconds=lambda: self.seconds,
            metrics=self.metrics,
            replay=self.replay,
            erased=lambda: ErasedMarks(self.erased),
            document=show_document,
            live_status=lambda _bib_id, _copies: LiveStatuses(),
        )
        if not self.own_routes:
            return copied_app(services)
        app = make_app(services)
        app.jinja_env.bytecode_cache = COMPILED
        return app

    def browser(self, address: str = "192.0.2.7") -> Browser:
        """A browser that is not logged in."""
        return Browser(self.app.test_client(), address)

    def patron(self, card: str = "UG1", address: str = "192.0.2.7") -> Browser:
        """A browser with this patron logged in; every PIN is 1234."""
        browser = self.browser(address)
        answer = browser.post("/login", barcode=card, pin="1234")
        assert answer.status_code == 303, answer.text
        return browser

    def staff(self, role: str = "clerk") -> Browser:
        """A browser with a staff member of this role logged in."""
        browser = self.browser()
        assert browser.log_in(role).status_code == 303
        return browser

    def wait(self, **how_long: float) -> None:
        """Advance the clock of the world and of the throttles."""
        span = timedelta(**how_long)
        self.world.wait(span)
        self.seconds += span.total_seconds()


@pytest.fixture
def site() -> Iterator[Site]:
    world = World.open(WORLD)
    yield Site(world)
    world.close()
