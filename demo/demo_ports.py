"""The ports of the demo, and a check that they are free.

`make run` runs this file before it builds anything, with any installed Python, so it imports only the standard library.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the demo on this machine. `partners` are keyed by agency."""

    sip2: int = 6001
    ncip: int = 8080
    ops: int = 8081
    smtp: int = 2525
    partners: Mapping[str, int] = field(default_factory=lambda: {"CUHK": 9101, "HKUST": 9102, "LU": 9103})
    web: int = 8090
    mail: int = 8025

    def shifted(self, by: int) -> Ports:
        """Return these ports, each raised by `by`. Raises ValueError if one would be outside the valid range."""
        moved = {agency: port + by for agency, port in self.partners.items()}
        made = Ports(self.sip2 + by, self.ncip + by, self.ops + by, self.smtp + by, moved, self.web + by, self.mail + by)
        if not all(0 < port < 65536 for _, port in made.named()):
            raise ValueError(f"SHIFT={by}: the ports must stay between 1 and 65535")
        return made

    def named(self) -> Iterator[tuple[str, int]]:
        """Yield each port with the name of the service that listens there."""
        yield from (
            ("SIP2", self.sip2),
            ("NCIP", self.ncip),
            ("health", self.ops),
            ("the mailbox", self.smtp),
            ("the pages", self.web),
            ("the letters", self.mail),
        )
        yield from self.partners.items()


def taken(ports: Ports) -> Iterator[tuple[str, int]]:
    """Yield the name and number of each port that is in use or may not be used."""
    for name, port in ports.named():
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                yield name, port


def why_not(ports: Ports) -> str:
    """Return a line that names the ports in use and says how to choose others, or "" if all ports are free."""
    busy = ", ".join(f"{port} ({name})" for name, port in taken(ports))
    return f"taken on this machine: port {busy}; choose others: make run SHIFT=100 adds 100 to each" if busy else ""


def main(words: list[str]) -> str | None:
    """Return why the demo cannot listen, or None if it can. `words` has the shift of the ports, or nothing."""
    shift = "".join(words) or "0"
    try:
        return why_not(Ports().shifted(int(shift))) or None
    except ValueError as error:
        return str(error) if "SHIFT" in str(error) else f"SHIFT={shift}: must be a whole number, like 100"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
