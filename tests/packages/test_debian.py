"""The Debian package: lintian judges it; in a minimal Debian it is installed, used, upgraded, removed and purged."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.company import until
from tests.packages.roots import Root
from tests.programs import program

pytestmark = pytest.mark.chroot

ROOT = Path(__file__).parents[2]
RELEASED = ROOT / "fixtures" / "databases" / "0.1.0.db.gz"
NAME = "hkall-gateway"
READY = "http://127.0.0.1:8081/readyz"


def test_lintian_finds_no_error(package: Path) -> None:
    lintian = program("lintian", "lintian")
    done = subprocess.run(
        [lintian, "--no-cfg", "--allow-root", "--fail-on", "error", package], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def next_version(package: Path, folder: Path) -> Path:
    """The same package as a later version, whose gateway.toml has one more line."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 99.0-1", control.read_text(), flags=re.MULTILINE))
    sample = tree / "etc" / "hkall" / "gateway.toml"
    sample.write_text(sample.read_text() + "# a line of the later version\n")
    later = folder / "later.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", tree, later], check=True, stdout=subprocess.DEVNULL)
    return later


def install(debian: Root, package: Path) -> str:
    target = debian.path / "package.deb"
    target.write_bytes(package.read_bytes())
    return debian.said("dpkg", "--force-confold", "--install", "/package.deb")


def owned(debian: Root, path: str) -> tuple[str, str, int]:
    user, group, mode = debian.said("stat", "--format=%U %G %a", path).split()
    return user, group, int(mode, 8)


def answers() -> bool:
    try:
        with urllib.request.urlopen(READY, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_its_whole_life(package: Path, debian: Root, tmp_path: Path) -> None:
    # Installed: user, folders, modes, and a command that finds its configuration.
    install(debian, package)
    assert owned(debian, "/etc/hkall") == ("root", "hkall", 0o750)
    assert owned(debian, "/etc/hkall/gateway.toml") == ("root", "hkall", 0o640)
    assert owned(debian, "/etc/hkall/environment") == ("root", "hkall", 0o640)
    for folder in ("/var/lib/hkall", "/var/log/hkall"):
        assert owned(debian, folder) == ("hkall", "hkall", 0o750)
    assert debian.said("getent", "passwd", "hkall").endswith(":/var/lib/hkall:/usr/sbin/nologin")
    assert re.fullmatch(r"hkall-gateway, version \d+\.\d+\.\d+", debian.said(NAME, "--version"))
    assert "no errors" in debian.said(NAME, "check-config")
    assert debian.said("man", "--where", NAME) == "/usr/share/man/man1/hkall-gateway.1.gz"
    assert (debian.path / "usr/share/bash-completion/completions/hkall-gateway").exists()
    assert "/etc/hkall/gateway.toml" in debian.said("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)
    debian.run("logrotate", "--debug", "/etc/logrotate.d/hkall-gateway")
    units = [f"/usr/lib/systemd/system/{name}.service" for name in (NAME, f"{NAME}@1")]
    os.symlink(f"{NAME}@.service", f"{debian.path}{units[1]}")
    assert debian.run("systemd-analyze", "verify", *units).stderr == ""
    Path(f"{debian.path}{units[1]}").unlink()

    # Used: the secrets of its file reach it, and no file that root makes is root's.
    with (debian.path / "etc/hkall/environment").open("a") as secrets:
        secrets.write("HKALL_LOG_KEY=a key # with signs\n")
    with (debian.path / "etc/hkall/gateway.toml").open("a") as config:
        config.write('[logs]\npatron_key_env = "HKALL_LOG_KEY"\nfile = "/var/log/hkall/gateway.log"\n')
    (debian.path / "var/lib/hkall/hkall.db").write_bytes(gzip.decompress(RELEASED.read_bytes()))
    debian.run("chown", "hkall:hkall", "/var/lib/hkall/hkall.db")
    assert NAME + " db upgrade" in debian.run(NAME, "db", "check", check=False).stderr

    # Upgraded: the administrator's changes stay, and the database follows.
    said = install(debian, next_version(package, tmp_path))
    assert "revision 0001 -> " in said
    assert "HKALL_LOG_KEY" in (debian.path / "etc/hkall/gateway.toml").read_text()
    assert "HKALL_LOG_KEY" in (debian.path / "etc/hkall/environment").read_text()
    assert "no differences" in debian.said(NAME, "db", "check")
    with debian.running(NAME, "serve"):
        until(answers, "the gateway")
    assert owned(debian, "/var/lib/hkall/hkall.db")[:2] == ("hkall", "hkall")
    assert owned(debian, "/var/log/hkall/gateway.log") == ("hkall", "hkall", 0o640)

    # Removed: configuration and data stay. Purged: only what the administrator added to /etc/hkall stays.
    (debian.path / "etc/hkall/policy.toml").write_text("")
    debian.run("dpkg", "--remove", NAME)
    assert (debian.path / "var/lib/hkall/hkall.db").exists()
    assert not (debian.path / "usr/lib/hkall-gateway").exists()
    debian.run("dpkg", "--purge", NAME)
    assert [path.name for path in (debian.path / "etc/hkall").iterdir()] == ["policy.toml"]
    for path in ("var/lib/hkall", "var/log/hkall", "etc/logrotate.d/hkall-gateway", "usr/bin/hkall-gateway"):
        assert not (debian.path / path).exists()
