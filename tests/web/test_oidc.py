"""Login by an identity provider: a third-party mock provider on the loopback interface."""

from __future__ import annotations

import base64
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from authlib.integrations.flask_client import FlaskOAuth2App
from werkzeug.test import TestResponse

from hkall_gateway import clock
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.web import oidc
from hkall_gateway.web.callers import STRANGER
from hkall_gateway.web.limits import PageLimits
from hkall_gateway.web.oidc import COOKIE, Provider
from hkall_gateway.web.services import OidcSettings
from tests.web.conftest import Browser, Site, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it was written for the Authlib before this one
    import oidc_provider_mock

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the mock's, of its own library

TOKENS: tuple[object, ...] = (None, "null", "", 5, ["x"], {}, "a.b.c", "bnVsbA.bnVsbA.x")
"""Values that are not an id_token."""
ROLES = {"lending": StaffRole.CLERK, "library-it": StaffRole.SYSADMIN}


@dataclass
class Mock:
    """The provider, and its claims about a user."""

    issuer: str

    def person(self, sub: str, **claims: Any) -> None:
        answer = requests.put(f"{self.issuer}/users/{sub}", json=claims, timeout=5)
        assert answer.status_code == 204, answer.text

    def consent(self, address: str, sub: str) -> str:
        """Log in at the provider; return the redirect back to our host."""
        answer = requests.post(address, data={"sub": sub}, allow_redirects=False, timeout=5)
        assert answer.status_code == 302, answer.text
        way = urlsplit(answer.headers["Location"])
        assert f"{way.scheme}://{way.netloc}" == "https://hkall.test"
        return f"{way.path}?{way.query}"


@pytest.fixture(scope="module")
def provider() -> Iterator[Mock]:
    with oidc_provider_mock.run_server_in_thread() as server:
        yield Mock(f"http://localhost:{server.server_port}")


@pytest.fixture
def sso(site: Site, provider: Mock) -> Site:
    """A site with this provider, at the provider's time."""
    site.settings = settings(
        oidc=OidcSettings(
            issuer=provider.issuer, client_id="hkall", secret=Sensitive("s3cret"), role_claim="groups", roles=ROLES
        )
    )
    site.wait(seconds=(clock.now() - site.world.now).total_seconds())
    return site


def begin(browser: Browser, path: str = "/staff/login/sso") -> str:
    answer = browser.get(path)
    assert answer.status_code == 303
    return answer.headers["Location"]


def log_in(browser: Browser, provider: Mock, sub: str, **claims: Any) -> TestResponse:
    provider.person(sub, **{"groups": ["lending"], **claims})
    return browser.get(provider.consent(begin(browser), sub))


def test_provider_group_maps_to_the_configured_role(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    answer = log_in(browser, provider, "amy", name="Amy Chan", preferred_username="amy")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/staff/")
    assert "Amy Chan" in browser.get("/staff/").text


def test_highest_of_several_roles_applies(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    log_in(browser, provider, "both", groups=["lending", "library-it", "chess"])
    assert role_in_force(sso) == "sysadmin"


def test_single_group_may_be_a_plain_string(sso: Site, provider: Mock) -> None:
    log_in(sso.browser(), provider, "text", groups="lending")
    assert role_in_force(sso) == "clerk"


def test_user_without_a_role_gets_a_message_and_no_session(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    answer = log_in(browser, provider, "student", groups=["students"])
    assert answer.status_code == 403
    assert "has no role" in answer.text
    assert browser.get("/staff/").status_code == 303


def test_provider_login_is_separate_from_local_accounts(sso: Site, provider: Mock) -> None:
    log_in(sso.browser(), provider, "x1", preferred_username="supervisor")
    assert sessions(sso)[0]["login"] == "sso:supervisor"


def test_login_returns_to_the_requested_page(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    provider.person("amy", groups=["lending"])
    answer = browser.get(provider.consent(begin(browser, "/staff/login/sso?next=/staff/?x=1"), "amy"))
    assert answer.headers["Location"] == "/staff/?x=1"
    elsewhere = browser.get(provider.consent(begin(browser, "/staff/login/sso?next=//evil.test/"), "amy"))
    assert elsewhere.headers["Location"] == "/staff/"


def test_token_for_another_client_is_refused(sso: Site, provider: Mock) -> None:
    for audience in ("other", ["other"], ["other", "third"]):
        browser = sso.browser()
        answer = log_in(browser, provider, "wrong", aud=audience, azp="hkall")
        assert answer.status_code == 401
        assert browser.get("/staff/").status_code == 303


def test_token_from_another_issuer_is_refused(sso: Site, provider: Mock) -> None:
    assert log_in(sso.browser(), provider, "issuer", iss="https://evil.test").status_code == 401


def test_token_for_another_login_is_refused(sso: Site, provider: Mock) -> None:
    assert log_in(sso.browser(), provider, "nonce", nonce="of another login").status_code == 401


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"iat": +60}, 303),
        ({"iat": +600}, 401),
        ({"exp": -60}, 303),
        ({"exp": -600}, 401),
        ({"nbf": +600}, 401),
    ],
)
def test_clocks_may_differ_by_two_minutes(sso: Site, provider: Mock, claims: dict[str, int], code: int) -> None:
    at = int(sso.world.now.timestamp())
    told = {name: at + seconds for name, seconds in claims.items()}
    assert log_in(sso.browser(), provider, f"skew{claims}", **told).status_code == code


def test_authorization_response_is_accepted_once(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    provider.person("amy", groups=["lending"])
    way = provider.consent(begin(browser), "amy")
    assert browser.get(way).status_code == 303
    assert browser.get(way).status_code == 400


def test_replayed_cookie_and_response_are_refused_because_the_code_was_already_used(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    provider.person("amy", groups=["lending"])
    address = begin(browser)
    kept = browser.client.get_cookie(COOKIE)
    assert kept is not None
    way = provider.consent(address, "amy")
    assert browser.get(way).status_code == 303
    browser.client.set_cookie(COOKIE, kept.value, secure=True)
    assert browser.get(way).status_code == 401


def test_response_to_another_browsers_login_is_refused(sso: Site, provider: Mock) -> None:
    provider.person("amy", groups=["lending"])
    way = provider.consent(begin(sso.browser()), "amy")
    victim = sso.browser()
    assert victim.get(way).status_code == 400
    begin(victim)
    assert victim.get(way).status_code == 400
    assert victim.get("/staff/").status_code == 303


DEEP = base64.urlsafe_b64encode(b"[" * 6_000).decode()
LONE_SURROGATE = base64.urlsafe_b64encode(rb'{"state": "\ud800", "nonce": "n", "code_verifier": "v", "goal": ""}').decode()


@pytest.mark.parametrize("cookie", ["", "x", "e30=", "bnVsbA==", "W10=", "eyJzdGF0ZSI6IDF9", "[" * 9_000, DEEP, LONE_SURROGATE])
def test_forged_cookie_is_refused(sso: Site, cookie: str) -> None:
    browser = sso.browser()
    headers = {"Cookie": f"{COOKIE}={cookie}"}
    assert browser.get("/staff/login/sso/back?state=&code=x", headers=headers).status_code == 400


@pytest.mark.parametrize(
    "told",
    [
        *[{"access_token": "x", "id_token": token} for token in TOKENS],
        {"access_token": "x"},
        {},
        [],
        None,
        "x",
    ],
)
def test_malformed_response_is_refused(
    sso: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: object
) -> None:
    browser = sso.browser()
    state = parse_qs(urlsplit(begin(browser)).query)["state"][0]
    monkeypatch.setattr(FlaskOAuth2App, "fetch_access_token", lambda *_args, **_named: told)
    assert browser.get(f"/staff/login/sso/back?code=x&state={state}").status_code == 401
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("claims", [{"name": "Amy\x1b[31m"}, {"preferred_username": "a\0b"}, {"groups": ["lending", "a\0"]}])
def test_claims_with_control_characters_are_refused(sso: Site, provider: Mock, claims: dict[str, Any]) -> None:
    browser = sso.browser()
    assert log_in(browser, provider, "odd", **claims).status_code == 401
    assert browser.get("/staff/").status_code == 303


def test_failed_callbacks_pause_further_callbacks_from_their_network(sso: Site, provider: Mock) -> None:
    limits = PageLimits(sso.app, lambda: 0, sso.metrics, lambda: sso.world.now)
    page, address = limits.page(b"/staff/login/%73so/back"), "2001:db8::7"
    for _ in range(30):
        assert limits.refusal(STRANGER, address, page) is None
        assert sso.browser(address).get("/staff/login/sso/back?state=x&code=zz").status_code == 400
    refusal = limits.refusal(STRANGER, "2001:db8::8", page)
    assert refusal is not None
    assert refusal.why == "login_pause"
    assert limits.refusal(STRANGER, "2001:db8:0:1::7", page) is None  # another network of the same site
    assert limits.refusal(STRANGER, address, limits.page(b"/help")) is None
    assert sso.browser("2001:db8::9").log_in("clerk").status_code == 429  # a callback is a login like any other


def test_login_denied_at_the_provider_creates_no_session(sso: Site) -> None:
    browser = sso.browser()
    state = parse_qs(urlsplit(begin(browser)).query)["state"][0]
    assert browser.get(f"/staff/login/sso/back?error=access_denied&state={state}").status_code == 401
    assert browser.get("/staff/").status_code == 303


def test_unavailable_provider_is_reported(site: Site) -> None:
    site.settings = settings(
        oidc=OidcSettings(
            issuer="http://localhost:9", client_id="hkall", secret=Sensitive("s"), role_claim="groups", roles=ROLES
        )
    )
    answer = site.browser().get("/staff/login/sso")
    assert answer.status_code == 503
    assert "does not answer" in answer.text


@pytest.fixture
def silent(site: Site) -> Iterator[list[socket.socket]]:
    """A provider that accepts connections and never answers; yields the connections."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listening.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        issuer = f"http://127.0.0.1:{listening.getsockname()[1]}"
        site.settings = settings(
            oidc=OidcSettings(issuer=issuer, client_id="hkall", secret=Sensitive("s"), role_claim="groups", roles=ROLES)
        )
        yield accepted
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in accepted:
            connection.close()


def test_unresponsive_provider_blocks_one_thread_at_most_every_thirty_seconds(
    site: Site, silent: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "TIMEOUT_S", 1.5)
    paths = ["/staff/login/sso"] * 8
    assert site.app  # made before the threads, which would make one each
    with ThreadPoolExecutor(8) as browsers:
        began = time.monotonic()
        waits = list(browsers.map(lambda path: (site.browser().get(path), time.monotonic() - began), paths))
    assert {answer.status_code for answer, _ in waits} == {503}
    assert all("does not answer" in answer.text for answer, _ in waits)
    assert sorted(took for _, took in waits)[-2] < 1.4  # all but the one that asked
    assert len(silent) == 1
    began = time.monotonic()
    assert site.browser().get("/staff/login/sso").status_code == 503
    assert time.monotonic() - began < 1
    assert len(silent) == 1
    site.wait(seconds=31)
    assert site.browser().get("/staff/login/sso").status_code == 503
    assert len(silent) == 2


def test_provider_failing_after_its_metadata_is_not_retried_for_thirty_seconds(sso: Site, provider: Mock) -> None:
    browsers, asked = [sso.browser(), sso.browser()], list[int]()
    provider.person("amy", groups=["lending"])
    ways = [provider.consent(begin(browser), "amy") for browser in browsers]

    def away(**_: object) -> None:
        asked.append(1)
        raise requests.ConnectionError

    (made,) = [one for one in sso.app.extensions.values() if isinstance(one, Provider)]
    made._client.fetch_access_token = away
    assert [browser.get(way).status_code for browser, way in zip(browsers, ways, strict=True)] == [503, 503]
    assert len(asked) == 1


def test_metadata_from_another_issuer_is_refused(sso: Site, provider: Mock) -> None:
    other = provider.issuer.replace("localhost", "127.0.0.1")
    found = Provider(
        OidcSettings(issuer=other, client_id="hkall", secret=Sensitive("s"), role_claim="groups", roles=ROLES), time.monotonic
    )
    assert found.end_address("https://hkall.test/") != ""  # the mock names itself as it was asked
    found.settings = OidcSettings(
        issuer="https://login.test", client_id="hkall", secret=Sensitive("s"), role_claim="groups", roles=ROLES
    )
    assert found.end_address("https://hkall.test/") == ""


def test_logout_offers_to_end_the_provider_session(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    log_in(browser, provider, "amy")
    answer = browser.post("/staff/logout", at="/staff/")
    assert answer.headers["Location"] == "/staff/login?left=oidc"
    assert "/staff/logout/sso" in browser.get("/staff/login?left=oidc").text
    there = browser.get("/staff/logout/sso").headers["Location"]
    assert there.startswith(f"{provider.issuer}/oauth2/end_session?")
    assert "post_logout_redirect_uri=https%3A%2F%2Fhkall.test%2Fstaff%2Flogin" in there
    assert browser.get("/staff/").status_code == 303


def test_session_ends_when_the_provider_is_no_longer_configured(sso: Site, provider: Mock) -> None:
    browser = sso.browser()
    log_in(browser, provider, "amy")
    assert browser.get("/staff/").status_code == 200
    sso.settings = settings()
    assert browser.get("/staff/").status_code == 303


def test_provider_pages_do_not_exist_without_a_provider(site: Site) -> None:
    for path in ("/staff/login/sso", "/staff/login/sso/back", "/staff/logout/sso"):
        assert site.browser().get(path).status_code == 404
    assert "/staff/login/sso" not in site.browser().get("/staff/login").text


def test_local_accounts_are_offered_beside_the_provider(sso: Site) -> None:
    text = sso.browser().get("/staff/login").text
    assert "/staff/login/sso" in text
    assert 'name="password"' in text
    assert sso.staff("clerk").get("/staff/").status_code == 200


def test_password_form_is_hidden_without_local_accounts(sso: Site) -> None:
    sso.settings = settings(staff={}, oidc=sso.settings.oidc)
    assert 'name="password"' not in sso.browser().get("/staff/login").text


def test_repr_of_the_settings_hides_the_secret(sso: Site) -> None:
    assert "s3cret" not in repr(sso.settings)


def sessions(site: Site) -> list[dict[str, Any]]:
    from sqlalchemy import select

    from hkall_gateway.db.tables import WEB_SESSIONS
    from hkall_gateway.db.web_sessions import BROWSER

    of_people = select(WEB_SESSIONS).where(WEB_SESSIONS.c.kind != BROWSER)
    return [dict(row) for row in site.world.store.now(lambda unit: unit.execute(of_people).mappings().all())]


def role_in_force(site: Site) -> str:
    (row,) = sessions(site)
    return str(row["role"])


# ---- patrons, by the claim that names their card


@pytest.fixture
def cards(sso: Site) -> Site:
    """The same provider with a card claim."""
    assert sso.settings.oidc
    sso.settings = settings(oidc=replace(sso.settings.oidc, card_claim="library_card"))
    return sso


def come(browser: Browser, provider: Mock, sub: str, way: str = "/login/sso", **claims: Any) -> TestResponse:
    provider.person(sub, **claims)
    return browser.get(provider.consent(begin(browser, way), sub))


def test_card_claim_opens_the_patron_record(cards: Site, provider: Mock) -> None:
    browser = cards.browser()
    answer = come(browser, provider, "chan", library_card="UG1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/record")
    assert browser.get("/record").status_code == 200
    assert [(row["kind"], row["patron"], row["source"], row["role"]) for row in sessions(cards)] == [
        ("patron", "UG1", "oidc", "")
    ]


def test_patron_returns_to_the_request_page_after_login(cards: Site, provider: Mock) -> None:
    answer = come(cards.browser(), provider, "chan", "/login/sso?next=/title/b-dune/request", library_card="UG1")
    assert answer.headers["Location"] == "/title/b-dune/request"
    elsewhere = come(cards.browser(), provider, "chan", "/login/sso?next=//evil.test/", library_card="UG1")
    assert elsewhere.headers["Location"] == "/record"


@pytest.mark.parametrize("claim", [["UG1"], " UG1 "])
def test_card_claim_may_be_a_list_with_one_entry(cards: Site, provider: Mock, claim: Any) -> None:
    assert come(cards.browser(), provider, "list", library_card=claim).status_code == 303


@pytest.mark.parametrize("claim", [None, "", "NOBODY", [], ["UG1", "UG2"], {"card": "UG1"}, True, "x" * 200])
def test_unknown_card_claim_is_refused(cards: Site, provider: Mock, claim: Any) -> None:
    browser = cards.browser()
    answer = come(browser, provider, "nobody", **({} if claim is None else {"library_card": claim}))
    assert answer.status_code == 403
    assert "Your account has no library card that we know." in answer.text
    assert browser.get("/record").status_code == 303


def test_staff_member_gets_a_patron_session_only_at_the_patron_login(cards: Site, provider: Mock) -> None:
    browser = cards.browser()
    come(browser, provider, "both", library_card="UG1", groups=["library-it"])
    assert browser.get("/staff/").status_code == 303
    browser = cards.browser()
    come(browser, provider, "both", "/staff/login/sso", library_card="UG1", groups=["library-it"])
    assert browser.get("/staff/").status_code == 200
    assert browser.get("/record").status_code == 303


def test_patron_response_to_another_browser_is_refused(cards: Site, provider: Mock) -> None:
    provider.person("chan", library_card="UG1")
    way = provider.consent(begin(cards.browser(), "/login/sso"), "chan")
    victim = cards.browser()
    assert victim.get(way).status_code == 400
    assert victim.get("/record").status_code == 303


def test_patron_logout_offers_to_end_the_provider_session(cards: Site, provider: Mock) -> None:
    browser = cards.browser()
    come(browser, provider, "chan", library_card="UG1")
    assert browser.post("/logout").headers["Location"] == "/login?left=oidc"
    assert "/logout/sso" in browser.get("/login?left=oidc").text
    there = browser.get("/logout/sso").headers["Location"]
    assert "post_logout_redirect_uri=https%3A%2F%2Fhkall.test%2Flogin" in there


def test_patron_session_ends_when_the_card_claim_is_no_longer_configured(cards: Site, provider: Mock) -> None:
    browser = cards.browser()
    come(browser, provider, "chan", library_card="UG1")
    assert cards.settings.oidc
    cards.settings = settings(oidc=replace(cards.settings.oidc, card_claim=""))
    assert browser.get("/record").status_code == 303


def test_provider_without_a_card_claim_is_for_staff_only(sso: Site) -> None:
    for path in ("/login/sso", "/login/sso/back", "/logout/sso"):
        assert sso.browser().get(path).status_code == 404
    assert "/login/sso" not in sso.browser().get("/login").text


def test_login_and_request_page_offer_the_library_account(cards: Site) -> None:
    assert "/login/sso?next=/title/b-dune/request" in cards.browser().get("/title/b-dune/request").text
    text = cards.browser().get("/login").text
    assert "/login/sso" in text
    assert 'name="pin"' in text
