"""backup FILE, restore FILE: copies the database into one file, and back without the patrons erased since."""

from __future__ import annotations

from pathlib import Path

import click

from hkall_gateway.cli.options import config_option, json_option

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--keep", type=click.IntRange(1), help="With a folder for FILE: delete all but so many of its newest backups.")
@config_option
@json_option
def backup(file: Path, force: bool, keep: int | None, config: Path, as_json: bool) -> None:
    """Copy the database into FILE while gateways work: an SQLite file, or pg_dump's custom format.

    If FILE is a folder, the backup gets a name there with day and time; --keep counts and deletes only files with such names.

    The database may be at the revision of an older version, as before an upgrade. The marks of erased patrons are written to
    hkall.erased in the same folder.

    \b
    Example: hkall-gateway backup /backup/hkall-2026-11-27.db
    Example: hkall-gateway backup /backup --keep 14
    """
    from hkall_gateway.cli.work import backup as work

    work.backup(config, file, force=force, keep=keep, as_json=as_json)


@click.command()
@_FILE
@click.option("--force", is_flag=True, help="Replace a database that is not empty, or that a gateway used in the last minute.")
@click.option(
    "--erased", "further", type=click.Path(path_type=Path, exists=True), help="A further file with marks of erased patrons."
)
@config_option
@json_option
def restore(file: Path, force: bool, further: Path | None, config: Path, as_json: bool) -> None:
    """Replace the database by a backup and repeat the erasures made since then; stop all gateways first.

    If it fails or is interrupted, the old database stays. Example: hkall-gateway restore /backup/hkall-2026-11-27.db --force
    """
    from hkall_gateway.cli.work import backup as work

    work.restore(file, further, config, force=force, as_json=as_json)
