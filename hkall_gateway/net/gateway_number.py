"""The number of a gateway in the text of an endpoint."""

from __future__ import annotations

from typing import Final

NUMBER: Final = "{instance}"
"""Stands in an endpoint for the number of the gateway on this machine, so that all of them share one configuration."""


def numbered(text: str, number: str) -> str:
    """Return the endpoint of the gateway with this number: `tcp:808{instance}` is `tcp:8082` for the second."""
    return text.replace(NUMBER, number)
