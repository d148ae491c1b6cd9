"""The pages process, which `serve` starts and supervises as its child. Tested with real processes and tools."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from demo import demo_setup
from tests.attacks.certificates import Authority
from tests.company import CARD, COMMAND, PATIENCE_S, Gateway, gateway_ports, stamp, until
from tests.ports import free_ports
from tests.programs import program
from tests.test_daemon_web import Curl, lines
from tests.test_process import UNCHECKED, not_started

pytestmark = pytest.mark.long

ANSWER_S = 3.0
"""Time limit for a reply about a silent child: the parent waits one second for it, and the machine may be busy."""


@pytest.fixture(scope="module")
def running(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path_factory.mktemp("two"), pages=True)
    made.start()
    yield made
    made.end()


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    """A gateway with running pages; restart it if the previous test killed them."""
    until(lambda: answers(running), "the pages")
    return running


@pytest.fixture
def own(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway for one test, not started yet."""
    made = Gateway(reactor, tmp_path, pages=True)
    yield made
    made.end()


def answers(gateway: Gateway) -> bool:
    return fetched(gateway.ports.web, "/help")[0] == 200


def fetched(port: int, path: str) -> tuple[int, str]:
    """Status code and body of a reply; code 0 without a reply."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def pages_of(gateway: Gateway) -> int:
    """The process id of a gateway's pages process."""
    (child,) = until(lambda: found if len(found := gateway.children()) == 1 else None, "one child")
    return int(child)


def has_ended(pid: int) -> bool:
    """Whether a process is gone: neither running nor waiting to be reaped."""
    return not Path(f"/proc/{pid}").exists()


def instances(log: str) -> list[str]:
    return [line["instance"] for line in lines(log, "daemon.started")]


# ---- start


def test_serve_starts_the_pages_as_a_child_and_logs_the_ports_of_both(gateway: Gateway) -> None:
    child = pages_of(gateway)
    command = Path(f"/proc/{child}/cmdline").read_text().split("\0")
    assert command[command.index("serve") :][:3] == ["serve", "--only", "web"]
    until(lambda: len(lines(gateway.log(), "daemon.started")) >= 2, "the lines of both")
    started = lines(gateway.log(), "daemon.started")
    mine = next(line for line in started if not line["instance"].endswith("-web"))
    assert mine["listening"] == 4  # terminals, partners, monitoring, and pages
    assert any(line["instance"] == f"{mine['instance']}-web" for line in started)


def test_pages_share_only_database_and_files_with_the_gateway(gateway: Gateway) -> None:
    def open_files(pid: int) -> set[str]:
        links = {entry.name: os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        return {target for number, target in links.items() if int(number) > 2}

    both = open_files(gateway.pid) & open_files(pages_of(gateway))
    shared = {name for name in both if not name.startswith(("anon_inode:", "/dev/"))}
    assert shared <= {str(one) for one in gateway.path.parent.iterdir()}


def variables_of(pid: int) -> set[str]:
    return {entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry}


def test_pages_get_only_the_variables_that_they_use(own: Gateway, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    own.environ["RUNTIME_DIRECTORY"] = str(tmp_path / "run")
    text = own.path.read_text(encoding="utf-8")
    asked = text.replace('agency = "CUHK"', 'agency = "CUHK"\ncan_lookup_items = true')
    own.path.write_text(asked, encoding="utf-8")
    own.start()
    secrets_of = {name for name in variables_of(own.pid) if name.startswith("HKALL_SECRET_")}
    assert {"HKALL_SECRET_CUHK", "HKALL_SECRET_LU", "HKALL_SECRET_HKU_DISCOVERY"} <= secrets_of
    # The pages query one partner for the status of its copies. No other secret of a partner is theirs.
    assert {name for name in variables_of(pages_of(own)) if name.startswith("HKALL_SECRET_")} == {"HKALL_SECRET_CUHK"}

    own.path.write_text(asked.replace('agency = "LU"', 'agency = "LU"\ncan_lookup_items = true'), encoding="utf-8")
    os.kill(own.pid, signal.SIGHUP)
    file = tmp_path / "run" / "reload.json"
    done: dict[str, Any] = until(lambda: file.exists() and json.loads(file.read_text()), "the outcome")
    assert (done["errors"], done["waiting"]) == ([], ["variable HKALL_SECRET_LU of the pages"])


def test_pages_have_a_lower_priority_than_the_gateway_in_all_threads(gateway: Gateway) -> None:
    def niceness(pid: int) -> set[int]:
        return {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir(f"/proc/{pid}/task")}

    (own,) = niceness(gateway.pid)
    assert niceness(pages_of(gateway)) == {min(own + 10, 19)}


@pytest.mark.parametrize("options", [("--without", "web"), ()])
def test_gateway_without_pages_has_no_child(reactor: Any, tmp_path: Path, options: tuple[str, ...]) -> None:
    made = Gateway(reactor, tmp_path, pages=bool(options))
    try:
        made.start(*options)
        assert made.children() == []
        assert fetched(made.ports.ops, "/readyz/pages")[0] == 404
    finally:
        made.end()


def test_ready_requires_the_ports_of_both_processes(own: Gateway, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        own.environ |= {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "400000"}
        own._process = subprocess.Popen(
            [COMMAND, "serve", "--config", own.path], env=own.environ, stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        assert manager.recv(1000).decode().splitlines()[0] == "READY=1"
        for port in (own.ports.sip2, own.ports.web):
            socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        # The watchdog looks after the main process alone: a child that hangs does not end it, and sends nothing itself.
        os.kill(pages_of(own), signal.SIGSTOP)
        assert {manager.recv(1000) for _ in range(6)} == {b"WATCHDOG=1"}
        os.kill(pages_of(own), signal.SIGCONT)
        own.stop()


def test_serve_fails_if_the_pages_cannot_start(own: Gateway) -> None:
    with socket.create_server(("127.0.0.1", own.ports.web)):
        done = subprocess.run(
            [sys.executable, "-c", UNCHECKED, own.path], env=own.environ, capture_output=True, timeout=PATIENCE_S, check=False
        )
    assert done.returncode == 1
    child, parent = lines(done.stdout.decode(), "daemon.not_started")
    assert f"tcp:{own.ports.web}" in child["why"]
    assert "already in use" in child["why"]
    assert parent["why"] == "the pages' process ended before it was ready (exit code 1): its own line says why"
    assert '"gone"' not in own.command("status", "--json")


def test_serve_fails_if_systemd_has_not_passed_the_socket_of_the_pages(own: Gateway) -> None:
    listens_on(own, "web", "systemd:domain=INET:name=pages")
    done = subprocess.run(
        [COMMAND, "serve", "--config", own.path], env=own.environ, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 2
    assert "systemd has passed no such socket" in not_started(done.stdout)["why"]


def listens_on(gateway: Gateway, table: str, endpoint: str) -> None:
    """Replace the endpoint of a configuration table."""
    text = gateway.path.read_text(encoding="utf-8")
    head, _, rest = text.partition(f"[{table}]\n")
    first = rest[rest.index("listen = ") :].splitlines()[0]
    gateway.path.write_text(
        f"{head}[{table}]\n{rest.replace(first, f'listen = [{json.dumps(endpoint)}]', 1)}", encoding="utf-8"
    )


def test_systemd_sockets_are_passed_to_the_child_and_survive_it(own: Gateway, tmp_path: Path) -> None:
    activate = program("systemd-socket-activate", "systemd")
    ops, web = free_ports(2)
    listens_on(own, "web", "systemd:domain=INET:name=pages")
    listens_on(own, "ops", "systemd:domain=INET:name=ops")
    passed = [f"-E{name}" for name in (*demo_setup.environment(own.ports), "PATH", "PYTHONPATH")]
    sockets = ["--fdname=ops:pages", "-l", f"127.0.0.1:{ops}", "-l", f"127.0.0.1:{web}"]
    with (tmp_path / "log1.jsonl").open("wb") as log:
        own._process = subprocess.Popen(
            [activate, *passed, *sockets, str(COMMAND), "serve", "--config", str(own.path)],
            env=own.environ,
            stdout=log,
            stderr=sys.stderr,
        )
    until(lambda: fetched(web, "/help")[0] == 200, "the pages, at the first call")
    assert fetched(ops, "/readyz")[0] == 200
    os.kill(pages_of(own), signal.SIGKILL)
    until(lambda: "pages.ended" in own.log(), "the end of the pages")
    assert fetched(web, "/help")[0] == 200  # the call waits in systemd's socket
    assert own.stop() == 0


# ---- the end of either process


def test_killed_pages_restart_without_disturbing_terminals(gateway: Gateway) -> None:
    terminal, first = gateway.counter(), pages_of(gateway)
    ended = len(lines(gateway.log(), "pages.ended"))
    os.kill(first, signal.SIGKILL)
    while len(lines(gateway.log(), "pages.ended")) == ended:
        assert gateway.ask(terminal, f"63001{stamp()}  Y       AOHKU|AAP0001|AC|").startswith("64")
    assert has_ended(first)  # reaped before another one is started
    until(lambda: answers(gateway), "the pages are back")
    assert pages_of(gateway) != first
    assert gateway.ask(terminal, f"63001{stamp()}  Y       AOHKU|AAP0001|AC|").startswith("64")
    assert gateway.count_starts() == 1
    assert lines(gateway.log(), "pages.ended")[-1]["why"] == "SIGKILL"


def test_silent_pages_are_ended_and_started_again(own: Gateway) -> None:
    own.start()
    terminal, silent = own.counter(), pages_of(own)
    began = time.monotonic()
    os.kill(silent, signal.SIGSTOP)
    until(lambda: lines(own.log(), "pages.silent"), "the pages are found silent")
    assert 25 < time.monotonic() - began < 60
    until(lambda: has_ended(silent) and answers(own), "the pages are back")
    assert [line["silent_s"] for line in lines(own.log(), "pages.silent")] == [30]
    assert [line["why"] for line in lines(own.log(), "pages.ended")] == ["SIGKILL"]
    assert own.ask(terminal, f"63001{stamp()}  Y       AOHKU|AAP0001|AC|").startswith("64")


def test_pages_are_not_ended_when_the_gateway_itself_was_suspended(own: Gateway) -> None:
    own.start()
    child = pages_of(own)
    os.kill(own.pid, signal.SIGSTOP)
    time.sleep(35)
    os.kill(own.pid, signal.SIGCONT)
    time.sleep(12)
    assert (pages_of(own), lines(own.log(), "pages.silent")) == (child, [])
    assert answers(own)


def test_pages_that_keep_ending_are_restarted_with_backoff(own: Gateway) -> None:
    own.start()
    text = own.path.read_text(encoding="utf-8")
    own.path.write_text("nonsense = 1\n", encoding="utf-8")  # no child can start with it
    os.kill(pages_of(own), signal.SIGKILL)
    until(lambda: len(lines(own.log(), "pages.ended")) == 3, "three ends")
    assert [line["again_in_s"] for line in lines(own.log(), "pages.ended")] == [1, 2, 4]
    assert [line["why"] for line in lines(own.log(), "pages.ended")] == ["SIGKILL", "exit code 2", "exit code 2"]
    assert own.counter()
    own.path.write_text(text, encoding="utf-8")
    until(lambda: answers(own), "the pages are back")
    assert own.stop() == 0


def test_both_processes_stop_in_order_on_sigterm(own: Gateway) -> None:
    own.start()
    child = pages_of(own)
    assert own.stop() == 0
    assert has_ended(child)
    assert len(lines(own.log(), "daemon.stopped")) == 2
    assert lines(own.log(), "pages.ended") == []
    assert '"gone"' not in own.command("status", "--json")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_running_page_is_finished_when_the_parent_ends(own: Gateway, tmp_path: Path, number: signal.Signals) -> None:
    if not own.database.startswith("sqlite"):
        pytest.skip("the page waits for the lock of SQLite")
    own.start()
    child, curl = pages_of(own), Curl(own.ports.web, tmp_path)
    curl("/staff/login")
    with sqlite3.connect(tmp_path / "hkall.db", isolation_level=None) as other, ThreadPoolExecutor(1) as browser:
        other.execute("BEGIN IMMEDIATE")
        answer = browser.submit(curl.log_in)  # the session is a row, which waits for the lock
        until(lambda: len(lines(own.log(), "web.answered")) == 2, "the form that is sent now")
        time.sleep(1)
        os.kill(own.pid, number)
        if number == signal.SIGKILL:
            own._process.wait()  # type: ignore[union-attr]
        time.sleep(0.5)
        other.execute("ROLLBACK")
        assert answer.result(PATIENCE_S)[0] == 303
    until(lambda: has_ended(child), "the end of the pages")
    assert own._process is not None
    own._process.wait(PATIENCE_S)
    assert lines(own.log(), "daemon.stopped")


def test_restarted_gateway_waits_for_pages_of_the_killed_gateway(own: Gateway) -> None:
    own.start()
    child = pages_of(own)
    os.kill(child, signal.SIGSTOP)  # the former pages still have their port and their name
    assert own._process is not None
    own._process.kill()
    own._process.wait()
    with ThreadPoolExecutor(1) as later:
        later.submit(go_on_soon, child)
        text = own.path.read_text(encoding="utf-8")
        assert f"tcp:{own.ports.web}:" in text
        own.path.write_text(text.replace(f"tcp:{own.ports.web}:", f"tcp:{gateway_ports().web}:"), encoding="utf-8")
        own.start()
    until(lambda: has_ended(child), "the end of the former pages")
    assert own.count_starts() == 2


def go_on_soon(pid: int) -> None:
    time.sleep(2)
    os.kill(pid, signal.SIGCONT)


# ---- reload


def test_reload_reports_the_outcome_of_both_processes(own: Gateway, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    own.environ["RUNTIME_DIRECTORY"] = str(tmp_path / "run")
    own.start()
    text = own.path.read_text(encoding="utf-8")
    login = demo_setup.STAFF[0]["login"]

    def reload(changed: str) -> dict[str, Any]:
        own.path.write_text(changed, encoding="utf-8")
        os.kill(own.pid, signal.SIGHUP)
        file = tmp_path / "run" / "reload.json"
        done: dict[str, Any] = until(lambda: file.exists() and json.loads(file.read_text()), "the outcome")
        file.unlink()
        return done

    done = reload(text.replace(f'login = "{login}"', 'login = "renamed"').replace("[web]\n", "[web]\nthreads = 3\n"))
    assert (done["errors"], done["waiting"]) == ([], ["web.threads"])
    until(lambda: len(lines(own.log(), "config.changed")) == 2, "the lines of both")
    curl = Curl(own.ports.web, tmp_path)  # the outcome was told after both
    assert curl.post("/staff/login", "/staff/login", "login=renamed", f"password={demo_setup.PASSWORD}")[0] == 303

    done = reload("nonsense = 1\n")
    assert len(done["errors"]) == len({*done["errors"]}) > 0
    until(lambda: len(lines(own.log(), "config.not_changed")) == 2, "the lines of both")
    assert answers(own)


def test_reload_fails_if_the_pages_do_not_answer(own: Gateway, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    own.environ["RUNTIME_DIRECTORY"] = str(tmp_path / "run")
    own.start()
    child, terminal = pages_of(own), own.counter()
    os.kill(child, signal.SIGSTOP)
    os.kill(own.pid, signal.SIGHUP)
    until(lambda: lines(own.log(), "config.changed"), "the gateway's own reload")
    assert gateway_answers(own, terminal)
    assert not (tmp_path / "run" / "reload.json").exists()  # it waits for the pages
    os.kill(child, signal.SIGKILL)
    done = json.loads(until(lambda: _read(tmp_path / "run" / "reload.json"), "the outcome"))
    assert done["errors"] == ["the pages' process has ended, or has not answered within 30 s"]


def gateway_answers(gateway: Gateway, terminal: Any) -> bool:
    return gateway.ask(terminal, "9900802.00").startswith("98")


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_both_processes_reopen_a_rotated_log(own: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "gateway.log"
    own.path.write_text(f'{own.path.read_text("utf-8")}\n[logs]\nfile = "{file}"\n', encoding="utf-8")
    own._process = subprocess.Popen([COMMAND, "serve", "--config", own.path], env=own.environ)
    until(lambda: file.exists() and len(instances(file.read_text())) == 2, "the start")
    until(lambda: fetched(own.ports.ops, "/readyz")[0] == 200, "the signals")
    file.rename(tmp_path / "gateway.log.1")
    os.kill(own.pid, signal.SIGHUP)
    until(lambda: file.exists() and len(lines(file.read_text(), "config.changed")) == 2, "the reload")
    old = (tmp_path / "gateway.log.1").read_text()
    assert answers(own)
    own.counter()
    until(lambda: lines(file.read_text(), "web.answered"), "the line of the pages")
    until(lambda: lines(file.read_text(), "sip2.answered"), "the line of the gateway")
    assert (tmp_path / "gateway.log.1").read_text() == old
    assert own.stop() == 0


def test_new_certificates_are_loaded_by_both_processes(own: Gateway, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("site")
    files = f"privateKey={tmp_path / 'site.key'}:certKey={tmp_path / 'site.pem'}:interface=127.0.0.1"
    listens_on(own, "web", f"ssl:{own.ports.web}:{files}")
    listens_on(own, "ncip", f"ssl:{own.ports.ncip}:{files}")
    own.start()
    serial = authority.issue("site")
    shown = [certificate(port) for port in (own.ports.web, own.ports.ncip)]
    assert serial not in shown
    os.kill(own.pid, signal.SIGHUP)
    until(lambda: len(lines(own.log(), "tls.renewed")) == 2, "the reload")
    assert [certificate(port) for port in (own.ports.web, own.ports.ncip)] == [serial] * 2
    assert own.stop() == 0


def certificate(port: int) -> int:
    """The serial number of the certificate that a port presents."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


# ---- monitoring


def counted(gateway: Gateway, series: str) -> float:
    found = [line for line in gateway.metrics().splitlines() if line.startswith(f"{series} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


HELP = 'hkall_web_latency_seconds_count{code="200",page="/help"}'


def test_metrics_of_both_processes_are_summed_and_survive_a_crash_of_the_pages(gateway: Gateway) -> None:
    answers(gateway)
    before, groups = counted(gateway, HELP), counted(gateway, 'hkall_group_units_count{lane="writer"}')
    assert before >= 1
    os.kill(pages_of(gateway), signal.SIGKILL)
    until(lambda: not gateway.children(), "the end")
    assert counted(gateway, HELP) == before
    until(lambda: answers(gateway), "the pages are back")
    assert until(lambda: counted(gateway, HELP) > before, "the pages count again")
    assert counted(gateway, 'hkall_group_units_count{lane="writer"}') >= groups
    text = gateway.metrics()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len({*series})


def test_silent_child_is_reported_and_does_not_block_monitoring(gateway: Gateway) -> None:
    assert fetched(gateway.ports.ops, "/readyz") == (200, "ready\n")
    assert fetched(gateway.ports.ops, "/readyz/pages") == (200, "ready\n")
    before = counted(gateway, HELP)
    child = pages_of(gateway)
    os.kill(child, signal.SIGSTOP)
    try:
        for path, code, told in (
            ("/readyz", 200, "ready\nthe pages' process does not answer\n"),
            ("/readyz/pages", 503, "not ready: pages\n"),
        ):
            began = time.monotonic()
            assert fetched(gateway.ports.ops, path) == (code, told)
            assert time.monotonic() - began < ANSWER_S
        began = time.monotonic()
        assert counted(gateway, HELP) == before
        assert time.monotonic() - began < ANSWER_S
    finally:
        os.kill(child, signal.SIGCONT)
    until(lambda: fetched(gateway.ports.ops, "/readyz/pages")[0] == 200, "the pages answer again")


# ---- the log


def test_patron_reference_is_the_same_in_both_logs(own: Gateway, tmp_path: Path) -> None:
    own.do(own.party.start)
    own.start()
    curl, path = Curl(own.ports.web, tmp_path), "/title/b0001/request"
    assert curl.post("/login", "/login", f"barcode={CARD}", "pin=1234")[0] == 303
    assert curl.post(path, path, "home_library=HKU", f"pickup={demo_setup.LOCATION}")[0] == 303
    own.request("d-1")
    moves = until(lambda: {line["channel"]: line["patron_ref"] for line in of_both(own)}, "the steps of both")
    assert len({*moves.values()}) == 1
    assert own.stop() == 0


def of_both(gateway: Gateway) -> list[dict[str, Any]]:
    """The first log lines of one page request and one document, once both are logged."""
    found = [
        line for line in lines(gateway.log(), "transition") if line.get("channel") in {"web", "ncip"} and "patron_ref" in line
    ]
    return found if len({line["channel"] for line in found}) == 2 else []


WRITER = """
import sys
from hkall_gateway.observability.background_writer import BackgroundWriter
out = BackgroundWriter(open(1, "wb", buffering=0, closefd=False), pause_s=0.0, shared=sys.argv[2] == "shared")
for number in range(300):
    out.write(sys.argv[1].encode() * 9_999 + b"\\n")
out.close(60)
"""


def test_concurrent_writers_keep_lines_whole() -> None:
    assert written_by_two("shared") == {("a", 9_999): 300, ("b", 9_999): 300}


def written_by_two(shared: str) -> dict[tuple[str, int], int]:
    """Count lines by letter and length that two processes wrote to one pipe with a slow reader."""
    reading, writing = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, letter, shared], stdout=writing) for letter in "ab"]
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:
        found = [line.rstrip("\n") for line in pipe]
    assert [one.wait(PATIENCE_S) for one in writers] == [0, 0]
    kinds = [("".join(sorted({*line})), len(line)) for line in found]
    return {kind: kinds.count(kind) for kind in kinds}


def test_log_on_a_pipe_has_whole_lines(own: Gateway, tmp_path: Path) -> None:
    own._process = subprocess.Popen([COMMAND, "serve", "--config", own.path], env=own.environ, stdout=subprocess.PIPE)
    assert own._process.stdout is not None
    with (tmp_path / "log1.jsonl").open("wb") as file, ThreadPoolExecutor(1) as reader:
        copied = reader.submit(shutil.copyfileobj, own._process.stdout, file, 512)
        until(lambda: answers(own), "the pages")
        terminal = own.counter()
        for _ in range(50):
            fetched(own.ports.web, "/help")
            gateway_answers(own, terminal)
        assert own.stop() == 0
        copied.result(PATIENCE_S)  # the pipe ends: nobody else has it
    found = [json.loads(line)["event"] for line in own.log().splitlines()]
    assert found.count("daemon.stopped") == 2
    assert found.count("web.answered") >= 50
