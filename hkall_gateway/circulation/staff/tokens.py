"""Tokens of programs that use the API: make and revoke them."""

from __future__ import annotations

from dataclasses import dataclass

from hkall_gateway.circulation.command import Command, Context
from hkall_gateway.db import api_tokens
from hkall_gateway.db.api_tokens import ApiToken
from hkall_gateway.db.privacy import erased
from hkall_gateway.db.privacy.erased import Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeToken(Command[None, bool]):
    """Store a new token. The result is False if its name was used before, by a revoked token too."""

    token: ApiToken


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken(Command[None, "tuple[Mark, ...] | None"]):
    """Revoke the token with this name.

    The result is the marks of all revoked tokens, for the file outside the database, or None if no such token is in force.
    """

    name: str


def make_token(context: Context, command: MakeToken) -> bool:
    """Store a new token, and return whether its name is new."""
    return api_tokens.make(context.unit, command.token)


def revoke_token(context: Context, command: RevokeToken) -> tuple[Mark, ...] | None:
    """Revoke a token, and return the marks of all revoked tokens, or None if no token of this name is in force."""
    if not api_tokens.revoke(context.unit, command.name, context.now):
        return None
    return erased.token_marks(context.unit)
