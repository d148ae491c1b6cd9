"""Roots of Debian, and commands in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.debian import PATIENCE_S, bootstrap, start_no_services

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


@dataclass(frozen=True, slots=True)
class Root:
    """A folder with a Debian in it, which `run` enters by chroot."""

    path: Path

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as root; AssertionError with its output if it fails and `check` is set."""
        done = subprocess.run(
            ["chroot", self.path, *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def said(self, *words: str) -> str:
        """What a command prints that succeeds."""
        return self.run(*words).stdout.strip()

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command while it runs; it is ended by SIGTERM."""
        with subprocess.Popen(["chroot", self.path, *words], env=ENVIRONMENT) as process:
            try:
                yield process
            finally:
                process.terminate()
                process.wait(60)


def debian_root(folder: Path, *packages: str) -> Iterator[Root]:
    """A root with these packages; it and all that is mounted in it are gone afterwards."""
    root = Root(folder / "debian")
    bootstrap(root.path, *packages)
    for device in ("null", "zero", "random", "urandom"):
        if not (node := root.path / "dev" / device).exists():
            os.mknod(node, 0o020666, os.stat(f"/dev/{device}").st_rdev)
    start_no_services(root.path)
    subprocess.run(["mount", "-t", "proc", "proc", root.path / "proc"], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root.path / "proc"], check=True)
        shutil.rmtree(root.path)
