"""Types for configuration values, with checks that need only the value itself."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

NUMBER: Final = "{instance}"
"""Placeholder in an endpoint for the number of the gateway process, so that all processes can share one configuration."""


def on_this_machine(host: str) -> bool:
    """Return whether `host` is localhost or a loopback address."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def web_url(url: str) -> str:
    """Return a URL unchanged. Raises ValueError if it is not one of the web, or holds a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError
    except ValueError:
        raise ValueError("must be a URL that begins with http:// or https://") from None
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or password")
    return url


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as bad:
        raise ValueError(f"{name!r} is not a known time zone, like Asia/Hong_Kong") from bad
    return name


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as bad:
        raise ValueError(f"{text!r} is not a network: {bad}") from bad
    return text


def _certificate(text: str) -> str:
    """Normalise a fingerprint to lower case without colons. Return a common name unchanged."""
    digits = text.replace(":", "").lower()
    return digits if re.fullmatch(r"[0-9a-f]{64}", digits) else text


def _one_or_more(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Text: TypeAlias = Annotated[str, Field(min_length=1)]
Agency: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]
Variable: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Variables: TypeAlias = Annotated[tuple[Variable, ...], BeforeValidator(_one_or_more), Field(max_length=2)]
"""One variable, or a list of two."""
Natural: TypeAlias = Annotated[int, Field(ge=1)]
Cents: TypeAlias = Annotated[int, Field(ge=0)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PortNumber: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Zone: TypeAlias = Annotated[str, AfterValidator(_zone)]
Network: TypeAlias = Annotated[str, AfterValidator(_network)]
Certificate: TypeAlias = Annotated[str, AfterValidator(_certificate)]
WebUrl: TypeAlias = Annotated[str, AfterValidator(web_url)]
Algorithm: TypeAlias = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
