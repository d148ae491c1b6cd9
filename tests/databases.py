"""The database of tests that may stand on either: SQLite, or PostgreSQL where HKALL_TEST_DATABASE=postgresql says so."""

from __future__ import annotations

import os

from sqlalchemy import Engine

from hkall_gateway.lab.databases import Memory, Schemas

ON_POSTGRESQL = os.environ.get("HKALL_TEST_DATABASE") == "postgresql"
SCHEMAS: Schemas | None = None
"""Schemas of the throw-away server, once it runs; None on SQLite."""
MEMORY = Memory()


def empty() -> Engine:
    """An empty database with all tables."""
    return (SCHEMAS or MEMORY).fresh()


def url(otherwise: str) -> str:
    """The address of an empty database without tables: `otherwise`, where that is SQLite."""
    return SCHEMAS.fresh_url() if SCHEMAS else otherwise
