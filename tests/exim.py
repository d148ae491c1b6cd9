"""A real mail server for the tests: Debian's exim4 in its own process, delivering into a folder.

Its configuration and spool are in a temporary folder; it listens on a high port of this machine and sends no mail elsewhere.
Without the package the tests are skipped with a message; under CI they fail.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.programs import skip_or_fail

PROGRAM: Final = shutil.which("exim4", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PACKAGE: Final = "exim4-daemon-light"
GONE: Final = "gone.test"
"""A domain without mailboxes: exim accepts the letter and sends a bounce."""
REFUSED: Final = "refused.test"
"""A domain for which exim accepts no letters."""
LOGIN, PASSWORD = "gateway", "opensesame"
"""The only login; it is offered once a connection is encrypted."""
BUSY: Final = "busy.test"
"""A domain whose mailboxes are busy: exim keeps the letter and sends a delay notification."""
PATIENCE_S: Final = 20

_CONFIGURATION = r"""
primary_hostname = mail.example.test
qualify_domain = example.test
exim_path = {program}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path =
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
{tls}
keep_environment =
deliver_drop_privilege = true
{own}
delay_warning = 1s
delay_warning_condition = yes
acl_smtp_rcpt = recipients

begin acl
recipients:
  deny domains = {refused}
       message = relay not permitted
  accept

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{login}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_advertise_condition = {offers}
  server_set_id = $auth2

begin routers
gone:
  driver = redirect
  domains = {gone}
  allow_fail
  data = :fail: nobody here has that name
busy:
  driver = redirect
  domains = {busy}
  allow_defer
  data = :defer: the mailbox is busy
keep:
  driver = accept
  transport = folder

begin transports
folder:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  create_directory

begin retry
* * F,4d,1s
"""


def _own() -> str:
    """Return the options that let an unprivileged user run exim."""
    if os.geteuid() == 0:
        return ""
    user = pwd.getpwuid(os.geteuid())
    return f"admin_groups = {user.pw_gid}\nexim_user = {user.pw_uid}\nexim_group = {user.pw_gid}"


def refuse_or_skip() -> None:
    """Skip the test without exim; fail it under CI, which installs exim."""
    if PROGRAM is None:
        skip_or_fail(f"exim4 was not found (Debian's {PACKAGE}): no real mail server to send letters to")


class Exim:
    """The mail server; `delivered()` returns its delivered mail.

    With an `identity`, a key and a certificate in one file, it offers STARTTLS.
    """

    def __init__(self, port: int, identity: Path | None = None) -> None:
        assert PROGRAM is not None
        self.port, self._program = port, PROGRAM
        self.folder = Path(tempfile.mkdtemp(prefix="hkall-exim-"))
        for name in ("spool", "log", "mail"):
            (self.folder / name).mkdir()
        self._configuration = self.folder / "exim.conf"
        words = {"program": PROGRAM, "folder": self.folder, "port": port, "gone": GONE, "busy": BUSY, "own": _own()}
        words |= {"refused": REFUSED, "login": LOGIN, "password": PASSWORD, **self._encryption(identity)}
        self._configuration.write_text(_CONFIGURATION.format(**words), encoding="utf-8")
        self._hand_over()
        self._process: subprocess.Popen[bytes] | None = None

    def _encryption(self, identity: Path | None) -> dict[str, str]:
        """Return the configuration lines for STARTTLS and for offering a login."""
        if identity is None:
            return {"tls": "tls_advertise_hosts =", "offers": "no"}
        own = shutil.copy(identity, self.folder / "identity.pem")
        lines = ["tls_advertise_hosts = *", f"tls_certificate = {own}", f"tls_privatekey = {own}"]
        return {"tls": "\n".join(lines), "offers": "${if def:tls_in_cipher}"}

    def start(self) -> None:
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(self._command("-bdf"), stdout=output, stderr=output)
        end = time.monotonic() + PATIENCE_S
        while "listening for SMTP" not in self.log():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"exim4 did not start: {(self.folder / 'output').read_text()}{self.log()}")
            time.sleep(0.05)

    def run_queue(self) -> None:
        """Retry queued messages once."""
        subprocess.run(self._command("-qff"), check=True, timeout=PATIENCE_S)

    def delivered(self) -> list[bytes]:
        """Return every delivered message as stored in its file, oldest first."""
        return [path.read_bytes() for path in sorted((self.folder / "mail").glob("new/*"), key=lambda p: p.stat().st_mtime_ns)]

    def log(self) -> str:
        path = self.folder / "log" / "mainlog"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, *words: str) -> list[str]:
        return [self._program, "-C", str(self._configuration), *words]

    def _hand_over(self) -> None:
        """Give the folder to exim's own user, to which exim switches when started by root; the configuration stays root's."""
        if os.geteuid() != 0:
            return
        user = pwd.getpwnam("Debian-exim")
        for path in (self.folder, *(self.folder / name for name in ("spool", "log", "mail", "identity.pem"))):
            if path.exists():
                os.chown(path, user.pw_uid, user.pw_gid)
        self._configuration.chmod(0o644)
