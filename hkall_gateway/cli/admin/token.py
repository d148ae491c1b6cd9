"""Commands token make, list and revoke: API tokens of programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import click

from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, json_option
from hkall_gateway.cli.show import echo, show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.rules.stored_words import StaffRole

CLIENT = "client"
"""A copy of `api_tokens.CLIENT`, since only a command that runs may import that module."""
COLUMNS = ("name", "role", "state", "made_at", "made_by", "ends_at", "used_at")
PREFIX = "hkall_"
"""Prefix of every token, by which secret scanners can find tokens in repositories and logs."""


@click.group()
def token() -> None:
    """Manage tokens of programs that use the API (/api/v1).

    Example: hkall-gateway token make reports --role viewer
    """


@token.command()
@click.argument("name")
@click.option(
    "--role",
    required=True,
    type=click.Choice([*(role.word for role in StaffRole), CLIENT]),
    help="What it may do: as staff of that role, or `client`, for the patrons whose cards it names.",
)
@click.option("--days", type=click.IntRange(1, 36_500), default=None, help="For so many days; without it until it is revoked.")
@with_site
def make(site: Site, name: str, role: str, days: int | None) -> None:
    """Make a token and print it once; the database keeps its hash. The journal names the program as token:NAME.

    Example: hkall-gateway token make reports --role viewer --days 365
    """
    from secrets import token_urlsafe

    from hkall_gateway.circulation.staff.tokens import MakeToken
    from hkall_gateway.db import api_tokens

    if not name.isascii() or not name.isprintable() or not name.strip() or len(name) > 60:
        raise CliError(f"{name!r}: a name is at most 60 printable ASCII characters", WRONG)
    now, text = site.now(), PREFIX + token_urlsafe(32)
    ends = now + timedelta(days=days) if days else None
    made = api_tokens.ApiToken(
        name=name,
        token_hash=api_tokens.hash_of(text),
        role=role,
        made_by=by_staff("token").who,
        made_at=now,
        ends_at=ends,
    )
    if not site.execute(MakeToken(token=made)):
        raise CliError(f"{name}: this name was used before; take another one")
    echo(text)


@token.command("list")
@with_site
@json_option
def list_(site: Site, as_json: bool) -> None:
    """List all tokens with their roles and when each was last used.

    Example: hkall-gateway token list
    """
    from hkall_gateway.circulation import listings

    rows, now = [], site.now()
    for one in site.execute(listings.tokens()):
        state = "in force" if one.in_force(now) else "revoked" if one.revoked_at else "over"
        facts = {name: value for name, value in asdict(one).items() if name in COLUMNS}
        rows.append({"name": one.name, "role": one.role, "state": state, **facts})
    show(rows, as_json, COLUMNS)


@token.command()
@click.argument("name")
@with_site
def revoke(site: Site, name: str) -> None:
    """Revoke a token at once. Its name stays in the journal and cannot be used again.

    Example: hkall-gateway token revoke reports
    """
    from hkall_gateway.circulation.results import Refused
    from hkall_gateway.circulation.staff.tokens import RevokeToken
    from hkall_gateway.db.privacy import erased

    marks = site.execute(RevokeToken(name=name))
    if marks is None or isinstance(marks, Refused):
        raise CliError(f"{name}: no token of this name is in force")
    assert site.erased_file is not None, "the site is configured from a file"
    try:
        # The mark stands outside the database, so that the restore of an older backup revokes the token again.
        erased.add_to_file(site.erased_file, marks)
    except (OSError, ValueError) as error:
        raise CliError(f"{name} revoked, but the restore of an older backup would bring it back: {error}") from None
    echo(f"{name} revoked")
