"""Logins by their outcome: a counter for each, and a log line for each that was refused."""

from __future__ import annotations

import structlog
from flask import request

from hkall_gateway.web.services import services

LOG = structlog.get_logger()


def count_login(who: str, outcome: str, why: str = "") -> None:
    """Count a login of `who` (staff, patron); one that was refused is logged, without its name or card."""
    services().metrics.web_logins.labels(who, outcome).inc()
    if outcome != "admitted":
        LOG.warning("web.login_refused", who=who, outcome=outcome, why=why, peer=request.remote_addr or "")
