"""Login through the site's identity provider (OpenID Connect, authorization code with PKCE), using Authlib.

A host-only cookie keeps the state, the nonce and the code verifier until the browser returns from the provider, so that several
gateways need no shared state. The first callback deletes the cookie.
Source: OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207.
"""

from __future__ import annotations

import hmac
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import FlaskIntegration, FlaskOAuth2App
from authlib.oidc.core import CodeIDToken
from flask import Blueprint, abort, current_app, redirect, request, url_for
from joserfc.errors import JoseError
from pydantic import BaseModel, ConfigDict, StringConstraints
from requests import ConnectionError as RequestsConnectionError
from requests import RequestException, Timeout
from werkzeug.wrappers import Response

from hkall_gateway.rules.plain_text import fault_of_text
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.web.i18n import N_, gettext
from hkall_gateway.web.limits import login_throttle
from hkall_gateway.web.paths import delete_own_cookie, local_path, set_own_cookie
from hkall_gateway.web.services import OidcSettings, services
from hkall_gateway.web.sessions import count_login, known_caller

COOKIE: Final = "__Host-hkall-oidc"
COOKIE_S: Final = 600
"""Time limit for logging in at the provider, in seconds."""
LONGEST_GOAL: Final = 1_000
"""Maximum length of the path to show after the login. A longer path leads to the first page."""
LONGEST_COOKIE: Final = 4_096
"""Maximum length of the cookie, as in browsers."""
SCOPE: Final = "openid profile"
SKEW_S: Final = 120
"""Maximum difference between the provider's clock and ours, in seconds."""
TIMEOUT_S: Final = 5.0
FAILED_S: Final = 30.0
"""Seconds after a failure during which the provider is not queried."""
AT_MOST_BEHIND_S: Final = 0.5
"""Seconds that a thread waits while other threads query the provider. A healthy provider answers sooner."""
MOST_EXCHANGES: Final = 4
"""Maximum number of threads that exchange a code at the provider, so that one person's login does not delay the next one's."""
PREFIX: Final = "sso:"
"""Prefix of logins from the provider, so that they cannot be mistaken for local accounts."""
LONGEST_LOGIN: Final = 80
_PROVIDER: Final = "hkall_oidc"
_MAKING: Final = threading.Lock()

# fmt: off
SSO_WORDS: Final[Mapping[str, str]] = MappingProxyType({
    "provider_down": N_("The library's login does not answer. Try again in a minute."),
    "state":         N_("This login was begun elsewhere, or too long ago. Begin again."),
    "answer":        N_("The library's login gave no answer that we can trust. Begin again."),
    "no_role":       N_("Your account has no role at this console. Ask your supervisor for one."),
    "no_card":       N_("Your account has no library card that we know. Ask at the counter."),
    "ils_away":      N_("Your card cannot be checked just now. Try again in a minute."),
})
"""The login page's message for each way in which a login at the provider can fail."""
SSO_CODES: Final[Mapping[str, int]] = MappingProxyType({
    "provider_down": 503, "state": 400, "answer": 401, "no_role": 403, "no_card": 403, "ils_away": 503,
})
# fmt: on


GUESSES: Final = frozenset({"state", "answer"})
"""Failures that count as wrong logins of the caller's network. In all others the provider has named a person, or is down."""


class OidcRefused(Exception):
    """A login at the provider was refused. `outcome`, a key of SSO_WORDS, is logged."""

    def __init__(self, outcome: str, why: str = "") -> None:
        super().__init__(f"{outcome}: {why}")
        self.outcome, self.why = outcome, why


Proof = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
"""A random value that Authlib has made for a login."""


class Pending(BaseModel):
    """A login in progress at the provider. `goal` is the path of the page to show after the login."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    state: Proof
    nonce: Proof
    code_verifier: Proof
    goal: Annotated[str, StringConstraints(max_length=LONGEST_GOAL)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A person identified by the provider. `values` are the values in the role claim. `card` is "" without a card claim."""

    login: str
    name: str
    values: tuple[str, ...]
    card: str = ""


def to_cookie(pending: Pending) -> str:
    """Serialize a pending login for the cookie."""
    return urlsafe_b64encode(pending.model_dump_json().encode()).decode()


def from_cookie(text: str) -> Pending | None:
    """Parse the cookie's text. Return None if the gateway did not write the text."""
    if len(text) > LONGEST_COOKIE:
        return None
    try:
        return Pending.model_validate_json(urlsafe_b64decode(text))
    except ValueError:  # not Base64, not JSON, or not a pending login
        return None


class Provider:
    """Client of the configured identity provider. Safe to call from any thread. Caches the provider's metadata and keys.

    One thread at a time reads the metadata, and MOST_EXCHANGES threads exchange codes. Other threads wait for at most
    AT_MOST_BEHIND_S. After a failure no query is sent for FAILED_S seconds, so that an unresponsive provider does not delay
    other pages. `seconds` is a monotonic clock.
    """

    def __init__(self, settings: OidcSettings, seconds: Callable[[], float]) -> None:
        self.settings, self._seconds = settings, seconds
        self._metadata_turn, self._exchange_turn = threading.Semaphore(1), threading.Semaphore(MOST_EXCHANGES)
        self._down_until_s, self._known = -FAILED_S, dict[str, object]()
        self._client = FlaskOAuth2App(
            FlaskIntegration("site"),
            name="site",
            client_id=settings.client_id,
            client_secret=settings.secret.reveal(),
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": SCOPE, "code_challenge_method": "S256", "default_timeout": TIMEOUT_S},
        )

    def begin(self, redirect_uri: str, goal: str) -> tuple[str, Pending]:
        """Return the provider's login URL, and the pending login to store in the cookie. Raises OidcRefused."""
        self._read_metadata()
        begun = self._client.create_authorization_url(redirect_uri)
        kept_goal = goal if len(goal) <= LONGEST_GOAL else ""
        pending = Pending(state=begun["state"], nonce=begun["nonce"], code_verifier=begun["code_verifier"], goal=kept_goal)
        return begun["url"], pending

    def identify(self, answer: Mapping[str, str], pending: Pending | None, redirect_uri: str) -> Identified:
        """Return the person who has logged in. `answer` holds the callback's query parameters. Raises OidcRefused."""
        state = answer.get("state", "").encode("utf-8", "surrogateescape")
        if pending is None or not hmac.compare_digest(state, pending.state.encode()):
            raise OidcRefused("state")
        if "error" in answer:
            raise OidcRefused("answer", "the provider said no")
        if answer.get("iss", self.settings.issuer) not in self._known_issuers():
            raise OidcRefused("answer", "another issuer")
        claims = self._fetch_claims(answer.get("code", ""), pending, redirect_uri)
        named = str(claims.get("preferred_username") or claims["sub"])[:LONGEST_LOGIN]
        card = _card_of_claim(claims.get(self.settings.card_claim)) if self.settings.card_claim else ""
        values = _values_of_claim(claims.get(self.settings.role_claim))
        return Identified(login=PREFIX + named, name=str(claims.get("name") or named), values=values, card=card)

    def end_address(self, back: str) -> str:
        """Return the provider's logout URL, which redirects to `back`, or "" if the provider has no such URL or is down."""
        try:
            if not self._read_metadata().get("end_session_endpoint"):
                return ""
            made = self._client.create_logout_url(post_logout_redirect_uri=back, client_id=self.settings.client_id)
        except (OidcRefused, OAuthError):
            return ""
        return str(made["url"])

    def _read_metadata(self) -> Mapping[str, object]:
        if not self._known:
            with self._turn_at_provider(self._metadata_turn):
                self._known = self._known or dict(self._client.load_server_metadata())
        if self._known.get("issuer") not in self._known_issuers():
            raise OidcRefused("answer", "its metadata names another issuer")
        return self._known

    @contextmanager
    def _turn_at_provider(self, turn: threading.Semaphore) -> Iterator[None]:
        """Hold `turn` while querying the provider. Raises OidcRefused if the provider is down or the query fails."""
        if self._seconds() < self._down_until_s or not turn.acquire(timeout=AT_MOST_BEHIND_S):
            raise OidcRefused("provider_down", "it did not answer a moment ago")
        try:
            yield
        except (RequestException, ValueError, TypeError, RecursionError) as error:
            if not self._known or isinstance(error, RequestsConnectionError | Timeout):  # a caller may cause other errors
                self._down_until_s = self._seconds() + FAILED_S
            raise OidcRefused("provider_down", type(error).__name__) from None
        finally:
            turn.release()

    def _known_issuers(self) -> tuple[str, str]:
        """Return the configured issuer without and with a trailing slash."""
        plain = self.settings.issuer.rstrip("/")
        return plain, f"{plain}/"

    def _fetch_claims(self, code: str, pending: Pending, redirect_uri: str) -> Mapping[str, object]:
        metadata = self._read_metadata()
        required = {
            "iss": {"essential": True, "value": metadata["issuer"]},
            "aud": {"essential": True, "value": self.settings.client_id},
            "nonce": {"essential": True, "value": pending.nonce},
        }
        with self._turn_at_provider(self._exchange_turn):
            try:
                tokens = self._client.fetch_access_token(
                    redirect_uri=redirect_uri, code=code, code_verifier=pending.code_verifier
                )
                found = self._client.parse_id_token(tokens, pending.nonce, required, AtOurTime, SKEW_S)
            except (OAuthError, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
                # Authlib does not check the shape of a response or token first, hence TypeError and AttributeError.
                raise OidcRefused("answer", getattr(error, "error", "") or type(error).__name__) from None
        if not found:
            raise OidcRefused("answer", "no id_token")
        if any(map(fault_of_text, _claim_texts(found))):
            raise OidcRefused("answer", "a claim that is no text")
        return dict(found)


class AtOurTime(CodeIDToken):  # type: ignore[misc]  # Authlib has no types
    """ID token claims that are validated against the gateway's clock."""

    def validate(self, now: float | None = None, leeway: int = 0) -> None:  # noqa: ARG002  # Authlib's own signature
        """Validate the claims against the gateway's clock instead of the machine's."""
        super().validate(int(services().now().timestamp()), leeway)


def role_of(values: tuple[str, ...], roles: Mapping[str, StaffRole]) -> StaffRole | None:
    """Return the highest staff role granted by the role claim's values, or None if no value grants a role."""
    return max((roles[value] for value in values if value in roles), default=None)


def provider() -> Provider:
    """Return the client of the configured identity provider. Answer 404 if no provider is configured."""
    wanted = services().settings().oidc
    if wanted is None:
        abort(404)
    with _MAKING:
        found: Provider | None = current_app.extensions.get(_PROVIDER)
        if found is None or found.settings != wanted:
            found = current_app.extensions[_PROVIDER] = Provider(wanted, services().seconds)
    return found


def login_pages(who: str, prefix: str, admit: Callable[[Identified, str], Response], form: Callable[[str], str]) -> Blueprint:
    """Create the pages for provider logins: the redirect to the provider, the callback, and the redirect to the logout.

    Args:
        who: "staff" or "patron", used as prefix of the Blueprint's name and in the log.
        prefix: Prefix of the pages' paths, "/staff" or "".
        admit: Starts the person's session, and redirects to the path in the second argument. Raises OidcRefused.
        form: Renders the login page with an error message.
    """
    pages = Blueprint(f"{who}_oidc", __name__)

    def callback() -> str:
        """Return the callback URL as registered at the provider, whatever host name the request used."""
        return services().settings().public_url + url_for(f"{who}_oidc.back")

    def refuse(refused: OidcRefused) -> Response:
        count_login(who, refused.outcome, refused.why)
        words, code = form(gettext(SSO_WORDS[refused.outcome])), SSO_CODES[refused.outcome]
        return Response(words, code, content_type="text/html; charset=utf-8")

    @pages.get(f"{prefix}/login/sso")
    def lead() -> Response:
        """Redirect to the provider."""
        try:
            address, pending = provider().begin(callback(), local_path(request.args.get("next", ""), ""))
        except OidcRefused as refused:
            return refuse(refused)
        answer = redirect(address, 303)
        set_own_cookie(answer, COOKIE, to_cookie(pending), max_age=COOKIE_S)
        return answer

    @pages.get(f"{prefix}/login/sso/back")
    def back() -> Response:
        """Process the provider's callback. A second callback fails, since the first deletes the cookie."""
        pending = from_cookie(request.cookies.get(COOKIE, ""))
        try:
            person = provider().identify(request.args, pending, callback())
            answer = admit(person, pending.goal if pending else "")
        except OidcRefused as refused:
            if refused.outcome in GUESSES:
                login_throttle(who).wrong(request.remote_addr or "", "", known_caller())
            answer = refuse(refused)
        delete_own_cookie(answer, COOKIE)
        return answer

    @pages.get(f"{prefix}/logout/sso")
    def end() -> Response:
        """Redirect to the provider's logout page, so that the next person at a shared computer is not logged in."""
        login_address = services().settings().public_url + url_for(f"{who}_login.form")
        address = provider().end_address(login_address)
        return redirect(address or login_address, 303)

    return pages


def _claim_texts(claim: object) -> Iterator[str]:
    """Yield every string in a claim, including the names of nested claims."""
    if isinstance(claim, str):
        yield claim
    elif isinstance(claim, Mapping):
        for name, value in claim.items():
            yield from (str(name), *_claim_texts(value))
    elif isinstance(claim, list):
        for one in claim:
            yield from _claim_texts(one)


def _card_of_claim(claim: object) -> str:
    """Return the card in a claim, which is a string, a number, or a list with a single string or number; else return ""."""
    one = claim[0] if isinstance(claim, list) and len(claim) == 1 else claim
    if isinstance(one, bool) or not isinstance(one, str | int):
        return ""
    text = str(one).strip()
    return text if len(text) <= LONGEST_LOGIN else ""


def _values_of_claim(claim: object) -> tuple[str, ...]:
    """Return the values of a claim that is a list or a single string."""
    if isinstance(claim, str):
        return (claim,)
    return tuple(str(one) for one in claim) if isinstance(claim, list) else ()
