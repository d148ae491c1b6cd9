"""Checks of the mail server: greeting, encryption, login, sender and recipient, without sending a letter.

They use the gateway's own SMTP client, changed so that it never sends DATA.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.mail.smtp import (
    DNSNAME,
    AUTHDeclinedError,
    AUTHRequiredError,
    EHLORequiredError,
    ESMTPClient,
    ESMTPSender,
    SMTPClientError,
    SMTPConnectError,
    SMTPProtocolError,
    SMTPSender,
    TLSError,
    TLSRequiredError,
)
from twisted.python.failure import Failure

from hkall_gateway.cli.doctor import connection
from hkall_gateway.cli.doctor.connection import NoHandshake, Recorder, check_reach
from hkall_gateway.cli.doctor.findings import TLS, ExaminationTools, Sheet, TooLong, within
from hkall_gateway.config.gateway import Smtp
from hkall_gateway.delivery.smtp import MailServer, sender_factory
from hkall_gateway.rules.values import on_this_machine

_Extended: Any = ESMTPClient  # twisted.mail has no types
_ExtendedSender: Any = ESMTPSender
_PlainSender: Any = SMTPSender
_failure: Any = Failure

OF_ERROR: Final[tuple[tuple[tuple[type[Exception], ...], str], ...]] = (
    ((TLSRequiredError, TLSError), "starttls"),
    ((EHLORequiredError,), "ehlo"),
    ((AUTHDeclinedError, AUTHRequiredError), "auth"),
)
"""The check to which each SMTP client error is attributed. Any other error is attributed to the step in which it occurred."""


def plan(smtp: Smtp) -> tuple[str, ...]:
    """Return the names of the checks for the mail server, in order."""
    secure = ("starttls", *TLS) if uses_esmtp(smtp) else ("tls.version",)
    return ("dns", "tcp", "ehlo", *secure, *(("auth",) if smtp.login else ()), "sender", "recipient")


def uses_esmtp(smtp: Smtp) -> bool:
    """Return whether the gateway speaks ESMTP to this server, and therefore uses STARTTLS if it is offered."""
    return bool(smtp.login or smtp.starttls)


async def examine_mail_server(sheet: Sheet, tools: ExaminationTools, smtp: Smtp, to: str) -> None:
    """Examine the mail server of [smtp] with `to` as the recipient."""
    if not await check_reach(sheet, tools, smtp.host, smtp.port):
        return
    if not uses_esmtp(smtp):
        connection.report_plain(sheet, smtp.host, "`starttls = true`", "a letter with its reader's name")
    elif not await _check_greeting(sheet, tools, smtp):
        return
    done: Deferred[object] = Deferred()
    password = tools.means.secret(smtp.password_env)
    server = MailServer(host=smtp.host, port=smtp.port, login=smtp.login, password=password, starttls=smtp.starttls)
    factory = sender_factory(server, smtp.sender, to, b"", done)
    factory.protocol, factory.step, factory.noisy = Rehearsal if uses_esmtp(smtp) else PlainRehearsal, "ehlo", False
    going = tools.reactor.connectTCP(smtp.host, smtp.port, factory, timeout=sheet.left_s())
    failed: Exception | None = None
    try:
        await within(tools.reactor, sheet.left_s(), done)
    except (SMTPClientError, TooLong, OSError) as error:
        failed = error
        factory.sendFinished = True
        going.disconnect()
    # `factory.step` is the step in which the conversation ended.
    details = {"ehlo": "by HELO", "auth": smtp.login, "sender": smtp.sender, "recipient": f"{to}; taken back by RSET"}
    known = {one.check for one in sheet.found}
    left = [one for one in sheet.plan if one in details and one not in known]
    at = next((check for kinds, check in OF_ERROR if isinstance(failed, kinds)), factory.step)
    at = at if at in left else left[0]  # a step that passed in the first conversation may fail in the second
    for check in left:
        if check == at and failed is not None:
            refused_for_now = check == "recipient" and 400 <= getattr(failed, "code", 0) < 500
            (sheet.warn if refused_for_now else sheet.fail)(check, smtp_error(failed))
            return
        sheet.ok(check, details[check])


class TlsProbe(_Extended):  # type: ignore[misc]  # untyped
    """SMTP client that quits before the login. `done` fires with True if the connection is encrypted, else with False."""

    def __init__(self, recorder: Recorder, *, insists: bool) -> None:
        super().__init__(b"", recorder, DNSNAME)
        self.requireTransportSecurity, self.heloFallback = insists, False
        self.done: Deferred[bool] = Deferred()
        self.handshaking = False

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:  # noqa: N802  # Twisted's own name
        """Record that the TLS handshake begins."""
        self.handshaking = True
        super().esmtpState_starttls(code, resp)

    def authenticate(self, _code: int, _resp: bytes, _items: object) -> None:
        """End the probe at the step in which the gateway would log in."""
        self._finish_probe(self._tlsMode)
        self._disconnectFromServer()

    def sendError(self, exc: Exception) -> None:  # noqa: N802
        """Report an error in the conversation."""
        self._finish_probe(_failure(exc))
        super().sendError(exc)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Report why the connection ended."""
        super().connectionLost(reason)
        lost = NoHandshake("the connection was closed")
        lost.__cause__ = reason.value if isinstance(reason.value, SSL.Error) else None
        self._finish_probe(_failure(lost))

    def _finish_probe(self, result: bool | Failure) -> None:
        if not self.done.called:
            self.done.callback(result)


async def _check_greeting(sheet: Sheet, tools: ExaminationTools, smtp: Smtp) -> bool:
    """Check greeting and encryption, add the findings, and return whether the gateway would continue with the login."""
    recorder, look = Recorder(smtp.host), None
    try:
        probe = partial(TlsProbe, recorder, insists=smtp.starttls)
        look = await connection.connect(tools, smtp.host, smtp.port, sheet.left_s(), probe)
        secure = await within(tools.reactor, sheet.left_s(), look.done)
    except (SMTPClientError, NoHandshake, TooLong, OSError) as failed:
        if look is not None and look.handshaking:
            sheet.ok("ehlo", f"as {DNSNAME.decode()}")
            sheet.fail("tls.version", f"no handshake after STARTTLS: {connection.handshake_error(failed)}")
        elif isinstance(failed, TLSRequiredError | TLSError):
            sheet.ok("ehlo", f"as {DNSNAME.decode()}")
            missing = isinstance(failed, TLSRequiredError)
            sheet.fail("starttls", "the server does not offer it" if missing else smtp_error(failed))
        else:
            sheet.fail("ehlo", smtp_error(failed))
        if look is not None and look.transport is not None:
            look.transport.abortConnection()
        return False
    sheet.ok("ehlo", f"as {DNSNAME.decode()}")
    if secure:
        sheet.ok("starttls", "offered and used")
        return connection.judge_handshake(sheet, smtp.host, recorder.handshake(), tools.means.clock())
    # A login is configured, and the server offers no encryption.
    if on_this_machine(smtp.host):
        sheet.ok("starttls", "not offered, on this machine")
    else:
        sheet.warn("starttls", "not offered: the password goes in the clear")
    for check in TLS:
        sheet.skip(check, "not encrypted")
    return True


class _NoData:
    """Mixin that sends RSET and quits instead of sending DATA. `factory.step` names the check in progress."""

    factory: Any
    lastAddress: object  # noqa: N815  # Twisted's own name

    def authenticate(self, code: int, resp: bytes, items: object) -> None:
        self.factory.step = "auth"
        super().authenticate(code, resp, items)  # type: ignore[misc]

    def smtpState_from(self, code: int, resp: bytes) -> None:  # noqa: N802
        if not self.factory.sendFinished:
            self.factory.step = "sender"
        super().smtpState_from(code, resp)  # type: ignore[misc]

    def smtpState_to(self, code: int, resp: bytes) -> None:  # noqa: N802
        self.factory.step = "recipient"
        super().smtpState_to(code, resp)  # type: ignore[misc]

    def smtpState_toOrData(self, code: int, resp: bytes) -> None:  # noqa: N802
        """End the conversation after the reply to RCPT TO. The first call only sends RCPT TO."""
        if self.lastAddress is None:
            super().smtpState_toOrData(code, resp)  # type: ignore[misc]
        else:
            self.smtpState_msgSent(code, resp)  # type: ignore[attr-defined]


class PlainRehearsal(_NoData, _PlainSender):  # type: ignore[misc]
    """SMTP conversation without encryption and login."""


class Rehearsal(_NoData, _ExtendedSender):  # type: ignore[misc]
    """SMTP conversation with encryption, a login, or both."""


def smtp_error(failed: Exception) -> str:
    """Return the server's answer or the reason for its absence, without the SMTP dialogue, which may include the login."""
    if isinstance(failed, SMTPClientError) and failed.code and failed.code > 0:
        text = failed.resp.decode("utf-8", "replace") if isinstance(failed.resp, bytes) else str(failed.resp or "")
        return f"{failed.code} {' '.join(text.split())}"[:200]
    if isinstance(failed, SMTPProtocolError):
        return "the server does not speak SMTP"
    return connection.handshake_error(failed.__cause__ if isinstance(failed, SMTPConnectError) and failed.__cause__ else failed)
