"""The backup of a whole machine in one encrypted file, and its restore on an empty machine.

The file is a tar archive, encrypted by age (https://age-encryption.org): `age -d` and `tar` open it too.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import click
import pyrage
from pydantic import BaseModel
from sqlalchemy.engine import make_url

from hkall_gateway import __version__
from hkall_gateway.app.start_checks.faults import endpoints
from hkall_gateway.app.start_checks.files import database_file
from hkall_gateway.cli.opening import erased_file, load_config
from hkall_gateway.cli.options import WRONG, CliError
from hkall_gateway.cli.show import echo, show
from hkall_gateway.clock import now
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.secret_files import CREDENTIALS, ENVIRONMENT, read_credentials, read_environment
from hkall_gateway.config.values import FILE_ARGUMENTS
from hkall_gateway.db.privacy.archive import replace_target
from hkall_gateway.net.tls import endpoint_arguments

SERVICE_USER: Final = "hkall"
"""The user of the unit and of the Debian package. A command of root lets this user open the database."""
BOOTED: Final = Path("/run/systemd/system")
UNITS: Final = Path("/etc/systemd/system")
FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_DATABASE: Final = "database.backup"
_MARKS: Final = "hkall.erased"
_FILES: Final = "files"
_FAULTS: Final = (OSError, ValueError, KeyError, tarfile.TarError, pyrage.DecryptError, pyrage.IdentityError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a machine's backup says of itself.

    Attributes:
        config: Absolute path of the configuration file.
        enabled: The units that systemd started with the machine.
    """

    format: int
    version: str
    host: str
    made_at: str
    config: str
    enabled: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """The age recipients (public keys, or SSH public keys) that can open a backup, or its passphrase."""

    recipients: tuple[str, ...] = ()
    passphrase: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The files with age identities or SSH private keys that may open a backup, or its passphrase."""

    identities: tuple[Path, ...] = ()
    passphrase: str = ""


def back_up_machine(config: Path, file: Path, locks: Locks, *, force: bool, as_json: bool) -> None:
    """Write configuration, policy, secrets, certificates, marks and database into one encrypted file."""
    if file.exists() and not force:
        raise CliError(f"{file} is there already; --force writes over it")
    encrypters = _parse_recipients(locks)
    found, _library = load_config(config)
    kept = list(dict.fromkeys(path.absolute() for path in named_files(found, config) if path.is_file()))
    unreadable = [path for path in kept if not os.access(path, os.R_OK)]
    if unreadable:
        raise CliError(f"{unreadable[0]}: this user may not read it: run the command as root")
    with _work_folder(file) as folder:
        _run_as_service(["backup", str(folder / _DATABASE), "--config", str(config.absolute())], {})
        manifest = Manifest(
            format=FORMAT,
            version=__version__,
            host=os.uname().nodename,
            made_at=now().isoformat(timespec="seconds"),
            config=str(config.absolute()),
            enabled=tuple(_enabled_units()),
        )
        archive = folder / "machine.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            _write_archive(tar, manifest, folder, kept, written_folders(found, config))
        encrypted = folder / "machine.age"
        _encrypt(archive, encrypted, encrypters, locks.passphrase)
        new = file.with_name(f"{file.name}.new")
        with _private_file(new) as target, encrypted.open("rb") as source:
            shutil.copyfileobj(source, target)
        replace_target(new, file)
    missing = sorted(_variables_without_a_file(found, config))
    for name in missing:
        echo(f"{name}: no file of this machine holds it, so the backup lacks it: keep it yourself", err=True)
    show([{"file": str(file), "bytes": file.stat().st_size, "files": len(kept)}], as_json)


def named_files(config: GatewayConfig, path: Path) -> Iterator[Path]:
    """Yield the files that make this site: configuration, policy, secrets, keys, certificates, and units of its own."""
    yield path
    written = {config.logs.file, erased_file(config, path)}
    yield from (file for file in _paths_in(config) if file not in written)
    for endpoint in endpoints(config, "1"):
        _port, arguments = endpoint_arguments(endpoint.text)
        yield from (Path(arguments[name]) for name in FILE_ARGUMENTS - {"address"} if name in arguments)
    folder = path.absolute().parent
    yield folder / ENVIRONMENT
    with suppress(OSError):
        yield from sorted((folder / CREDENTIALS).iterdir())
    query = make_url(config.database.url).query
    yield from (Path(str(query[key])) for key in ("sslcert", "sslkey", "sslrootcert", "passfile") if key in query)
    with suppress(KeyError):
        yield Path(pwd.getpwnam(SERVICE_USER).pw_dir, ".pgpass")
    yield from sorted(UNITS.glob("hkall-gateway*.socket"))
    for drop_ins in ("hkall-gateway*.d", "hkall-.service.d"):
        yield from sorted(UNITS.glob(f"{drop_ins}/*.conf"))


def written_folders(config: GatewayConfig, path: Path) -> Iterator[Path]:
    """Yield the folders in which the gateway writes, which a restore makes if they are missing."""
    written = (database_file(config.database), config.logs.file, erased_file(config, path))
    yield from dict.fromkeys(file.absolute().parent for file in written if file is not None)


def _paths_in(value: object) -> Iterator[Path]:
    """Yield each file that a configuration names, in the order of its keys."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _paths_in(getattr(value, name))
    elif isinstance(value, Mapping):
        yield from (path for part in value.values() for path in _paths_in(part))
    elif isinstance(value, (tuple, list)):
        yield from (path for part in value for path in _paths_in(part))


def _variables_without_a_file(config: GatewayConfig, path: Path) -> set[str]:
    """Return the variables with secrets that are set for this process only."""
    folder = path.absolute().parent
    return {*_variables_in(config)} - {*_secrets_beside(folder)}


def _variables_in(value: object, name: str = "") -> Iterator[str]:
    """Yield the variables that the keys `…_env` of a configuration name."""
    if isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _variables_in(getattr(value, key), key)
    elif isinstance(value, (tuple, list)):
        yield from (variable for part in value for variable in _variables_in(part, name))
    elif isinstance(value, str) and name.endswith("_env"):
        yield value


def _secrets_beside(folder: Path) -> dict[str, str]:
    """Return the secrets in the files beside the configuration. The environment file wins, as it does in the unit."""
    secrets: dict[str, str] = {}
    with suppress(FileNotFoundError):
        secrets |= read_credentials(folder / CREDENTIALS)
    with suppress(FileNotFoundError):
        secrets |= read_environment(folder / ENVIRONMENT)
    return secrets


def _write_archive(
    tar: tarfile.TarFile, manifest: Manifest, folder: Path, files: Iterable[Path], written: Iterable[Path]
) -> None:
    text = json.dumps(asdict(manifest), indent=1).encode()
    (folder / _MANIFEST).write_bytes(text)
    tar.add(folder / _MANIFEST, _MANIFEST)
    for name in (_DATABASE, _MARKS):
        if (folder / name).exists():
            tar.add(folder / name, name)
    files = tuple(files)
    parents = {parent for path in (*files, *(one / "x" for one in written)) for parent in path.parents}
    for path in (*sorted(parents), *files):
        # A symbolic link, as `certbot` makes, becomes the file that it names.
        info = tar.gettarinfo(str(path.resolve()), f"{_FILES}{path}")
        if info.isdir():
            tar.addfile(info)
        else:
            with path.open("rb") as source:
                tar.addfile(info, source)


def _parse_recipients(locks: Locks) -> list[Any]:  # pyrage has no types
    if bool(locks.recipients) == bool(locks.passphrase):
        raise CliError("give --recipient, or --passphrase-file, and not both", WRONG)
    return [_parse_recipient(text) for text in locks.recipients]


def _parse_recipient(text: str) -> Any:  # pyrage has no types
    try:
        if text.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(text)
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise CliError(f"--recipient: {text[:20]}…: {error}: give an age1… or ssh-… public key", WRONG) from None


def _encrypt(source: Path, target: Path, recipients: Sequence[Any], passphrase: str) -> None:
    if passphrase:
        target.write_bytes(pyrage.passphrase.encrypt(source.read_bytes(), passphrase))
    else:
        pyrage.encrypt_file(str(source), str(target), recipients)


def _decrypt(source: Path, target: Path, keys: Keys) -> None:
    if keys.passphrase:
        target.write_bytes(pyrage.passphrase.decrypt(source.read_bytes(), keys.passphrase))
    else:
        identities = [identity for file in keys.identities for identity in _read_identities(file)]
        pyrage.decrypt_file(str(source), str(target), identities)


def _read_identities(file: Path) -> list[Any]:
    """Return the identities in a file of age-keygen, or the SSH private key in a file."""
    text = file.read_text(encoding="utf-8")
    if "PRIVATE KEY" in text:
        return [pyrage.ssh.Identity.from_buffer(text.encode())]
    lines = [line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-")]
    if not lines:
        raise CliError(f"{file}: has no AGE-SECRET-KEY- and no private key of SSH", WRONG)
    return [pyrage.x25519.Identity.from_str(line) for line in lines]


def restore_machine(file: Path, keys: Keys, *, force: bool, as_json: bool) -> None:
    """Put the files of a machine's backup in their places, restore the database, check the ports, and enable the units."""
    if not file.is_file():
        raise CliError(f"{file}: no such file")
    if bool(keys.identities) == bool(keys.passphrase):
        raise CliError("give --identity, or --passphrase-file, and not both", WRONG)
    with _work_folder(file) as folder:
        archive = folder / "machine.tar.gz"
        try:
            _decrypt(file, archive, keys)
            with tarfile.open(archive) as tar:
                manifest = _read_manifest(tar, file)
                _require_users(tar)
                placed = _place_files(tar, force=force)
                _extract_database(tar, folder)
        except _FAULTS as error:
            raise CliError(f"{file}: {_reason(error)}: nothing was started") from None
        secrets = _secrets_beside(Path(manifest.config).parent)
        words = ["restore", str(folder / _DATABASE), "--config", manifest.config]
        _run_as_service([*words, *(["--force"] if force else [])], secrets)
        _run_as_service(["check-config", "--config", manifest.config], secrets)
    _enable(manifest.enabled)
    rows = [
        {"what": "backup", "detail": f"of {manifest.host}, {manifest.made_at}, version {manifest.version}"},
        {"what": "files", "detail": str(placed)},
        {"what": "enabled", "detail": ", ".join(manifest.enabled) or "no unit"},
    ]
    show(rows, as_json)
    gateways = [unit for unit in manifest.enabled if unit.endswith(".service")]
    if gateways and BOOTED.is_dir():
        echo(f"start it: systemctl start {' '.join(gateways)}", err=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, pyrage.DecryptError):
        return f"this key or passphrase does not open it, or it is no backup of a machine ({error})"
    return str(error)


def _read_manifest(tar: tarfile.TarFile, file: Path) -> Manifest:
    member = tar.extractfile(_MANIFEST)
    if member is None:
        raise ValueError("is no backup of a machine")
    row = json.loads(member.read())
    if row.get("format") != FORMAT:
        raise CliError(f"{file}: has format {row.get('format')}, and this program knows {FORMAT}: install the newer version")
    return Manifest(**{**row, "enabled": tuple(row["enabled"])})


def _require_users(tar: tarfile.TarFile) -> None:
    """Raise ValueError unless the users and groups of all files exist on this machine."""
    if os.geteuid() != 0:
        return
    for member in tar:
        if member.name.startswith(f"{_FILES}/"):
            with suppress(KeyError):
                pwd.getpwnam(member.uname)
                grp.getgrnam(member.gname)
                continue
            path = member.name.removeprefix(_FILES)
            who = f"{member.uname}:{member.gname}"
            raise ValueError(f"{path} belongs to {who}, which this machine does not know: install the gateway first")


def _place_files(tar: tarfile.TarFile, *, force: bool) -> int:
    """Write all files with their owners and modes, and return how many. Raises ValueError before it would replace one."""
    members = [member for member in tar if member.name.startswith(f"{_FILES}/")]
    paths = {member.name: Path(member.name.removeprefix(_FILES)) for member in members}
    files = [member for member in members if member.isfile()]
    for member in files:
        path, source = paths[member.name], tar.extractfile(member)
        assert source is not None
        if not force and path.exists() and not _is_untouched(path, source.read()):
            raise ValueError(f"{path} is there already, and differs; --force replaces it")
    for member in members:
        path = paths[member.name]
        if member.isdir():
            if not path.exists():
                path.mkdir()
                _own(path, member)
        elif member.isfile():
            source = tar.extractfile(member)
            assert source is not None
            new = path.with_name(f"{path.name}.restoring")
            with _private_file(new) as target:
                shutil.copyfileobj(source, target)
            _own(new, member)
            replace_target(new, path)
    return len(files)


def _is_untouched(path: Path, text: bytes) -> bool:
    """Return whether a file may be replaced: it has this text, or is as the Debian package or the wheel has put it."""
    there = path.read_bytes()
    sample = Path(sys.prefix, "share", "hkall-gateway", "etc", path.name)
    if there == text or (sample.is_file() and sample.read_bytes() == there):
        return True
    md5 = hashlib.md5(there, usedforsecurity=False).hexdigest()
    return f"{path} {md5}" in _files_of_the_package()


def _files_of_the_package() -> str:
    """Return the configuration files of the Debian package, each with the MD5 sum of its first text."""
    command = ["dpkg-query", "--show", "--showformat=${Conffiles}", "hkall-gateway"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:  # no Debian
        return ""


def _own(path: Path, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.chown(path, pwd.getpwnam(member.uname).pw_uid, grp.getgrnam(member.gname).gr_gid)
    path.chmod(member.mode)


def _extract_database(tar: tarfile.TarFile, folder: Path) -> None:
    for name in (_DATABASE, _MARKS):
        with suppress(KeyError):
            source = tar.extractfile(name)
            assert source is not None
            target = folder / name
            with _private_file(target) as file:
                shutil.copyfileobj(source, file)
            if (user := _service_user()) is not None:
                os.chown(target, user.pw_uid, user.pw_gid)


@contextmanager
def _private_file(path: Path) -> Iterator[IO[bytes]]:
    """Make a new file that its owner alone may read."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file


@contextmanager
def _work_folder(file: Path) -> Iterator[Path]:
    """Make a folder for unencrypted files that the service's user may enter, and remove it afterwards."""
    user = _service_user()
    home = Path(user.pw_dir) if user is not None else None
    place = home if home is not None and home.is_dir() else file.absolute().parent
    folder = Path(tempfile.mkdtemp(prefix="machine-", dir=place))
    try:
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)


def _service_user() -> pwd.struct_passwd | None:
    """Return the user who owns the database, if this process must become that user to open it."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None


def _run_as_service(words: Sequence[str], secrets: Mapping[str, str]) -> None:
    """Run a command of this program as the service's user, since root must not own a file of the database."""
    user = _service_user()
    environ = {**secrets, **os.environ}
    options: dict[str, Any] = {}
    if user is not None:
        environ |= {"HOME": user.pw_dir, "USER": user.pw_name}
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    done = subprocess.run([sys.executable, "-m", "hkall_gateway", *words], env=environ, cwd="/", check=False, **options)
    if done.returncode:
        raise CliError(f"`hkall-gateway {' '.join(words)}` failed: its message is above", done.returncode)


def _enabled_units() -> Iterator[str]:
    """Yield the gateway's units that systemd starts with the machine."""
    if not BOOTED.is_dir():
        return
    command = ["systemctl", "list-unit-files", "--plain", "--no-legend", "--state=enabled", "hkall-gateway*"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)  # of this machine
    yield from (line.split()[0] for line in shown.stdout.splitlines() if line.strip())
    # Instances of a template are links, which list-unit-files does not show.
    yield from sorted(path.name for path in UNITS.glob("*.wants/hkall-gateway*@*") if "@." not in path.name)


def _enable(units: Sequence[str]) -> None:
    """Enable the units, after systemd has read the restored drop-ins."""
    if not units or not BOOTED.is_dir() or os.geteuid() != 0:
        return
    for command in (["systemctl", "daemon-reload"], ["systemctl", "enable", "--quiet", *units]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CliError(f"`{' '.join(command)}`: {done.stderr.strip()}")


def read_passphrase(file: Path | None, *, twice: bool) -> str:
    """Return the passphrase in the first line of a file, or "" without a file. "-" asks for it on the terminal."""
    if file is None:
        return ""
    if str(file) == "-":
        again: bool | str = "Again" if twice else False
        return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=again, err=True))
    lines = file.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0]:
        raise CliError(f"{file}: its first line is empty", WRONG)
    return lines[0]
