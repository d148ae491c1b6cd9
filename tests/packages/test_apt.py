"""The signed apt repository: apt installs from it over HTTP, offers a newer version, and refuses it under another key."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.debian import release

ROOT = Path(__file__).parents[2]
TOOLS = ("apt-get", "dpkg-deb", "gpg", "reprepro")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} of Debian"),
]


class Quiet(SimpleHTTPRequestHandler):
    """A web server that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Repository:
    """A repository in a folder that a web server of this machine serves, and an apt that knows only this repository."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.served, self.apt = folder, folder / "apt", folder / "client"
        self.environ = {**os.environ, "GNUPGHOME": str(folder / "keys")}
        (folder / "keys").mkdir(mode=0o700)
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (self.apt / name).mkdir(parents=True)
        (self.apt / "status").touch()
        source = f"deb [signed-by={self.served}/hkall-gateway.gpg] {url} {release()} main\n"
        (self.apt / "etc" / "sources.list").write_text(source, encoding="ascii")

    def make_key(self, name: str) -> str:
        self.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
        return name

    def add(self, version: str, key: str) -> str:
        """Build a package of this version, and add it."""
        tree = self.folder / version
        (tree / "DEBIAN").mkdir(parents=True)
        facts = {"Package": "hkall-gateway", "Version": version, "Architecture": "amd64", "Section": "net"}
        facts |= {"Priority": "optional", "Maintainer": "a test <test@example.hk>", "Description": "a test"}
        (tree / "DEBIAN" / "control").write_text("".join(f"{name}: {value}\n" for name, value in facts.items()))
        package = self.folder / f"hkall-gateway_{version}_amd64.deb"
        self.run("dpkg-deb", "--root-owner-group", "--build", tree, package)
        return self.run(ROOT / "packaging" / "build-apt", self.served, key, package).stdout

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(words, env=self.environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run apt with the lists and the sources of this repository only."""
        options = {
            "Dir::State": self.apt,
            "Dir::State::status": self.apt / "status",
            "Dir::Cache": self.apt / "cache",
            "Dir::Etc": self.apt / "etc",
            "APT::Sandbox::User": "root",
            "APT::Architecture": "amd64",
            "Acquire::http::Proxy": "DIRECT",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        program, *rest = words
        return subprocess.run([program, *given, *rest], capture_output=True, text=True, timeout=120, check=False)

    def candidate(self) -> str:
        shown = self.ask("apt-cache", "policy", "hkall-gateway").stdout
        return next((line.split()[1] for line in shown.splitlines() if "Candidate:" in line), "")

    def update(self) -> subprocess.CompletedProcess[str]:
        """Fetch the lists anew. A web server tells no change within the second of the last one."""
        shutil.rmtree(self.apt / "lists")
        (self.apt / "lists" / "partial").mkdir(parents=True)
        return self.ask("apt-get", "update")


@pytest.fixture
def repository() -> Iterator[Repository]:
    folder = Path(tempfile.mkdtemp(prefix="hkall-apt-", dir="/tmp"))  # the agent of GnuPG needs a short path
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "apt")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Repository(folder, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(folder / "keys")}, check=False)
    shutil.rmtree(folder)


def test_apt_offers_the_newest_version_of_the_signed_repository(repository: Repository) -> None:
    key = repository.make_key("packages@example.hk")
    repository.add("0.3.0-1", key)
    assert repository.update().returncode == 0
    assert repository.candidate() == "0.3.0-1"

    said = repository.add("0.4.0-1", key)
    repository.update()

    assert "0.4.0-1" in said
    assert repository.candidate() == "0.4.0-1"
    planned = repository.ask("apt-get", "--simulate", "install", "hkall-gateway")
    assert "Inst hkall-gateway (0.4.0-1 hkall-gateway:" in planned.stdout


def test_apt_refuses_a_repository_under_another_key(repository: Repository) -> None:
    repository.add("0.3.0-1", repository.make_key("packages@example.hk"))
    kept = (repository.served / "hkall-gateway.gpg").read_bytes()
    repository.add("0.4.0-1", repository.make_key("stranger@example.hk"))
    (repository.served / "hkall-gateway.gpg").write_bytes(kept)

    updated = repository.update()

    assert "NO_PUBKEY" in updated.stderr or "not signed" in updated.stderr or "signature" in updated.stderr.lower()
    assert repository.candidate() != "0.4.0-1"


def test_build_without_a_secret_key_says_how_to_make_one(repository: Repository) -> None:
    words = [str(ROOT / "packaging" / "build-apt"), str(repository.served), "nobody@example.hk", "some.deb"]
    done = subprocess.run(words, env=repository.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "build-apt: GnuPG has no secret key nobody@example.hk: make one with gpg --quick-generate-key",
    )
