"""Checks of the gateway itself: its files, certificates, disk and ports. They never write a file or listen on a port."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select

from hkall_gateway.app.machine import host
from hkall_gateway.app.resources import Serving
from hkall_gateway.app.start_checks.certificates import read_certificates
from hkall_gateway.app.start_checks.database import DatabaseState, Unopened, display_name, open_to_read, read_only, read_state
from hkall_gateway.app.start_checks.faults import Start, endpoints
from hkall_gateway.app.start_checks.files import database_file
from hkall_gateway.app.start_checks.ports import (
    DENIED,
    OWN_PORT,
    PRIVILEGED,
    EndpointCheck,
    check_free,
    find_holder,
    is_ours,
    probe_endpoint,
)
from hkall_gateway.app.start_checks.table import CHECKS, find_faults
from hkall_gateway.cli.doctor import connection, findings
from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within
from hkall_gateway.cli.doctor.own_backups import check_backups
from hkall_gateway.cli.doctor.own_records import check_records
from hkall_gateway.cli.doctor.own_secrets import check_secrets
from hkall_gateway.cli.doctor.own_service import check_service
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import Fault
from hkall_gateway.config.notes import notes
from hkall_gateway.db import schema
from hkall_gateway.db.instances import PROXY, Instance
from hkall_gateway.db.tables import JOBS
from hkall_gateway.net.tls import KIND, endpoint_arguments
from hkall_gateway.protocols import DEFAULT, find_protocol
from hkall_gateway.rules.settings import Policy

PROXY_REPORT_COUNTS_FOR: Final = timedelta(days=7)
"""How long an unreadable header of a reverse proxy is reported."""
UPGRADE: Final = "Run `hkall-gateway db upgrade`."
FAILING: Final = "Look at the disk and its mount (`dmesg`, `journalctl -k`): it fails, is full, or takes no writes."
NEWER: Final = "Install the newer version of the program here too; gateways that run already may go on until then."


async def check_database(sheet: Sheet, tools: ExaminationTools) -> DatabaseState | None:
    """Add the findings `database` and `revision`. Return the database's contents, or None if it cannot be opened."""
    found = await _read_database_state(tools, sheet.left_s())
    if isinstance(found, Unopened):
        sheet.fail("database", found.why, FAILING if found.disk_fails else "")
        return None
    sheet.ok("database", display_name(tools.means.config().database))
    if found.revision == found.head:
        sheet.ok("revision", found.head)
    elif schema.knows(found.revision):
        sheet.fail("revision", f"at {found.revision or 'none'}, and this program needs {found.head}", UPGRADE)
    else:
        sheet.fail("revision", f"at {found.revision}, which this program does not know: it needs {found.head}", NEWER)
    return found


def check_proxy(sheet: Sheet, config: GatewayConfig, now: datetime) -> None:
    """Add the finding about the reverse proxies of the pages. The database is at the revision of this program."""
    if config.web is None or not config.web.proxy_from:
        sheet.ok("proxy", "no reverse proxy is configured")
        return
    engine = open_to_read(config.database)
    try:
        with engine.connect() as connection:
            last: datetime | None = connection.execute(select(JOBS.c.last_run).where(JOBS.c.name == PROXY)).scalar()
    finally:
        engine.dispose()
    if last is None or now - last > PROXY_REPORT_COUNTS_FOR:
        sheet.ok("proxy", f"every address was read for {PROXY_REPORT_COUNTS_FOR.days} days")
    else:
        sheet.warn("proxy", f"an X-Forwarded-For named no address, last on {last:%Y-%m-%d %H:%M} UTC")


async def check_loaded_patrons(sheet: Sheet, tools: ExaminationTools) -> None:
    """Add the finding about loaded patrons, for an adapter that has no other source of patrons."""
    found = await _read_database_state(tools, sheet.left_s())
    if isinstance(found, Unopened):
        sheet.fail("loaded", found.why, "See the check `database` of the gateway.")
    elif found.patrons:
        sheet.ok("loaded", f"patrons: {found.patrons:,}")
    else:
        sheet.warn("loaded", "no patrons: nobody can borrow")


async def check_integrity(sheet: Sheet, tools: ExaminationTools) -> None:
    """Check the pages and indexes of an SQLite file, and add the finding. A large file may exceed the time limit."""
    file = database_file(tools.means.config().database)
    if file is None:
        sheet.ok("integrity", "PostgreSQL checks its pages itself (data_checksums)")
        return
    if not file.is_file():
        return
    errors = await _integrity_errors(tools, file, sheet.left_s() / 2)
    if errors is None:
        large = f"{file}: {file.stat().st_size / 1e6:,.0f} MB were not read in time"
        sheet.warn("integrity", large, f"In a quiet hour: `sqlite3 {file} 'PRAGMA integrity_check'`.")
    elif errors == ["ok"]:
        sheet.ok("integrity", str(file))
    else:
        sheet.fail("integrity", f"{file}: {'; '.join(errors)}"[:300])


async def _integrity_errors(tools: ExaminationTools, file: Path, seconds: float) -> list[str] | None:
    """Return the errors that SQLite finds, ["ok"] if there are none, or None if the time limit `seconds` is exceeded."""
    try:
        connection = read_only(file)()
    except sqlite3.Error as bad:
        return [str(bad)]
    try:
        found = tools.in_thread(lambda: [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")])
        return await within(tools.reactor, seconds, found)
    except TooLong:
        connection.interrupt()
        return None
    except sqlite3.Error as bad:
        return [str(bad)]
    finally:
        connection.close()


async def _read_database_state(tools: ExaminationTools, seconds: float) -> DatabaseState | Unopened:
    """Return the database's contents, or the reason why it cannot be opened."""
    database = tools.means.config().database
    try:
        found: DatabaseState | Unopened = await within(tools.reactor, seconds, tools.in_thread(lambda: read_state(database)))
    except TooLong as late:
        return Unopened(str(late))
    return found


PLAN: Final = (
    "config",
    "service",
    "files",
    "database",
    "revision",
    "integrity",
    "consistency",
    "backup",
    "archive",
    "loads",
    "secrets",
    "proxy",
    "disk",
    "timezone",
    "ports",
    "certificate",
    "gateways",
)
UNLOOKED: Final = tuple(check for check in CHECKS if check is not check_free)
"""Start checks that doctor runs unchanged. Its own port check replaces `check_free`, and reports which program answers."""
SCARCE_BYTES: Final = 1_000_000_000
TOO_FEW_BYTES: Final = 100_000_000
"""Free disk space below which doctor warns (a night's journal and a small library's backup) or fails (one day's needs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPlace:
    """This gateway: its configuration file, policy, name and number. `runs` tells whether a process id exists on this host."""

    path: Path
    policy: Policy
    instance: str
    number: str
    runs: Callable[[int], bool]


async def examine_gateway(sheet: Sheet, tools: ExaminationTools, here: GatewayPlace) -> None:
    """Examine the gateway on this machine."""
    config = tools.means.config()
    check_settings(sheet, config, here.policy)
    for file, wanted in private_files(config, here.path):
        judge_file(sheet, file, wanted)
    start = Start(
        path=here.path,
        config=config,
        policy=here.policy,
        instance=here.instance,
        number=here.number,
        now=tools.means.clock(),
        pid_runs=here.runs,
    )
    await _in_time(sheet, tools, "service", lambda: check_service(sheet))
    found = await check_database(sheet, tools)
    await check_integrity(sheet, tools)
    if found is not None and found.revision == found.head:
        await check_records(sheet, tools, start.now)
        await _in_time(sheet, tools, "backup", lambda: check_backups(sheet, config.database, start.now))
        await _in_time(sheet, tools, "secrets", lambda: check_secrets(sheet, config, start.now))
        await _in_time(sheet, tools, "proxy", lambda: check_proxy(sheet, config, start.now))
    check_disks(sheet, written_folders(config, here))
    check_zones(sheet, [config.library.timezone, *(partner.timezone for partner in config.partners)])
    await _check_ports(sheet, tools, here, runs(tools, here, found))
    check_certificates(sheet, start)
    await _add_start_faults(sheet, tools, start)
    for check in PLAN:
        if findings.CHECKS[check].fine and check not in {one.check for one in sheet.found}:
            sheet.ok(check, findings.CHECKS[check].fine)


async def _in_time(sheet: Sheet, tools: ExaminationTools, check: str, work: Callable[[], None]) -> None:
    """Run a check that blocks in a thread. If it takes too long, the check `check` fails."""
    try:
        await within(tools.reactor, sheet.left_s(), tools.in_thread(work))
    except TooLong as late:
        sheet.fail(check, str(late))


async def _add_start_faults(sheet: Sheet, tools: ExaminationTools, start: Start) -> None:
    """Add the faults that would prevent or disturb a start, unless an earlier check failed for the same subject."""
    try:
        found = await within(tools.reactor, sheet.left_s(), tools.in_thread(lambda: find_faults(start, UNLOOKED)))
    except TooLong as late:
        sheet.fail("config", f"start checks: {late}")
        return
    failed = {(one.check, one.about) for one in sheet.failed}
    for fault in found:
        if not {(fault.check, fault.subject), (fault.check, "")} & failed:
            advice = f"{fault.remedy[:1].upper()}{fault.remedy[1:]}."
            sheet.fail(fault.check, f"{fault.where}: {fault.what}", advice, fault.subject)


def check_settings(sheet: Sheet, config: GatewayConfig, policy: Policy) -> None:
    """Add the findings about settings that work but are probably not intended."""
    faults: list[Fault] = [*notes(config, policy), *missing_tables(config)]
    for path, what in faults:
        sheet.warn("config", f"{path} {what}", about=path)
    if not faults:
        counts = {"partners": config.partners, "clients": config.clients, "terminals": config.sip2.terminals}
        sheet.ok("config", ", ".join(f"{name}: {len(rows)}" for name, rows in counts.items()))


def missing_tables(config: GatewayConfig) -> Iterator[Fault]:
    """Yield the missing configuration tables without which part of the gateway does not work."""
    if config.smtp is None:
        yield "smtp", "is missing: no letter leaves"
    spoken = {row.plain().protocol for row in config.partners} or {DEFAULT}
    if config.clients:
        spoken.add(DEFAULT)
    for name in sorted(spoken):
        if not any(config.endpoints_of(find_protocol(name)).values()):
            yield f"{name}.listen", "is missing: no partner can speak to us"


def private_files(config: GatewayConfig, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that must be private to the gateway's user, with a description of their contents."""
    yield path, "hashes of passwords"
    secure = (endpoint_arguments(one.text)[1] for one in endpoints(config, "1") if one.text.startswith(KIND))
    keys = dict.fromkeys(Path(arguments.get("privateKey", "server.pem")) for arguments in secure)
    yield from ((key, "a private key") for key in keys)
    if (file := database_file(config.database)) is not None:
        yield from ((Path(f"{file}{end}"), "the loans of patrons") for end in ("", "-wal", "-shm"))
    if config.logs.file is not None:
        yield config.logs.file, "patrons and their loans"


def judge_file(sheet: Sheet, file: Path, holds: str) -> None:
    """Add a finding about a file that other users may read or write."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return
    if mode & stat.S_IWOTH:
        sheet.fail("files", f"{file} ({mode:o}): anybody on this machine can write it", f"chmod o= {file}", about=str(file))
    elif mode & stat.S_IRWXO:
        sheet.warn("files", f"{file} ({mode:o}): anybody on this machine can read {holds}", f"chmod o= {file}", about=str(file))


def written_folders(config: GatewayConfig, here: GatewayPlace) -> Iterator[Path]:
    """Yield the folders in which the gateway writes."""
    archive = here.policy.retention.archive_file
    written = [database_file(config.database), config.logs.file, Path(archive) if archive else None]
    yield from dict.fromkeys(file.absolute().parent for file in written if file is not None)


def check_disks(
    sheet: Sheet, places: Iterable[Path], usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
) -> None:
    """Add the finding about the free space of each folder."""
    for place in places:
        try:
            free = usage(place)[2]
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            # A removed disk still reports its size, but fsync fails. Syncing the folder changes no file.
            folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except FileNotFoundError:  # the start checks report a missing folder
            continue
        except OSError as bad:
            sheet.fail("disk", f"{place}: {bad.strerror}", FAILING, str(place))
            continue
        note = sheet.fail if free < TOO_FEW_BYTES else sheet.warn if free < SCARCE_BYTES else None
        if note:
            note("disk", f"{place}: {free / 1e6:,.0f} MB free", about=str(place))
        else:
            sheet.ok("disk", f"{place}: {free / 1e9:,.1f} GB free", about=str(place))


def check_zones(sheet: Sheet, names: Iterable[str], load: Callable[[str], ZoneInfo] = ZoneInfo) -> None:
    """Add the finding about the configured time zones."""
    for name in dict.fromkeys(names):
        try:
            load(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            sheet.fail("timezone", f"{name}: its data is not on this machine", about=name)
            return
    system = any(Path(place, "Asia", "Hong_Kong").exists() for place in TZPATH)
    sheet.ok("timezone", f"{', '.join(dict.fromkeys(names))}, from the {'operating system' if system else 'package tzdata'}")


async def _check_ports(sheet: Sheet, tools: ExaminationTools, here: GatewayPlace, running: Running) -> None:
    ours = list(endpoints(tools.means.config(), here.number, Serving.WITHOUT_WEB))
    probe = tools.in_thread(lambda: [probe_endpoint(one.text, shared=one.shared) for one in ours])
    try:
        looked = await within(tools.reactor, sheet.left_s(), probe)
    except TooLong as late:
        sheet.fail("ports", str(late))
        return
    for port in looked:
        judge_port(sheet, port, running)


@dataclass(frozen=True, slots=True)
class Running:
    """The running gateway with our name: its process id, or None if it does not run on this machine.

    `sure` is False if a gateway that is registered under another host name may run here. `here` are all gateways that run on
    this machine.
    """

    pid: int | None = None
    sure: bool = True
    here: tuple[Instance, ...] = ()
    name: str = field(default="", kw_only=True)


def runs(tools: ExaminationTools, here: GatewayPlace, found: DatabaseState | None) -> Running:
    """Find our running gateway by its row in the database; see `Running` for a gateway under another host name."""
    if found is None or found.revision != found.head:
        return Running(sure=False)
    now, machine = tools.means.clock(), host()
    up = [one for one in found.instances if one.state(now) == "up"]
    local = tuple(one for one in up if one.host == machine and here.runs(one.pid))
    mine = [one.pid for one in local if one.name == here.instance]
    sure = all(one.host == machine for one in up)
    return Running(mine[0] if mine else None, sure=sure, here=local, name=here.instance)


def judge_port(sheet: Sheet, port: EndpointCheck, running: Running) -> None:
    """Add the finding about one endpoint."""
    name = port.name
    holder = find_holder(running.here, port.port, running.name) if port.answers else None
    if not port.network:
        sheet.ok("ports", f"{name}: not a port of the network", name)
    elif holder is not None and is_ours(holder, running.name):
        sheet.ok("ports", f"{name}: the gateway answers (process {holder.pid})", name)
    elif holder is not None and port.is_shared:
        sheet.ok("ports", f"{name}: gateway {holder.name} answers, which shares the port", name)
    elif holder is not None:
        advice = f"{OWN_PORT[:1].upper()}{OWN_PORT[1:]}."
        sheet.fail("ports", f"{name}: gateway {holder.name} of this machine has it", advice, name)
    elif port.answers and not running.sure:
        sheet.warn("ports", f"{name}: a program answers; the database does not tell whether it is the gateway", about=name)
    elif port.answers:
        sheet.fail("ports", f"{name}: another program listens there", about=name)
    elif running.pid is not None:
        sheet.fail("ports", f"{name}: the gateway runs (process {running.pid}) and does not listen there", RESTART, name)
    elif port.taken:
        sheet.fail("ports", f"{name}: {port.taken}", PRIVILEGED if port.taken == DENIED else "", name)
    else:
        sheet.ok("ports", f"{name}: free", name)


RESTART: Final = "Restart the gateway: a change of ports counts from the next start on; its log says why one was not opened."


def check_certificates(sheet: Sheet, start: Start) -> None:
    """Add the finding about the expiry of each ssl: port's certificate. The start checks report unusable certificates."""
    for _where, port, _file, chain in read_certificates(start):
        if not isinstance(chain, str):
            connection.expiry(sheet, "certificate", chain, start.now, about=port)
