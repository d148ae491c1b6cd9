"""The table of partners' protocols. NCIP is the first row; other distributions add theirs by an entry point.

A protocol of another distribution is in use from the moment at which the configuration first names it.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Final

from hkall_gateway.ncip.protocol import NCIP
from hkall_gateway.peers.protocol import GROUP, BadProtocol, PartnerProtocol
from hkall_gateway.rules.plain_text import listed, nearest

__all__ = ["DEFAULT", "PACKAGED", "BadProtocol", "PartnerProtocol", "find_protocol", "protocols_in_use"]

PACKAGED: Final = MappingProxyType({row.name: row for row in (NCIP,)})
"""The protocols of this package."""

DEFAULT: Final = NCIP.name
"""The protocol of all [[clients]], and of each row of [[partners]] that has no table of another protocol."""

_in_use: Final = dict(PACKAGED)


def find_protocol(name: str) -> PartnerProtocol:
    """Find a protocol by name. Raises BadProtocol, with a message for the key that names it."""
    if name in _in_use:  # reading the entry points of all installed distributions would take 0.1 s
        return _in_use[name]
    offered = {one.name: one for one in entry_points(group=GROUP)}
    if name not in offered:
        known = sorted({*PACKAGED, *offered})
        raise BadProtocol(f"must be {listed(known)}{nearest(name, known)}")
    where = f"{offered[name].value} (entry point {name!r} of {GROUP})"
    try:
        loaded = offered[name].load()
    except Exception as failed:  # third-party code may raise anything
        raise BadProtocol(f"{where} cannot be loaded: {type(failed).__name__}: {failed}") from failed
    if not isinstance(loaded, PartnerProtocol) or loaded.name != name:
        raise BadProtocol(f"{where} is no PartnerProtocol of this name")
    _in_use[name] = loaded
    return loaded


def protocols_in_use() -> tuple[PartnerProtocol, ...]:
    """Return the packaged protocols, and those that the configuration has named so far."""
    return tuple(_in_use.values())
