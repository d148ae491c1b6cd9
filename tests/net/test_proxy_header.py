"""The PROXY header, versions 1 and 2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.net.proxy_protocol import BadHeader, ProxyHeader, parse_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
SIP2 = b"9900302.00\r"

V4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + (40001).to_bytes(2, "big") + (6001).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8000000000000000000000007" + "20010db8000000000000000000000001") + V4[8:]


def version_2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2, "big") + block


# fmt: off
GOOD = {
    "v1 over IPv4":         (b"PROXY TCP4 192.0.2.7 10.0.0.1 40001 6001\r\n",           ("192.0.2.7", 40001)),
    "v1 over IPv6":         (b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 6001\r\n",      ("2001:db8::7", 40001)),
    "v1 unknown":           (b"PROXY UNKNOWN\r\n",                                      ("", 0)),
    "v1 unknown with more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",                  ("", 0)),
    "v1 at its longest":    (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n",                   ("", 0)),
    "v2 over IPv4":         (version_2(0x21, 0x11, V4),                                 ("192.0.2.7", 40001)),
    "v2 over IPv6":         (version_2(0x21, 0x21, V6),                                 ("2001:db8::7", 40001)),
    "v2 with extras":       (version_2(0x21, 0x11, V4 + b"\x03\x00\x04\x00\x00\x00\x00"), ("192.0.2.7", 40001)),
    "v2 local":             (version_2(0x20, 0x00, b""),                                ("", 0)),
    "v2 local, filled":     (version_2(0x20, 0x11, V4),                                 ("", 0)),
    "v2 unspecified":       (version_2(0x21, 0x00, b"xyz"),                             ("", 0)),
    "v2 unix":              (version_2(0x21, 0x31, b"\x00" * 216),                      ("", 0)),
}

BAD = {
    "a SIP2 line":             SIP2,
    "HTTP":                    b"POST /ncip HTTP/1.1\r\n",
    "small letters":           b"proxy TCP4",
    "another family":          b"PROXY UDP4 192.0.2.7 10.0.0.1 40001 6001\r\n",
    "IPv6 in TCP4":            b"PROXY TCP4 ::1 10.0.0.1 40001 6001\r\n",
    "IPv4 in TCP6":            b"PROXY TCP6 192.0.2.7 ::1 40001 6001\r\n",
    "a name for an address":   b"PROXY TCP4 kiosk 10.0.0.1 40001 6001\r\n",
    "no target port":          b"PROXY TCP4 192.0.2.7 10.0.0.1 40001\r\n",
    "two blanks":              b"PROXY TCP4  192.0.2.7 10.0.0.1 40001 6001\r\n",
    "a port too high":         b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 6001\r\n",
    "a port with a nought":    b"PROXY TCP4 192.0.2.7 10.0.0.1 040001 6001\r\n",
    "a port below nought":     b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 6001\r\n",
    "no port at all":          b"PROXY TCP4 192.0.2.7 10.0.0.1 x 6001\r\n",
    "v1 too long, unended":    b"PROXY UNKNOWN " + b"f" * 93,
    "v1 too long, ended":      b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "v2 of version 1":         version_2(0x11, 0x11, V4),
    "v2 with another command": version_2(0x22, 0x11, V4),
    "v2 with another family":  version_2(0x21, 0x12, V4),
    "v2 too short":            version_2(0x21, 0x11, V4[:-1]),
    "v2 far too long":         version_2(0x21, 0x11, V4 + b"\x00" * 5000)[:16],
}
# fmt: on


@pytest.mark.parametrize("name", GOOD)
def test_header_gives_the_caller_and_the_remaining_bytes(name: str) -> None:
    data, (source, port) = GOOD[name]
    assert parse_header(data + SIP2) == ProxyHeader(source, port, SIP2)


@pytest.mark.parametrize("name", GOOD)
def test_incomplete_header_is_undecided_until_its_last_byte(name: str) -> None:
    data, (source, port) = GOOD[name]
    answers = [parse_header(data[:end]) for end in range(len(data) + 1)]
    assert answers == [None] * len(data) + [ProxyHeader(source, port, b"")]


@pytest.mark.parametrize("name", BAD)
def test_invalid_header_is_refused(name: str) -> None:
    with pytest.raises(BadHeader):
        parse_header(BAD[name])


def test_invalid_header_is_refused_at_its_first_wrong_byte() -> None:
    with pytest.raises(BadHeader):
        parse_header(b"9")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_incomplete_or_invalid(data: bytes) -> None:
    for start in (b"", b"PROXY ", SIGNATURE):
        try:
            header = parse_header(start + data)
        except BadHeader:
            continue
        assert header is None or (start + data).endswith(header.rest)


@given(st.ip_addresses(v=4), st.integers(0, 65535), st.binary(max_size=20))
def test_both_versions_give_the_same_caller(address: object, port: int, rest: bytes) -> None:
    one = f"PROXY TCP4 {address} 10.0.0.1 {port} 6001\r\n".encode()
    packed = bytes(int(part) for part in str(address).split("."))
    two = version_2(0x21, 0x11, packed + V4[4:8] + port.to_bytes(2, "big") + V4[10:])
    assert parse_header(one + rest) == parse_header(two + rest) == ProxyHeader(str(address), port, rest)
