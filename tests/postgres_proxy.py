"""A proxy in front of PostgreSQL that loses the reply to a COMMIT: the server has committed, but the client is not told."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ANSWER: Final = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""CommandComplete with the tag COMMIT. Source: PostgreSQL, chapter 55, Message Formats."""
NAME: Final = ".s.PGSQL.5432"


class Proxy:
    """Forwards all bytes between clients of a socket in `folder` and the server, until told to lose a reply."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server = folder, server / NAME
        self.to_lose = 0
        """Number of COMMIT replies still to be lost, each with its connection."""
        self.lost = 0
        self._lock = threading.Lock()
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(folder / NAME))
        self._door.listen(50)
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End every connection."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for one in tuple(self._open):
            _end(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(self._server))
                except OSError:
                    client.close()
                    continue
                self._open |= {client, server}
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, is_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if is_server and ANSWER in data and self._loses():
                    break
                target.sendall(data)
        _end(source)
        _end(target)

    def _loses(self) -> bool:
        with self._lock:
            loses = self.to_lose > 0
            self.to_lose -= loses
            self.lost += loses
            return loses


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(server: Path) -> Iterator[Proxy]:
    """A proxy in front of the server whose socket is in this folder."""
    with tempfile.TemporaryDirectory(prefix="hkall-proxy-") as folder:
        made = Proxy(Path(folder), server)
        try:
            yield made
        finally:
            made.close()
