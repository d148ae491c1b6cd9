"""Validated types for configuration values: endpoints, files, hashes, database URLs and system names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, ValidationInfo

from hkall_gateway.config.systems import SystemRole, names
from hkall_gateway.net.secrets import is_hash
from hkall_gateway.rules.plain_text import listed, nearest
from hkall_gateway.rules.values import NUMBER, web_url

FILE_ARGUMENTS: Final = frozenset({"privateKey", "certKey", "extraCertChain", "dhParameters", "address"})
"""Arguments in a Twisted endpoint string that name a file."""

KINDS: Final = ("tcp", "tcp6", "ssl", "unix", "systemd")
"""Endpoint types on which a server may listen."""

PASSED: Final = re.compile(r"systemd:domain=(INET6?|UNIX):(name=[^:]+|index=[0-9]+)")
"""Matches the endpoint string for a socket passed by systemd."""


def _check_endpoint(text: str, info: ValidationInfo) -> str:
    parts = re.split(r"(?<!\\):", text)
    if parts[0] not in KINDS:
        raise ValueError(f"{text!r} must begin with {listed(KINDS)} and a colon")
    if parts[0] in ("tcp", "tcp6", "ssl"):
        named = {name: value for name, _, value in (part.partition("=") for part in parts[1:]) if value}
        port = named.get("port", parts[1] if len(parts) > 1 else "").replace(NUMBER, "1")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(f"{text!r} names no port between 0 and 65535")
    if parts[0] == "systemd" and not PASSED.fullmatch(text):
        raise ValueError(f"{text!r} must read systemd:domain=INET:name=NAME (or INET6, UNIX; index=NUMBER)")
    if len(parts) < 2 or not parts[1]:
        raise ValueError(f"{text!r} does not say where to listen")
    if parts[0] == "unix" and "=" not in parts[1]:
        parts[1] = f"address={parts[1]}"
    return ":".join(_place_file_argument(part, _config_folder(info)) for part in parts)


def _place_file_argument(part: str, folder: Path) -> str:
    name, equals, value = part.partition("=")
    if name not in FILE_ARGUMENTS or not equals:
        return part
    plain = re.sub(r"\\(.)", r"\1", value)
    quoted = re.sub(r"([:=\\])", r"\\\1", str(folder / plain))
    return f"{name}={quoted}"


def _config_folder(info: ValidationInfo) -> Path:
    """Return the folder of the configuration file, or the current folder if there is no file."""
    context: dict[str, Path] = info.context or {}
    return context.get("folder", Path())


def _place_file(path: Path, info: ValidationInfo) -> Path:
    return _config_folder(info) / path


def _check_hash(text: str) -> str:
    if not is_hash(text):
        raise ValueError("must be an Argon2id hash, as `hkall-gateway hash-secret` prints it")
    return text


def _check_database_url(url: str, info: ValidationInfo) -> str:
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        return url if path in ("", ":memory:") else f"sqlite:///{_config_folder(info) / path}"
    if not re.match(r"postgresql(\+psycopg)?://", url):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    if re.match(r"[^/]*//[^/@]*:[^/@]*@", url) or "password=" in url:
        raise ValueError("must not hold a password; PostgreSQL reads it from PGPASSWORD or ~/.pgpass")
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _system_validator(use: SystemRole) -> AfterValidator:
    """Return a validator that accepts "" and the systems that may have the role `use`."""

    def check(name: str) -> str:
        if name and name not in (known := names(use)):
            raise ValueError(f"must be {listed(known)}{nearest(name, known)}")
        return name

    return AfterValidator(check)


def _readable_file(look: Callable[[bytes], object]) -> Callable[[Path, ValidationInfo], Path]:
    """Return a validator that requires a file whose content `look` accepts. A ValueError from `look` becomes the error."""

    def check(path: Path, info: ValidationInfo) -> Path:
        placed = _place_file(path, info)
        try:
            look(placed.read_bytes())
        except OSError as bad:
            raise ValueError(f"{path}: {bad.strerror or bad}") from bad
        except ValueError as bad:
            raise ValueError(f"{path}: {bad}") from bad
        return placed

    return check


# Imported only if a configuration names keys, since the libraries for signed tokens are slow to load.


def _key_set(text: bytes) -> object:
    from hkall_gateway.peers.key_sets import key_set

    return key_set(text)


def _signing_key(text: bytes) -> object:
    from hkall_gateway.peers.authentication import signing_key

    return signing_key(text)


def _optional_web_url(text: str) -> str:
    return web_url(text) if text else ""


TERMINALS_WAIT_S: Final = 8.0
"""Default time limit for an answer to a terminal, in seconds. Most terminals give up after ten seconds."""

Endpoint: TypeAlias = Annotated[str, AfterValidator(_check_endpoint)]
File: TypeAlias = Annotated[Path, AfterValidator(_place_file)]
KeySetFile: TypeAlias = Annotated[Path, AfterValidator(_readable_file(_key_set))]
SigningKeyFile: TypeAlias = Annotated[Path, AfterValidator(_readable_file(_signing_key))]
Argon2Hash: TypeAlias = Annotated[str, AfterValidator(_check_hash)]
OptionalWebUrl: TypeAlias = Annotated[str, AfterValidator(_optional_web_url)]
DatabaseUrl: TypeAlias = Annotated[str, AfterValidator(_check_database_url)]
PartnerSystem: TypeAlias = Annotated[str, _system_validator(SystemRole.PARTNER)]
ClientSystem: TypeAlias = Annotated[str, _system_validator(SystemRole.CLIENT)]
IlsSystem: TypeAlias = Annotated[str, _system_validator(SystemRole.ILS)]
