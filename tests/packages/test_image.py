"""The image and compose.yaml: built by buildah, run by podman, with a first loan through HAProxy.

The PostgreSQL and HAProxy images of a registry are replaced by images with Debian's programs. All run in a separate network.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.company import COMMAND, until
from tests.debian import PATIENCE_S, base_system, in_memory, release
from tests.programs import program

pytestmark = [pytest.mark.chroot, pytest.mark.usefixtures("bootable")]

ROOT: Final = Path(__file__).parents[2]
USER: Final = 10001
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
IMAGE: Final = f"docker.io/library/hkall-gateway:{VERSION}"
READY: Final = ("curl", "--silent", "--fail", "--output", "/dev/null", "http://127.0.0.1:8081/readyz")
HOST_FILES: Final = ("/etc/ssl/certs", "/etc/pip.conf")
"""Files that give the build access to PyPI."""
ENGINE: Final = """
[network]
firewall_driver = "nftables"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
PREPARE: Final = """
ip link set lo up
mkdir -p /run/containers
mount -t tmpfs tmpfs /run/containers  # where the name server of the containers is registered, for the whole machine
exec "$@"
"""
POSTGRES: Final = """#!/bin/sh
# The variables and the volume of Docker's image of PostgreSQL, with Debian's server.
set -e
data=/var/lib/postgresql/data
programs=$(echo /usr/lib/postgresql/*/bin)
install -d -o postgres /run/postgresql "$data"
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }
if [ ! -s "$data/PG_VERSION" ]; then
    install -m 600 -o postgres "$POSTGRES_PASSWORD_FILE" /tmp/password
    as_postgres "$programs/initdb" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 \\
        --encoding=UTF8 "$data"
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | as_postgres "$programs/postgres" --single -D "$data" postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$programs/postgres" -D "$data" -c listen_addresses='*'
"""
ROWS: Final = """
[[sip2.terminals]]
login = "counter-1"
secret_hash = "{hashed}"
role = "counter"
location = "MAIN"
dialect = "counter"
offline = false
allow_from = ["172.28.0.0/24"]

[[partners]]
agency = "CUHK"
name = "The Chinese University of Hong Kong Library"
url = "http://127.0.0.1:9101/ncip"
secret_env = "HKALL_SECRET_CUHK"
allow_from = ["127.0.0.0/8"]
institutional_card = "INST-CUHK"

[[clients]]
agency = "DISCOVERY"
secret_env = "HKALL_SECRET_DISCOVERY"
allow_from = ["172.28.0.0/24"]
"""
FILES: Final = {
    "patrons.csv": "barcode,name,category,expires\n20001234,Chan Tai Man,academic_staff,2099-08-31\n",
    "holdings.csv": "agency,bib_id,title,author,barcode,status\nCUHK,b1,Dune,Herbert,C1,AVAILABLE\n",
}


def limits() -> list[str]:
    """The limits of this process, which an unprivileged build cannot raise."""
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(kind)[1] for name, kind in kinds.items()}
    return [f"--ulimit={name}={most}:{most}" for name, most in hard.items() if most != resource.RLIM_INFINITY]


def done(words: list[str], variables: Mapping[str, str], folder: Path | None = None) -> str:
    """The output of a command; raises AssertionError with all output if it fails."""
    environ = {**os.environ, **variables}
    ended = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
    return ended.stdout.strip()


@dataclass
class Engine:
    """podman with a separate network, and with images and containers below `folder`."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _ended: threading.Event = field(default_factory=threading.Event)

    def buildah(self, *words: str | Path) -> str:
        store = ["--root", self.folder / "store", "--runroot", self.folder / "run"]
        return done([program("buildah", "buildah"), *map(str, store), *map(str, words)], {})

    def inside(self, *words: str) -> str:
        """Run a command in the network of the containers."""
        return done(self._entered(words), self._variables())

    def podman(self, *words: str) -> list[str]:
        places = {"root": "store", "runroot": "run", "tmpdir": "tmp", "volumepath": "volumes", "network-config-dir": "networks"}
        options = (f"--{name}={self.folder / folder}" for name, folder in places.items())
        return [program("podman", "podman"), *options, *words]

    def compose(self, project: Path, *words: str) -> str:
        tool = program("docker-compose", "docker-compose")
        return done([tool, *words], {"DOCKER_HOST": f"unix://{self.folder}/podman.sock"}, project)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve Docker's API, and run the health checks, which podman leaves to systemd timers."""
        (self.folder / "containers.conf").write_text(ENGINE, encoding="utf-8")
        serve = self.podman("system", "service", "--time=0", f"unix://{self.folder}/podman.sock")
        alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words = [*alone, "sh", "-ec", PREPARE, "sh", *serve]
        self.process = subprocess.Popen(words, env={**os.environ, **self._variables()})
        checking = threading.Thread(target=self._check_health)
        try:
            until((self.folder / "podman.sock").exists, "podman")
            checking.start()
            yield
        finally:
            self._ended.set()
            checking.join()
            try:
                self.inside(*self.podman("rm", "--all", "--force", "--time=5"))
            finally:
                self.process.kill()  # all that it started ends with it
                self.process.wait(60)

    def _check_health(self) -> None:
        starting = self.podman("ps", "--filter=health=starting", "--format={{.Names}}")
        while not self._ended.wait(1):
            for name in self.inside(*starting).split():
                subprocess.run(
                    self._entered(self.podman("healthcheck", "run", name)), env={**os.environ, **self._variables()}, check=False
                )

    def _entered(self, words: tuple[str, ...] | list[str]) -> list[str]:
        assert self.process is not None
        first = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()[0]
        return ["nsenter", "--target", first, "--net", "--mount", "--pid", "--", *words]

    def _variables(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": str(self.folder / "containers.conf"), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman with the image of this checkout, and the two substitute images."""
    folder = tmp_path_factory.mktemp("image")
    with in_memory(folder):
        made = Engine(folder)
        made.buildah("from", "--name=base", "scratch")
        made.buildah(
            "add", "--quiet", "base", base_system(release(), "image", "ca-certificates", "python3", "python3-venv"), "/"
        )
        made.buildah("commit", "--quiet", "--rm", "base", "localhost/base")
        reach = [f"--volume={path}:{path}:ro" for path in HOST_FILES if os.path.exists(path)]
        build = ["build", "--isolation=chroot", "--format=docker", "--build-arg=BASE=localhost/base", *limits(), *reach]
        made.buildah(*build, f"--tag={IMAGE}", ROOT)

        made.buildah("from", "--name=haproxy", "scratch")
        made.buildah("add", "--quiet", "haproxy", base_system(release(), "haproxy", "haproxy"), "/")
        command = json.dumps(["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"])
        made.buildah("config", "--cmd", command, "--user", "haproxy", "haproxy")
        made.buildah("commit", "--quiet", "--rm", "haproxy", "docker.io/library/haproxy:3.0")

        (folder / "entry").write_text(POSTGRES, encoding="utf-8")
        (folder / "entry").chmod(0o755)
        made.buildah("from", "--name=postgres", "scratch")
        made.buildah("add", "--quiet", "postgres", base_system(release(), "postgres", "postgresql"), "/")
        made.buildah("add", "--quiet", "postgres", folder / "entry", "/usr/local/bin/entry")
        made.buildah("config", "--entrypoint", '["/usr/local/bin/entry"]', "--volume", "/var/lib/postgresql/data", "postgres")
        made.buildah("commit", "--quiet", "--rm", "postgres", "docker.io/library/postgres:17")
        yield made


def test_image_runs_unprivileged_and_has_a_health_check(engine: Engine) -> None:
    settings: dict[str, Any] = json.loads(engine.buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
    assert settings["User"] == str(USER)
    assert settings["Healthcheck"]["Test"][0] == "CMD"
    assert {"6001/tcp", "8080/tcp", "8081/tcp"} <= set(settings["ExposedPorts"])
    assert (settings["Entrypoint"], settings["Cmd"], settings["StopSignal"]) == (["hkall-gateway"], ["serve"], "SIGTERM")


def write_project(folder: Path, password: str) -> dict[str, str]:
    """Write the files that docs/containers.md describes. Returns the secrets."""
    (folder / "secrets").mkdir(parents=True)
    shutil.copy(ROOT / "compose.yaml", folder)
    shutil.copytree(ROOT / "packaging" / "container", folder / "packaging" / "container")
    hashed = subprocess.run([COMMAND, "hash-secret"], input=password + "\n", capture_output=True, text=True, check=True).stdout
    text = (ROOT / "packaging" / "container" / "gateway.toml").read_text(encoding="utf-8")
    (folder / "gateway.toml").write_text(text + ROWS.format(hashed=hashed.strip()), encoding="utf-8")
    own = {name: secrets.token_hex(12) for name in ("HKALL_SECRET_CUHK", "HKALL_SECRET_DISCOVERY")}
    (folder / "environment").write_text("".join(f"{name}={value}\n" for name, value in own.items()), encoding="utf-8")
    database = secrets.token_hex(12)
    (folder / "secrets" / "postgres_password").write_text(database, encoding="utf-8")
    pgpass = folder / "secrets" / "pgpass"
    pgpass.write_text(f"postgres:5432:hkall:hkall:{database}\n", encoding="utf-8")
    pgpass.chmod(0o600)
    os.chown(pgpass, USER, USER)
    (folder / "files").mkdir()
    for name, rows in FILES.items():
        (folder / "files" / name).write_text(rows, encoding="utf-8")
    return own


def test_compose_services_complete_a_first_loan(engine: Engine) -> None:
    project, password = engine.folder / "hkall", secrets.token_hex(8)
    own = write_project(project, password)
    with engine.serving():
        once = ("run", "--rm", "--volume", f"{project}/files:/files:ro", "gateway")
        assert "revision none -> " in engine.compose(project, *once, "db", "upgrade")
        for kind in ("patrons", "holdings"):
            engine.compose(project, *once, "load", kind, f"/files/{kind}.csv")
        engine.compose(project, "up", "--detach", "--no-build")
        until(lambda: _succeeds(engine, *READY), "the gateway behind HAProxy")

        engine.compose(
            project, "exec", "--detach", "gateway", "hkall-gateway", "simulate-partner", "CUHK", "--ships-after", "1"
        )
        asked = (
            "RequestItem",
            "user=20001234",
            "bib=b1",
            "request=d-1",
            "pickup=MAIN",
            "--from",
            "DISCOVERY",
            "--to",
            "LIBRARY",
        )
        secret = ("env", f"PROOF={own['HKALL_SECRET_DISCOVERY']}", f"PASSWORD={password}", str(COMMAND))
        engine.inside(*secret, "ncip", "http://127.0.0.1:8080/ncip", *asked, "--secret-env", "PROOF")
        until(lambda: _position(engine, project) == "IN_TRANSIT", "the lender's shipment")
        for line in ("09 AB=C1", "11 AA=20001234 AB=C1"):
            engine.inside(*secret, "sip2", "127.0.0.1:6001", "--login", "counter-1", "--password-env", "PASSWORD", line)
        assert _position(engine, project) == "ON_LOAN"

        (state,) = {row["State"] for row in json.loads(engine.inside(*engine.podman("ps", "--format=json")))}
        assert state == "running"
        engine.inside(*engine.podman("healthcheck", "run", "hkall-gateway-1"))
        written = engine.podman("exec", "hkall-gateway-1", "touch", "/opt/hkall/file")
        assert not _succeeds(engine, *written)  # the root is read only


def _position(engine: Engine, project: Path) -> str:
    shown = engine.compose(project, "exec", "--no-TTY", "gateway", "hkall-gateway", "requests", "list", "--json")
    return ", ".join(row["position"] for row in json.loads(shown))


def _succeeds(engine: Engine, *words: str) -> bool:
    try:
        engine.inside(*words)
    except AssertionError:
        return False
    return True
