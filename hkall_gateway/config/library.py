"""The library that a configuration describes, and the units of work that its daemon and its commands run.

Apart from `mapping`, which loads the protocols: a command needs no more than this module.
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
    """Return a number that no other gateway makes: twelve characters that cannot be misread."""
    number, characters = secrets.randbelow(len(_CHARACTERS) ** 12), ""
    for _ in range(12):
        number, place = divmod(number, len(_CHARACTERS))
        characters += _CHARACTERS[place]
    return "R-" + characters


_CHARACTERS: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def library_of(config: GatewayConfig) -> Library:
    """Return our library, with the published rules under the site's own policy. Raises ConfigErrors."""
    library = config.library
    return Library(library.agency, library.name, policy.load(config.policy.file), library.pickup_locations)


def make_unit(library: Library) -> Callable[[Connection], UnitOfWork]:
    """Return a factory of units that make real request numbers and send only the letters that the policy sends."""
    return lambda connection: UnitOfWork(connection, new_request_id, library.silent)
