"""Service windows: days on which a service is suspended, and days in the past."""

from __future__ import annotations

from datetime import date, datetime

from hkall_gateway.rules.dates.calendar import civil
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy, Scope, Window
from hkall_gateway.rules.vocabulary import Refusal


def suspended(scope: Scope, policy: Policy, now: datetime, partner: str = "") -> Refusal | None:
    """Return why a service is suspended today, or None. Windows of one partner count only if `partner` is that one.

    Source: HKALL rules R1.
    """
    found = window(scope, policy, civil(now), ("", partner))
    return None if found is None else _no(found)


def stopped_with(partner: str, scope: Scope, policy: Policy, now: datetime) -> Window | None:
    """Return the window that stops a service with this one partner, or None; windows for all partners do not count.

    A window for all partners refuses only new requests: those placed before it go on. Source: HKALL rules R1.
    """
    return window(scope, policy, civil(now), (partner,))


def window(scope: Scope, policy: Policy, day: date, partners: tuple[str, ...]) -> Window | None:
    """Return the first window over that day, scope and one of `partners` ("" = all partners). Source: HKALL rules R1."""
    return next(
        (w for w in policy.service_windows if w.scope in (scope, "all") and w.partner in partners and _covers(w, day)), None
    )


def over(last: date | None, now: datetime) -> Refusal | None:
    """Return a refusal if the last day on which a book is wanted is in the past; None if not, or if no day is named."""
    return Refusal(Reason.WRONG_DATE, {"on": last}) if last and last < civil(now) else None


def _covers(window: Window, day: date) -> bool:
    return window.start <= day < window.end or (window.inclusive and day == window.end)


def _no(window: Window) -> Refusal:
    why = Reason.LENDING_SUSPENDED if window.scope == "lend_request" else Reason.SERVICE_SUSPENDED
    message = window.message or "please ask at the counter"
    zh = window.message_zh or window.message or "請向櫃檯查詢"
    return Refusal(why, {"start": window.start, "end": window.end, "message": message, "message_zh": zh})
