"""Debian machines: base systems from mmdebstrap, booted with systemd by systemd-nspawn, and entered by nsenter.

A machine has a network only while it installs packages. Slow results are cached: base systems, and what is built there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.programs import program

SUITES: Final = {"bookworm": "Debian 12", "trixie": "Debian 13"}
PATIENCE_S: Final = 900
BASE_DAYS: Final = 7
"""Days after which a base system is rebuilt."""
BOOT_S: Final = 60
KEPT: Final = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "hkall_gateway" / "debian"
"""The cache, which may be deleted at any time."""
STATE: Final = "/root/.walk"
TOOLS: Final = ("mmdebstrap", "systemd-nspawn", "nsenter", "tar")
HIERARCHIES: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
"""Possible mount points of control groups, by any version of systemd or without it."""


def why_not() -> str:
    """Return the reason why no machine can be created here; "" if possible."""
    if os.geteuid() != 0:
        return "a Debian machine can be made by root only"
    missing = [name for name in TOOLS if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


def release() -> str:
    """Return the code name of the Debian of this machine."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    (found,) = (line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))
    return found


def bootstrap(target: Path, *packages: str, suite: str = "") -> None:
    """Create a minimal Debian with these packages, of this machine's release or of `suite`.

    `target` becomes a folder, or an archive if its name ends with .tar.
    """
    tool = program("mmdebstrap", "mmdebstrap")
    words = [tool, "--quiet", "--variant=minbase", f"--include={','.join(packages)}", suite or release(), str(target)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)


def base_system(suite: str, name: str, *packages: str) -> Path:
    """Return the archive of a minimal Debian with these packages, kept under `name` for a week."""
    made = KEPT / f"{suite}-{name}.tar"
    if not made.exists() or time.time() - made.stat().st_mtime > BASE_DAYS * 86400:  # noqa: TID251  # the age of a cache
        KEPT.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(f".{os.getpid()}.tar")
        bootstrap(part, *packages, suite=suite)
        part.rename(made)
    return made


@contextmanager
def system(archive: Path) -> Iterator[Path]:
    """A folder with the files of a base system that can reach the package archives; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{archive.stem}-", dir="/var/tmp") as folder, in_memory(Path(folder)):
        root = Path(folder) / "root"
        root.mkdir()
        subprocess.run(["tar", "-C", root, "-xf", archive], check=True)
        for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(Path("/", name), root / name)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n", encoding="utf-8")  # Debian's installer does the same
        yield root


@contextmanager
def in_memory(folder: Path) -> Iterator[None]:
    """A file system in memory, since a disk takes minutes to delete the many files of a system."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8g,mode=755", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def container(root: Path, *options: str) -> list[str]:
    """Return the command that starts a container of this system."""
    name = root.parent.name.replace("_", "0")  # the name of a machine may not end with a dash
    return ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={root}", f"--machine={name}", *options]


@contextmanager
def machine(suite: str) -> Iterator[Machine]:
    """A newly installed and booted machine of this Debian release; all its processes end with it."""
    archive = base_system(suite, "systemd", "ca-certificates", "dbus", "systemd", "systemd-sysv")
    with system(archive) as root, _control_group(root.parent.name) as group:
        # Use a separate control group, since systemd would otherwise take over the group of another container.
        enter = " ".join(f"echo $$ > {folder}/cgroup.procs;" for folder in group)
        words = [
            "sh",
            "-c",
            f'{enter} exec "$@"',
            "sh",
            *container(root, "--boot", "--private-network", "--console=pipe", "--resolv-conf=off"),
        ]
        with (root.parent / "console").open("wb") as console:
            begun = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        made = Machine(root, begun)
        try:
            made.wait_until_booted()
            yield made
        finally:
            made.end()


@contextmanager
def _control_group(name: str) -> Iterator[list[Path]]:
    """A separate control group in every hierarchy of systemd."""
    made = [Path(place, name) for place in HIERARCHIES if Path(place, "cgroup.procs").exists()]
    for folder in made:
        folder.mkdir()
    try:
        yield made
    finally:
        for folder in made:
            _remove(folder)


def _remove(group: Path) -> None:
    """Remove a control group and its subgroups once their last process has ended."""
    end = time.monotonic() + BOOT_S
    for folder in (*sorted(group.rglob("*/"), reverse=True), group):
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)  # the kernel is ending the processes


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a block: exit code, combined output, seconds."""

    code: int
    output: str
    seconds: float


@dataclass
class Machine:
    """A booted machine with its files below `root`."""

    root: Path
    _begun: subprocess.Popen[bytes]
    _spawned: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def wait_until_booted(self) -> None:
        """Wait until systemd has started everything; raise RuntimeError with the console output if that fails."""
        end = time.monotonic() + BOOT_S
        said = ""
        while time.monotonic() < end and self._begun.poll() is None:
            with suppress(IndexError, OSError):
                said = self.run("systemctl", "is-system-running", "--wait", check=False).output.strip()
                if said in {"running", "degraded"}:
                    break
            time.sleep(0.1)  # another process is booting the machine
        if said != "running":
            failed = self.run("systemctl", "--failed", check=False).output if said else ""
            raise RuntimeError(
                f"not booted: {said} {failed}\n{(self.root.parent / 'console').read_text(errors='replace')[-5000:]}"
            )

    def end(self) -> None:
        """End all processes at once, like a power cut."""
        with suppress(IndexError, OSError):
            os.kill(self._first(), signal.SIGKILL)
        for process in (self._begun, *self._spawned):
            process.wait(BOOT_S)

    def _first(self) -> int:
        """Return the id on this machine of its process 1."""
        pid = self._begun.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])

    def run(self, *words: str, network: bool = False, check: bool = True, timeout_s: float = PATIENCE_S) -> Ended:
        """Run a command as root, with this machine's network if `network` is set.

        Raise AssertionError with its output if it fails and `check` is set.
        """
        begun = time.monotonic()
        done = subprocess.run(
            self._inside(words, network=network),
            env=_variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        ended = Ended(done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - begun)
        assert not check or ended.code == 0, f"{words}: exit code {ended.code}\n{ended.output}"
        return ended

    def said(self, *words: str) -> str:
        """Return the output of a command that must succeed."""
        return self.run(*words).output.strip()

    def type(self, text: str, *, network: bool = False, timeout_s: float = PATIENCE_S) -> Ended:
        """Run a block in the root shell; folder and exported variables persist. The block ends at its first failure."""
        script = f"set -euo pipefail\n[ ! -e {STATE} ] || . {STATE}\n{text}\n" + (
            f"{{ declare -px; printf 'cd %q\\n' \"$PWD\"; }} > {STATE}\n"
        )
        return self.run("bash", "-c", script, network=network, check=False, timeout_s=timeout_s)

    def background(self, text: str, name: str) -> None:
        """Run a block in a separate shell until the machine ends; its output is in /var/log/NAME.log."""
        with (self.root / f"var/log/{name}.log").open("ab") as log:
            words = self._inside(("bash", "-c", f"[ ! -e {STATE} ] || . {STATE}\n{text}"))
            begun = subprocess.Popen(words, env=_variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self._spawned.append(begun)

    def save(self, path: str, text: str) -> None:
        """Save a file, as a user would with an editor."""
        saved = self.root / path.lstrip("/")
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace")

    def _inside(self, words: Sequence[str], *, network: bool = False) -> list[str]:
        kinds = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", *([] if network else ["--net"])]
        return ["nsenter", "--target", str(self._first()), *kinds, "--wdns=/root", "--", *words]


def _variables() -> Mapping[str, str]:
    """Return the environment of a fresh root shell, with access to the package index."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name != "PIP_FIND_LINKS"}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    plain = {"HOME": "/root", "USER": "root", "PATH": path, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return {**plain, **pip}
