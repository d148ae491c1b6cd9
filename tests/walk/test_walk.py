"""The documentation is followed literally on newly installed and booted machines: Debian 12 and 13, with systemd.

Run manually and before each release: `make docs-test`. CI walks one way on each (`.ci/run`). Transcripts with times are in
var/walk.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.debian import SUITES, Machine, machine
from tests.debian_builds import LATER, LATER_REVISION, LATER_VERSION, RELEASED, RELEASED_VERSION, ROOT, debian_package, wheel
from tests.walk.blocks import DOCS, LOST, PAGES, RECOVERY, Block, blocks

pytestmark = [pytest.mark.chroot, pytest.mark.usefixtures("bootable")]

KEPT: Final = ROOT / "var" / "walk"
SOURCES: Final = "/usr/local/src"
HIGHEST_EXPOSURE: Final = 1.3
"""Of the service, as `systemd-analyze security` counts it: 0 is safest, 10 is worst."""
READY: Final = "curl --silent --show-error --fail --retry 20 --retry-delay 1 --retry-connrefused http://127.0.0.1:8081/readyz"
INSTALLS: Final = re.compile(r"\b(apt-get|pip) (install|update)\b")
"""Blocks that need the network."""
WHEEL: Final = re.compile(r"hkall_gateway-[\d.]+-py3")
"""The wheel's name on a page, with the version of this checkout."""
UNIT: Final = "hkall-gateway"
MARKS: Final = ("", "background")


@dataclass(frozen=True, slots=True)
class Way:
    """The options that a library chooses."""

    suite: str
    install: str
    database: str

    def __str__(self) -> str:
        return f"{self.suite}-{self.install}-{self.database}"

    def built(self, commit: str = "") -> Path:
        """The artifact that it installs."""
        return wheel(commit) if self.install == "wheel" else debian_package(self.suite, commit)


WAYS: Final = [Way(suite, what, url) for suite in SUITES for what in ("package", "wheel") for url in ("sqlite", "postgresql")]


class Walk:
    """A reader at a machine. The transcript gets each block with its output and time."""

    def __init__(self, machine: Machine, way: Way, name: str) -> None:
        self.machine, self.way = machine, way
        self.transcript = KEPT / f"{name}-{way}.txt"
        self.transcript.parent.mkdir(parents=True, exist_ok=True)
        self.transcript.write_text("", encoding="utf-8")

    def bring(self, built: Path) -> None:
        """Put the artifact where the pages say, in place of a former version."""
        folder = self.machine.root / SOURCES.lstrip("/")
        for former in (*folder.glob("*.deb"), *folder.glob("*.whl")):
            former.unlink()
        shutil.copy(built, folder)

    def follow(self, block: Block, said: Callable[[str], str] = str) -> None:
        """Execute one block, in the words of `said`."""
        if block.file:
            self.machine.save(block.file, said(block.text))
        if block.language != "sh" or block.mark not in {*MARKS, self.way.install, self.way.database}:
            return
        if block.mark == "background":
            self.machine.background(said(block.text), "background")
            self.until("grep -q 'is simulated' /var/log/background.log")
        else:
            self.type(said(block.text), block.place)

    def type(self, text: str, place: str = "a look") -> str:
        """Run lines in the shell and return their output; they must succeed."""
        code, output = self.tried(text, place)
        assert code == 0, f"{place}: exit code {code}\n{text}\n{output}\n{self.logs()}"
        return output

    def until(self, condition: str) -> None:
        """Wait until a shell condition is true."""
        self.type(f"for _ in $(seq 120); do if {condition}; then exit 0; fi; sleep 0.5; done; exit 1", "a wait")

    def tried(self, text: str, place: str = "a try") -> tuple[int, str]:
        """Run lines in the shell and return their exit code and output."""
        ended = self.machine.type(text, network=bool(INSTALLS.search(text)))
        with self.transcript.open("a", encoding="utf-8") as file:
            file.write(f"---- {place}, {ended.seconds:.1f} s\n{text}\n{ended.output}\n")
        return ended.code, ended.output

    def rows(self, command: str) -> list[dict[str, Any]]:
        """The output of a command with --json."""
        found: list[dict[str, Any]] = json.loads(self.type(f"hkall-gateway {command} --json"))
        return found

    def logs(self) -> str:
        """The last lines of the service."""
        return self.tried("journalctl --no-pager --lines=40 --unit='hkall-gateway*'")[1]


@pytest.fixture(params=WAYS, ids=str)
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    """A reader at a machine, before the first step."""
    begun = time.monotonic()
    name = request.node.originalname.removeprefix("test_")
    with machine(request.param.suite) as empty:
        reader = Walk(empty, request.param, name)
        yield reader
    print(f"\n{name} | {SUITES[request.param.suite]} | {request.param} | {time.monotonic() - begun:.0f} s")  # noqa: T201


def test_documentation_leads_to_the_first_loan(walk: Walk) -> None:
    walk.bring(walk.way.built())
    for page in PAGES:
        for block in blocks(page):
            if "hkall-gateway restore" in block.text and page == PAGES[0]:
                _the_book_is_lent(walk)
            if "systemctl reload" in block.text:
                _a_reload_shows_the_new_certificate_and_cuts_no_connection(walk, block)
            else:
                walk.follow(block)
            if "daemon-reload" in block.text and block.page == "packages.md":
                _the_secret_comes_by_its_credential(walk)
            if "start hkall-gateway-backup" in block.text:
                _the_nights_work(walk)
            if "logrotate --force" in block.text:
                walk.type(
                    "test -s /var/log/hkall/gateway.log.1 && stat --format=%U:%a /var/log/hkall/gateway.log | grep hkall:640"
                )
                walk.until("grep -q config. /var/log/hkall/gateway.log")
        if page == PAGES[0]:
            assert walk.rows("requests list") == []
            _the_units_are_right(walk)


def _the_book_is_lent(walk: Walk) -> None:
    (request,) = walk.rows("requests list")
    assert (request["position"], request["patron"]) == ("ON_LOAN", "20001234")
    assert "mail < tmchan@example.edu.hk" in walk.machine.read("/var/log/background.log")
    if walk.way.database == "sqlite":
        assert set(walk.type("stat -c %U /var/lib/hkall/hkall.db*", "owners").split()) == {"hkall"}


def _a_reload_shows_the_new_certificate_and_cuts_no_connection(walk: Walk, block: Block) -> None:
    """Assert that new connections get the new certificate, and a logged-in terminal keeps its connection."""
    terminals = [Terminal(walk, port) for port in ("6001", "6443 --tls --ca /etc/hkall/cert.pem")]
    for terminal in terminals:
        terminal.ask()
    shown = _certificates(walk)
    walk.follow(block)
    walk.type("sleep 2")
    assert all(former != now for former, now in zip(shown, _certificates(walk), strict=True))
    for terminal in terminals:
        terminal.ask()


class Terminal:
    """A counter that logs in once and keeps its connection until the machine ends."""

    def __init__(self, walk: Walk, port: str) -> None:
        self._walk, self._asked = walk, 0
        self._name = f"terminal-{port[:4]}"
        said = f"hkall-gateway sip2 localhost:{port} --login counter-1 --password-env PASSWORD --json"
        walk.machine.background(f"mkfifo /run/{self._name} && {said} 0<>/run/{self._name}", self._name)
        walk.until(f"[ -p /run/{self._name} ]")

    def ask(self) -> None:
        """Ask about a patron, and wait for the answer."""
        self._asked += 1
        self._walk.type(f"echo '23 AA=20001234' > /run/{self._name}")
        self._walk.until(f"""[ "$(grep -c '"code": "24"' /var/log/{self._name}.log)" -eq {self._asked} ]""")


def _the_secret_comes_by_its_credential(walk: Walk) -> None:
    """Assert that gateway and commands get the secret from its credential, not from the environment."""
    walk.type(READY)
    walk.type("hkall-gateway check-config")
    walk.type(f"! grep -q HKALL_SECRET_CUHK /etc/hkall/environment /proc/{main_process(walk)}/environ")


LOADED: Final = r"\d+ new, \d+ changed, \d+ as before, \d+ vanish; import \d+ is current"
NIGHTS: Final[dict[str, str]] = {
    "backup": r"backup: /var/backups/hkall/\S+\.backup, \d+ bytes; \d+ older deleted",
    "doctor": r"doctor: \d+ ok",
    "load@patrons": f"patrons: {LOADED}",
    "load@holdings": f"holdings: {LOADED}",
}
"""The nightly services, and the one line that each logs."""


def _the_nights_work(walk: Walk) -> None:
    """Assert that each timer starts its service, which works within its limits, logs one line, and updates the metrics."""
    assert re.fullmatch(NIGHTS["backup"], walk.type(_said("backup")).strip())  # the page has started it by hand
    walk.type("install -d -o hkall -g hkall /var/lib/hkall/loads && cp /var/lib/hkall/*.csv /var/lib/hkall/loads/")
    walk.type("systemctl enable --now hkall-gateway-load@patrons.timer hkall-gateway-load@holdings.timer")
    begun = walk.type("date +%s.%6N").strip()
    soon = r"[Timer]\nOnCalendar=\nOnCalendar=$(date --date='3 seconds' '+%F %T')\nRandomizedDelaySec=0\nAccuracySec=1ms\n"
    folder = "/etc/systemd/system/hkall-gateway-.timer.d"
    walk.type(f'mkdir {folder} && printf "{soon}" > {folder}/soon.conf && systemctl daemon-reload')
    walk.type("systemctl restart 'hkall-gateway-*.timer'")
    for service, line in NIGHTS.items():
        walk.until(f'[ -n "$({_said(service, begun)})" ] && [ "$(systemctl is-active hkall-gateway-{service})" = inactive ]')
        said = walk.type(_said(service, begun)).splitlines()
        assert len(said) == 1, said
        assert re.fullmatch(line, said[0]), said
    walk.type(f"rm -r {folder} && systemctl daemon-reload && systemctl restart 'hkall-gateway-*.timer'")
    metrics = "curl --silent --fail http://127.0.0.1:8081/metrics"
    ended = f"/^hkall_nightly_last_success_timestamp_seconds/ && $2 >= {begun} {{ n++ }} END {{ exit n != {len(NIGHTS)} }}"
    walk.until(f"{metrics} | awk '{ended}'")
    assert walk.type(f"{metrics} | grep ^hkall_doctor_failed_checks").split() == ["hkall_doctor_failed_checks", "0.0"]


def _said(service: str, since: str = "0") -> str:
    """The command that prints what a nightly service has logged."""
    return f"journalctl --no-pager --output=cat --since=@{since} --unit=hkall-gateway-{service} _COMM=hkall-gateway"


def _certificates(walk: Walk) -> list[str]:
    """The fingerprints presented by the TLS ports for terminals and for partners."""
    ask = "openssl s_client -connect localhost:{} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    return [walk.type(ask.format(port)) for port in (6443, 8443)]


def _the_units_are_right(walk: Walk) -> None:
    """Assert that systemd's tools accept the units, and that the exposure of the running one is low."""
    for unit in (UNIT, f"{UNIT}@1", f"{UNIT}-backup", f"{UNIT}-doctor", f"{UNIT}-load@patrons"):
        assert walk.type(f"systemd-analyze verify --man=no {unit}.service 2>&1") == ""  # `man` does not look into /opt
        shown = walk.type(f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
        exposure = float(re.findall(r"(\d+\.\d+)", shown)[-1])
        assert exposure <= HIGHEST_EXPOSURE, shown


# ---- an upgrade from the release before


def former(text: str) -> str:
    """A block in terms that the former version understands: its units do not support TLS."""
    text = WHEEL.sub(f"hkall_gateway-{RELEASED_VERSION}-py3", text)
    text = re.sub(r', "ssl:[^"]*"', "", text).replace("https://localhost:8443", "http://127.0.0.1:8080")
    text = re.sub(r" --certificate \S+ --key \S+", "", text.replace("https://localhost:9101", "http://127.0.0.1:9101"))
    text = text.replace("localhost:6443 --tls --ca /etc/hkall/cert.pem", "127.0.0.1:6001")
    return re.sub(r"^install .*/bin/command.sh (.*)$", r"install -m 755 /usr/local/src/command.sh \1", text, flags=re.MULTILINE)


def lend_on_the_former_version(walk: Walk) -> list[dict[str, Any]]:
    """Follow the first page on the former version up to the first loan. Returns the requests."""
    walk.bring(walk.way.built(RELEASED))
    shutil.copy(ROOT / "packaging" / "command.sh", walk.machine.root / SOURCES.lstrip("/"))
    for block in blocks(PAGES[0]):
        if "hkall-gateway restore" in block.text:  # the rehearsal ends
            break
        walk.follow(block, former)
    _the_book_is_lent(walk)
    return walk.rows("requests list")


def install_later(walk: Walk) -> str:
    """Install the later version by the documented block, and upgrade the database. Returns the output."""
    walk.bring(walk.way.built(LATER))
    pages = (block for page in PAGES[1:] for block in blocks(page))
    (block,) = (block for block in pages if block.mark == walk.way.install and INSTALLS.search(block.text))
    said = walk.type(WHEEL.sub(f"hkall_gateway-{LATER_VERSION}-py3", block.text), block.place)
    return said if walk.way.install == "package" else walk.type("hkall-gateway db upgrade")


def requests_as_before(walk: Walk, former: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests of the later version, with the columns that the former version listed."""
    rows = walk.rows("requests list")
    return [{name: row[name] for name in before} for row, before in zip(rows, former, strict=True)]


def main_process(walk: Walk, unit: str = UNIT) -> str:
    return walk.type(f"systemctl show --property=MainPID --value {unit}").strip()


def test_upgrade_during_a_loan_loses_no_data(walk: Walk) -> None:
    lent = lend_on_the_former_version(walk)
    was = main_process(walk)
    said = install_later(walk)
    assert f"-> {LATER_REVISION}" in said
    if walk.way.install == "wheel":
        assert main_process(walk) == was
        walk.type(f"systemctl restart {UNIT}")
    assert walk.type(f"systemctl is-active {UNIT}").strip() == "active"
    assert main_process(walk) not in {was, "0"}
    walk.type(READY)
    assert {row["version"] for row in gateways(walk)} == {LATER_VERSION}
    _the_new_unit_is_in_use(walk)
    assert requests_as_before(walk, lent) == lent
    back = walk.type("hkall-gateway sip2 127.0.0.1:6001 --login counter-1 --password-env PASSWORD '09 AB=C1000017'")
    assert "send to CUHK" in back

    # One that does not run stays so; the former program refuses the newer database and names its revision.
    walk.type(f"systemctl stop {UNIT}")
    walk.bring(walk.way.built(RELEASED))
    if walk.way.install == "package":
        walk.type(f"apt-get install --yes --allow-downgrades -o Dpkg::Options::=--force-confold {SOURCES}/hkall-gateway_*.deb")
    else:
        walk.type(f"/opt/hkall/bin/pip install {SOURCES}/*.whl")
    assert walk.tried(f"systemctl is-active {UNIT}")[1].strip() == "inactive"
    code, refused = walk.tried("hkall-gateway serve", "an older program")
    assert code != 0
    assert LATER_REVISION in refused
    if walk.way.install == "package":
        purge(walk)


def _the_new_unit_is_in_use(walk: Walk, unit: str = UNIT) -> None:
    """Assert that systemd runs this checkout's unit: by its words, by TLS and by a reload that it refuses."""
    name, at, _ = unit.partition("@")
    file = f"{name}{at}.service"
    assert _property(walk, unit, "NeedDaemonReload") == "no"
    installed = walk.type(f"sha256sum < {_property(walk, unit, 'FragmentPath')}")
    ours = hashlib.sha256((ROOT / "packaging" / "systemd" / file).read_bytes()).hexdigest()
    assert installed.split()[0] == ours
    assert "argv[]=hkall-gateway reload ;" in _property(walk, unit, "ExecReload")
    assert [row["status"] for row in walk.rows("doctor gateway") if row["check"] == "service"] == ["ok"]

    # The unit of 0.2.0 denied the memory that TLS needs, and its reload succeeded with any file.
    tls = '"ssl:6443:privateKey=/etc/hkall/key.pem:certKey=/etc/hkall/cert.pem"'
    walk.type(f"sed -i 's|^listen = \\[\"tcp:6001[^]]*|&, {tls}|' /etc/hkall/gateway.toml && systemctl restart {unit}")
    walk.type(READY)
    terminal = "hkall-gateway sip2 localhost:6443 --tls --ca /etc/hkall/cert.pem --login counter-1 --password-env PASSWORD"
    assert walk.type(f"{terminal} '23 AA=20001234'").startswith("24 Patron Status Response")
    walk.type("cp /etc/hkall/gateway.toml /root/ && echo 'no_such_key = 1' >> /etc/hkall/gateway.toml")
    code, _said = walk.tried(f"systemctl reload {unit}", "a reload with a wrong file")
    walk.type("cat /root/gateway.toml > /etc/hkall/gateway.toml")
    assert code != 0
    walk.type(f"systemctl reload {unit}")


def _property(walk: Walk, unit: str, name: str) -> str:
    return walk.type(f"systemctl show --property={name} --value {unit}").strip()


def purge(walk: Walk) -> None:
    walk.type(f"cd / && apt-get purge --yes {UNIT}")
    left = walk.type("ls -d /var/lib/hkall /var/log/hkall /usr/lib/hkall-gateway /usr/bin/hkall-gateway 2>/dev/null || true")
    assert left == ""
    assert "loaded" not in walk.type("systemctl list-units --all --plain --no-legend 'hkall-gateway*'")
    assert set(walk.type("ls /etc/hkall").split()) == {"cert.pem", "key.pem", "policy.toml"}


@pytest.mark.parametrize("walk", [way for way in WAYS if way.database == "postgresql"], ids=str, indirect=True)
def test_two_gateways_are_upgraded_sequentially(walk: Walk) -> None:
    lent = lend_on_the_former_version(walk)
    edits = (
        r's|, "ssl:6443[^"]*"||; s|"tcp:6001|"tcp:600{instance}|',
        r"/^.ncip]/,/^$/ s|tcp:8080|tcp:809{instance}|",
        r"/^.ops]/,/^$/ s|tcp:8081|tcp:808{instance}|",
    )
    walk.type(f"sed -i '{'; '.join(edits)}' /etc/hkall/gateway.toml")
    walk.type(f"systemctl disable --now {UNIT} && systemctl enable --now {UNIT}@1 {UNIT}@2")
    ready = "curl --silent --show-error --fail --retry 20 --retry-delay 1 --retry-connrefused http://127.0.0.1:808{}/readyz"
    walk.type(f"{ready.format(1)} && {ready.format(2)}")
    ask = "curl -sf -m 2 -o /dev/null http://127.0.0.1:808$n/readyz && echo $n"
    watch = f"while sleep 0.1; do for n in 1 2; do {ask}; done | tr '\\n' ' '; echo; done"
    walk.machine.background(watch, "answers")
    said = install_later(walk)
    assert f"-> {LATER_REVISION}" in said
    if walk.way.install == "wheel":
        walk.type(f"systemctl restart {UNIT}@1")
        walk.type(ready.format(1))
        assert {row["version"] for row in gateways(walk)} == {LATER_VERSION, RELEASED_VERSION}
        walk.type(f"systemctl restart {UNIT}@2")
    walk.type(f"{ready.format(1)} && {ready.format(2)}")
    assert {row["version"] for row in gateways(walk)} == {LATER_VERSION}
    assert {_property(walk, f"{UNIT}@{number}", "NeedDaemonReload") for number in (1, 2)} == {"no"}
    assert requests_as_before(walk, lent) == lent
    looks = walk.machine.read("/var/log/answers.log").splitlines()
    assert "" not in {look.strip() for look in looks}, "at some moment neither gateway answered"
    assert {"1", "2"} <= {look.strip() for look in looks}, "both were never away in turn"


def gateways(walk: Walk) -> list[dict[str, Any]]:
    """The rows of the running gateways, as `status` shows them."""
    return [row for row in walk.rows("status") if row["what"] == "gateway" and row["state"] == "up"]


@pytest.mark.parametrize("walk", [way for way in WAYS if way.install == "package"], ids=str, indirect=True)
def test_lost_machine_is_rebuilt_from_one_file(walk: Walk) -> None:
    walk.bring(walk.way.built())
    for block in blocks(PAGES[0]):
        if "hkall-gateway restore" in block.text:  # the rehearsal ends
            break
        walk.follow(block)
    lent = walk.rows("requests list")
    prepare, rebuild = _before_and_after(LOST, "## After: the new machine")
    for block in prepare:
        walk.follow(block)
    files = {name: _facts(walk, name) for name in ("gateway.toml", "policy.toml", "environment", "key.pem", "cert.pem")}
    kept = [walk.machine.root / name for name in ("var/backups/hkall-machine/machine.age", "root/hkall-key.txt")]
    password = walk.type("printf %s $PASSWORD")

    with machine(walk.way.suite) as empty:
        new = Walk(empty, walk.way, "rebuilt")
        new.bring(walk.way.built())
        for path in kept:
            shutil.copy(path, empty.root / "root")
        begun = time.monotonic()
        for block in rebuild:
            new.follow(block)
        answer = new.type(
            f"PASSWORD={password} hkall-gateway sip2 127.0.0.1:6001 --login counter-1 --password-env PASSWORD '23 AA=20001234'"
        )
        print(f"\nfirst answered terminal | {walk.way} | {time.monotonic() - begun:.0f} s")  # noqa: T201
        assert answer.startswith("24 Patron Status Response")
        assert new.rows("requests list") == lent
        assert {name: _facts(new, name) for name in files} == files
        assert _enabled(new) == _enabled(walk)
        assert [row["status"] for row in new.rows("doctor gateway") if row["check"] == "service"] == ["ok"]
        if walk.way.database == "sqlite":
            assert set(new.type("stat -c %U /var/lib/hkall/hkall.db*").split()) == {"hkall"}


def _facts(walk: Walk, name: str) -> str:
    """Return owner, group, mode and sum of a file of the configuration."""
    file = f"/etc/hkall/{name}"
    return walk.type(f"stat -c '%U %G %a' {file} && sha256sum < {file}")


def _enabled(walk: Walk) -> list[str]:
    code, output = walk.tried(f"systemctl is-enabled {UNIT} hkall-gateway-backup.timer")
    assert code in {0, 1}
    return output.split()


@pytest.mark.parametrize("walk", [way for way in WAYS if str(way).endswith("package-postgresql")], ids=str, indirect=True)
def test_point_in_time_recovery_restores_the_chosen_second(walk: Walk) -> None:
    walk.bring(walk.way.built())
    for block in blocks(PAGES[0]):
        if block.mark == "background":  # the rehearsal begins
            break
        walk.follow(block)
    before, recover = _before_and_after(RECOVERY, "## Recover")
    for block in before:
        walk.follow(block)
    _load_patron(walk, "UNTIL")
    until = walk.type("sleep 1.5; date '+%F %T.%6N%:z'; sleep 1.5").strip()
    _load_patron(walk, "AFTER")
    assert _patrons(walk) == {"20001234", "20005678", "UNTIL", "AFTER"}
    for block in recover:
        walk.follow(block, lambda text: re.sub(r"UNTIL='[^']*'", f"UNTIL='{until}'", text))
    walk.type(READY)
    assert _patrons(walk) == {"20001234", "20005678", "UNTIL"}
    assert _archive_status(walk) == "ok"

    # An archive below the folder of the backups, where the server's user may not enter.
    folder = "/var/backups/hkall/wal"
    walk.type(f"install -d -o postgres -g postgres {folder}")
    command = f"ALTER SYSTEM SET archive_command = 'cp %p {folder}/%f'"
    switch = '-c "SELECT pg_reload_conf()" -c "SELECT pg_switch_wal()"'
    walk.type(f'cd / && runuser -u postgres -- psql -c "{command}" {switch}')
    walk.until("hkall-gateway doctor gateway --json | grep -q 'archive_command failed'")
    assert _archive_status(walk) == "fail"


def _before_and_after(page: str, head: str) -> tuple[list[Block], list[Block]]:
    """Return the blocks of a page before and after a heading."""
    line = (DOCS / page).read_text(encoding="utf-8").splitlines().index(head)
    found = list(blocks(page))
    return [block for block in found if block.line <= line], [block for block in found if block.line > line]


def _load_patron(walk: Walk, barcode: str) -> None:
    row = f"barcode,name,category\\n{barcode},Reader,undergraduates\\n"
    walk.type(f"printf '{row}' > /var/lib/hkall/one.csv && hkall-gateway load patrons /var/lib/hkall/one.csv")


def _patrons(walk: Walk) -> set[str]:
    return set(walk.type("cd / && runuser -u postgres -- psql -d hkall -Atc 'SELECT barcode FROM patrons'").split())


def _archive_status(walk: Walk) -> str:
    code, output = walk.tried("hkall-gateway doctor gateway --json")
    assert code in {0, 1}
    return next(str(row["status"]) for row in json.loads(output) if row["check"] == "archive")
