"""Days on which a service is suspended, and days that are over."""

from __future__ import annotations

from datetime import date, datetime

from hkall_gateway.rules.calendar import civil
from hkall_gateway.rules.settings import Policy, Scope, Window
from hkall_gateway.rules.vocabulary import Refusal, Why


def suspended(scope: Scope, policy: Policy, now: datetime, partner: str = "") -> Refusal | None:
    """Why a service is not given today, or None. Windows of one partner count only where `partner` is that one.

    Source: HKALL rules R1.
    """
    found = window(scope, policy, civil(now), ("", partner))
    return None if found is None else _no(found)


def stopped_with(partner: str, scope: Scope, policy: Policy, now: datetime) -> Window | None:
    """The window that stops a service with this one partner, or None; windows for everybody do not count.

    A window for everybody refuses new wishes only: what was asked before it goes on. Source: HKALL rules R1.
    """
    return window(scope, policy, civil(now), (partner,))


def window(scope: Scope, policy: Policy, day: date, partners: tuple[str, ...]) -> Window | None:
    """The first window over that day, scope and one of `partners` ("" = everybody). Source: HKALL rules R1."""
    return next(
        (w for w in policy.service_windows if w.scope in (scope, "all") and w.partner in partners and _covers(w, day)), None
    )


def over(last: date | None, now: datetime) -> Refusal | None:
    """Why nobody can want a book until that day: it is over. None where it is not, or where no day is named."""
    return Refusal(Why.WRONG_DATE, {"on": last}) if last and last < civil(now) else None


def _covers(window: Window, day: date) -> bool:
    return window.start <= day < window.end or (window.inclusive and day == window.end)


def _no(window: Window) -> Refusal:
    why = Why.LENDING_SUSPENDED if window.scope == "lend_request" else Why.SERVICE_SUSPENDED
    message = window.message or "please ask at the counter"
    zh = window.message_zh or window.message or "請向櫃檯查詢"
    return Refusal(why, {"start": window.start, "end": window.end, "message": message, "message_zh": zh})
