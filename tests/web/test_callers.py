"""Identifying the caller of a page by its cookie or token, before a thread is taken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from hkall_gateway.db import api_tokens
from hkall_gateway.db.api_tokens import ApiToken, hash_of
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.connect import ANSWER_S
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.web.callers import FRESH_S, STRANGER, Callers, Share, WebCaller
from hkall_gateway.web.sessions import BROWSER, COOKIE
from tests.web.conftest import Browser, Site


@dataclass
class Request:
    """The part of a twisted.web request that carries credentials."""

    cookies: dict[str, str] = field(default_factory=dict)
    authorization: str = ""

    @property
    def received_cookies(self) -> dict[bytes, bytes]:
        return {name.encode(): value.encode() for name, value in self.cookies.items()}

    def getHeader(self, name: bytes) -> bytes | None:  # noqa: N802
        return self.authorization.encode() if name == b"authorization" else None


def caller(site: Site, request: Request) -> WebCaller:
    made = Callers(site.world.store, lambda: site.settings, lambda: site.world.now, Clock())
    return finished(made.find(request))  # type: ignore[arg-type]  # the part of a request that is read


def cookies(browser: Browser, *names: str) -> Request:
    found = {name: browser.client.get_cookie(name) for name in names}
    return Request({name: cookie.value for name, cookie in found.items() if cookie})


def program(site: Site, role: str) -> Request:
    site.world.store.now(
        api_tokens.make,
        ApiToken(name="reports", token_hash=hash_of("hkall_x"), role=role, made_by="head", made_at=site.world.now),
    )
    return Request(authorization="Bearer hkall_x")


def token(site: Site) -> Request:
    answer = site.app.test_client().post("/api/v1/patron-token", json={"barcode": "UG1", "pin": "1234"})
    return Request(authorization=f"Bearer {answer.get_json()['token']}")


def test_session_belongs_to_staff_or_to_patrons(site: Site) -> None:
    assert caller(site, cookies(site.staff(), COOKIE)) == WebCaller(Share.STAFF, "staff clerk", is_limited=False)
    assert caller(site, cookies(site.patron(), COOKIE)) == WebCaller(Share.PATRONS, "patron UG1")


@pytest.mark.parametrize("role", ["viewer", "client"])
def test_api_client_queues_with_its_own_group(site: Site, role: str) -> None:
    assert caller(site, program(site, role)) == WebCaller(Share.PROGRAMS, "token reports", is_limited=False)
    assert caller(site, token(site)) == WebCaller(Share.PATRONS, "patron UG1")


def test_browser_that_has_logged_in_before_stays_known_after_the_logout(site: Site) -> None:
    browser = site.staff()
    browser.post("/staff/logout", at="/staff/")
    assert browser.client.get_cookie(COOKIE) is None
    assert caller(site, cookies(browser, COOKIE, BROWSER)) == WebCaller(Share.STAFF, "staff clerk")
    site.wait(days=91)
    assert caller(site, cookies(browser, BROWSER)) == STRANGER


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request({COOKIE: "x", BROWSER: "x"}),
        Request({COOKIE: "ÿ"}),
        Request(authorization="Bearer hkall_forged"),
        Request(authorization="Basic eDp5"),
    ],
)
def test_forged_cookie_is_ignored(site: Site, request_: Request) -> None:
    site.staff()
    assert caller(site, request_) == STRANGER


def test_expired_or_revoked_login_is_ignored(site: Site) -> None:
    session, made = cookies(site.staff(), COOKIE), token(site)
    account = site.settings.staff["clerk"]
    usual = site.settings
    site.settings = replace(usual, staff={})
    assert caller(site, session) == STRANGER
    site.settings = replace(usual, staff={"clerk": replace(account, secret_hash="$argon2id$another")})
    assert caller(site, session) == STRANGER
    site.settings = usual
    assert caller(site, session) != STRANGER
    site.wait(hours=2)
    assert caller(site, session) == caller(site, made) == STRANGER
    revoked = program(site, "viewer")
    site.world.store.now(api_tokens.revoke, "reports", site.world.now + timedelta(hours=1))
    assert caller(site, revoked) == STRANGER


def test_every_caller_is_unknown_during_a_database_outage(site: Site) -> None:
    class Away:
        def read(self, *_: Any, is_long: bool = False) -> Any:
            raise Unavailable("away")

    made: Any = Callers(Away(), lambda: site.settings, lambda: site.world.now, Clock())  # type: ignore[arg-type]  # that part of a store
    assert finished(made.find(cookies(site.staff(), COOKIE))) == STRANGER


class Paused:
    """A store that answers when told to."""

    def __init__(self) -> None:
        self.asked: list[Deferred[WebCaller]] = []

    def read(self, *_: Any, is_long: bool = False) -> Deferred[WebCaller]:
        self.asked.append(Deferred())
        return self.asked[-1]


def test_request_is_refused_while_the_database_does_not_respond(site: Site) -> None:
    store, clock = Paused(), Clock()
    made: Any = Callers(store, lambda: site.settings, lambda: site.world.now, clock)  # type: ignore[arg-type]  # that part of a store
    waiting = [Deferred.fromCoroutine(made.find(request)) for request in (Request(), cookies(site.staff(), COOKIE))]
    clock.advance(ANSWER_S)
    for one in waiting:
        assert isinstance(one.addErrback(lambda failed: failed.value).result, Unavailable)
    for _ in range(3):
        with pytest.raises(Unavailable):
            finished(made.find(Request()))
    assert len(store.asked) == 2  # nothing piles up

    store.asked[0].callback(STRANGER)
    assert finished(made.find(Request())) == STRANGER
    assert len(store.asked) == 2  # it has answered just now
    clock.advance(FRESH_S)
    again = Deferred.fromCoroutine(made.find(Request()))
    store.asked[2].callback(STRANGER)
    assert again.result == STRANGER
