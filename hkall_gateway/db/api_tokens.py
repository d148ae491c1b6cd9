"""API tokens for client programs, stored only as hashes and revoked by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, insert, or_, select, update

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import API_TOKENS
from hkall_gateway.db.unit_of_work import UnitOfWork

T = API_TOKENS.c

CLIENT: Final = "client"
"""Role of a program that authenticates patrons itself, such as a discovery system. It may act for any card."""
USED_EVERY: Final = timedelta(minutes=1)
"""Minimum time between two writes of a token's `used_at`, so that not every request costs a write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A stored token with a staff role or CLIENT. If `ends_at` is None, the token is valid until it is revoked."""

    name: str
    token_hash: str
    role: str
    made_by: str
    made_at: datetime
    ends_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        """Check whether the token is valid at `now`."""
        return self.revoked_at is None and (self.ends_at is None or now < self.ends_at)


_COLUMNS = tuple(T[name] for name in ApiToken.__slots__)
_ONE = CompiledStatement(select(*_COLUMNS).where(T.token_hash == bindparam("token")))


def hash_of(token: str) -> str:
    """Return the SHA-256 of a token as hex. A slow hash is unnecessary, because a token has 256 random bits."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def find(unit: UnitOfWork, token_hash: str) -> ApiToken | None:
    """Return the token with this hash, even if it has expired or was revoked."""
    return next((ApiToken(**row) for row in _ONE.rows(unit.connection, token=token_hash)), None)


def listed(unit: UnitOfWork) -> tuple[ApiToken, ...]:
    """List all tokens, sorted by name."""
    return tuple(ApiToken(**row) for row in unit.execute(select(*_COLUMNS).order_by(T.name)).mappings())


def make(unit: UnitOfWork, token: ApiToken) -> bool:
    """Store a new token. Return False if the name has ever been used, because the journal identifies programs by name."""
    if unit.execute(select(T.name).where(T.name == token.name)).first():
        return False
    unit.execute(insert(API_TOKENS).values(**asdict(token)))
    return True


def revoke(unit: UnitOfWork, name: str, now: datetime) -> bool:
    """Revoke the token with this name. Return False if it does not exist or was already revoked."""
    return unit.execute(update(API_TOKENS).where(T.name == name, T.revoked_at.is_(None)).values(revoked_at=now)).rowcount == 1


def used(unit: UnitOfWork, name: str, now: datetime) -> None:
    """Set a token's `used_at` to `now`."""
    unit.execute(update(API_TOKENS).where(T.name == name, or_(T.used_at.is_(None), T.used_at < now)).values(used_at=now))
