"""An empty Debian machine: a fresh root by mmdebstrap, entered by chroot, with processes and loopback interface of its own.

It has no network but while it installs packages, and no init: units are started by hand. All its processes end with it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.debian import bootstrap, start_no_services
from tests.walk.units import read_unit

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "var" / "walk"
"""Base systems and transcripts; may be deleted at any time."""
SUITES: Final = {"bookworm": "Debian 12", "trixie": "Debian 13"}
BASE_DAYS: Final = 7
"""After so many days a base system is made again."""
PATIENCE_S: Final = 600
SOURCE: Final = "usr/local/src/hkall_gateway"
STATE: Final = "/run/walk.state"
NOTIFY: Final = "/run/walk.notify"
START_S: Final = 90
INSTALLS: Final = re.compile(r"\b(apt-get|pip) install\b")


def why_not() -> str:
    """Why no such machine can be made here; "" where one can."""
    if os.geteuid() != 0:
        return "chroot needs root"
    missing = [name for name in ("mmdebstrap", "chroot", "unshare", "nsenter", "ip", "tar", "git") if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a block did: exit code, output of both streams, seconds."""

    code: int
    output: str
    seconds: float


def base_system(suite: str) -> Path:
    """The archive of a fresh minimal system with systemd, as every Debian machine has it; made once a week."""
    made = KEPT / f"{suite}.tar"
    if not made.exists() or time.time() - made.stat().st_mtime > BASE_DAYS * 86400:  # noqa: TID251  # the age of a cache
        KEPT.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part.tar")
        bootstrap(part, "ca-certificates", "systemd", suite=suite)
        part.rename(made)
    return made


@contextmanager
def machine(suite: str) -> Iterator[Machine]:
    """A machine of this Debian release, with the source of this checkout where the pages say it is."""
    with tempfile.TemporaryDirectory(prefix=f"walk-{suite}-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "root"
        root.mkdir()
        subprocess.run(["tar", "-C", root, "-xf", base_system(suite)], check=True)
        _furnish(root)
        first = _first_process(root)
        made = Machine(root, first.pid)
        try:
            yield made
        finally:
            first.kill()  # unshare ignores SIGTERM; its child dies with it
            first.communicate()
            for service in made.services.values():
                service.wait()


def _furnish(root: Path) -> None:
    """Puts the source there, and the host's way to the package archives."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    there = b"\0".join(name for name in listed.stdout.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
    (root / SOURCE).mkdir(parents=True)
    packed = subprocess.run(["tar", "-c", "--null", "-T", "-"], cwd=ROOT, input=there, check=True, capture_output=True)
    subprocess.run(["tar", "-C", root / SOURCE, "-x"], input=packed.stdout, check=True)
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(Path("/", name), root / name)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")  # as the installer of Debian does
    start_no_services(root)


def _first_process(root: Path) -> subprocess.Popen[str]:
    """A process in namespaces of its own; when it ends, all processes of the machine end."""
    place = shlex.quote(str(root))
    script = (
        f"ip link set lo up && mount -t proc proc {place}/proc && mount --rbind /dev {place}/dev && "
        "echo ready && exec sleep infinity"
    )
    words = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", script]
    begun = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert begun.stdout is not None
    if begun.stdout.readline() != "ready\n":
        raise RuntimeError("the machine did not begin")
    return begun


@dataclass
class Machine:
    """A machine with its files below `root`; `outside` is the process that keeps its namespaces."""

    root: Path
    outside: int
    services: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def type(self, text: str, timeout_s: float = PATIENCE_S) -> Ended:
        """Runs a block in the root shell; folder and exported variables stay for the next one. It ends at the first failure."""
        script = f"set -euo pipefail\n[ ! -e {STATE} ] || . {STATE}\n{text}\n" + (
            f"{{ declare -px; printf 'cd %q\\n' \"$PWD\"; }} > {STATE}\n"
        )
        begun = time.monotonic()
        words = self._inside("bash", "-c", script, network=bool(INSTALLS.search(text)))
        ended = subprocess.run(
            words,
            env=_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
        )
        self._boot()
        return Ended(ended.returncode, ended.stdout.decode(errors="replace"), time.monotonic() - begun)

    def background(self, text: str, name: str) -> None:
        """Runs a block in a shell of its own until the machine ends; its output is in /var/log/NAME.log."""
        self.services[name] = self._spawn(["bash", "-c", f"[ ! -e {STATE} ] || . {STATE}\n{text}"], _variables(), name)

    def log(self, name: str) -> str:
        """What a service or a block in the background has written."""
        return (self.root / f"var/log/{name}.log").read_text(encoding="utf-8", errors="replace")

    def save(self, path: str, text: str) -> None:
        """Saves a file, as a reader would with an editor."""
        saved = self.root / path.lstrip("/")
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(text, encoding="utf-8")

    # ---- what systemd would do

    def systemctl(self, verb: str, unit: str = "") -> None:
        """Does by hand what `systemctl VERB UNIT` does."""
        if verb == "daemon-reload":
            return
        if verb in {"stop", "restart"} and unit in self.services:
            self._stop(unit)
        if verb in {"start", "enable", "restart"}:
            self._start(unit)
        if verb == "reload":
            self._signal(unit, signal.SIGHUP)

    def _start(self, name: str) -> None:
        unit = read_unit(self.root / f"etc/systemd/system/{name}.service")
        script = f"umask {unit.umask}; cd {shlex.quote(unit.folder)}; exec {unit.command}"
        variables = {"PATH": _variables()["PATH"], "NOTIFY_SOCKET": NOTIFY, **unit.variables(self.root)}
        with self._notified() as states:
            self.services[name] = self._spawn(["runuser", "-u", unit.user, "--", "sh", "-c", script], variables, name)
            _wait_until_ready(states, self.services[name])

    @contextmanager
    def _notified(self) -> Iterator[socket.socket]:
        """The socket on which systemd would hear that a service is ready."""
        path = self.root / NOTIFY.lstrip("/")
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as states:
            states.bind(str(path))
            path.chmod(0o666)
            states.settimeout(1)
            yield states

    def _stop(self, name: str) -> None:
        self._signal(name, signal.SIGTERM)
        self.services.pop(name).wait(30)

    def _signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to the main process of a service: the newest child below `nsenter` and `runuser`."""
        pid = self.services[name].pid
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            pid = int(children[0])
        os.kill(pid, number)

    def _boot(self) -> None:
        """Starts the servers that a package would have started."""
        for cluster in (self.root / "etc/postgresql").glob("*/*"):
            version = cluster.parent.name
            if not (self.root / f"run/postgresql/{version}-{cluster.name}.pid").exists():
                words = self._inside("pg_ctlcluster", "--skip-systemctl-redirect", version, cluster.name, "start")
                subprocess.run(words, env=_variables(), check=True, capture_output=True, timeout=60)

    # ----

    def _spawn(self, words: list[str], variables: Mapping[str, str], name: str) -> subprocess.Popen[bytes]:
        with (self.root / f"var/log/{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._inside(*words), env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _inside(self, *words: str, network: bool = False) -> list[str]:
        """A command of this machine. `network`: on the interfaces of the host."""
        child = Path(f"/proc/{self.outside}/task/{self.outside}/children").read_text(encoding="ascii").split()[0]
        kinds = ["--pid", "--mount", *([] if network else ["--net"])]
        return ["nsenter", "--target", child, *kinds, "chroot", str(self.root), *words]


def _wait_until_ready(states: socket.socket, service: subprocess.Popen[bytes]) -> None:
    """Returns once the service has said that it is ready, has ended, or START_S is over, as `systemctl start` does."""
    end = time.monotonic() + START_S
    while service.poll() is None and time.monotonic() < end:
        with suppress(TimeoutError):
            if b"READY=1" in states.recv(1000).splitlines():
                return


def _variables() -> dict[str, str]:
    """The environment of a fresh root shell, with the host's way to the package index."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name != "PIP_FIND_LINKS"}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    plain = {"HOME": "/root", "USER": "root", "PATH": path, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return {**plain, **pip}
