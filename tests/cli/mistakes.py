"""Mistakes that system administrators make: the ways in which a site is not ready, and the expected messages."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import insert

from demo import demo_setup
from hkall_gateway.app.machine import host
from hkall_gateway.clock import now
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.tables import INSTANCES
from tests import databases
from tests.company import gateway_ports
from tests.ports import free_ports

SOMEBODY = 65534
"""The gateway's user when the tests run as root."""


class Place:
    """A site that is ready to serve, with pages, and methods to break it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ports = folder, gateway_ports()
        self.environ = demo_setup.environment(self.ports)
        self.path = demo_setup.write_config(folder, self.ports, pages=True)
        self.policy, self.database = folder / "policy.toml", folder / "hkall.db"
        databases.fill(self.path, self.environ)
        self.opened: list[socket.socket] = []

    def replace(self, old: str, new: str) -> None:
        """Replace a text of the configuration; it must be present."""
        text = self.path.read_text(encoding="utf-8")
        assert old in text, old
        self.path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def add(self, table: str, line: str) -> None:
        """Add a line at the head of the first table of that name, or a new table at the end of the configuration."""
        text = self.path.read_text(encoding="utf-8")
        bare = f"{table}\n"
        self.path.write_text(
            text.replace(bare, f"{bare}{line}\n", 1) if bare in text else f"{text}\n{bare}{line}\n", encoding="utf-8"
        )

    def listen(self, table: str, *endpoints: str) -> None:
        """Replace the endpoints of a table."""
        text = self.path.read_text(encoding="utf-8")
        changed = re.sub(rf"(\[{table}\]\nlisten = ).*", lambda found: found[1] + json.dumps(endpoints), text)
        self.path.write_text(changed, encoding="utf-8")

    def secure(self, key: str, certificate: str = "", *, more: str = "") -> None:
        """Let partners connect by TLS with these files."""
        self.listen("ncip", f"ssl:{self.ports.ncip}:privateKey={key}:certKey={certificate or key}:interface=127.0.0.1{more}")

    def take(self, port: int) -> None:
        """Listen on a port, like another program."""
        self.opened.append(socket.create_server(("127.0.0.1", port)))

    def run_sql(self, statement: str) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.execute(statement)
        connection.close()

    def another_gateway(self, name: str, machine: str, ahead: timedelta = timedelta()) -> None:
        """Insert the row of another gateway running on the database."""
        engine = open_engine(f"sqlite:///{self.database}")
        seen = now() + ahead
        row = {"name": name, "host": machine, "pid": os.getpid(), "version": "1", "since": seen, "seen_at": seen}
        with engine.begin() as connection:
            connection.execute(insert(INSTANCES), row)
        engine.dispose()

    def pem(self, name: str, first: int = -1, last: int = 30) -> str:
        """Write a key and a certificate valid between these numbers of days from now; return the file name."""
        key, certificate = _key(), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(certificate, certificate, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(_days(first)).not_valid_after(_days(last))
        made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (self.folder / name).write_bytes(_pem(key) + made)
        return name

    def close(self) -> None:
        for one in self.opened:
            one.close()


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _days(number: int) -> datetime:
    return now() + timedelta(days=number)


@dataclass(frozen=True)
class Mistake:
    """One mistake: its kind, the change to the site, and the expected words of its message.

    `serve`: "refused" or "started". `pending`: `check-config` notes the mistake as a step still to be taken. `as_user`: the
    commands are run by SOMEBODY. `mount`: a shell command that is run before, in a separate mount namespace.
    """

    kind: str
    name: str
    spoil: Callable[[Place], object]
    words: Sequence[str]
    serve: str = "refused"
    pending: bool = False
    as_user: bool = False
    mount: str = ""
    environ: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def replaced(old: str, new: str) -> Callable[[Place], None]:
    return lambda place: place.replace(old, new)


def added(table: str, line: str) -> Callable[[Place], None]:
    return lambda place: place.add(table, line)


def policy(text: str) -> Callable[[Place], object]:
    return lambda place: place.policy.write_text(place.policy.read_text("utf-8") + "\n" + text, "utf-8")


def closed(place: Place, path: Path) -> None:
    """Give a file or folder to another user without access for anyone else."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    else:
        path.chmod(0)


def locked_log(place: Place) -> None:
    place.add("[logs]", 'file = "hkall.log"')
    (place.folder / "hkall.log").touch()
    closed(place, place.folder / "hkall.log")


def locked_key(place: Place) -> None:
    place.secure(place.pem("gateway.pem"))
    closed(place, place.folder / "gateway.pem")


def locked_database_folder(place: Place) -> None:
    inner = place.folder / "data"
    inner.mkdir()
    place.database.rename(inner / "hkall.db")
    place.replace("sqlite:///hkall.db", "sqlite:///data/hkall.db")
    closed(place, inner)


def other_key(place: Place) -> None:
    (place.folder / "other.pem").write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    place.secure("other.pem", place.pem("own.pem"))


def with_authorities(name: str, text: str | None) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        place.secure(place.pem("own.pem"))
        place.add("[ncip]", f'client_ca = "{name}"')
        if text is not None:
            (place.folder / name).write_text(text)

    return spoil


def key_set(text: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        (place.folder / "keys.json").write_text(text)
        jwt = 'jwt = { issuer = "a", audience = "b", jwks_file = "keys.json" }'
        place.add("[[clients]]", jwt)

    return spoil


def same_port(table: str, kind: str = "tcp", place_: str = ":interface=127.0.0.1") -> Callable[[Place], None]:
    return lambda place: place.listen(table, f"{kind}:{place.ports.sip2}{place_}")


def with_listener(place: Place) -> None:
    place.add("[[sip2.listeners]]", f'endpoint = "tcp:{place.ports.ops}:interface=127.0.0.1"')


def listener_of_nobody(place: Place) -> None:
    with_listener(place)
    place.add("[[sip2.listeners]]", 'login = "optional"\nterminal = "nobody"')


def log_that_is_a_folder(place: Place) -> None:
    (place.folder / "log").mkdir()
    place.add("[logs]", 'file = "log"')


def empty_key(place: Place) -> None:
    (place.folder / "empty.pem").touch()
    place.secure("empty.pem")


def no_server(place: Place) -> None:
    place.replace("sqlite:///hkall.db", f"postgresql+psycopg://hkall@127.0.0.1:{free_ports(1)[0]}/hkall")


def mounted(place: Place) -> None:
    """Move the database into a separate folder, over which a test mounts."""
    inner = place.folder / "data"
    inner.mkdir()
    place.database.rename(inner / "hkall.db")
    place.replace("sqlite:///hkall.db", "sqlite:///data/hkall.db")


READ_ONLY = "mount --bind data data && mount -o remount,bind,ro data"
FULL = "cp data/hkall.db . && mount -t tmpfs -o size=2m none data && mv hkall.db data; cat /dev/zero > data/x 2> /dev/null || :"

FIRST_MISTAKES = (
    # ---- keys
    Mistake("keys", "a misspelt key", added("[ncip]", "lisen = []"), ["ncip.lisen", "did you mean `listen`"]),
    Mistake("keys", "a key that is needed", replaced('agency = "HKU"\n', ""), ["library.agency", "is missing"]),
    Mistake("keys", "an unknown table", added("[sipp2]", "x = 1"), ["sipp2", "did you mean `sip2`"]),
    Mistake("keys", "a partner twice", replaced('agency = "LU"', 'agency = "CUHK"'), ["partners", "already stands at"]),
    Mistake(
        "keys", "a login twice", replaced('"selfcheck-1"', '"counter-1"'), ["sip2.terminals[1].login", "already stands at"]
    ),
    Mistake(
        "keys",
        "a client without a proof",
        replaced('secret_env = "HKALL_SECRET_HKU_DISCOVERY"\n', ""),
        ["clients[0].secret_env"],
    ),
    Mistake(
        "keys",
        "a listener of no terminal",
        listener_of_nobody,
        ["sip2.listeners[0].terminal", "no login"],
    ),
    Mistake(
        "keys",
        "a till at a book drop",
        replaced('role = "bookdrop"', 'role = "bookdrop"\ntakes_money = true'),
        ["takes_money", "not for 'bookdrop'"],
    ),
    Mistake(
        "keys", "an unknown key of the policy", policy("[quota]\nbook = 3"), ["policy.toml", "quota.book", "is not a known key"]
    ),
    Mistake(
        "keys",
        "a name for an unknown place",
        replaced("place_names = { ", 'place_names = { HKU-MAIN-LENDIN = "x", '),
        ["library.place_names.HKU-MAIN-LENDIN", "did you mean"],
    ),
    Mistake(
        "keys", "an unknown connector", replaced('connector = "snapshot"', 'connector = "sierra"'), ["ils.connector", "must be"]
    ),
    Mistake(
        "keys",
        "a connector without its host",
        replaced('connector = "snapshot"', 'connector = "sip2"'),
        ["ils.host", "is missing"],
    ),
    Mistake(
        "keys",
        "a terminal at no location",
        replaced('location = "HKU-MAIN-LENDING"', 'location = "HKU-MAIN"'),
        ["sip2.terminals[0].location", "'HKU-MAIN'", "add the location"],
        serve="started",
    ),
    # ---- types
    Mistake(
        "types",
        "a text for a list",
        lambda place: place.replace(
            f'listen = ["tcp:{place.ports.ncip}:interface=127.0.0.1"]', f'listen = "tcp:{place.ports.ncip}"'
        ),
        ["ncip.listen", "must be a list"],
    ),
    Mistake(
        "types", "a word for a truth value", added("[smtp]", 'starttls = "yes"'), ["smtp.starttls", "must be true or false"]
    ),
    Mistake("types", "a text for a number", added("[sip2]", 'idle_timeout_s = "900"'), ["sip2.idle_timeout_s", "whole number"]),
    Mistake(
        "types", "a number below the least", added("[sip2]", "max_connections = 0"), ["sip2.max_connections", "at least 1"]
    ),
    Mistake(
        "types",
        "an unknown role",
        replaced('role = "counter"', 'role = "desk"'),
        ["sip2.terminals[0].role", "counter, selfcheck"],
    ),
    Mistake("types", "a missing quotation mark", replaced('name = "The', "name = The"), ["gateway.toml: line 3"]),
    Mistake(
        "types",
        "an unknown time zone",
        added("[[partners]]", 'timezone = "Hong Kong"'),
        ["partners[0].timezone", "not a known time zone"],
    ),
    Mistake(
        "types", "no network", added("[[clients]]", 'allow_from = ["10.0.0.0/33"]'), ["clients[0].allow_from", "not a network"]
    ),
    Mistake("types", "an address without its scheme", replaced('url = "http://', 'url = "'), ["partners[0].url", "http://"]),
    # ---- paths
    Mistake(
        "paths",
        "a policy that is not there",
        replaced('file = "policy.toml"', 'file = "polcy.toml"'),
        ["polcy.toml", "no such file"],
    ),
    Mistake(
        "paths",
        "a log in an absent folder",
        added("[logs]", 'file = "nowhere/hkall.log"'),
        ["logs.file", "nowhere: there is no such folder", "install -d -o"],
    ),
    Mistake(
        "paths",
        "a log that is a folder",
        log_that_is_a_folder,
        ["logs.file", "is a folder"],
    ),
    Mistake(
        "paths",
        "a database in an absent folder",
        replaced("sqlite:///hkall.db", "sqlite:///nowhere/hkall.db"),
        ["database.url", "nowhere: there is no such folder"],
    ),
    Mistake(
        "paths",
        "a database below a file",
        replaced("sqlite:///hkall.db", "sqlite:///policy.toml/hkall.db"),
        ["database.url", "policy.toml: is no folder"],
    ),
    Mistake(
        "paths",
        "marks of the erased in an absent folder",
        added("[privacy]", 'erased_file = "nowhere/erased"'),
        ["privacy.erased_file", "there is no such folder"],
        serve="started",
    ),
    Mistake(
        "paths",
        "an archive in an absent folder",
        lambda place: place.policy.write_text(
            place.policy.read_text().replace("[retention]", '[retention]\narchive_file = "/nowhere/archive.gz"')
        ),
        ["policy retention.archive_file", "/nowhere: there is no such folder"],
        serve="started",
    ),
    Mistake(
        "paths",
        "a logo that is not there",
        added("[web]", 'logo = "logo.svg"'),
        ["web.logo", "logo.svg: there is no such file"],
        serve="started",
    ),
    Mistake(
        "paths",
        "a socket in an absent folder",
        lambda place: place.listen("ops", "unix:nowhere/ops.sock"),
        ["ops.listen[0]", "nowhere: there is no such folder"],
    ),
    # ---- owners and disks
    Mistake(
        "owners",
        "a database of another user",
        lambda place: closed(place, place.database),
        ["database.url", "hkall.db: belongs to", "chown"],
        as_user=True,
    ),
    Mistake(
        "owners",
        "a folder of another user",
        locked_database_folder,
        ["database.url", "data: belongs to", "chown"],
        as_user=True,
    ),
    Mistake("owners", "a log of another user", locked_log, ["logs.file", "hkall.log: belongs to", "chown"], as_user=True),
    Mistake(
        "owners",
        "a key that the gateway may not read",
        locked_key,
        ["ncip.listen[0]", "gateway.pem: permission denied", "the gateway's user can read"],
        as_user=True,
    ),
    Mistake(
        "owners",
        "a configuration of another user",
        lambda place: closed(place, place.path),
        ["gateway.toml", "permission denied"],
        as_user=True,
    ),
    Mistake(
        "owners", "a disk that can only be read", mounted, ["database.url", "on a disk that can only be read"], mount=READ_ONLY
    ),
    Mistake("owners", "a full disk", mounted, ["database.url", "its disk is full", "free some space"], mount=FULL),
    # ---- ports
    Mistake(
        "ports",
        "a port of another program",
        lambda place: place.take(place.ports.ncip),
        ["ncip.listen[0]", "Address already in use", "end the program"],
    ),
    Mistake(
        "ports",
        "the port of terminals for partners",
        same_port("ncip"),
        ["ncip.listen[0]", "sip2.listen[0] listens there already"],
    ),
    Mistake(
        "ports",
        "the same port on all addresses",
        same_port("ops", place_=""),
        ["ops.listen[0]", "sip2.listen[0] listens there already"],
    ),
    Mistake(
        "ports",
        "a listener on the port of the operators",
        with_listener,
        ["sip2.listeners[0].endpoint", "ops.listen[0] listens there already"],
    ),
    Mistake(
        "ports",
        "the pages on the port of terminals",
        same_port("web"),
        ["web.listen[0]", "sip2.listen[0] listens there already"],
    ),
    Mistake(
        "ports",
        "a port that no machine has",
        replaced("[ncip]\n", '[ncip]\nlisten_v1_tcp = ["tcp:70000"]\n'),
        ["ncip.listen_v1_tcp[0]", "no port between"],
    ),
    Mistake(
        "ports",
        "an address of another machine",
        lambda place: place.listen("ops", "tcp:8080:interface=192.0.2.7"),
        ["ops.listen[0]", "Cannot assign requested address", "another port or address"],
    ),
    # ---- certificates
    Mistake(
        "certificates",
        "a key that is not there",
        lambda place: place.secure("nowhere.pem"),
        ["ncip.listen[0]", "nowhere.pem: no such file"],
    ),
    Mistake(
        "certificates",
        "an empty file",
        empty_key,
        ["ncip.listen[0]", "empty.pem: "],
    ),
    Mistake(
        "certificates", "the key of another certificate", other_key, ["ncip.listen[0]", "the key is not the certificate's"]
    ),
    Mistake(
        "certificates",
        "an expired certificate",
        lambda place: place.secure(place.pem("old.pem", -90, -2)),
        ["ncip.listen[0]", "old.pem: the certificate ended on", "renew"],
        serve="started",
    ),
    Mistake(
        "certificates",
        "a certificate of tomorrow",
        lambda place: place.secure(place.pem("new.pem", 2, 90)),
        ["ncip.listen[0]", "new.pem: the certificate is valid only from"],
        serve="started",
    ),
    Mistake(
        "certificates",
        "authorities that are not there",
        with_authorities("ca.pem", None),
        ["ncip.listen[0]", "ca.pem: no such file"],
    ),
    # ---- secrets
    Mistake(
        "secrets",
        "a variable that is not set",
        replaced('secret_env = "HKALL_SECRET_LU"', 'secret_env = "HKALL_SECRET_LN"'),
        ["partners[2].secret_env", "no variable 'HKALL_SECRET_LN'"],
    ),
    Mistake(
        "secrets",
        "an empty variable",
        lambda place: place.environ.update(HKALL_SECRET_LU=""),
        ["partners[2].secret_env", "no variable 'HKALL_SECRET_LU'"],
    ),
    Mistake(
        "secrets",
        "a password in the clear",
        lambda place: place.path.write_text(
            re.sub(r'secret_hash = ".*?"', 'secret_hash = "demo"', place.path.read_text(), count=1)
        ),
        ["sip2.terminals[0].secret_hash", "hash-secret"],
    ),
    Mistake(
        "secrets",
        "a password in the database's URL",
        replaced("sqlite:///hkall.db", "postgresql://hkall:geheim@db/hkall"),
        ["database.url", "must not hold a password"],
    ),
    Mistake(
        "secrets",
        "a private key for the public ones",
        key_set(json.dumps({"keys": [{"kty": "oct", "k": "A" * 43}]})),
        ["clients[0].jwt.jwks_file", "private or a symmetric key"],
    ),
    # ---- databases
    Mistake(
        "databases",
        "no database yet",
        lambda place: place.database.unlink(),
        ["database.url", "there is no such file", "db upgrade"],
        pending=True,
    ),
    Mistake(
        "databases",
        "an older revision",
        lambda place: place.run_sql("UPDATE alembic_version SET version_num = '0001'"),
        ["database.url", "at revision 0001", "db upgrade"],
        pending=True,
    ),
    Mistake(
        "databases",
        "a newer revision",
        lambda place: place.run_sql("UPDATE alembic_version SET version_num = '9999'"),
        ["database.url", "at revision 9999", "install the newer version"],
    ),
    Mistake(
        "databases",
        "a file that is no database",
        lambda place: place.database.write_text("no database " * 99),
        ["database.url", "not a database", "restore"],
    ),
    Mistake("databases", "a server that does not run", no_server, ["database.url", "refused", "start the server"]),
    Mistake(
        "databases",
        "a second gateway on one SQLite file",
        lambda place: place.another_gateway("other-1", "other"),
        ["database.url", "a gateway called other-1", "on other", "use PostgreSQL"],
    ),
    Mistake(
        "databases",
        "the name of a gateway elsewhere",
        lambda place: place.another_gateway(f"{host()}-1", "other"),
        ["HKALL_INSTANCE", "on other", "another HKALL_INSTANCE"],
    ),
    # ---- dates
    Mistake(
        "dates",
        "a day that no month has",
        policy('[[fine_free]]\nstart = "2017-06-31"\nend = "2017-07-01"'),
        ["policy.toml", "fine_free[0].start", "must be a date"],
    ),
    Mistake(
        "dates",
        "an end before its start",
        policy("[[fine_free]]\nstart = 2017-07-02\nend = 2017-07-01"),
        ["policy.toml", "fine_free[0].end", "before the start"],
    ),
    Mistake(
        "dates",
        "a date as people write it",
        policy('[[service_windows]]\nscope = "all"\nstart = "6 June 2017"\nend = 2017-07-01'),
        ["service_windows[0].start", "must be a date"],
    ),
    Mistake(
        "dates",
        "a clock that is behind",
        lambda place: place.another_gateway("gone", "other", timedelta(hours=2)),
        ["clock", "was seen at", "timedatectl"],
    ),
)


def der_key(place: Place) -> None:
    text = (place.folder / place.pem("own.pem")).read_bytes()
    certificate = x509.load_pem_x509_certificate(text[text.index(b"-----BEGIN CERT") :])
    (place.folder / "own.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    place.secure("own.pem", "own.der")


def locked_by_a_passphrase(place: Place) -> None:
    text = _key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"geheim")
    )
    (place.folder / "locked.pem").write_bytes(text)
    place.secure("locked.pem", place.pem("own.pem"))


def certificate_as_key(place: Place) -> None:
    name = place.pem("own.pem")
    text = (place.folder / name).read_bytes()
    (place.folder / "cert.pem").write_bytes(text[text.index(b"-----BEGIN CERT") :])
    place.secure("cert.pem")


def environment(line: str) -> Callable[[Place], object]:
    return lambda place: (place.folder / "environment").write_text(f"HKALL_FINE=1\n{line}\n")


def no_text(place: Place) -> None:
    text = place.path.read_text("utf-8").replace('name = "The', 'name = "香港The', 1)
    place.path.write_bytes(text.encode("big5hkscs"))


def in_utf_16(place: Place) -> None:
    place.path.write_bytes(place.path.read_text("utf-8").encode("utf-16"))


def text_for_a_certificate(place: Place) -> None:
    (place.folder / "text.pem").write_text("my key\n")
    place.secure("text.pem")


def another_gateways_port(place: Place) -> None:
    place.take(place.ports.ncip)
    place.another_gateway("other-1-web", host())
    place.run_sql(f"UPDATE instances SET ports = '{place.ports.ncip}'")  # noqa: S608  # a number


def twice(table: str) -> Callable[[Place], object]:
    return lambda place: place.path.write_text(place.path.read_text("utf-8") + f"\n{table}\n", "utf-8")


MORE_MISTAKES = (
    # ---- keys
    Mistake("keys", "a table twice", twice("[library]"), ["gateway.toml: line", "[library] stands there twice", "join"]),
    Mistake(
        "keys", "a key twice", added("[library]", 'agency = "LU"'), ["gateway.toml: line", "stands there twice", "remove one"]
    ),
    Mistake("keys", "a single table for rows", twice("[partners]"), ["gateway.toml: line"]),
    Mistake(
        "keys",
        "a key before all tables",
        lambda place: place.path.write_text('agency = "LU"\n' + place.path.read_text("utf-8"), "utf-8"),
        ["agency", "is not a known key"],
    ),
    Mistake("keys", "a key of another table", added("[ncip]", "terminals = []"), ["ncip.terminals", "is not a known key"]),
    Mistake(
        "keys",
        "a key with a hyphen",
        added("[sip2]", "max-connections = 3"),
        ["sip2.max-connections", "did you mean `max_connections`"],
    ),
    Mistake(
        "keys",
        "a key in capitals",
        added("[sip2]", "Max_connections = 3"),
        ["sip2.Max_connections", "did you mean `max_connections`"],
    ),
    Mistake(
        "keys",
        "a partner without an address",
        replaced('url = "http://', '# url = "http://'),
        ["partners[0].url", "is missing"],
    ),
    Mistake("keys", "a dialect of no make", added("[[sip2.terminals]]", 'dialect = "acme"'), ["sip2.terminals[0].dialect"]),
    Mistake("keys", "a flow of no partner", added("[[partners]]", 'dialect = "acme"'), ["partners[0].dialect", "must be"]),
    Mistake(
        "keys", "a system that nobody makes", added("[[partners]]", 'system = "sierra-lite"'), ["partners[0].system", "must be"]
    ),
    Mistake(
        "keys",
        "a category twice",
        policy('[[categories]]\nkey = "undergraduates"\n[[categories]]\nkey = "undergraduates"'),
        ["policy.toml", "categories[1]"],
    ),
    Mistake(
        "keys",
        "a role that the policy lacks",
        policy('[[roles]]\nrole = "desk"'),
        ["policy.toml", "role: 'desk' is not a row of roles"],
    ),
    Mistake(
        "keys",
        "a letter that nobody sends",
        policy("[notices]\nbirthday = true"),
        ["policy.toml", "notices.birthday", "is not a known key"],
    ),
    # ---- types
    Mistake(
        "types",
        "a currency in words",
        added("[[partners]]", 'charges = { currency = "dollars" }'),
        ["partners[0].charges.currency", "three capital letters"],
    ),
    Mistake(
        "types",
        "a sender without an @",
        lambda place: place.replace('from = "', 'from = "lending # '),
        ["smtp.from", "must be an address"],
    ),
    Mistake(
        "types",
        "a variable with a dollar",
        replaced('secret_env = "HKALL', 'secret_env = "$HKALL'),
        ["secret_env", "must be the name of a variable"],
    ),
    Mistake("types", "a tag of five characters", added("[marc]", 'bib_id = ["00135"]'), ["marc.bib_id"]),
    Mistake("types", "a port in words", replaced("port = ", 'port = "x" # '), ["smtp.port", "must be a whole number"]),
    Mistake("types", "a port above all", replaced("port = ", "port = 70000 # "), ["smtp.port", "at most 65535"]),
    Mistake("types", "a negative time", added("[sip2]", "login_timeout_s = -1"), ["sip2.login_timeout_s", "at least 1"]),
    Mistake(
        "types", "an endless time", added("[database]", "statement_timeout_s = inf"), ["database.statement_timeout_s", "finite"]
    ),
    Mistake("types", "a log level in capitals", added("[logs]", 'level = "INFO"'), ["logs.level", "must be"]),
    Mistake(
        "types",
        "a language that letters lack",
        added("[library]", 'languages = ["zh-Hans"]'),
        ["library.languages[0]", "must be"],
    ),
    Mistake(
        "types",
        "no pickup location",
        lambda place: place.path.write_text(
            re.sub(r"pickup_locations = .*", "pickup_locations = []", place.path.read_text("utf-8"), count=1), "utf-8"
        ),
        ["library.pickup_locations", "at least 1"],
    ),
    Mistake("types", "a number with a comma", added("[sip2]", "max_connections = 1,000"), ["gateway.toml: line"]),
    Mistake("types", "a number with leading zeros", added("[sip2]", "max_connections = 0900"), ["gateway.toml: line"]),
    Mistake(
        "types", "yes without quotation marks", added("[sip2]", "share_ports = yes"), ["gateway.toml: line", "invalid value"]
    ),
    Mistake("types", "curly quotation marks", replaced('name = "The', "name = “The"), ["gateway.toml: line 3"]),
    Mistake("types", "a backslash of Windows", added("[logs]", 'file = "C:\\logs\\hkall.log"'), ["gateway.toml: line"]),
    Mistake("types", "an open bracket", added("[library]", 'languages = ["en"'), ["gateway.toml: line"]),
    Mistake("types", "a line without an equals sign", added("[library]", "languages"), ["gateway.toml: line"]),
    Mistake("types", "a configuration in Big5", no_text, ["gateway.toml: line 3", "is not UTF-8"]),
    Mistake("types", "a configuration in UTF-16", in_utf_16, ["gateway.toml: line 1", "is not UTF-8"]),
    Mistake("types", "a policy that is no TOML", policy("this is my policy"), ["policy.toml: line"]),
    Mistake(
        "types", "a negative fine", policy("[fine]\nrecalled_cents = -4"), ["policy.toml", "fine.recalled_cents", "at least 0"]
    ),
    Mistake(
        "types",
        "a quota in words",
        policy('[[categories]]\nkey = "undergraduates"\nquota = "ten"'),
        ["policy.toml", "categories"],
    ),
    Mistake(
        "types",
        "an address with a password",
        replaced("http://", "http://user:geheim@"),
        ["partners[0].url", "must not hold a user or password"],
    ),
    Mistake(
        "types",
        "a network with a host part",
        added("[[clients]]", 'allow_from = ["10.0.0.1/24"]'),
        ["clients[0].allow_from", "not a network"],
    ),
    Mistake(
        "types",
        "a network as a text",
        added("[[clients]]", 'allow_from = "10.0.0.0/24"'),
        ["clients[0].allow_from", "must be a list"],
    ),
    # ---- paths
    Mistake("paths", "a policy that is a folder", replaced('file = "policy.toml"', 'file = "."'), ["is a directory"]),
    Mistake(
        "paths",
        "a key set that is not there",
        added("[[clients]]", 'jwt = { issuer = "a", audience = "b", jwks_file = "none.json" }'),
        ["clients[0].jwt.jwks_file", "none.json: No such file"],
    ),
    Mistake(
        "paths",
        "a log below a file",
        added("[logs]", 'file = "policy.toml/hkall.log"'),
        ["logs.file", "policy.toml: is no folder"],
    ),
    Mistake("paths", "a key that is a folder", lambda place: place.secure("."), ["ncip.listen[0]", "is a directory"]),
    # ---- ports
    Mistake(
        "ports",
        "an endpoint without its kind",
        lambda place: place.listen("ops", "8081"),
        ["ops.listen[0]", "must begin with tcp"],
    ),
    Mistake(
        "ports",
        "an endpoint of http",
        lambda place: place.listen("ops", "http://127.0.0.1:8081"),
        ["ops.listen[0]", "must begin with tcp"],
    ),
    Mistake(
        "ports", "a port without a number", lambda place: place.listen("ops", "tcp:ops"), ["ops.listen[0]", "no port between"]
    ),
    Mistake(
        "ports",
        "two endpoints of one list",
        lambda place: place.listen("ops", *[f"tcp:{place.ports.ops}:interface=127.0.0.1"] * 2),
        ["ops.listen[1]", "ops.listen[0] listens there already"],
    ),
    Mistake(
        "ports",
        "a port of another gateway",
        another_gateways_port,
        ["ncip.listen[0]", "gateway other-1-web of this machine has it", "{instance}"],
        serve="refused",
    ),
    Mistake(
        "ports",
        "a socket that systemd does not pass",
        lambda place: place.listen("ops", "systemd:ops"),
        ["ops.listen[0]", "systemd:domain=INET:name=NAME"],
    ),
    # ---- certificates
    Mistake(
        "certificates",
        "a certificate in DER",
        der_key,
        ["ncip.listen[0]", "own.der: is DER, not PEM", "openssl x509 -inform der"],
    ),
    Mistake(
        "certificates",
        "a key with a passphrase",
        locked_by_a_passphrase,
        ["ncip.listen[0]", "locked.pem: the key has a passphrase", "openssl pkey"],
    ),
    Mistake("certificates", "a certificate in place of the key", certificate_as_key, ["ncip.listen[0]", "cert.pem"]),
    Mistake(
        "certificates",
        "a text for a certificate",
        text_for_a_certificate,
        ["ncip.listen[0]", "text.pem"],
    ),
    Mistake(
        "certificates",
        "authorities that are no certificate",
        with_authorities("ca.pem", "my authority\n"),
        ["ncip.listen[0]", "pem"],
    ),
    # ---- secrets
    Mistake(
        "secrets",
        "export in the environment file",
        environment("export HKALL_SECRET=1"),
        ["environment:2", "export", "write HKALL_SECRET="],
        serve="started",
    ),
    Mistake(
        "secrets",
        "a blank beside the equals sign",
        environment("HKALL_SECRET = 1"),
        ["environment:2", "a blank beside the name", "write HKALL_SECRET="],
        serve="started",
    ),
    Mistake(
        "secrets",
        "a hyphen in the name of a variable",
        environment("HKALL-SECRET=1"),
        ["environment:2", "no name of a variable"],
        serve="started",
    ),
    Mistake(
        "secrets",
        "a password in the address of the database",
        replaced("sqlite:///hkall.db", "postgresql://db/hkall?password=geheim"),
        ["database.url", "must not hold a password"],
    ),
    Mistake(
        "secrets",
        "a hash of another kind",
        lambda place: place.path.write_text(
            re.sub(
                r'secret_hash = ".*?"', 'secret_hash = "$2b$12$abcdefghijklmnopqrstuv"', place.path.read_text("utf-8"), count=1
            ),
            "utf-8",
        ),
        ["sip2.terminals[0].secret_hash", "hash-secret"],
    ),
    # ---- databases
    Mistake(
        "databases",
        "a database of another maker",
        replaced("sqlite:///hkall.db", "mysql://db/hkall"),
        ["database.url", "must begin with sqlite:///"],
    ),
    Mistake(
        "databases",
        "two slashes for three",
        replaced("sqlite:///hkall.db", "sqlite://hkall.db"),
        ["database.url", "must begin with sqlite:///"],
    ),
    Mistake(
        "databases",
        "a server that no name server knows",
        replaced("sqlite:///hkall.db", "postgresql+psycopg://hkall@nowhere.invalid/hkall"),
        ["database.url", "nowhere.invalid", "correct the host"],
    ),
    # ---- dates
    Mistake(
        "dates",
        "a window of no kind",
        policy('[[service_windows]]\nscope = "nothing"\nstart = 2017-06-06\nend = 2017-07-01'),
        ["service_windows[0].scope", "must be"],
    ),
    Mistake(
        "dates",
        "a window without its end",
        policy('[[service_windows]]\nscope = "all"\nstart = 2017-06-06'),
        ["service_windows[0].end", "is missing"],
    ),
    Mistake(
        "dates",
        "a date with its time",
        policy("[[fine_free]]\nstart = 2017-07-01T08:00:00\nend = 2017-07-02"),
        ["fine_free[0].start", "must be a date"],
    ),
)
MISTAKES = (*FIRST_MISTAKES, *MORE_MISTAKES)


def in_namespace(mount: str, command: Sequence[str | Path], place: Place) -> subprocess.CompletedProcess[str]:
    """Run a command after a mount that other processes do not see."""
    script = f'set -e; {mount}; exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, command)],
        cwd=place.folder,
        env={**os.environ, **place.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
