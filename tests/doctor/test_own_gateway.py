"""The gateway's own resources: files, disk, ports, certificates, database. The checks change nothing."""

from __future__ import annotations

import os
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from sqlalchemy import insert

from hkall_gateway.cli.doctor import own_gateway
from hkall_gateway.cli.doctor.findings import Finding, Sheet
from hkall_gateway.clock import now
from hkall_gateway.db import schema
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.instances import BACKUP, PROXY
from hkall_gateway.db.tables import INSTANCES, JOBS, PATRONS
from tests.doctor.conftest import INSTANCE, SITE, Authority, Site, finding, status
from tests.ports import free_ports
from tests.small_disk import mounted

LISTENS = '\n[smtp]\nfrom = "lending@lib.example.hk"\n\n[ncip]\nlisten = [{}]\n'


def ready(site: Site, *endpoints: str) -> Path:
    """A database at the newest revision with a backup of today, and free ports; returns the database file."""
    site.write(LISTENS.format(", ".join(f'"{text}"' for text in endpoints or (f"tcp:{free_ports(1)[0]}:interface=127.0.0.1",))))
    file = site.folder / "hkall.db"
    engine = open_engine(f"sqlite:///{file}")
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(insert(JOBS), {"name": BACKUP, "last_run": now()})
    engine.dispose()
    return file


def about(sheet: Sheet, check: str) -> list[Finding]:
    return [one for one in sheet.found if one.check == check]


def test_valid_site_passes(site: Site) -> None:
    ready(site)
    sheet = site.examine("gateway")
    assert set(status(sheet).values()) == {"ok"}
    assert {*status(sheet)} == {*own_gateway.PLAN}


def test_checks_change_nothing(site: Site) -> None:
    file = ready(site)
    file.chmod(0o644)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in site.folder.iterdir()}
    site.examine("gateway")
    after = {path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in site.folder.iterdir()}
    assert after == before


# ---- configuration and files


def test_incomplete_configuration_causes_a_warning(site: Site) -> None:
    site.write(base=SITE.replace('place_names = { MAIN = "the counter" }\n', ""))
    told = [one.about for one in about(site.examine("gateway"), "config")]
    assert told == ["library.place_names.MAIN", "smtp", "ncip.listen"]


@pytest.mark.parametrize(("mode", "word"), [(0o600, "ok"), (0o640, "ok"), (0o644, "warn"), (0o646, "fail")])
def test_world_readable_configuration_warns_and_world_writable_fails(site: Site, mode: int, word: str) -> None:
    ready(site)
    site.path.chmod(mode)
    found = finding(site.examine("gateway"), "files")
    assert found.status.value == word
    assert word == "ok" or found.advice == f"chmod o= {site.path}"


def test_world_readable_private_key_causes_a_warning(site: Site, authority: Authority) -> None:
    key = authority.issue("gateway")
    key.chmod(0o644)
    ready(site, f"ssl:{free_ports(1)[0]}:privateKey={key}:interface=127.0.0.1")
    assert [(one.status.value, one.about) for one in about(site.examine("gateway"), "files")] == [("warn", str(key))]


# ---- database


def test_missing_database_fails_and_is_not_created(site: Site) -> None:
    sheet = site.examine("gateway")
    assert (status(sheet)["database"], status(sheet)["revision"]) == ("fail", "skip")
    assert "db upgrade" in finding(sheet, "database").advice
    assert not (site.folder / "hkall.db").exists()


def test_file_that_is_not_a_database_fails(site: Site) -> None:
    (site.folder / "hkall.db").write_text("nothing of the kind, but long enough to be read as a page " * 20)
    assert "not a database" in finding(site.examine("gateway"), "database").detail


@pytest.mark.parametrize(("revision", "advice"), [("0001", "db upgrade"), ("9999", "Install the newer version")])
def test_different_revision_fails_with_specific_advice(site: Site, revision: str, advice: str) -> None:
    with sqlite3.connect(ready(site)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    sheet = site.examine("gateway")
    assert (status(sheet)["database"], status(sheet)["revision"]) == ("ok", "fail")
    assert advice in finding(sheet, "revision").advice


def test_site_without_a_backup_is_warned(site: Site) -> None:
    with sqlite3.connect(ready(site)) as connection:
        connection.execute("DELETE FROM jobs")
    connection.close()
    found = finding(site.examine("gateway"), "backup")
    assert (found.status.value, "hkall-gateway-backup.timer" in found.advice) == ("warn", True)


@pytest.mark.parametrize(("age", "word"), [(None, "ok"), (timedelta(hours=2), "warn"), (timedelta(days=8), "ok")])
def test_proxy_that_names_no_address_is_reported_for_a_week(site: Site, age: timedelta | None, word: str) -> None:
    file = ready(site)
    web = '\n[web]\npublic_url = "https://hkall.test"\nproxy_from = ["192.0.2.9/32"]\n'
    site.path.write_text(site.path.read_text(encoding="utf-8") + web, encoding="utf-8")
    if age is not None:
        engine = open_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            connection.execute(insert(JOBS), {"name": PROXY, "last_run": now() - age})
        engine.dispose()
    found = finding(site.examine("gateway"), "proxy")
    assert found.status.value == word
    assert word == "ok" or "X-Forwarded-For" in found.advice


def test_postgresql_is_opened_by_url(site: Site, postgres_url: str) -> None:
    site.write(base=SITE.replace("sqlite:///hkall.db", postgres_url))
    found = finding(site.examine("gateway"), "database")
    assert (found.status.value, found.detail.partition(" ")[0]) == ("ok", "PostgreSQL")


def test_unavailable_server_fails(site: Site) -> None:
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_ports(1)[0]}/hkall"
    site.write(base=SITE.replace("sqlite:///hkall.db", url))
    found = finding(site.examine("gateway"), "database")
    assert (found.status.value, "refused" in found.detail) == ("fail", True)


def test_patrons_are_counted_and_an_empty_table_warns(site: Site) -> None:
    file = ready(site)
    assert status(site.examine("ils")) == {"loaded": "warn"}
    engine = open_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(insert(PATRONS), {"barcode": "P1", "name": "", "category": "undergraduates"})
    engine.dispose()
    assert finding(site.examine("ils"), "loaded").detail == "patrons: 1"


# ---- disk and zones


@pytest.mark.parametrize(("free", "word"), [(50_000_000, "fail"), (500_000_000, "warn"), (5_000_000_000, "ok")])
def test_nearly_full_disk_is_reported(tmp_path: Path, free: int, word: str) -> None:
    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    own_gateway.check_disks(sheet, [tmp_path], lambda _place: (10**12, 10**12 - free, free))
    assert finding(sheet, "disk").status.value == word


def test_failing_disk_is_distinguished_from_a_full_one_and_a_missing_database(site: Site, tmp_path: Path) -> None:
    with mounted(tmp_path, 16) as disk:
        site.write(base=SITE.replace("sqlite:///hkall.db", f"sqlite:///{disk.folder}/hkall.db"))
        engine = open_engine(f"sqlite:///{disk.folder}/hkall.db")
        schema.upgrade(engine)
        engine.dispose()
        disk.shut_down()
        sheet = site.examine("gateway")
    for check in ("database", "disk"):
        assert finding(sheet, check).status.value == "fail"
        assert "dmesg" in finding(sheet, check).advice


def test_corrupt_page_of_the_database_is_found(site: Site) -> None:
    file = ready(site)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'terminal_activity'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    assert finding(site.examine("gateway"), "integrity").status.value == "ok"
    with file.open("r+b") as opened:
        opened.seek((root - 1) * size)
        opened.write(b"\xff" * size)
    found = finding(site.examine("gateway"), "integrity")
    assert found.status.value == "fail"
    assert "restore" in found.advice


def test_database_too_large_to_read_in_time_warns(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(site)

    async def late(*_: object) -> None:
        return None

    monkeypatch.setattr(own_gateway, "_integrity_errors", late)
    found = finding(site.examine("gateway"), "integrity")
    assert found.status.value == "warn"
    assert "PRAGMA integrity_check" in found.advice


def test_missing_folder_fails(site: Site) -> None:
    site.write('\n[logs]\nfile = "nowhere/hkall.log"\n')
    sheet = site.examine("gateway")
    assert (status(sheet)["files"], status(sheet)["disk"]) == ("fail", "ok")
    assert finding(sheet, "files").detail == f"logs.file: {site.folder / 'nowhere'}: there is no such folder"


def test_missing_time_zone_data_fails() -> None:
    def load(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    sheet = Sheet("gateway", own_gateway.PLAN, lambda: 0.0, 10)
    own_gateway.check_zones(sheet, ["Asia/Hong_Kong"], load)
    assert finding(sheet, "timezone").status.value == "fail"


# ---- ports


def running(file: Path, pid: int, seen_at: datetime | None = None, host: str = "") -> None:
    """Insert the row of a running gateway."""
    row = {"name": INSTANCE, "host": host or os.uname().nodename, "pid": pid, "version": "0.1.0", "since": now()}
    engine = open_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(insert(INSTANCES), row | {"seen_at": seen_at or now(), "left_at": None})
    engine.dispose()


def test_port_held_by_another_program_fails_and_by_the_gateway_passes(site: Site) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as taken:
        file = ready(site, f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
        found = finding(site.examine("gateway"), "ports")
        assert (found.status.value, "another program" in found.detail) == ("fail", True)
        running(file, os.getpid())
        found = finding(site.examine("gateway"), "ports")
        assert (found.status.value, found.detail.endswith(f"the gateway answers (process {os.getpid()})")) == ("ok", True)


def test_port_with_an_unknown_owner_warns_when_the_database_is_unavailable(site: Site) -> None:
    """The database does not exist yet, or the gateway has another machine's name, such as a container's."""
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as taken:
        file = ready(site, f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
        running(file, os.getpid(), host="container")
        assert status(site.examine("gateway"))["ports"] == "warn"
        file.unlink()
        assert status(site.examine("gateway"))["ports"] == "warn"


def test_running_gateway_that_does_not_listen_fails(site: Site) -> None:
    running(ready(site), os.getpid())
    found = finding(site.examine("gateway"), "ports")
    assert (found.status.value, found.advice.startswith("Restart the gateway")) == ("fail", True)


@pytest.mark.parametrize("row", [{"seen_at": datetime(2017, 3, 1, tzinfo=UTC)}, {"host": "another"}, {"pid": 2**22 + 1}])
def test_gateway_on_another_machine_does_not_count_as_running_here(site: Site, row: dict[str, object]) -> None:
    named: dict[str, object] = {"pid": os.getpid(), **row}
    running(ready(site), **named)  # type: ignore[arg-type]  # one of three
    assert finding(site.examine("gateway"), "ports").detail.endswith(": free")


def test_address_absent_from_this_machine_fails(site: Site) -> None:
    ready(site, "tcp:6001:interface=192.0.2.7")
    found = finding(site.examine("gateway"), "ports")
    assert (found.status.value, found.detail) == ("fail", "tcp:6001: Cannot assign requested address")


def test_unix_socket_is_not_checked_as_a_port(site: Site) -> None:
    ready(site, "unix:door.sock")
    assert finding(site.examine("gateway"), "ports").status.value == "ok"


# ---- our own certificates


@pytest.mark.parametrize(
    ("days", "word", "words"), [(60, "ok", "59 days"), (5, "warn", "ends in 4 days"), (-1, "fail", "ended 1 day ago")]
)
def test_remaining_days_of_the_own_certificate_are_reported(
    site: Site, authority: Authority, days: int, word: str, words: str
) -> None:
    port = free_ports(1)[0]
    ready(site, f"ssl:{port}:privateKey={authority.issue(f'own{days}', days)}:interface=127.0.0.1")
    found = finding(site.examine("gateway"), "certificate")
    assert (found.status.value, found.about) == (word, str(port))
    assert found.detail.startswith(words)


def test_mismatched_key_and_missing_file_fail(site: Site, authority: Authority) -> None:
    key, other = authority.issue("key"), authority.issue("other")
    first, second = free_ports(2)
    ready(site, f"ssl:{first}:privateKey={key}:certKey={other}", f"ssl:{second}:privateKey=nowhere.pem")
    found = about(site.examine("gateway"), "certificate")
    assert [one.status.value for one in found] == ["fail", "fail"]
    assert found[0].detail == f"ncip.listen[0]: port {first}: {other}: the key is not the certificate's"
    assert found[1].detail == f"ncip.listen[1]: port {second}: {site.folder / 'nowhere.pem'}: no such file or directory"


def test_configuration_error_fails_the_check_of_its_table(site: Site) -> None:
    port = free_ports(1)[0]
    file = ready(site, *[f"tcp:{port}:interface=127.0.0.1"] * 2)
    running(file, os.getpid(), host="another")
    sheet = site.examine("gateway")
    assert [one.detail for one in about(sheet, "ports") if one.status.value == "fail"] == [
        f"ncip.listen[1]: tcp:{port}: ncip.listen[0] listens there already"
    ]
    assert finding(sheet, "gateways").detail.startswith(f"HKALL_INSTANCE: a gateway called {INSTANCE} works on this database")
