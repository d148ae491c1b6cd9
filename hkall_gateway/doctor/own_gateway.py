"""Checks of the gateway itself: its files, certificates, disk and ports. They write no file and listen on no port."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

from cryptography.x509 import Certificate, load_pem_x509_certificates

from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import Fault
from hkall_gateway.config.notes import notes
from hkall_gateway.doctor import database, tls
from hkall_gateway.doctor.database import DatabaseState
from hkall_gateway.doctor.findings import Sheet
from hkall_gateway.doctor.tools import ExaminationTools, TooLong, within
from hkall_gateway.edge.gateway_number import numbered
from hkall_gateway.edge.tls import ERRORS, KIND, arguments, server_context
from hkall_gateway.rules.settings import Policy

PLAN: Final = ("config", "files", "database", "revision", "disk", "timezone", "ports", "certificate")
SCARCE_BYTES: Final = 1_000_000_000
TOO_FEW_BYTES: Final = 100_000_000
"""Free space: a night's journal and a backup of a small library, and the least that a day may need."""
CONNECT_S: Final = 1.0
WITH_PORTS: Final = ("tcp", "tcp6", "ssl")


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """This gateway: the file of its configuration, its policy, its name and number, and whether a process id runs here."""

    path: Path
    policy: Policy
    instance: str
    number: str
    runs: Callable[[int], bool]


async def examined(sheet: Sheet, tools: ExaminationTools, here: GatewayPlace) -> None:
    """Examine this machine's side."""
    config = tools.means.config()
    odd_settings(sheet, config, here.policy)
    for file, wanted in files(config, here.path):
        judge_file(sheet, file, wanted)
    for path in unwritable(config):
        sheet.fail("files", f"{path}: this user cannot write it", RUN_AS, str(path))
    _none(sheet, "files", "closed to other users")
    found = await database.seen(sheet, tools)
    disks(sheet, folders(config, here))
    zones(sheet, [config.library.timezone, *(partner.timezone for partner in config.partners)])
    await _ports(sheet, tools, here, runs(tools, here, found))
    certificates(sheet, tools, here.number)


def _none(sheet: Sheet, check: str, detail: str) -> None:
    """Add an OK finding for a check that has no finding yet: it found no fault, or had no subject."""
    if check not in {one.check for one in sheet.found}:
        sheet.ok(check, detail)


# ---- configuration and files


def odd_settings(sheet: Sheet, config: GatewayConfig, policy: Policy) -> None:
    """Adds the findings about settings that work but are probably not intended; errors end the command before this check."""
    faults: list[Fault] = [*notes(config, policy), *missing(config)]
    for path, what in faults:
        sheet.warn("config", f"{path} {what}", about=path)
    if not faults:
        counts = {"partners": config.partners, "clients": config.clients, "terminals": config.sip2.terminals}
        sheet.ok("config", ", ".join(f"{name}: {len(rows)}" for name, rows in counts.items()))


def missing(config: GatewayConfig) -> Iterator[Fault]:
    """Tables without which a part of the work is not done."""
    if config.smtp is None:
        yield "smtp", "is missing: no letter leaves"
    if not config.ncip.listen and not config.ncip.listen_v1_tcp:
        yield "ncip.listen", "is missing: no partner can speak to us"


RUN_AS: Final = "Run doctor as the user of the gateway; if you did, give that user the file (`chown`)."


def files(config: GatewayConfig, path: Path) -> Iterator[tuple[Path, str]]:
    """Yields the files that must be private to the gateway's user, with a description of their contents."""
    yield path, "hashes of passwords"
    yield from ((file, "a private key") for file in dict.fromkeys(_keys(config)))
    if (file := database.file_of(config.database)) is not None:
        yield from ((Path(f"{file}{end}"), "the loans of patrons") for end in ("", "-wal", "-shm"))
    if config.logs.file is not None:
        yield config.logs.file, "patrons and their loans"


def _keys(config: GatewayConfig) -> Iterator[Path]:
    for text in endpoints(config, "1"):
        if text.startswith(KIND):
            yield Path(arguments(text)[1].get("privateKey", "server.pem"))


def unwritable(config: GatewayConfig, access: Callable[[Path, int], bool] = os.access) -> Iterator[Path]:
    """Yields paths that the gateway must write and the current user cannot: database, its folder (for SQLite's files), log."""
    file = database.file_of(config.database)
    written = [*((file, file.parent) if file is not None else ()), *((config.logs.file,) if config.logs.file else ())]
    yield from (path for path in written if path.exists() and not access(path, os.W_OK))


def judge_file(sheet: Sheet, file: Path, holds: str) -> None:
    """The finding about a file that others may read or write; none about one that is not there or is closed to them."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return
    if mode & stat.S_IWOTH:
        sheet.fail("files", f"{file} ({mode:o}): anybody on this machine can write it", f"chmod o= {file}", about=str(file))
    elif mode & stat.S_IRWXO:
        sheet.warn("files", f"{file} ({mode:o}): anybody on this machine can read {holds}", f"chmod o= {file}", about=str(file))


def folders(config: GatewayConfig, here: GatewayPlace) -> Iterator[Path]:
    """The folders in which the gateway writes."""
    archive = here.policy.retention.archive_file
    written = [database.file_of(config.database), config.logs.file, Path(archive) if archive else None]
    yield from dict.fromkeys(file.absolute().parent for file in written if file is not None)


def disks(sheet: Sheet, places: Iterable[Path], usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> None:
    """The finding about the free space of each folder."""
    for place in places:
        try:
            free = usage(place)[2]
        except OSError as bad:
            sheet.fail("disk", f"{place}: {bad.strerror}", "Make the folder; the gateway's user must write there.", str(place))
            continue
        note = sheet.fail if free < TOO_FEW_BYTES else sheet.warn if free < SCARCE_BYTES else None
        if note:
            note("disk", f"{place}: {free / 1e6:,.0f} MB free", about=str(place))
        else:
            sheet.ok("disk", f"{place}: {free / 1e9:,.1f} GB free", about=str(place))
    _none(sheet, "disk", "nothing is written to this machine's disks")


def zones(sheet: Sheet, names: Iterable[str], load: Callable[[str], ZoneInfo] = ZoneInfo) -> None:
    """The finding about the time zones that are configured."""
    for name in dict.fromkeys(names):
        try:
            load(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            sheet.fail("timezone", f"{name}: its data is not on this machine", about=name)
            return
    system = any(Path(place, "Asia", "Hong_Kong").exists() for place in TZPATH)
    sheet.ok("timezone", f"{', '.join(dict.fromkeys(names))}, from the {'operating system' if system else 'package tzdata'}")


# ---- ports


def endpoints(config: GatewayConfig, number: str) -> list[str]:
    """Every endpoint of the configuration, as the gateway of this number listens on it."""
    listeners = (*config.sip2.listen, *(row.endpoint for row in config.sip2.listeners))
    listeners += (*config.ncip.listen, *config.ncip.listen_v1_tcp, *config.ops.listen)
    return [numbered(text, number) for text in listeners]


async def _ports(sheet: Sheet, tools: ExaminationTools, here: GatewayPlace, running: Running) -> None:
    texts = endpoints(tools.means.config(), here.number)
    try:
        looked = await within(tools.reactor, sheet.left_s(), tools.in_thread(lambda: [looked_at(text) for text in texts]))
    except TooLong as late:
        sheet.fail("ports", str(late))
        return
    for port in looked:
        judge_port(sheet, port, running)
    _none(sheet, "ports", "no port is configured")


@dataclass(frozen=True, slots=True)
class Running:
    """The process of the gateway of our name, None where none runs on this machine. `sure`: there is no other that might."""

    pid: int | None = None
    sure: bool = True


def runs(tools: ExaminationTools, here: GatewayPlace, found: DatabaseState | None) -> Running:
    """Which gateway runs, by the database. One under another machine's name may be here all the same, in a container."""
    if found is None or found.revision != found.head:
        return Running(sure=False)
    now, machine = tools.means.clock(), os.uname().nodename
    up = [one for one in found.instances if one.state(now) == "up"]
    mine = [one.pid for one in up if one.name == here.instance and one.host == machine and here.runs(one.pid)]
    return Running(mine[0] if mine else None, sure=all(one.host == machine for one in up))


@dataclass(frozen=True, slots=True)
class EndpointCheck:
    """One endpoint: `answers`: a connection is accepted there; `taken`: why we cannot listen there, "" if we can."""

    name: str
    answers: bool = False
    taken: str = ""
    network: bool = True


def looked_at(text: str) -> EndpointCheck:
    """Returns the state of an endpoint. Blocks for at most one second."""
    kind = text.partition(":")[0]
    if kind not in WITH_PORTS:
        return EndpointCheck(text, network=False)
    port, named = arguments(text)
    host = named.get("interface", "::" if kind == "tcp6" else "")
    return EndpointCheck(f"{kind}:{port}", _answers(host, int(port)), _taken(host, int(port)))


def ports_in_use(config: GatewayConfig, number: str) -> Iterator[tuple[str, str]]:
    """(port, why a gateway could not listen there now)."""
    for text in endpoints(config, number):
        seen = looked_at(text)
        if seen.taken:
            yield seen.name, seen.taken


def judge_port(sheet: Sheet, port: EndpointCheck, running: Running) -> None:
    """The finding about one endpoint."""
    name = port.name
    if not port.network:
        sheet.ok("ports", f"{name}: not a port of the network", name)
    elif port.answers and running.pid is not None:
        sheet.ok("ports", f"{name}: the gateway answers (process {running.pid})", name)
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
DENIED: Final = os.strerror(errno.EACCES)
PRIVILEGED: Final = "Give the service CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), or use a port above 1023."
_HERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses to connect to; not bound here


def _answers(host: str, port: int) -> bool:
    """Whether a TCP connection to the port is accepted within CONNECT_S seconds."""
    try:
        with socket.create_connection((_HERE.get(host, host), port), CONNECT_S):
            return True
    except OSError:
        return False


def _taken(host: str, port: int) -> str:
    """Why we could not listen there; "" where we could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the gateway's own
        try:
            trial.bind((host, port))
        except OSError as bad:
            return bad.strerror or str(bad)
    return ""


# ---- certificates of our own


def certificates(sheet: Sheet, tools: ExaminationTools, number: str) -> None:
    """The finding about key and certificate of each ssl: port."""
    for port, shown in shown_certificates(tools.means.config(), number):
        if isinstance(shown, str):
            sheet.fail("certificate", f"port {port}: {shown}", MEND, about=port)
        else:
            tls.expiry(sheet, "certificate", shown, tools.means.clock(), about=port)
    _none(sheet, "certificate", "no ssl: port is configured")


def shown_certificates(config: GatewayConfig, number: str) -> Iterator[tuple[str, Sequence[Certificate] | str]]:
    """(port, its certificate and chain, or why its files cannot be used) of each ssl: port."""
    for text in endpoints(config, number):
        if text.startswith(KIND):
            port, named = arguments(text)
            authorities = config.ncip.client_ca if text in _of_partners(config, number) else None
            try:
                yield port, _usable(named, authorities)
            except ERRORS as bad:
                yield port, _unusable(bad)


def _usable(named: Mapping[str, str], authorities: Path | None) -> Sequence[Certificate]:
    """The certificate of a port and its chain. Raises one of ERRORS for files that the gateway could not use."""
    server_context(named, authorities)
    return load_pem_x509_certificates(Path(named.get("certKey", named.get("privateKey", "server.pem"))).read_bytes())


OTHER_KEY: Final = ("no private key assigned", "key values mismatch")
"""OpenSSL's error texts for a private key that does not match the certificate."""
MEND: Final = "Name in the endpoint a privateKey and a certKey that belong together and that the gateway's user can read (PEM)."


def _of_partners(config: GatewayConfig, number: str) -> Sequence[str]:
    return [numbered(text, number) for text in (*config.ncip.listen, *config.ncip.listen_v1_tcp)]


def _unusable(bad: BaseException) -> str:
    """Why files cannot be used; OpenSSL tells it as a list."""
    if isinstance(bad, OSError) and bad.filename:
        return f"{bad.filename}: {bad.strerror}"
    odd_settings = tls.reason(bad)
    return "the key is not the certificate's" if odd_settings in OTHER_KEY else odd_settings
