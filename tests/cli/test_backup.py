"""backup and restore on the command line, on both databases: everything is restored except erased patrons."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Connection, Engine, delete, insert, select, text

from demo import demo_setup
from hkall_gateway.cli import main
from hkall_gateway.clock import now
from hkall_gateway.db import api_tokens, instances, schema, web_sessions
from hkall_gateway.db.backup import postgres as postgres_backup
from hkall_gateway.db.backup import restoring
from hkall_gateway.db.backup import sqlite as sqlite_backup
from hkall_gateway.db.backup.restoring import counts
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.instances import Instance
from hkall_gateway.db.privacy import erased
from hkall_gateway.db.tables import CARD_BLOCKS, ERASED, JOBS, JOURNAL, PATRONS, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.db.web_sessions import BROWSER, STAFF, WebSession
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests import databases, remains
from tests.db.planting import CARD, EMAIL, NAME, PERSON, plant
from tests.db.releases import RELEASES, VERSIONS, on_postgresql

PORTS = demo_setup.Ports(partners={"CUHK": 1, "HKUST": 2, "LU": 3})
KEPT = "[retention]\nanonymise_days = 0\nmessages_days = 0\n"
SCHEMA = "backups"


@dataclass
class Site:
    """A configured site and its database."""

    config: Path
    url: str
    environ: dict[str, str]

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--config", str(self.config)], env=self.environ)

    def done(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 1, result.output
        return result.stderr

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        engine = self.engine()
        store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
        try:
            return store.now(work, *args)
        finally:
            store.close()
            engine.dispose()

    def engine(self) -> Engine:
        return open_engine(self.url)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection that is closed afterwards."""
        engine = self.engine()
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def at(self) -> str:
        """Return the revision of the database."""
        engine = self.engine()
        found = schema.revision(engine)
        engine.dispose()
        return found

    @property
    def file(self) -> Path:
        return self.config.with_name("hkall.db")

    def knows(self) -> bool:
        return self.run("patron", "export", CARD).exit_code == 0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    if request.param == "sqlite":
        yield _site(folder, f"sqlite:///{folder / 'hkall.db'}")
        return
    server, programs = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_programs")
    engine = open_engine(server)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        made = _site(folder, f"{server}&options=-csearch_path%3D{SCHEMA}")
        made.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        yield made
        connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
    engine.dispose()


@pytest.fixture
def in_file(tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    return _site(folder, f"sqlite:///{folder / 'hkall.db'}")


def _site(folder: Path, url: str) -> Site:
    keys = {"privacy": {"erased_key_env": "HKALL_ERASED_KEY"}, "database": {"url": url}}
    config = demo_setup.write_config(folder, PORTS, KEPT, keys=keys)
    environ = {**demo_setup.environment(PORTS), "HKALL_ERASED_KEY": "a key of the site"}
    databases.fill(config, environ)
    site = Site(config, url, environ)
    site.do(_nearly_empty)
    return site


def _nearly_empty(unit: UnitOfWork) -> None:
    """Keep two patrons: a restore compares every card with the erasure marks, at ten milliseconds each."""
    unit.execute(delete(PATRONS).where(PATRONS.c.barcode > "P0002"))


def known(unit: UnitOfWork) -> None:
    unit.execute(insert(PATRONS), {"barcode": CARD, "name": NAME, "email": EMAIL})


def placed(unit: UnitOfWork, position: Position = Position.CLOSED) -> Request:
    made = Request(id="", side=Side.BORROWING, position=position, title="Dune", bib_id="b1", partner="CUHK", patron=CARD)
    return unit.open(made, now(), Actor(who="test", channel="world"))


def erase(site: Site) -> None:
    site.done("patron", "erase", CARD, "--reason", "asked by letter", "--yes")


def rows_of(unit: UnitOfWork) -> dict[str, Any]:
    """Return all rows except those that the commands write themselves."""
    return {name: count for name, count in counts(unit).items() if name not in {"jobs", "journal"}}


# ---- backup and restore


def test_backup_and_restore_keep_every_row(site: Site, tmp_path: Path) -> None:
    site.do(known)
    site.do(placed)
    before = site.do(rows_of)
    (said,) = site.done("backup", str(tmp_path / "copy"))
    site.do(lambda unit: unit.execute(delete(REQUESTS)))
    site.do(lambda unit: unit.execute(delete(PATRONS)))

    site.done("restore", str(tmp_path / "copy"), "--force")

    assert site.do(rows_of) == before
    assert site.do(lambda unit: unit.requests.find("R1")).patron == CARD
    assert said["bytes"] == (tmp_path / "copy").stat().st_size > 0
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_newest_backups_in_a_folder_are_kept_and_only_backups_are_deleted(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    old = [folder / f"hkall-2020-01-0{day}T023000.backup" for day in (1, 2, 3)]
    others = [folder / "before-upgrade", folder / "hkall-2020-01-01.backup"]
    for file in (*old, *others):
        file.touch()

    done = site.run("backup", str(folder), "--keep", "3")

    assert done.exit_code == 0, done.output
    (made,) = set(folder.iterdir()) - {*old, *others, folder / "hkall.erased"}
    assert done.stdout == f"backup: {made}, {made.stat().st_size} bytes; 1 older deleted\n"
    assert [file.exists() for file in (*old, *others)] == [False, True, True, True, True]
    assert site.run("restore", str(made), "--force").exit_code == 0


def test_keep_option_requires_a_folder(site: Site, tmp_path: Path) -> None:
    result = site.run("backup", str(tmp_path / "file"), "--keep", "3")
    assert (result.exit_code, "is no folder" in result.stderr) == (2, True)


def test_restore_into_an_empty_database_needs_no_force(site: Site, tmp_path: Path) -> None:
    site.do(placed)
    site.done("backup", str(tmp_path / "copy"))
    _emptied(site)

    site.done("restore", str(tmp_path / "copy"))

    assert site.do(lambda unit: unit.requests.find("R1")).patron == CARD


def _emptied(site: Site) -> None:
    """Replace the disk with an empty disk."""
    if site.url.startswith("sqlite"):
        site.file.unlink()
        return
    with site.connected() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")


def test_numbering_continues_after_a_restore(site: Site, tmp_path: Path) -> None:
    site.do(placed)
    site.done("backup", str(tmp_path / "copy"))
    site.done("restore", str(tmp_path / "copy"), "--force")
    site.do(lambda unit: unit.note(unit.requests.find("R1"), "SEEN", {}, now(), Actor(who="test", channel="world")))
    assert [event for event in site.do(_events) if event in {"OPEN", "RESTORED", "SEEN"}] == ["OPEN", "RESTORED", "SEEN"]


def _events(unit: UnitOfWork) -> list[str]:
    return list(unit.execute(select(JOURNAL.c.event).order_by(JOURNAL.c.id)).scalars())


# ---- erased patrons stay erased


def test_restore_does_not_restore_an_erased_patron(site: Site, tmp_path: Path) -> None:
    site.do(known)
    site.do(placed)
    site.do(plant_all)
    site.done("backup", str(tmp_path / "copy"))
    erase(site)

    found = site.done("restore", str(tmp_path / "copy"), "--force")

    assert [row["count"] for row in found if row["what"] == "erased again"] == [1]
    assert not site.knows()
    assert site.do(lambda unit: unit.requests.find("R1")).anonymised
    if site.url.startswith("sqlite"):
        assert remains.count(site.file, PERSON) == 0


def plant_all(unit: UnitOfWork) -> None:
    unit.execute(delete(PATRONS).where(PATRONS.c.barcode == CARD))
    plant(unit)
    unit.execute(delete(CARD_BLOCKS))


def test_erased_patron_stays_erased_if_the_database_with_the_marks_is_lost(site: Site, tmp_path: Path) -> None:
    site.do(known)
    site.done("backup", str(tmp_path / "copy"))
    erase(site)
    _emptied(site)

    site.done("restore", str(tmp_path / "copy"))

    assert not site.knows()
    assert len(site.do(erased.stored_marks)) == 1


def test_erased_patron_stays_erased_if_marks_are_lost_but_a_newer_backup_exists(site: Site, tmp_path: Path) -> None:
    site.do(known)
    site.done("backup", str(tmp_path / "monday"))
    erase(site)
    site.done("backup", str(tmp_path / "tuesday"))
    _emptied(site)
    for file in site.config.parent.glob("*.erased"):
        file.unlink()

    site.done("restore", str(tmp_path / "monday"))

    assert not site.knows()
    assert [len(erased.read_file(file)) for file in site.config.parent.glob("*.erased")] == [1]


# ---- revoked tokens stay revoked, and sessions end


def in_force(site: Site) -> set[str]:
    """The names of the tokens that a program could use."""
    return {token.name for token in site.do(api_tokens.listed) if token.in_force(now())}


def logged_in(unit: UnitOfWork) -> None:
    when = now()
    texts = {"login": "clerk", "patron": "", "name": "Desk", "role": "clerk", "source": "local", "csrf": "x"}
    for kind in (STAFF, BROWSER):
        web_sessions.begin(
            unit,
            WebSession(
                token_hash=f"hash of {kind}", kind=kind, **texts, created_at=when, seen_at=when, ends_at=when + timedelta(1)
            ),
            when,
        )


def test_restore_ends_every_session(site: Site, tmp_path: Path) -> None:
    site.do(logged_in)
    site.done("backup", str(tmp_path / "copy"))

    found = site.done("restore", str(tmp_path / "copy"), "--force")

    assert [row["count"] for row in found if row["what"] == "sessions ended"] == [1]
    assert [site.do(web_sessions.find, f"hash of {kind}") for kind in (STAFF, BROWSER)] == [None, None]


@pytest.mark.parametrize("lost", ["nothing", "the database", "the database and the file of marks"])
def test_token_that_was_revoked_after_the_backup_stays_revoked(site: Site, tmp_path: Path, lost: str) -> None:
    for name in ("reports", "discovery"):
        site.run("token", "make", name, "--role", "viewer")
    site.done("backup", str(tmp_path / "monday"))
    assert site.run("token", "revoke", "reports").exit_code == 0
    if lost != "nothing":
        site.done("backup", str(tmp_path / "tuesday"))
        _emptied(site)
    if lost == "the database and the file of marks":
        for file in site.config.parent.glob("*.erased"):
            file.unlink()

    found = site.done("restore", str(tmp_path / "monday"), "--force")

    assert in_force(site) == {"discovery"}
    assert [row["detail"] for row in found if row["what"] == "token revoked again"] == ["reports"]
    assert [row["detail"] for row in found if row["what"] == "token in force"] == ["discovery (viewer)"]


def test_patrons_are_erased_again_beside_the_marks_of_tokens(site: Site, tmp_path: Path) -> None:
    site.run("token", "make", "reports", "--role", "viewer")
    site.do(known)
    site.done("backup", str(tmp_path / "copy"))
    site.run("token", "revoke", "reports")
    erase(site)

    found = site.done("restore", str(tmp_path / "copy"), "--force")

    assert [row["count"] for row in found if row["what"] == "erased again"] == [1]
    assert not site.knows()
    assert in_force(site) == set()


def test_patron_registered_again_before_the_backup_is_kept(site: Site, tmp_path: Path) -> None:
    site.do(known)
    erase(site)
    site.do(known)
    site.done("backup", str(tmp_path / "copy"))

    site.done("restore", str(tmp_path / "copy"), "--force")

    assert site.knows()


def test_open_requests_of_an_erased_patron_are_kept_and_listed(site: Site, tmp_path: Path) -> None:
    site.do(known)
    site.do(placed, Position.ON_LOAN)
    site.done("backup", str(tmp_path / "copy"))
    erase(site)

    found = site.done("restore", str(tmp_path / "copy"), "--force")

    assert [row["what"] for row in found][-2:] == ["stays: request", "stays: patron"]


def test_restored_archive_is_cleaned_of_erased_patrons_again(in_file: Site, tmp_path: Path) -> None:
    archive, copy = tmp_path / "old.jsonl.gz", tmp_path / "copy.jsonl.gz"
    in_file.do(_long_ago)
    in_file.done("purge", "--yes", "--older-than", "300", "--archive", str(archive))
    shutil.copy(archive, copy)
    in_file.done("backup", str(tmp_path / "copy"))
    erase(in_file)
    shutil.copy(copy, archive)
    assert CARD in gzip.decompress(archive.read_bytes()).decode()

    in_file.done("restore", str(tmp_path / "copy"), "--force")

    assert CARD not in gzip.decompress(archive.read_bytes()).decode()


def _long_ago(unit: UnitOfWork) -> None:
    old = now() - timedelta(days=400)
    made = Request(
        id="",
        side=Side.BORROWING,
        position=Position.CLOSED,
        title="Dune",
        bib_id="b1",
        partner="CUHK",
        patron=CARD,
        placed_at=old,
        moved_at=old,
    )
    unit.open(made, old, Actor(who="test", channel="world"))


def test_restore_is_refused_with_another_key(site: Site, tmp_path: Path) -> None:
    site.do(known)
    site.done("backup", str(tmp_path / "copy"))
    erase(site)
    site.environ["HKALL_ERASED_KEY"] = "another one"

    assert "erased_key_env" in site.refused("restore", str(tmp_path / "copy"), "--force")
    assert not site.knows()


# ---- refusals


def test_database_with_open_work_is_not_replaced_without_force(site: Site, tmp_path: Path) -> None:
    site.done("backup", str(tmp_path / "copy"))
    site.do(placed)
    assert "it contains requests" in site.refused("restore", str(tmp_path / "copy"))
    assert site.do(lambda unit: unit.requests.find("R1")) is not None


def test_database_of_a_running_gateway_is_not_replaced(site: Site, tmp_path: Path) -> None:
    site.done("backup", str(tmp_path / "copy"))
    site.do(instances.record_instance, Instance(name="gateway-1", host="here", pid=1, version="0", since=now(), seen_at=now()))
    assert "gateway gateway-1 works with it" in site.refused("restore", str(tmp_path / "copy"))


def test_open_file_is_not_replaced_even_with_force(in_file: Site, tmp_path: Path) -> None:
    in_file.done("backup", str(tmp_path / "copy"))
    in_file.do(placed)
    engine = in_file.engine()
    with engine.connect() as idle:
        idle.exec_driver_sql("SELECT count(*) FROM patrons").all()
        assert "a gateway or a command uses it" in in_file.refused("restore", str(tmp_path / "copy"), "--force")
    engine.dispose()
    assert in_file.do(lambda unit: unit.requests.find("R1")) is not None


def test_backup_is_not_overwritten_without_force(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "copy"
    file.write_text("something else")
    assert "--force writes over it" in site.refused("backup", str(file))
    assert file.read_text() == "something else"
    site.done("backup", str(file), "--force")


@pytest.mark.parametrize("content", [b"", b"something else" * 100, None], ids=["empty", "other", "cut off"])
def test_invalid_backup_changes_nothing(site: Site, tmp_path: Path, content: bytes | None) -> None:
    site.do(placed)
    file = tmp_path / "copy"
    site.done("backup", str(file))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    assert str(file) in site.refused("restore", str(file), "--force")
    assert site.do(lambda unit: unit.requests.find("R1")).patron == CARD


@pytest.mark.parametrize("content", [b"something else" * 100, None], ids=["other", "cut off"])
def test_failed_restore_leaves_no_file(in_file: Site, tmp_path: Path, content: bytes | None) -> None:
    """It leaves neither an empty database, which would pass for a new one, nor a partial copy of patron data."""
    in_file.do(known)
    copy = tmp_path / "copy"
    in_file.done("backup", str(copy))
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2] if content is None else content)
    in_file.file.unlink()
    before = sorted(path.name for path in in_file.config.parent.iterdir())

    in_file.refused("restore", str(copy))

    assert sorted(path.name for path in in_file.config.parent.iterdir()) == before


def test_failed_backup_leaves_no_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_dump").symlink_to("/bin/false")
    site.environ["PATH"] = str(tmp_path / "bin")
    place = tmp_path / "copies"
    (place / "copy").mkdir(parents=True)  # a folder already has the name of the copy
    site.run("backup", str(place / "copy"), "--force")
    assert {path.name for path in place.iterdir()} <= {"copy", "hkall.erased"}


def test_failed_backup_keeps_the_time_of_one_that_was_made_meanwhile(
    in_file: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, made = sqlite_backup.save, []

    def fail(engine: Engine, _file: Path) -> None:
        monkeypatch.setattr(sqlite_backup, "save", save)
        assert in_file.run("backup", str(tmp_path / "meanwhile")).exit_code == 0
        made.append(in_file.do(restoring.made_at))
        raise OSError("the disk is full")

    monkeypatch.setattr(sqlite_backup, "save", fail)
    assert "no backup was made" in in_file.refused("backup", str(tmp_path / "copy"))
    assert [in_file.do(restoring.made_at)] == made


def test_backup_of_a_newer_version_changes_nothing(site: Site, tmp_path: Path) -> None:
    _at(site, "9999")
    engine = site.engine()
    (kept_save(site))(engine, tmp_path / "copy")
    engine.dispose()
    _at(site, schema.head())
    site.do(placed)
    assert "revision 9999" in site.refused("restore", str(tmp_path / "copy"), "--force")
    assert site.do(lambda unit: unit.requests.find("R1")) is not None


def kept_save(site: Site) -> Callable[[Engine, Path], None]:
    def save(engine: Engine, file: Path) -> None:
        os.environ["PATH"], before = site.environ.get("PATH", os.environ["PATH"]), os.environ["PATH"]
        try:
            (sqlite_backup if engine.dialect.name == "sqlite" else postgres_backup).save(engine, file)
        finally:
            os.environ["PATH"] = before

    return save


def _at(site: Site, revision: str) -> None:
    with site.connected() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_restore_upgrades_a_database_of_the_previous_version(in_file: Site, tmp_path: Path) -> None:
    old = tmp_path / "0.1.0.db"
    old.write_bytes(gzip.decompress((RELEASES / "0.1.0.db.gz").read_bytes()))
    in_file.done("restore", str(old), "--force")

    engine = in_file.engine()
    assert (schema.revision(engine), schema.drift(engine)) == (schema.head(), [])
    assert len(in_file.do(lambda unit: unit.requests.open_list())) > 10
    engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize("revision", sorted(schema.known()))
def test_database_of_any_revision_can_be_backed_up_and_restored(in_file: Site, tmp_path: Path, revision: str) -> None:
    in_file.file.unlink()
    engine = in_file.engine()
    with schema.remaking(engine) as connection:
        schema.bring_to(connection, revision)
    engine.dispose()
    in_file.done("backup", str(tmp_path / "copy"))
    assert in_file.at() == revision  # a backup does not upgrade the database
    in_file.done("restore", str(tmp_path / "copy"), "--force")
    assert in_file.at() == schema.head()


@pytest.mark.long
@pytest.mark.parametrize("version", VERSIONS)
def test_upgrade_makes_a_backup_first(in_file: Site, tmp_path: Path, version: str) -> None:
    in_file.file.write_bytes(gzip.decompress((RELEASES / f"{version}.db.gz").read_bytes()))
    before = in_file.at()
    done = in_file.run("db", "upgrade", "--backup", str(tmp_path / "copy"))
    assert (done.exit_code, f"revision {before} -> {schema.head()}" in done.output) == (0, True)
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)
        assert copy.execute("SELECT count(*) FROM requests").fetchone()[0] > 10


def test_interactive_upgrade_asks_for_a_backup_file(in_file: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hkall_gateway.cli.admin.database._may_prompt", lambda: True)
    for answer, there in (("", False), (str(tmp_path / "copy"), True)):
        in_file.file.write_bytes(gzip.decompress((RELEASES / f"{VERSIONS[0]}.db.gz").read_bytes()))
        done = CliRunner().invoke(
            main, ["db", "upgrade", "--config", str(in_file.config)], env=in_file.environ, input=f"{answer}\n"
        )
        assert (done.exit_code, "File for a backup" in done.output) == (0, True)
        assert (tmp_path / "copy").exists() == there
    again = CliRunner().invoke(main, ["db", "upgrade", "--config", str(in_file.config)], env=in_file.environ, input="\n")
    assert "File for a backup" not in again.output  # the database is already up to date


def test_failed_backup_stops_the_upgrade(in_file: Site, tmp_path: Path) -> None:
    in_file.file.write_bytes(gzip.decompress((RELEASES / f"{VERSIONS[0]}.db.gz").read_bytes()))
    before = in_file.at()
    (tmp_path / "copy").write_text("something else")
    assert "is there already" in in_file.refused("db", "upgrade", "--backup", str(tmp_path / "copy"))
    assert in_file.at() == before


def test_missing_database_cannot_be_backed_up(in_file: Site, tmp_path: Path) -> None:
    in_file.file.unlink()
    done = in_file.run("backup", str(tmp_path / "copy"))
    assert (done.exit_code, "there is no database of this program" in done.stderr) == (2, True)
    assert not in_file.file.exists()


@pytest.mark.long
@pytest.mark.parametrize("site", ["postgresql"], indirect=True)
@pytest.mark.parametrize("version", VERSIONS)
def test_database_of_an_older_version_on_postgresql_can_be_backed_up(
    site: Site, tmp_path: Path, postgres_url: str, postgres_programs: Path, version: str
) -> None:
    with on_postgresql(postgres_url, postgres_programs, version) as released:
        before = schema.revision(released)
        text_ = site.config.read_text(encoding="utf-8")
        url = released.url.render_as_string(hide_password=False)
        site.config.write_text(text_.replace(site.url, url), encoding="utf-8")
        site.done("backup", str(tmp_path / "copy"))
        assert schema.revision(released) == before
    site.config.write_text(text_, encoding="utf-8")
    assert site.done("restore", str(tmp_path / "copy"), "--force")[0]["count"] > 100


@pytest.mark.long
@pytest.mark.parametrize("site", ["postgresql"], indirect=True)
def test_dump_of_the_previous_version_is_upgraded_on_restore(
    site: Site, tmp_path: Path, postgres_url: str, postgres_programs: Path
) -> None:
    """The tables are created in the dump's version, filled, and upgraded."""
    with on_postgresql(postgres_url, postgres_programs, "0.1.0") as released:
        (kept_save(site))(released, tmp_path / "copy")
        before = schema.revision(released)

    found = site.done("restore", str(tmp_path / "copy"), "--force")

    engine = site.engine()
    assert before not in {"", schema.head()}
    assert (schema.revision(engine), schema.drift(engine)) == (schema.head(), [])
    engine.dispose()
    assert found[0]["count"] > 100
    assert len(site.do(lambda unit: unit.requests.open_list())) > 10


@pytest.mark.long
@pytest.mark.parametrize("site", ["postgresql"], indirect=True)
def test_table_privileges_are_kept(site: Site, tmp_path: Path) -> None:
    site.do(placed)
    site.done("backup", str(tmp_path / "copy"))
    grants = (
        'CREATE ROLE "Reports, monthly"',
        'GRANT SELECT ON requests, journal TO "Reports, monthly"',
        'GRANT UPDATE ON requests TO "Reports, monthly" WITH GRANT OPTION',
        "GRANT SELECT ON holdings TO PUBLIC",
        'GRANT USAGE ON SEQUENCE journal_id_seq TO "Reports, monthly"',
    )
    with site.connected() as connection:
        for grant in grants:
            connection.exec_driver_sql(grant)
        before = _grants(connection)

    site.done("restore", str(tmp_path / "copy"), "--force")

    with site.connected() as connection:
        assert _grants(connection) == before
        assert len(before) > 4
        connection.exec_driver_sql('DROP OWNED BY "Reports, monthly"')
        connection.exec_driver_sql('DROP ROLE "Reports, monthly"')


def _grants(connection: Connection) -> list[tuple[Any, ...]]:
    asked = (
        "SELECT relname, grantee, privilege_type, is_grantable FROM pg_class, aclexplode(relacl) "
        "WHERE relnamespace = CAST(:place AS regnamespace) AND grantee <> relowner ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in connection.execute(text(asked), {"place": SCHEMA})]


def test_missing_pg_dump_is_reported_with_the_package_to_install(site: Site, tmp_path: Path) -> None:
    site.environ["PATH"] = str(tmp_path)
    if site.url.startswith("sqlite"):
        site.done("backup", str(tmp_path / "copy"))
        return
    assert "pg_dump is not on the PATH: install PostgreSQL's client programs" in site.refused("backup", str(tmp_path / "copy"))
    assert [job for job in site.do(_jobs) if job == "backup"] == ["backup"]


def _jobs(unit: UnitOfWork) -> list[str]:
    return list(unit.execute(select(JOBS.c.name)).scalars())


def test_damaged_database_file_is_replaced_with_force(in_file: Site, tmp_path: Path) -> None:
    in_file.do(placed)
    in_file.done("backup", str(tmp_path / "copy"))
    in_file.file.write_bytes(b"the disk has died " * 1000)
    in_file.file.with_name("hkall.db-wal").write_bytes(b"and left this")

    assert "--force replaces it" in in_file.refused("restore", str(tmp_path / "copy"))
    in_file.done("restore", str(tmp_path / "copy"), "--force")

    assert in_file.do(lambda unit: unit.requests.find("R1")).patron == CARD


# ---- killed commands


@pytest.mark.long
@pytest.mark.parametrize("turn", range(int(os.environ.get("HKALL_KILLS", "2"))))
def test_killed_restore_leaves_the_old_or_the_new_database(site: Site, tmp_path: Path, turn: int) -> None:
    site.do(known)
    site.do(placed)
    site.done("backup", str(tmp_path / "copy"))
    erase(site)
    site.do(lambda unit: unit.execute(delete(REQUESTS)))
    site.do(_numbered, "R-old")
    _kill_a_restore(site, tmp_path / "copy", 0.1 * turn)

    (mark,) = site.do(lambda unit: unit.execute(select(ERASED.c.mark)).scalars().all())
    found = set(site.do(lambda unit: unit.execute(select(REQUESTS.c.id)).scalars().all()))
    assert mark
    assert (found == {"R-old"}) or ("R1" in found and "R-old" not in found)
    assert not site.knows()
    site.done("restore", str(tmp_path / "copy"), "--force")
    assert site.do(lambda unit: unit.requests.find("R1")) is not None


@pytest.mark.long
@pytest.mark.parametrize("turn", range(int(os.environ.get("HKALL_KILLS", "2"))))
def test_killed_backup_leaves_the_previous_backup(site: Site, tmp_path: Path, turn: int) -> None:
    site.do(placed)
    copy = tmp_path / "copy"
    site.done("backup", str(copy))
    before = copy.read_bytes()

    killed = ["backup", str(copy), "--force"]
    with subprocess.Popen(
        [sys.executable, "-c", "from hkall_gateway.cli import main; main()", *killed],
        env={**os.environ, **site.environ, "HKALL_CONFIG": str(site.config)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        while running.poll() is None and len(list(tmp_path.glob("copy?*"))) == 0:
            time.sleep(0.002)
        time.sleep(0.02 * turn)
        running.send_signal(signal.SIGKILL)

    if running.returncode == -signal.SIGKILL and list(tmp_path.glob("copy?*")):
        assert copy.read_bytes() == before  # the backup was not finished
    site.done("backup", str(copy), "--force")
    assert not list(tmp_path.glob("copy?*"))
    site.done("restore", str(copy), "--force")


def _numbered(unit: UnitOfWork, number: str) -> None:
    unit.open(
        Request(id=number, side=Side.BORROWING, position=Position.CLOSED, title="Dune", bib_id="b1", partner="CUHK"),
        now(),
        Actor(who="test", channel="world"),
    )


def _kill_a_restore(site: Site, copy: Path, after_s: float) -> None:
    """Kill a restore this long after it has started to read the backup."""
    command = [sys.executable, "-c", "from hkall_gateway.cli import main; main()", "restore", str(copy), "--force"]
    environ = {**os.environ, **site.environ, "HKALL_CONFIG": str(site.config)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        _wait_until_it_works(site, running)
        time.sleep(after_s)
        running.send_signal(signal.SIGKILL)


def _wait_until_it_works(site: Site, running: subprocess.Popen[bytes]) -> None:
    while running.poll() is None and not (_restoring(site) if site.url.startswith("sqlite") else _has_pg_restore(running.pid)):
        time.sleep(0.01)


def _restoring(site: Site) -> bool:
    return site.file.with_name("hkall.db.restoring").exists()


def _has_pg_restore(pid: int) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return children.exists() and bool(children.read_text().split())


# ---- beside a running gateway


@pytest.mark.long
def test_backup_during_writes_is_consistent(in_file: Site, tmp_path: Path) -> None:
    engine = in_file.engine()
    writer = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: ""))
    for number in range(3):
        writer.now(_numbered, f"R{number}")
        in_file.done("backup", str(tmp_path / f"copy-{number}"))
        with sqlite3.connect(tmp_path / f"copy-{number}") as copy:
            assert copy.execute("SELECT count(*) FROM requests").fetchone() == (number + 1,)
    writer.close()
    engine.dispose()
