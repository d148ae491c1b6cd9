"""The installed package contains its templates, rules and migrations, not only the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from hkall_gateway.cli.opening import erased_file
from hkall_gateway.config import gateway

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hkall_gateway"


def test_every_non_python_file_is_package_data() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    named = {path for pattern in settings["hkall_gateway"] for path in PACKAGE.glob(pattern)}
    there = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc", ".so"}}

    assert there <= named
    assert all(any(PACKAGE.glob(pattern)) for pattern in settings["hkall_gateway"])


def test_licence_in_the_package_metadata_matches_the_licence_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (file,) = project["license-files"]
    assert (ROOT / file).read_text(encoding="utf-8").startswith(f"{project['license']} License\n")


def test_every_linked_page_exists() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "ops" / "README.md"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_linked_anchor_is_a_heading() -> None:
    pages = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "ops" / "README.md")
    for page in pages:
        for link, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            target = page.parent / link if link else page
            assert anchor in _anchors(target), f"{page.name}: {link}#{anchor}"


def test_every_documented_module_and_folder_exists() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for name in re.findall(r"`(\w[\w./-]*(?:\.py|/))`", page.read_text(encoding="utf-8")):
            found = any(any(ROOT.glob(f"{folder}/{name}")) for folder in (".", "hkall_gateway/**", "tests/**"))
            assert found or name == "dist/", f"{page.name}: {name}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel built from it, of the files known to git."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if name.startswith(("hkall_gateway/", "circprobe/", "docs/", "ops/", "packaging/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.mark.long
def test_twine_accepts_wheel_and_source_archive(dist: Path) -> None:
    check = [sys.executable, "-m", "twine", "check", "--strict", *sorted(map(str, dist.iterdir()))]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr


@pytest.mark.long
def test_wheel_contains_units_completions_and_man_page(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = {name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    assert {
        "lib/systemd/system/hkall-gateway.service",
        "lib/systemd/system/hkall-gateway@.service",
        "lib/systemd/system/hkall-gateway-.service.d/50-night.conf",
        "lib/systemd/system/hkall-gateway-backup.timer",
        "share/hkall-gateway/bin/command.sh",
        "share/hkall-gateway/etc/environment",
        "share/hkall-gateway/etc/gateway.toml",
        "share/hkall-gateway/logrotate.d/hkall-gateway",
        "share/man/man1/hkall-gateway.1",
        "share/bash-completion/completions/hkall-gateway",
    } <= names


@pytest.mark.long
def test_wheel_of_circprobe_runs_without_the_checkout(dist: Path, tmp_path: Path) -> None:
    kit = dist.parent / "source" / "circprobe"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(kit)]
    subprocess.run(build, capture_output=True, timeout=300, check=True)
    (wheel,) = tmp_path.glob("circprobe-*.whl")

    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        opened.extractall(tmp_path / "installed")  # noqa: S202  # our own
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "circprobe", "clauses", "ncip-initiator"],
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": "/usr/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert any(name.endswith("share/man/man1/circprobe.1") for name in names)
    assert "NI-101" in shown.stdout


@pytest.mark.parametrize("name", ["etc", "container"])
def test_packaged_configurations_are_valid_and_write_only_to_service_folders(name: str) -> None:
    config = gateway.load(ROOT / "packaging" / name / "gateway.toml", {})
    assert erased_file(config, Path("/etc/hkall/gateway.toml")).is_relative_to("/var/lib/hkall")
    assert config.privacy.erased_file  # without this key, erasing on PostgreSQL is refused
    assert config.logs.file is None


@pytest.mark.long
def test_source_archive_contains_changelog_licence_and_debian_files(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md", "packaging/build-deb"} <= names
    known = subprocess.run(
        ["git", "ls-files", "circprobe", "docs", "ops", "packaging"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(known.stdout.split()) <= names  # the Debian package is built from these files


def test_base_of_the_image_is_named_by_its_digest() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^ARG BASE=docker\.io/library/python:[\d.]+-slim@sha256:[0-9a-f]{64}$", text, re.MULTILINE)


def test_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for page in ("compose.yaml", "docs/containers.md", "docs/first-site.md", "docs/upgrade.md"):
        found = re.findall(r"hkall[-_]gateway[-:](\d+\.\d+\.\d+)", (ROOT / page).read_text(encoding="utf-8"))
        assert set(found) == {version}, page
