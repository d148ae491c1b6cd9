"""A mail server that keeps every message, for the demo and the tests; no mail leaves this machine."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.mail import smtp
from zope.interface import implementer


@implementer(smtp.IMessage)
class _Incoming:
    """One message, line by line."""

    def __init__(self, keep: Callable[[EmailMessage], object]) -> None:
        self._keep, self._lines = keep, list[bytes]()

    def lineReceived(self, line: bytes) -> None:  # noqa: N802  # Twisted's own name
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:  # noqa: N802
        self._keep(message_from_bytes(b"\n".join(self._lines), policy=policy.default))
        return succeed(None)

    def connectionLost(self) -> None:  # noqa: N802
        self._lines.clear()


@implementer(smtp.IMessageDelivery)
class _Delivery:
    """Accepts mail from any sender to any recipient."""

    def __init__(self, keep: Callable[[EmailMessage], object]) -> None:
        self._keep = keep

    def receivedHeader(self, _helo: Any, _origin: Any, _recipients: Any) -> bytes:  # noqa: N802
        return b"Received: by a mailbox of the lab"

    def validateFrom(self, _helo: Any, origin: Any) -> Any:  # noqa: N802
        return origin

    def validateTo(self, _user: Any) -> Any:  # noqa: N802
        return lambda: _Incoming(self._keep)


class Mailbox(smtp.SMTPFactory):
    """The factory to listen with; `messages` holds the received mail, and each is given to `watch`."""

    def __init__(self, watch: Callable[[EmailMessage], object] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.mail has no types
        self.messages: list[EmailMessage] = []
        self._watch = watch

    def _keep(self, message: EmailMessage) -> None:
        self.messages.append(message)
        if self._watch is not None:
            self._watch(message)

    def buildProtocol(self, address: Any) -> Any:  # noqa: N802
        protocol = super().buildProtocol(address)  # type: ignore[no-untyped-call]
        protocol.delivery = _Delivery(self._keep)
        return protocol
