"""Builds the library described by a configuration, and the units of work for the gateway and for commands.

This module is separate from `mapping`, which imports the protocols, because commands do not need the protocols.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from hkall_gateway.circulation.command import Library
from hkall_gateway.config import policy
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.db.unit_of_work import UnitOfWork


def new_request_id() -> str:
    """Return a random request number, unique across gateways, with twelve characters that are hard to misread."""
    number = secrets.randbelow(len(_CHARACTERS) ** 12)
    return "R-" + "".join([_CHARACTERS[number // len(_CHARACTERS) ** place % len(_CHARACTERS)] for place in range(12)])


_CHARACTERS: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def library_of(config: GatewayConfig) -> Library:
    """Return our library, with the published rules overridden by the site's policy. Raises ConfigErrors."""
    library = config.library
    return Library(
        agency=library.agency,
        name=library.name,
        policy=policy.load(config.policy.file),
        pickup_locations=library.pickup_locations,
    )


def make_unit(library: Library) -> Callable[[Connection], UnitOfWork]:
    """Return a factory for units of work that create request numbers and skip letters that the policy suppresses."""
    return lambda connection: UnitOfWork(connection, new_request_id, library.silent)
