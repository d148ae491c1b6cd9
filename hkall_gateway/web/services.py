"""What the pages are given: the desk, the way to it, the library, the clock and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from flask import current_app

from hkall_gateway.desk.common.library import Library
from hkall_gateway.desk.desk import Desk
from hkall_gateway.edge.limits.allow_list import AllowList
from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.web.bridge import Bridge
from hkall_gateway.web.roles import StaffRole

EXTENSION: Final = "hkall"


@dataclass(frozen=True, slots=True)
class StaffAccount:
    """One local account of the staff console."""

    login: str
    name: str
    secret_hash: str = field(repr=False)
    role: StaffRole = StaffRole.VIEWER


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The [web] table as the pages use it. `names` are the library's, by language."""

    public_url: str
    names: Mapping[str, str]
    languages: tuple[str, ...]
    brand: str
    logo: Path | None = None
    staff: Mapping[str, StaffAccount] = field(default_factory=dict)
    proxies: AllowList = field(default_factory=lambda: AllowList(()))


@dataclass(frozen=True, slots=True)
class WebServices:
    """Everything that a page may use. `settings` and `library` follow a reload; `seconds` is a monotonic clock."""

    desk: Desk
    bridge: Bridge
    library: Callable[[], Library]
    settings: Callable[[], WebSettings]
    now: Callable[[], datetime]
    seconds: Callable[[], float]
    metrics: Metrics


def services() -> WebServices:
    """Return the services of the current page."""
    return cast(WebServices, current_app.extensions[EXTENSION])
