"""The image: buildah builds it on a base of Debian; it serves without rights, on a root that is read only."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.company import until
from tests.debian import PATIENCE_S, bootstrap
from tests.programs import program

pytestmark = pytest.mark.chroot

ROOT = Path(__file__).parents[2]
USER = 10001
CONFIG = (ROOT / "packaging" / "etc" / "gateway.toml").read_text(encoding="utf-8").replace(":interface=127.0.0.1", "")
HOST_FILES = ("/etc/ssl/certs", "/etc/pip.conf")
"""How this machine reaches PyPI, for the build alone."""


READY = "http://127.0.0.1:8081/readyz"


def answers() -> bool:
    try:
        with urllib.request.urlopen(READY, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Buildah:
    """buildah with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self._words = [program("buildah", "buildah"), "--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def __call__(self, *words: str | Path) -> str:
        done = subprocess.run([*self._words, *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


def limits() -> list[str]:
    """The limits of this process, which a build without all rights cannot raise."""
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(kind)[1] for name, kind in kinds.items()}
    return [f"--ulimit={name}={most}:{most}" for name, most in hard.items() if most != resource.RLIM_INFINITY]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """The settings of the image, and its files."""
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    bootstrap(folder / "base.tar", "ca-certificates", "python3", "python3-venv")
    base = buildah("from", "scratch")
    buildah("add", "--quiet", base, folder / "base.tar", "/")
    buildah("commit", "--quiet", "--rm", base, "localhost/base")
    reach = [f"--volume={path}:{path}:ro" for path in HOST_FILES if os.path.exists(path)]
    build = ["build", "--isolation=chroot", "--format=docker", "--build-arg=BASE=localhost/base", *limits(), *reach]
    buildah(*build, "--tag=localhost/gateway", ROOT)
    container = buildah("from", "localhost/gateway")
    mounted = Path(buildah("mount", container))
    yield json.loads(buildah("inspect", "--type=image", "localhost/gateway"))["Docker"]["config"], mounted
    buildah("umount", container)
    buildah("rm", container)


def test_the_image_runs_without_rights_and_has_a_health_check(image: tuple[dict[str, Any], Path]) -> None:
    settings, _ = image
    assert settings["User"] == str(USER)
    assert settings["Healthcheck"]["Test"][0] == "CMD"
    assert {"6001/tcp", "8080/tcp", "8081/tcp"} <= set(settings["ExposedPorts"])
    assert (settings["Entrypoint"], settings["Cmd"], settings["StopSignal"]) == (["hkall-gateway"], ["serve"], "SIGTERM")


ENTER = """
set -e
mount --bind {root} {root}
mount --bind {state} {root}/var/lib/hkall
mount --bind {config} {root}/etc/hkall
mount --rbind /dev {root}/dev
mount -t proc proc {root}/proc
mount -t tmpfs tmpfs {root}/tmp
mount -o remount,ro,bind {root}
exec chroot {root} "$@"
"""
"""Enters the image in a mount namespace of its own, on a root that is read only."""
NO_RIGHTS = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")


class Container:
    """The image's files with a configuration and a volume, entered with the image's own settings and without any rights."""

    def __init__(self, settings: dict[str, Any], root: Path, folder: Path) -> None:
        for name in ("state", "config"):
            (folder / name).mkdir()
        (folder / "config" / "gateway.toml").write_text(CONFIG, encoding="utf-8")
        os.chown(folder / "state", USER, USER)
        script = ENTER.format(root=root, state=folder / "state", config=folder / "config")
        self._enter = ["unshare", "--mount", "sh", "-c", script, "enter"]
        self._enter += ["/usr/bin/env", "-i", f"--chdir={settings['WorkingDir']}", *settings["Env"]]
        self._enter += ["/usr/bin/setpriv", f"--reuid={USER}", f"--regid={USER}", *NO_RIGHTS]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._enter, *words])

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._enter, *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_image_serves_on_a_read_only_root_and_its_ports_are_reachable(
    image: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    settings, root = image
    container = Container(settings, root, tmp_path)
    upgraded = container.run(*settings["Entrypoint"], "db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    assert "Read-only file system" in container.run("touch", "/opt/hkall/file").stderr
    gateway = container.start(*settings["Entrypoint"], *settings["Cmd"])
    try:
        until(answers, "the gateway")
        listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
        assert all(f"0.0.0.0:{port} " in listening for port in (6001, 8080, 8081))
        assert container.run(*settings["Healthcheck"]["Test"][1:]).returncode == 0
    finally:
        gateway.terminate()
        assert gateway.wait(30) == 0
    assert container.run(*settings["Healthcheck"]["Test"][1:]).returncode != 0
    assert (tmp_path / "state" / "hkall.db").stat().st_uid == USER
