"""Helpers of the rule tests for Hong Kong times and reasons of refusals."""

from __future__ import annotations

from datetime import UTC, datetime

from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Grant, Refusal


def at(text: str) -> datetime:
    """Convert Hong Kong time to UTC."""
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC)


def why(answer: Grant | Refusal | None) -> Reason | None:
    """Return the reason of a refusal, None for a grant."""
    return answer.why if isinstance(answer, Refusal) else None
