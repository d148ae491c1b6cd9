"""The PROXY protocol: the header in which a load balancer names the client's address.

Source: The PROXY protocol, versions 1 and 2 (haproxy.org, 2020-03-05). Only balancers that the configuration names are
trusted; from any other address the header counts as an invalid first message.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED: Final = 16
_V2_LONGEST: Final = 4096
"""Addresses and certificates' names are far shorter; the length field alone would allow 64 KiB of memory for each connection.
"""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21

_FAMILIES: Final[dict[int, int]] = {
    0x00: 0,  # unspecified: no address of the client
    0x11: 12,  # TCP over IPv4: two addresses, two ports
    0x21: 36,  # TCP over IPv6
    0x31: 216,  # a UNIX stream: no address that an allow list could know
}
"""Byte 14 of a version 2 header, and the number of address bytes that follow."""


class BadHeader(Exception):
    """The first bytes are not a PROXY header; close the connection. The text names the error."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """The client's address.

    `source` is "" when the balancer opened the connection for itself; `rest` holds the bytes after the header.
    """

    source: str
    port: int
    rest: bytes


def strip(data: bytes) -> ProxyHeader | None:
    """The header at the start of `data`, all bytes received so far; None while more are needed.

    Raises BadHeader as soon as the bytes can no longer become one, and for one that is too long.
    """
    if data.startswith(_V2[: len(data)]):
        return _version_2(data) if len(data) >= _V2_FIXED else None
    if data.startswith(_V1[: len(data)]):
        return _version_1(data)
    raise BadHeader("the first bytes are not those of a PROXY header")


def _version_1(data: bytes) -> ProxyHeader | None:
    line, end, rest = data.partition(b"\r\n")
    if len(line) + len(b"\r\n") > _V1_LONGEST and (end or len(data) >= _V1_LONGEST):
        raise BadHeader(f"no line end within {_V1_LONGEST} bytes")
    if not end:
        return None
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader("", 0, rest)
    if len(words) != 6:
        raise BadHeader(f"{len(words)} words instead of 6")
    _, family, source, target, port, target_port = words
    _address(family, target)
    _port(target_port)
    return ProxyHeader(_address(family, source), _port(port), rest)


def _address(family: str, text: str) -> str:
    try:
        if family == "TCP4":
            return str(IPv4Address(text))
        if family == "TCP6":
            return str(IPv6Address(text))
    except AddressValueError as bad:
        raise BadHeader(f"{text!r} is not an address of {family}") from bad
    raise BadHeader(f"{family!r} is not TCP4, TCP6 or UNKNOWN")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and str(int(text)) == text and int(text) <= 65535):
        raise BadHeader(f"{text!r} is not a port")
    return int(text)


def _version_2(data: bytes) -> ProxyHeader | None:
    command, family, length = data[12], data[13], int.from_bytes(data[14:_V2_FIXED], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadHeader(f"version and command {command:#04x} are not known")
    if length > _V2_LONGEST:
        raise BadHeader(f"a header of {length} bytes")
    if command == _PROXY and (family not in _FAMILIES or length < _FAMILIES[family]):
        raise BadHeader(f"family {family:#04x} with {length} bytes of addresses")
    end = _V2_FIXED + length
    if len(data) < end:
        return None
    source, port = _caller(family, data[_V2_FIXED:end]) if command == _PROXY else ("", 0)
    return ProxyHeader(source, port, data[end:])


def _caller(family: int, block: bytes) -> tuple[str, int]:
    match family:
        case 0x11:
            return str(IPv4Address(block[:4])), int.from_bytes(block[8:10], "big")
        case 0x21:
            return str(IPv6Address(block[:16])), int.from_bytes(block[32:34], "big")
        case _:
            return "", 0
