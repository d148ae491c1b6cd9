"""Simulates a configured partner and a mailbox for a real gateway, as a rehearsal before going live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.mail import smtp
from zope.interface import implementer

from hkall_gateway.clock import Clock, now
from hkall_gateway.config.gateway import GatewayConfig, PartnerConfig
from hkall_gateway.config.mapping import agreed_secrets
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.net.http_post import AgentPost
from hkall_gateway.net.tls import endpoint_arguments, tls_entrance
from hkall_gateway.rules.values import on_this_machine
from hkall_gateway.simulator.peers import PartnerLibrary, short

T = TypeVar("T")


@implementer(smtp.IMessage)
class _Incoming:
    """Collects the lines of one incoming message."""

    def __init__(self, keep: Callable[[EmailMessage], object]) -> None:
        self._store_message, self._lines = keep, list[bytes]()

    def lineReceived(self, line: bytes) -> None:  # noqa: N802  # Twisted's own name
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:  # noqa: N802
        self._store_message(message_from_bytes(b"\n".join(self._lines), policy=policy.default))
        return succeed(None)

    def connectionLost(self) -> None:  # noqa: N802
        self._lines.clear()


@implementer(smtp.IMessageDelivery)
class _Delivery:
    """Accepts mail from any sender to any recipient."""

    def __init__(self, keep: Callable[[EmailMessage], object]) -> None:
        self._store_message = keep

    def receivedHeader(self, _helo: object, _origin: object, _recipients: object) -> bytes:  # noqa: N802
        return b"Received: by a mailbox of the lab"

    def validateFrom(self, _helo: object, origin: T) -> T:  # noqa: N802
        return origin

    def validateTo(self, _user: object) -> Callable[[], _Incoming]:  # noqa: N802
        return lambda: _Incoming(self._store_message)


class Mailbox(smtp.SMTPFactory):
    """Factory for an SMTP server. `messages` lists the mail received so far, and `watch` is called with each message."""

    def __init__(self, watch: Callable[[EmailMessage], object] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # twisted.mail has no types
        self.messages: list[EmailMessage] = []
        self._watch = watch

    def _store_message(self, message: EmailMessage) -> None:
        self.messages.append(message)
        if self._watch is not None:
            self._watch(message)

    def buildProtocol(self, address: object) -> Any:  # noqa: N802
        """Return a protocol that passes each message to `_store_message`."""
        protocol = super().buildProtocol(address)  # type: ignore[no-untyped-call]
        protocol.delivery = _Delivery(self._store_message)
        return protocol


LOOPBACK: Final = "127.0.0.1"
USUAL_PORTS: Final = {"http": 80, "https": 443}


async def listen(reactor: object, port: int, factory: Any) -> Any:  # mypy does not accept zope's interfaces
    """Listen on a port of the loopback address."""
    return await TCP4ServerEndpoint(reactor, port, interface=LOOPBACK).listen(factory)  # type: ignore[no-untyped-call]


class NotHere(Exception):
    """The rehearsal needs an address on this machine, but the configuration names another machine or no address."""


class Rehearsal:
    """The partner `agency`, listening at the `url` in its row, and a mailbox at the address in [smtp].

    The partner ships each requested copy after `ships_after_s` seconds, and receives returned copies. `say` is called with a
    line for each document and letter. `certificate_files` are certificate and key for an https URL. Both addresses must be on
    this machine, so that a real library is never replaced. Otherwise NotHere is raised.
    """

    def __init__(
        self,
        config: GatewayConfig,
        agency: str,
        environ: Mapping[str, str],
        reactor: Clock,
        ships_after_s: float,
        say: Callable[[str], object],
        certificate_files: tuple[Path, Path] | None = None,
    ) -> None:
        found = next((row for row in config.partners if row.agency == agency), None)
        if found is None:
            known = ", ".join(row.agency for row in config.partners) or "none"
            raise NotHere(f"{agency}: is no partner of the configuration; there are: {known}")
        row = found
        self._reactor, self._agency, self._say = reactor, agency, say
        self.port = _partner_port(row, secure=certificate_files is not None)
        self._shown = certificate_files
        self.mail_port = config.smtp.port if config.smtp and on_this_machine(config.smtp.host) else None
        secret, post = agreed_secrets(config, environ)[row.agency], AgentPost(reactor)
        shipping = (reactor.callLater, now, ships_after_s)
        # The URL at which the partner reaches us.
        plain = next((text for text in config.ncip.listen if text.startswith("tcp:")), None)
        if plain is None:
            raise NotHere("ncip.listen: for a rehearsal it needs an endpoint without TLS, like tcp:8080:interface=127.0.0.1")
        us, url = config.library.agency, f"http://{LOOPBACK}:{endpoint_arguments(plain)[0]}/ncip"
        self._partner = PartnerLibrary(agency, us, url, secret, post, *shipping, watch=self._show_document)

    async def start(self) -> None:
        """Start listening. Raise CannotListenError, or the errors of `tls_entrance` for unusable certificate files."""
        if self._shown is None:
            await listen(self._reactor, self.port, self._partner.site())
        else:
            certificate, key = (str(file).replace(":", r"\:") for file in self._shown)
            where = f"ssl:{self.port}:interface={LOOPBACK}:certKey={certificate}:privateKey={key}"
            entrance: Any = tls_entrance(self._reactor, where)
            await entrance.listen(self._partner.site())
        if self.mail_port is not None:
            await listen(self._reactor, self.mail_port, Mailbox(self._show_letter))

    def _show_document(self, direction: str, message: NcipMessage) -> None:
        self._say(f"{self._agency} {direction} {short(message)}")

    def _show_letter(self, message: EmailMessage) -> None:
        self._say(f"mail < {message['To']}: {message['Subject']}")


def _partner_port(row: PartnerConfig, *, secure: bool) -> int:
    """Return the port in a partner's URL. Raise NotHere unless the scheme is https with a certificate and http without."""
    url = urlsplit(row.url)
    if url.scheme not in USUAL_PORTS or not on_this_machine(url.hostname or ""):
        raise NotHere(f"{row.agency}: url is {row.url}: for a rehearsal set it to http://{LOOPBACK}:9101/ncip")
    if secure != (url.scheme == "https"):
        wanted = "give the certificate of that name by --certificate" if not secure else "a certificate is for https: only"
        raise NotHere(f"{row.agency}: url is {row.url}: {wanted}")
    return url.port or USUAL_PORTS[url.scheme]
