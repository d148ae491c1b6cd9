"""Brings the keys of [partners.NAME] to where the record of a partner has them, for protocols whose keys it has."""

from __future__ import annotations

from collections.abc import Mapping

from hkall_gateway.config.loading import Table, dotted
from hkall_gateway.protocols import PACKAGED


def flatten_protocols(tables: Table) -> tuple[Table, Mapping[str, str]]:
    """Move the keys of such nested tables into their row, where they may also stand as in earlier releases.

    A key that stands in both places, or that is no key of the protocol, is left in the nested table, where the model
    reports it.

    Returns:
        The tables, and where each moved key stands in the file, by the path under which the model reports it.
    """
    rows = tables.get("partners")
    if not isinstance(rows, list):
        return tables, {}
    moved: dict[str, str] = {}
    flat = [_flatten(row, index, moved) if isinstance(row, dict) else row for index, row in enumerate(rows)]
    return {**tables, "partners": flat}, moved


def _flatten(row: Table, index: int, moved: dict[str, str]) -> Table:
    whole = dict(row)
    for protocol in PACKAGED.values():
        nested = whole.get(protocol.name)
        if not isinstance(nested, dict) or not protocol.flat_keys:
            continue
        fits = {key for key in nested if key in protocol.flat_keys and key not in row}
        whole |= {key: nested[key] for key in fits}
        moved |= {dotted(("partners", index, key)): dotted(("partners", index, protocol.name, key)) for key in fits}
        left = {key: value for key, value in nested.items() if key not in fits}
        del whole[protocol.name]
        whole |= {f"{protocol.name}.{key}": value for key, value in left.items()}
    return whole
