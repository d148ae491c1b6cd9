"""The [web] table, which configures the web pages and the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from hkall_gateway.config.loading import Strict
from hkall_gateway.config.values import Argon2Hash, Endpoint, File
from hkall_gateway.net.contrast import ENOUGH, GROUND, contrast
from hkall_gateway.rules.values import Natural, Network, Text, Variable, WebUrl, on_this_machine

NEEDED: Final = ("authlib", "babel", "flask", "flask_openapi3", "flask_wtf", "requests")
"""Modules that the optional dependency group `web` installs, without which no page can be served."""


def _check_colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError("must be a colour like #0f5c4a")
    ratio = contrast(text, GROUND)
    if ratio < ENOUGH:
        raise ValueError(f"{text} has a contrast of {ratio:.1f} on the pages' ground; a darker one is needed, {ENOUGH} or more")
    return text.lower()


def _check_public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end with the host or the port; pages stand at the root of the host")
    if parts.scheme != "https" and not on_this_machine(parts.hostname or ""):
        raise ValueError("must begin with https://: browsers keep the session's cookie on loopback alone without it")
    return url.rstrip("/")


def _check_web_endpoint(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError("must be a TCP port; a caller on a UNIX socket has no address, by which logins are throttled")
    return text


WebEndpoint: TypeAlias = Annotated[Endpoint, AfterValidator(_check_web_endpoint)]
Colour: TypeAlias = Annotated[str, AfterValidator(_check_colour)]
PublicUrl: TypeAlias = Annotated[WebUrl, AfterValidator(_check_public_url)]
StaffRoleName: TypeAlias = Literal["viewer", "clerk", "supervisor", "sysadmin"]


class StaffConfig(Strict):
    """One local account of the staff console."""

    login: Text = Field(description="its name at the login and in the journal")
    name: Text = Field(description="the name that the console shows")
    secret_hash: Argon2Hash = Field(repr=False, description="Argon2id hash of its password, from `hash-secret`")
    role: StaffRoleName = Field(
        description="what it may do: viewer reads, clerk works at the counter, supervisor also settles and erases, sysadmin all"
    )


class Oidc(Strict):
    """Login through the site's identity provider (OpenID Connect), in addition to local accounts or instead of them."""

    issuer: WebUrl = Field(description="the provider; it publishes /.well-known/openid-configuration there")
    client_id: Text = Field(description="our name at the provider")
    client_secret_env: Variable = Field(description="variable with our secret there")
    role_claim: Text = Field(default="groups", description="claim whose values `roles` maps")
    card_claim: Text | None = Field(default=None, description="claim with a patron's card; without it only staff log in by it")
    roles: Mapping[Text, StaffRoleName] = Field(default={}, description="role of each value of `role_claim`")


class Web(Strict):
    """The pages for people in a browser: patrons, staff, and the API. They need the extra `web`."""

    listen: tuple[WebEndpoint, ...] = Field(
        default=(), description="Twisted endpoints; of several gateways one each: tcp:809{instance}:interface=127.0.0.1"
    )
    share_ports: bool = Field(default=False, description="other gateways of this machine listen there too (SO_REUSEPORT)")
    public_url: PublicUrl = Field(description="where browsers reach it; https:// unless it is loopback")
    threads: Annotated[int, Field(ge=1, le=32)] = Field(
        default=4,
        description="threads for pages of staff. Programs, patrons and strangers have half as many each. One caller uses at "
        "most half of the threads of its group. Each thread has a connection to the database: one draws, the others wait for "
        "data",
    )
    proxy_from: tuple[Network, ...] = Field(
        default=(), description="reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    max_connections: Natural = Field(default=500, description="open connections in all; for one more the oldest is closed")
    max_connections_per_address: Natural = Field(
        default=100,
        description="open connections of one IPv4 address or IPv6 /64 that is no proxy of `proxy_from`, and of one member of "
        "staff, patron or program",
    )
    pages_per_minute: Annotated[int, Field(ge=0)] = Field(
        default=240,
        description="pages and calls of the API that one patron may ask for, and all strangers of one IPv4 address or IPv6 /64 "
        "together, half a minute's at once. A /56 may ask for twice as many, a /48 for four times as many. Staff and programs "
        "have no limit; 0 = no limit",
    )
    answer_within_s: Annotated[float, Field(gt=0, le=120)] = Field(
        default=20.0, description="time limit of one command of a page; then the page says 'try again'"
    )
    name: str = Field(default="", description="the name at the top of each page; empty = `[library] name`")
    name_zh: str = Field(default="", description="the same in Chinese; empty = `[library] name_zh`")
    logo: File | None = Field(default=None, description="SVG or PNG at the top of each page; none = the name alone")
    brand: Colour = Field(default="#0f5c4a", description="colour of links and buttons; its contrast is checked")
    hold_slip: Literal["initials", "name", "card"] = Field(
        default="initials",
        description="what a hold slip shows: initials and the card's last four characters, the name and the card, or only "
        "those four characters",
    )
    staff: tuple[StaffConfig, ...] = Field(default=(), description="local accounts of the staff console")
    oidc: Oidc | None = Field(default=None, description="the site's identity provider")

    @property
    def threads_of_others(self) -> int:
        """Number of threads each for programs, for patrons, and for visitors without a login."""
        return max(1, self.threads // 2)

    @property
    def most_threads(self) -> int:
        """Number of threads for all pages."""
        return self.threads + 3 * self.threads_of_others


def missing_modules() -> list[str]:
    """Return the modules in NEEDED that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]
