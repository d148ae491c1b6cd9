"""Commands db upgrade, db check, db vacuum, backup and restore."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hkall_gateway.cli.options import WRONG, CliError, config_option, json_option
from hkall_gateway.cli.show import echo


@click.group()
def db() -> None:
    """Check or upgrade the database schema.

    Example: hkall-gateway db upgrade --config gateway.toml
    """


@db.command()
@click.option("--plan", is_flag=True, help="List the revisions that are missing, and change nothing.")
@click.option(
    "--backup",
    "copy",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Copy the database into this file first, even if there is nothing to upgrade.",
)
@config_option
def upgrade(config: Path, *, plan: bool, copy: Path | None) -> None:
    """Upgrade the database to the revision that this program needs; forward only, while gateways may run.

    On a terminal it asks for a backup file, unless --backup names one or there is nothing to upgrade.

    \b
    Example: hkall-gateway db upgrade --plan
    Example: hkall-gateway db upgrade --backup /var/backups/hkall/before-upgrade
    """  # noqa: D301  # click interprets \b
    if plan:
        _show_plan(config)
        return
    from sqlalchemy.exc import OperationalError

    from hkall_gateway.cli.endings import cause_of
    from hkall_gateway.cli.opening import open_database, require_known, revision_of
    from hkall_gateway.db import schema

    engine = open_database(config, any_revision=True)
    before = revision_of(engine, config)
    require_known(before)
    if before and (copy or before != schema.head()):
        _back_up_first(config, copy)
    try:
        schema.upgrade(engine)
    except OperationalError as error:
        raise CliError(f"nothing was changed, try again: {cause_of(error)}") from None
    echo(f"revision {before or 'none'} -> {schema.revision(engine)}")
    engine.dispose()


def _back_up_first(config: Path, copy: Path | None) -> None:
    """Copy the database into `copy`, or else into the file that the user names at the prompt, if any."""
    if copy is None and _may_prompt():
        named = click.prompt("File for a backup before the upgrade (empty: none)", default="", show_default=False, err=True)
        copy = Path(named) if named else None
    if copy is not None:
        from hkall_gateway.cli.admin.backup import backup

        backup(config, copy)


def _may_prompt() -> bool:
    return sys.stdin.isatty()


def _show_plan(config: Path) -> None:
    from hkall_gateway.cli.opening import open_database, require_known, revision_of
    from hkall_gateway.db import schema

    engine = open_database(config, any_revision=True)
    new = engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists()
    before = "" if new else revision_of(engine, config)  # a connection would create the file
    require_known(before)
    missing = schema.pending(before)
    for revision, about in missing:
        echo(f"{revision}  {about}")
    if missing:
        echo(f"revision {before or 'none'} -> {schema.head()}: a revision only adds, so gateways may work on meanwhile")
    else:
        echo(f"revision {before}: nothing to do")


@db.command()
@config_option
def check(config: Path) -> None:
    """Check that the database has the revision and the tables that this program needs.

    Example: hkall-gateway db check
    """
    from hkall_gateway.cli.opening import open_database
    from hkall_gateway.db import schema

    engine = open_database(config)
    drift = schema.drift(engine)
    if drift:
        raise CliError("\n".join(f"differs: {change}" for change in drift))
    echo(f"revision {schema.head()}, no differences")


@db.command()
@config_option
def vacuum(config: Path) -> None:
    """Rewrite an SQLite file to remove copies of deleted rows from its free space; terminals wait meanwhile.

    Example: hkall-gateway db vacuum
    """
    from sqlalchemy.exc import OperationalError

    from hkall_gateway.cli.endings import cause_of
    from hkall_gateway.cli.opening import open_database
    from hkall_gateway.db.privacy import forgetting

    engine = open_database(config)
    file = forgetting.file_of(engine)
    if file is None:
        raise CliError("only an SQLite file can be rewritten; on PostgreSQL run VACUUM FULL in a quiet hour")
    before = file.stat().st_size
    try:
        emptied = forgetting.vacuum(engine)
    except OperationalError as error:
        raise CliError(f"nothing was changed, try again: {cause_of(error)}") from None
    if not emptied:
        raise CliError("the file is rewritten, but another reader keeps the write-ahead log: run it again")
    echo(f"{file}: {before:,} -> {file.stat().st_size:,} bytes")


_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


_PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Its first line is the passphrase of the machine's backup; - asks for it.",
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--keep", type=click.IntRange(1), help="With a folder for FILE: delete all but so many of its newest backups.")
@click.option(
    "--with-config", is_flag=True, help="Back up the whole machine: configuration, secrets, keys and database, encrypted."
)
@click.option("--recipient", "recipients", multiple=True, help="--with-config: an age or SSH public key that may open FILE.")
@_PASSPHRASE
@config_option
@json_option
def backup(
    file: Path,
    force: bool,
    keep: int | None,
    with_config: bool,
    recipients: tuple[str, ...],
    passphrase_file: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Copy the database into FILE while gateways work: an SQLite file, or pg_dump's custom format.

    If FILE is a folder, the backup gets a name there with day and time; --keep counts and deletes only files with such names.

    The database may be at the revision of an older version, as before an upgrade. The marks of erased patrons are written to
    hkall.erased in the same folder.

    With --with-config, FILE is one encrypted file from which `restore --machine` rebuilds a lost machine. Run it as root.

    \b
    Example: hkall-gateway backup /backup/hkall-2026-11-27.db
    Example: hkall-gateway backup /backup --keep 14
    Example: hkall-gateway backup --with-config /backup/machine.age --recipient age1...
    """  # noqa: D301  # click interprets \b
    if not with_config:
        from hkall_gateway.cli.admin import backup as work

        if recipients or passphrase_file:
            raise CliError("--recipient and --passphrase-file need --with-config", WRONG)
        work.backup(config, file, force=force, keep=keep, as_json=as_json)
        return
    from hkall_gateway.cli.admin import machine

    if keep is not None:
        raise CliError("--keep and --with-config: choose one", WRONG)
    locks = machine.Locks(recipients=recipients, passphrase=machine.read_passphrase(passphrase_file, twice=True))
    machine.back_up_machine(config, file, locks, force=force, as_json=as_json)


@click.command()
@_FILE
@click.option("--force", is_flag=True, help="Replace a database that is not empty, or that a gateway used in the last minute.")
@click.option(
    "--erased", "further", type=click.Path(path_type=Path, exists=True), help="A further file with marks of erased patrons."
)
@click.option("--machine", is_flag=True, help="FILE is the backup of a whole machine: restore its files too. Run it as root.")
@click.option(
    "--identity",
    "identities",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="--machine: a file with the private key of a recipient, from age-keygen or SSH.",
)
@_PASSPHRASE
@config_option
@json_option
def restore(
    file: Path,
    force: bool,
    further: Path | None,
    machine: bool,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Replace the database by a backup and repeat the erasures made since then; stop all gateways first.

    If it fails or is interrupted, the old database stays.

    With --machine, FILE comes from `backup --with-config`: the files get their owners and modes, the units are enabled, and
    `check-config` tries the ports. Nothing is started.

    \b
    Example: hkall-gateway restore /backup/hkall-2026-11-27.db --force
    Example: hkall-gateway restore --machine /backup/machine.age --identity key.txt
    """  # noqa: D301  # click interprets \b
    if not machine:
        from hkall_gateway.cli.admin import backup as work

        if identities or passphrase_file:
            raise CliError("--identity and --passphrase-file need --machine", WRONG)
        work.restore(file, further, config, force=force, as_json=as_json)
        return
    from hkall_gateway.cli.admin import machine as whole

    keys = whole.Keys(identities=identities, passphrase=whole.read_passphrase(passphrase_file, twice=False))
    whole.restore_machine(file, keys, force=force, as_json=as_json)
