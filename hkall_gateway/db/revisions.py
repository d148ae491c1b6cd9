"""Which revision the database is at and which one this program needs, read without alembic, which takes long to load."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, inspect

VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"
_ABOUT: Final = re.compile(r'^"""(.+?)(?:"""|$)', re.MULTILINE)
_LINE: Final = re.compile(r"^(revision|down_revision)\b[^=]*= *[\"']?(\w+)", re.MULTILINE)


@cache
def known() -> dict[str, str]:
    """Return the revisions of this program, each with the one before it; "None" before the first."""
    found = [dict(_LINE.findall(file.read_text(encoding="utf-8"))) for file in VERSIONS.glob("*.py")]
    return {one["revision"]: one["down_revision"] for one in found if "revision" in one}


def head() -> str:
    """Return the revision that this version of the program needs."""
    (last,) = known().keys() - set(known().values())
    return last


def knows(revision: str) -> bool:
    """Return whether this version of the program has that revision; a newer one has made it otherwise."""
    return not revision or revision in known()


def pending(found: str) -> list[tuple[str, str]]:
    """Return (revision, its description) of each revision after `found`, in the order in which an upgrade applies them."""
    about = {}
    for file in VERSIONS.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        about[dict(_LINE.findall(text)).get("revision", "")] = "".join(_ABOUT.findall(text)[:1])
    missing = []
    at = head()
    while at not in (found, "None"):
        missing.append((at, about[at]))
        at = known()[at]
    return missing[::-1]


def revision(engine: Engine) -> str:
    """Return the revision that the database is at; "" for an empty one."""
    if not inspect(engine).has_table("alembic_version"):
        return ""
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or "")
