"""A machine in one encrypted file: every file of the site comes back with its text and mode, and the database with its rows."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pyrage
import pytest

from demo import demo_setup
from tests import databases
from tests.company import COMMAND, gateway_ports

PASSPHRASE = "correct horse battery staple"


class Site:
    """A site in a folder, with secrets in the environment file beside its configuration, as the package has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        ports = gateway_ports()
        secrets = demo_setup.environment(ports)
        self.config = demo_setup.write_config(self.folder, ports)
        self.database = self.folder / "hkall.db"
        databases.fill(self.config, secrets)
        lines = "".join(f"{name}={value}\n" for name, value in secrets.items())
        self.secrets = self.folder / "environment"
        self.secrets.write_text(lines, encoding="utf-8")
        self.secrets.chmod(0o640)
        self.environ = {**os.environ, **secrets}
        self.file, self.key = folder / "machine.age", folder / "key.txt"
        identity = pyrage.x25519.Identity.generate()
        self.recipient = str(identity.to_public())
        self.key.write_text(f"# created by a test\n{identity}\n", encoding="utf-8")
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text(f"{PASSPHRASE}\n", encoding="utf-8")

    def run(self, *words: str | Path, secrets: bool = True) -> subprocess.CompletedProcess[str]:
        environ = self.environ if secrets else dict(os.environ)
        return subprocess.run([COMMAND, *map(str, words)], env=environ, capture_output=True, text=True, check=False)

    def back_up(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("backup", "--with-config", self.file, "--config", self.config, *words)

    def restore(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("restore", "--machine", self.file, *words, secrets=False)

    def contents(self) -> dict[str, tuple[bytes, int]]:
        """Return text and mode of the files that make the site."""
        names = ("gateway.toml", "policy.toml", "environment")
        return {name: ((self.folder / name).read_bytes(), (self.folder / name).stat().st_mode) for name in names}

    def patrons(self) -> int:
        with sqlite3.connect(self.database) as connection:
            (count,) = connection.execute("SELECT count(*) FROM patrons").fetchone()
        connection.close()
        return int(count)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("by", ["recipient", "passphrase"])
def test_lost_machine_is_rebuilt_from_its_encrypted_file(site: Site, by: str) -> None:
    lock = ("--recipient", site.recipient) if by == "recipient" else ("--passphrase-file", site.passphrase)
    key = ("--identity", site.key) if by == "recipient" else ("--passphrase-file", site.passphrase)
    before, patrons = site.contents(), site.patrons()
    made = site.back_up(*lock)
    assert made.returncode == 0, made.stderr
    assert site.file.stat().st_mode & 0o777 == 0o600
    assert b"HKALL_SECRET" not in site.file.read_bytes()
    shutil.rmtree(site.folder)

    done = site.restore(*key)

    assert done.returncode == 0, done.stderr
    assert site.contents() == before
    assert site.patrons() == patrons > 0
    assert sorted(path.name for path in site.file.parent.iterdir()) == ["key.txt", "machine.age", "passphrase", "site"]


def test_backup_of_a_machine_is_a_tar_archive_for_age(site: Site) -> None:
    site.back_up("--recipient", site.recipient)
    identity = pyrage.x25519.Identity.from_str(site.key.read_text().splitlines()[1])
    with tarfile.open(fileobj=BytesIO(pyrage.decrypt(site.file.read_bytes(), [identity]))) as tar:
        names = tar.getnames()
    assert {"manifest.json", "database.backup", f"files{site.config}", f"files{site.secrets}"} <= {*names}


def test_keys_and_certificates_of_the_configuration_are_in_the_backup(site: Site, tmp_path: Path) -> None:
    pem = tmp_path / "gateway.pem"
    pem.write_text("not read here\n")
    text = site.config.read_text(encoding="utf-8")
    site.config.write_text(text.replace("[ncip]\n", f'[ncip]\nclient_ca = "{pem}"\n', 1), encoding="utf-8")
    site.back_up("--recipient", site.recipient)
    identity = pyrage.x25519.Identity.from_str(site.key.read_text().splitlines()[1])
    with tarfile.open(fileobj=BytesIO(pyrage.decrypt(site.file.read_bytes(), [identity]))) as tar:
        assert f"files{pem}" in tar.getnames()


def test_files_of_another_site_are_not_replaced_without_force(site: Site) -> None:
    site.back_up("--recipient", site.recipient)
    changed = site.config.read_text(encoding="utf-8") + "# changed since\n"
    site.config.write_text(changed, encoding="utf-8")

    refused = site.restore("--identity", site.key)

    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert f"{site.config} is there already, and differs; --force replaces it" in refused.stderr
    assert site.config.read_text(encoding="utf-8") == changed
    assert site.restore("--identity", site.key, "--force").returncode == 0
    assert site.config.read_text(encoding="utf-8") != changed


def test_secret_that_no_file_holds_is_named(site: Site) -> None:
    site.secrets.write_text("", encoding="utf-8")
    done = site.back_up("--recipient", site.recipient)
    assert done.returncode == 0
    assert "HKALL_SECRET_LU: no file of this machine holds it, so the backup lacks it: keep it yourself" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give --recipient, or --passphrase-file, and not both"),
        (("--recipient", "age1nothing"), "give an age1… or ssh-… public key"),
        (("--keep", "3", "--recipient", "age1nothing"), "--keep and --with-config: choose one"),
    ],
)
def test_wrong_options_of_a_backup_are_refused_in_one_line(site: Site, words: tuple[str, ...], message: str) -> None:
    done = site.back_up(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert not site.file.exists()


def test_wrong_file_wrong_key_and_wrong_passphrase_are_refused_in_one_line(site: Site) -> None:
    site.back_up("--recipient", site.recipient)
    other = site.key.with_name("other.txt")
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    refused = [site.restore("--identity", other), site.restore("--passphrase-file", site.passphrase)]
    for text in (b"", b"no backup", b"age-encryption.org/v1\n"):
        site.file.write_bytes(text)
        refused.append(site.restore("--identity", site.key))
    for done in refused:
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"{site.file}: " in done.stderr
