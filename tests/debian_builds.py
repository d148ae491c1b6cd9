"""What a library installs: the wheel, and the package of each Debian release, built once for each state of their source."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.debian import KEPT, PATIENCE_S, base_system, container, system

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = "usr/local/src/hkall_gateway"
BUILDERS: Final = ("build-essential", "ca-certificates", "debhelper", "python3-pip", "python3-venv")
RELEASED, RELEASED_VERSION = "a3843ce", "0.2.0"
"""The commit and the version of the release before this one."""
LATER: Final = "later"
"""This checkout as a future version: with one more database revision, and one more line in its configuration."""
LATER_VERSION, LATER_REVISION = "99.0.0", "9999"


def unpack(commit: str, target: Path) -> None:
    """Put a commit's source into a folder. "" stands for this checkout, and LATER for this checkout as a later version."""
    target.mkdir(parents=True, exist_ok=True)
    if commit not in {"", LATER}:
        words, names = ["git", "archive", commit], None
    else:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        found = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        names = b"\0".join(sorted(name for name in found.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists()))
        words = ["tar", "--create", "--null", "--files-from", "-"]
    packed = subprocess.run(words, cwd=ROOT, input=names, check=True, capture_output=True)
    subprocess.run(["tar", "-C", target, "-x"], input=packed.stdout, check=True)
    if commit == LATER:
        _become_later(target)


def _become_later(source: Path) -> None:
    project = source / "pyproject.toml"
    text = re.sub(r'^version = ".*"', f'version = "{LATER_VERSION}"', project.read_text(encoding="utf-8"), flags=re.MULTILINE)
    project.write_text(text, encoding="utf-8")
    versions = source / "hkall_gateway/db/migrations/versions"
    newest = max(path.name for path in versions.glob("[0-9]*.py"))[:4]
    revision = (
        f'"""a later one"""\n\nrevision = "{LATER_REVISION}"\ndown_revision = "{newest}"\n\n\ndef upgrade() -> None: ...\n'
    )
    with (source / "packaging/etc/gateway.toml").open("a", encoding="utf-8") as sample:
        sample.write("# a line of the later version\n")
    (versions / f"{LATER_REVISION}_a_later_one.py").write_text(revision, encoding="utf-8")


def wheel(commit: str = "") -> Path:
    """Return the wheel for every machine."""
    with _source(commit) as (source, kept):
        if not (found := list(kept.glob("*.whl"))):
            words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(kept), str(source)]
            subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE_S)
            found = list(kept.glob("*.whl"))
    return found[0]


def debian_package(suite: str, commit: str = "") -> Path:
    """Return the package for a release of Debian, built there from a source archive."""
    with _source(commit) as (source, kept):
        if not (found := list(kept.glob(f"{suite}/*.deb"))):
            # The script of the release needed git.
            shutil.copy(ROOT / "packaging" / "build-deb", source / "packaging" / "build-deb")
            with system(base_system(suite, "builder", *BUILDERS)) as root:
                shutil.copytree(source, root / SOURCE)
                words = [
                    *container(root, "--pipe"),
                    f"--chdir=/{SOURCE}",
                    "env",
                    "PIP_ROOT_USER_ACTION=ignore",
                    "packaging/build-deb",
                    "dist",
                ]
                done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False)
                assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-5000:]
                (kept / suite).mkdir()
                (made,) = (root / SOURCE / "dist").glob("*.deb")
                shutil.copy(made, kept / suite)
            found = list(kept.glob(f"{suite}/*.deb"))
    return found[0]


@contextmanager
def _source(commit: str) -> Iterator[tuple[Path, Path]]:
    """A copy of the source, and the folder that keeps what is built of it."""
    with tempfile.TemporaryDirectory(prefix="source-", dir="/var/tmp") as folder:
        source = Path(folder, "hkall_gateway")
        unpack(commit, source)
        state = hashlib.sha256()
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            if not file.is_relative_to(source / "tests"):
                state.update(f"{file.relative_to(source)}\0".encode() + file.read_bytes())
        kept = KEPT / "builds" / state.hexdigest()[:16]
        kept.mkdir(parents=True, exist_ok=True)
        yield source, kept
