"""The table of doctor's checks, and their results: a sheet of findings for each peer, within its time limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from hkall_gateway.app.resources import Resources

GATEWAY, PARTNER, CLIENT, ILS, SMTP = "gateway", "partner", "client", "ils", "smtp"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of doctor, for the kinds of peers in `of`. `advice` is the remedy, unless a finding names another remedy."""

    name: str
    of: tuple[str, ...]
    tries: str
    advice: str


_REMOTE: Final = (PARTNER, ILS, SMTP)
_RESPONDERS: Final = (PARTNER, ILS)

# fmt: off
ROWS: Final = (
    Check("config", (GATEWAY,), "reads gateway.toml and policy.toml as `serve` does",
        "Correct the key that is named; `hkall-gateway check-config` shows all of them."),
    Check("files", (GATEWAY,), "checks who can read configuration, private keys, database and log, and that we can write",
        "Close the file to other users: `chmod o= FILE`."),
    Check("database", (GATEWAY,), "opens the database to read, and changes nothing",
        "Make it with `hkall-gateway db upgrade`, or start the server that `[database] url` names."),
    Check("revision", (GATEWAY,), "compares the schema revision of the database with that of this program",
        "Run `hkall-gateway db upgrade`; where the database is newer, install that version of the program."),
    Check("integrity", (GATEWAY,), "reads every page and index of an SQLite file (PRAGMA integrity_check)",
        "Stop the gateway, keep a copy of the file, and restore the last backup: `hkall-gateway restore FILE --force`."),
    Check("disk", (GATEWAY,), "checks the free space on the disks of the database, the log and the archive",
        "Free some space, or move the file to another disk: without space no message can be answered."),
    Check("timezone", (GATEWAY,), "loads the time zones that are configured",
        "Install the package tzdata again, or the operating system's zone data."),
    Check("ports", (GATEWAY,), "asks whether the running gateway listens on each endpoint, or whether the port is free",
        "End the program that has the port, or name another port in the configuration."),
    Check("certificate", (GATEWAY,), "loads key and certificate of each ssl: port and counts the days until it ends",
        "Renew the certificate, then send SIGHUP to the gateway: it reads the files again."),
    Check("gateways", (GATEWAY,), "reads which other gateways work on the database, and whether our clock agrees with theirs",
        "Give each gateway its own HKALL_INSTANCE, and several of them PostgreSQL."),

    Check("dns", _REMOTE, "resolves the host name",
        "Correct the name in the configuration, or ask the administrator of its DNS zone; `getent hosts NAME` asks the same."),
    Check("tcp", _REMOTE, "opens a connection to the port and closes it again",
        "Check the port number, both firewalls and whether the other server runs."),
    Check("tls.version", _REMOTE, "makes a TLS handshake with TLS 1.2 or 1.3, as the gateway does",
        "Ask the peer to offer TLS 1.2 or 1.3 on that port."),
    Check("tls.chain", _REMOTE, "follows the certificate to an authority that this machine trusts",
        "Ask the peer to send its intermediate certificates, or add its authority to the trusted ones of this machine."),
    Check("tls.name", _REMOTE, "compares the host name in the configuration with the names in the certificate",
        "Use in the configuration a name that the certificate has, or ask the peer for a certificate with this name."),
    Check("tls.expiry", _REMOTE, "counts the days until the first certificate of the chain ends",
        "Ask the peer to renew its certificate."),

    Check("http", _RESPONDERS, "posts one look-up and reads whether the reply is an NCIP document",
        "Check the path of the URL with the peer: it must be its NCIP responder."),
    Check("proof.ours", _RESPONDERS, "reads in that reply whether the peer accepts our agency and our secret",
        "Agree on AgencyId and secret with the peer; the variable that `secret_env` or `password_env` names holds ours, and "
        "`our_proof` says what is sent in the Authorization header."),
    Check("lookup.item", _RESPONDERS, "looks up an item that cannot exist, by LookupItem, LookupItemSet or SIP2 17",
        "Ask the peer how to enable its look-ups and how they answer an unknown item; look-ups change no data."),
    Check("lookup.request", (PARTNER,), "asks by LookupRequest for a request that cannot exist (`can_lookup_request`)",
        "Set `can_lookup_request = false` for this partner, or ask it to answer LookupRequest."),
    Check("version", _RESPONDERS, "asks by LookupVersion which versions the peer supports; by SIP2, the version that 98 names",
        "Choose the `dialect` of a version that the peer lists."),
    Check("clock", _RESPONDERS, "compares the peer's clock (Date of HTTP, the date of SIP2 98) with ours",
        "Synchronise both machines by NTP. If all peers differ alike, our own clock is wrong."),
    Check("proof.theirs", (PARTNER, CLIENT),
        "reads whether the peer's row has a proof and networks that would admit it, and fetches the keys of its tokens",
        "Give the row a proof (docs/callers.md), and the networks from which it calls in `allow_from`."),

    Check("login", (ILS,), "logs in by SIP2 93 with `login` and `password_env` of [ils]",
        "Check login and password (the variable of `password_env`) with the administrator of the library system."),
    Check("status", (ILS,), "asks by SIP2 99 whether the system is on line and which messages it supports",
        "Ask the administrator of the library system to enable the missing messages for our login."),
    Check("lookup.patron", (ILS,), "asks about a card that cannot exist, as the gateway asks about readers",
        "The system must answer such a card as unknown (SIP2: BL N, NCIP: Unknown User); ask its vendor."),
    Check("loaded", (ILS,), "counts the patrons that were loaded from files",
        "Run `hkall-gateway load patrons FILE`."),

    Check("ehlo", (SMTP,), "waits for the greeting of the mail server and says EHLO",
        "Check that host and port are a mail server's, and that it accepts connections from this machine."),
    Check("starttls", (SMTP,), "asks for encryption where `starttls` is set or a login is configured",
        "Use a port on which the server offers STARTTLS (usually 587), or set `starttls = false` on a trusted network."),
    Check("auth", (SMTP,), "logs in with `login` and `password_env` of [smtp]",
        "Check login and password with the administrator of the mail server; it may offer AUTH only after STARTTLS."),
    Check("sender", (SMTP,), "gives our address by MAIL FROM",
        "Use in `[smtp] from` an address that the mail server lets this login or this machine send from."),
    Check("recipient", (SMTP,), "gives an address by RCPT TO, then cancels by RSET; no letter is sent",
        "Ask the administrator of the mail server to relay for this machine; `--to ADDRESS` tries another recipient."),
)
# fmt: on

CHECKS: Final[Mapping[str, Check]] = MappingProxyType({row.name: row for row in ROWS})
TLS: Final = tuple(name for name in CHECKS if name.startswith("tls."))


T = TypeVar("T")


class InThread(Protocol):
    """Runs blocking work in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Run `work` in a thread and return its result."""


@dataclass(frozen=True, slots=True)
class ExaminationTools:
    """The gateway's resources, and a function that runs blocking work in a thread."""

    means: Resources
    in_thread: InThread

    @property
    def reactor(self) -> Any:  # zope's interfaces have no types
        """Return the gateway's reactor."""
        return self.means.reactor


class TooLong(Exception):
    """A step exceeded its time limit."""


async def within(reactor: Any, seconds: float, work: Awaitable[T]) -> T:
    """Return the result of `work`. After `seconds`, cancel the work and raise TooLong."""
    going: Deferred[T] = work if isinstance(work, Deferred) else ensureDeferred(work)  # type: ignore[arg-type]
    late: list[bool] = []

    def too_late(value: T | Failure, _seconds: float) -> Failure:
        assert isinstance(value, Failure)
        late.append(True)
        return value

    going.addTimeout(seconds, reactor, onTimeoutCancel=too_late)
    try:
        return await going
    except Exception as failed:
        if late:
            raise TooLong(f"no answer within {seconds:.0f} s") from failed
        raise


class Status(StrEnum):
    """Outcome of a check. SKIP means that the check was not tried: an earlier check failed, or it does not apply."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check at one peer. `about` names the file, port or key if the check covers several."""

    peer: str
    check: str
    status: Status
    detail: str
    advice: str = ""
    about: str = ""


class Sheet:
    """The findings about one peer.

    Args:
        plan: Names of the peer's checks, in order.
        seconds: Returns the time of a clock.
        allowed_s: Time limit for all checks of this peer.
        advice: Remedies for checks that are not in the table.

    Attributes:
        about: Subject of findings that are added without an `about`.
    """

    def __init__(
        self,
        peer: str,
        plan: Sequence[str],
        seconds: Callable[[], float],
        allowed_s: float,
        advice: Mapping[str, str] | None = None,
    ) -> None:
        self.peer, self.plan = peer, tuple(plan)
        self._advice = advice or {}
        self.found: list[Finding] = []
        self.about = ""
        self._seconds, self._ends_s = seconds, seconds() + allowed_s

    def left_s(self) -> float:
        """Return the seconds left for this peer: never 0, so that a step that begins too late times out."""
        return max(self._ends_s - self._seconds(), 0.01)

    def ok(self, check: str, detail: str, about: str = "") -> None:
        """Add a check that passed."""
        self._add(check, Status.OK, detail, "", about)

    def warn(self, check: str, detail: str, advice: str = "", about: str = "") -> None:
        """Add a check that passed but needs attention. `advice` defaults to the advice in the table."""
        self._add(check, Status.WARN, detail, advice, about)

    def fail(self, check: str, detail: str, advice: str = "", about: str = "") -> None:
        """Add a check that failed. `advice` defaults to the advice in the table."""
        self._add(check, Status.FAIL, detail, advice, about)

    def skip(self, check: str, why: str) -> None:
        """Add a check that was not tried, with the reason."""
        self._add(check, Status.SKIP, why, "", "")

    def close(self) -> None:
        """Sort the findings in the order of the plan, and add a SKIP finding for each check that has no finding."""
        tried, failed = {one.check for one in self.found}, {one.check for one in self.failed}
        why = "not tried"
        for check in self.plan:
            why = f"{check} failed" if check in failed else why
            if check not in tried:
                self.skip(check, why)
        self.found.sort(key=lambda one: self.plan.index(one.check))

    @property
    def failed(self) -> list[Finding]:
        """Return the findings of failed checks."""
        return [one for one in self.found if one.status is Status.FAIL]

    def _add(self, check: str, status: Status, detail: str, advice: str, about: str) -> None:
        assert check in self.plan, f"{check} is not planned for {self.peer}"
        if status in (Status.WARN, Status.FAIL):
            advice = advice or self._advice.get(check) or CHECKS[check].advice
        self.found.append(Finding(self.peer, check, status, detail, advice, about or self.about))
