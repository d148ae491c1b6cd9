"""A third-party web vulnerability scanner, logged in to the pages of a gateway: `make scan-web`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import demo_setup
from hkall_gateway.clock import now
from hkall_gateway.config import gateway as config
from hkall_gateway.db.engine.connect import open_engine
from tests import open_work
from tests.attacks.certificates import Authority
from tests.company import Gateway

pytestmark = pytest.mark.scan

WAPITI = os.environ.get("HKALL_WAPITI", "wapiti")
# Without `ldap`, which reports every page that depends on a parameter; the gateway does not use LDAP.
MODULES = "permanentxss,xss,sql,exec,file,redirect,crlf,ssrf,upload,xxe,log4shell,csp,cookieflags,http_headers,methods,csrf"
SECONDS = os.environ.get("HKALL_SCAN_SECONDS", "30")
"""Time limit of the crawler, and of each module after it."""
FAILED = re.compile(r'"code": ?5\d\d|"level": ?"error"')


@pytest.fixture(scope="module")
def gateway(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with open requests and its pages over TLS, since a scanner sends Secure cookies only there."""
    folder = tmp_path_factory.mktemp("scan")
    made = Gateway(reactor, folder, pages=True)
    Authority(folder).issue("pages")
    plain, certified = (
        f"tcp:{made.ports.web}:",
        f"ssl:{made.ports.web}:privateKey={folder}/pages.key:certKey={folder}/pages.pem:",
    )
    made.path.write_text(made.path.read_text("utf-8").replace(plain, certified), "utf-8")
    engine = open_engine(config.load(made.path, made.environ).database.url)
    open_work.fill(engine, 60, now())
    engine.dispose()
    made.start()
    yield made
    made.end()


def scan(address: str, folder: Path) -> Any:
    """Wapiti's findings by category."""
    report = folder / "report.json"
    person = ["--form-user", demo_setup.STAFF[1]["login"], "--form-password", demo_setup.PASSWORD]
    where = ["-u", f"{address}/", "-s", f"{address}/staff/", "--form-url", f"{address}/staff/login"]
    not_there = ["-x", f"{address}/staff/logout*", "-x", f"{address}/language/*"]
    asked = ["-m", MODULES, "--max-scan-time", SECONDS, "--max-attack-time", SECONDS]
    kept = ["-f", "json", "-o", str(report), "--flush-session", "--store-session", str(folder / "session")]
    quiet = ["--no-bugreport", "--verify-ssl", "0", "-v", "0"]
    subprocess.run([WAPITI, *person, *where, *not_there, *asked, *kept, *quiet], check=True, stdout=subprocess.DEVNULL)
    return json.loads(report.read_text("utf-8"))


def test_authenticated_web_scan_finds_nothing(gateway: Gateway, tmp_path: Path) -> None:
    found = scan(f"https://127.0.0.1:{gateway.ports.web}", tmp_path)
    faults = {kind: [(one["path"], one["info"]) for one in rows] for kind, rows in found["vulnerabilities"].items() if rows}

    assert found["infos"]["crawled_pages_nbr"] > 30
    assert faults == {}
    assert [line for line in gateway.log().splitlines() if FAILED.search(line)] == []
