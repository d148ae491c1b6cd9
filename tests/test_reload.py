"""The effect of a reload: every configuration key changes by a reload or by a restart, as docs/config.md says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import typing
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread

from demo import demo_setup
from docs.generate.settings_page import describe
from hkall_gateway.app.daemon import Daemon
from hkall_gateway.app.resources import PerConfiguration, Reloaded, Serving
from hkall_gateway.config import fingerprints
from hkall_gateway.config import gateway as configuration
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.config.loading import Strict, table_of
from hkall_gateway.config.reloading import TABLES, TakesEffect, every_key, keep_until_restart, takes_effect
from hkall_gateway.config.secret_files import SecretFiles
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.rules.settings import Policy
from tests import databases
from tests.company import COMMAND, PATIENCE_S, Gateway, gateway_ports, until
from tests.test_systemd import keys

KEYS = list(every_key())
BY_NAME = [f"{table}.{key}" for table, key in KEYS]


# ---- the table


def test_table_has_exactly_the_configuration_keys() -> None:
    assert all(takes_effect(table, key) in TakesEffect for table, key in KEYS)
    assert {*TABLES} == {*GatewayConfig.model_fields}
    for table, listed in TABLES.items():
        model = table_of(GatewayConfig, table)
        assert model is not None
        named = [key for key in (*listed.reload, *listed.restart) if key != "*"]
        assert len(named) == len({*named})
        assert {*named} <= {*model.model_fields}


def test_key_without_a_row_raises() -> None:
    with pytest.raises(KeyError, match=r"sip2\.new_key is in no list"):
        takes_effect("sip2", "new_key")


def test_configuration_page_says_how_each_key_is_changed() -> None:
    rows = [line for line in describe().replace("\\|", "/").splitlines() if line.startswith("| `")]
    assert [row.split("|")[4].strip() for row in rows] == [takes_effect(table, key).value for table, key in _in_page_order()]


def _in_page_order(model: type[BaseModel] = GatewayConfig, table: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys in page order: those of a table, then its inner tables."""
    yield from ((table, key) for key in model.model_fields if not table_of(model, key) and table)
    for key in model.model_fields:
        if inner := table_of(model, key):
            yield from _in_page_order(inner, f"{table}.{key}" if table else key)


# ---- a different value for every key


def changed(field: FieldInfo, value: object) -> object:
    """Return a different value of a key's type; any difference will do, since the value has been validated."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}-changed"
    if isinstance(value, Path):
        return value / "changed"
    if isinstance(value, Mapping):
        return {**value, "changed": "changed"}
    if isinstance(value, tuple):
        return (*value, "changed")
    hints = {part for part in typing.get_args(field.annotation) if isinstance(part, type)}
    return Path("changed") if Path in hints else "changed"


def with_change(config: GatewayConfig, table: str, key: str) -> GatewayConfig:
    """Return the configuration with a different value for one key; of rows, in the first one."""
    found: GatewayConfig = _with(config, table.split("."), key)
    return found


def _with(model: Any, steps: list[str], key: str) -> Any:
    if not steps:
        return model.model_copy(update={key: changed(type(model).model_fields[key], getattr(model, key))})
    first, rest = getattr(model, steps[0]), steps[1:]
    if isinstance(first, tuple):
        return model.model_copy(update={steps[0]: (_with(_row(model, steps[0], first), rest, key), *first[1:])})
    return model.model_copy(update={steps[0]: _with(first or _row(model, steps[0], ()), rest, key)})


def _row(model: Any, name: str, rows: tuple[Any, ...]) -> Any:
    """Return the first row, or a new one."""
    kind = table_of(type(model), name)
    assert kind is not None
    return rows[0] if rows else kind.model_construct(**{key: f.get_default() for key, f in kind.model_fields.items()})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GatewayConfig:
    ports = gateway_ports()
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), ports, pages=True)
    return configuration.load(path, demo_setup.environment(ports))


@pytest.mark.parametrize(("table", "key"), KEYS, ids=BY_NAME)
def test_reload_applies_a_changed_key_or_reports_it_unchanged(config: GatewayConfig, table: str, key: str) -> None:
    new = with_change(config, table, key)
    assert new != config
    kept, waiting = keep_until_restart(config, new)
    outer, _, inner = table.partition(".")
    if takes_effect(table, key) is TakesEffect.RELOAD:
        assert (kept, waiting) == (new, ())
    else:
        assert kept == config
        assert waiting == (f"{outer}.{inner.partition('.')[0] or key}",)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the changed values are not validated
@pytest.mark.parametrize(("table", "key"), KEYS, ids=BY_NAME)
def test_difference_names_a_changed_key_and_what_it_needs(config: GatewayConfig, table: str, key: str) -> None:
    held = fingerprints.take(config, Policy(), {})
    changes = fingerprints.compare(held, with_change(config, table, key), Policy(), {})
    assert {change.needs for change in changes} == {takes_effect(table, key)}
    assert [change.what for change in changes if key in change.what] != []


def test_fingerprints_show_no_value_and_differ_from_gateway_to_gateway(config: GatewayConfig) -> None:
    environ = {"HKALL_SECRET_CUHK": "of CUHK"}
    first, second = (json.loads(fingerprints.take(config, Policy(), environ)) for _ in range(2))
    name = "variable HKALL_SECRET_CUHK"
    assert "of CUHK" not in str(first)
    assert first["found"][name] != second["found"][name]
    assert not {*first["found"].values()} & {*second["found"].values()}


def test_difference_says_nothing_of_a_secret_that_it_cannot_read(config: GatewayConfig) -> None:
    held = fingerprints.take(config, Policy(), {"HKALL_SECRET_CUHK": "a", "HKALL_SECRET_LU": "b"})
    changes = fingerprints.compare(held, config, Policy(), {"HKALL_SECRET_CUHK": "c"})
    assert [(change.what, change.how) for change in changes] == [("variable HKALL_SECRET_CUHK", "changed")]


# ---- which keys the daemon reads, and when


class Reads:
    """The keys read, as (model, key), while it watches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[tuple[str, str]] = set()

        def noted(model: Any, name: str) -> Any:
            if name in type(model).model_fields:
                self.seen.add((type(model).__name__, name))
            return object.__getattribute__(model, name)

        monkeypatch.setattr(Strict, "__getattribute__", noted)

    def take(self) -> set[tuple[str, str]]:
        """Return the keys read since the last call."""
        found, self.seen = self.seen, set()
        return found


@pytest.fixture
def site(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    ports = gateway_ports()
    path = demo_setup.write_config(tmp_path, ports, pages=True)
    environ = demo_setup.environment(ports)
    databases.fill(path, environ)
    return path, environ


def test_key_read_only_at_the_start_needs_a_restart(
    reactor: Any, site: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reloadable key is read again at a reload, or by an object that is recreated when next used."""
    path, environ = site
    found = configuration.load(path, environ)
    reads, made = Reads(monkeypatch), list[PerConfiguration[Any]]()
    make = PerConfiguration.__init__

    def noted(part: PerConfiguration[Any], *args: Any) -> None:
        make(part, *args)
        made.append(part)

    monkeypatch.setattr(PerConfiguration, "__init__", noted)

    def run(work: Callable[[], Any]) -> Any:
        return blockingCallFromThread(reactor, lambda: ensureDeferred(work()))

    async def start() -> list[Daemon]:
        daemons = [Daemon(found, reactor, environ=environ, serving=one) for one in (Serving.WITHOUT_WEB, Serving.WEB_ALONE)]
        for daemon in daemons:
            await daemon.start()
        return daemons

    daemons = run(start)
    at_start = reads.take()
    monkeypatch.setattr(configuration, "load", lambda *_: found.model_copy())  # reads by the validation do not count

    async def reload(daemon: Daemon) -> None:
        await daemon.reload(path)
        await daemon._recording

    for daemon in daemons:
        run(partial(reload, daemon))
    for part in made:
        part()
    at_reload = reads.take()
    for daemon in daemons:
        run(daemon.stop)

    names = {(name, key): takes_effect(table, key) for name, table, key in _models()}
    only_once = {one for one in at_start - at_reload if one in names}
    assert {one for one in only_once if names[one] is TakesEffect.RELOAD} == set()


def _models(model: type[BaseModel] = GatewayConfig, table: str = "") -> Iterator[tuple[str, str, str]]:
    for key in model.model_fields:
        inner = table_of(model, key)
        if inner is not None:
            yield from _models(inner, f"{table}.{key}" if table else key)
        elif table:
            yield model.__name__, table, key


# ---- a running gateway


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path)
    yield made
    made.end()


def reloaded(gateway: Gateway, *edits: tuple[str, str]) -> list[dict[str, Any]]:
    """Edit the configuration, reload, and return the log lines about it."""
    text = gateway.path.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    gateway.path.write_text(text, encoding="utf-8")
    before = len(lines(gateway))
    os.kill(gateway.pid, signal.SIGHUP)
    until(lambda: [one for one in lines(gateway)[before:] if re.fullmatch(r"config\.(not_)?changed", one["event"])], "a reload")
    return lines(gateway)[before:]


def lines(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the log lines of a gateway about the configuration."""
    found = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"].startswith("config.")]


@pytest.mark.long
def test_reload_applies_a_new_partner_url(gateway: Gateway) -> None:
    wrong, right = gateway_ports().ops, gateway.ports.partners["CUHK"]
    text = gateway.path.read_text(encoding="utf-8")
    gateway.path.write_text(text.replace(f"127.0.0.1:{right}/", f"127.0.0.1:{wrong}/"), encoding="utf-8")
    gateway.do(gateway.party.start)
    gateway.start()
    gateway.request("d-1")
    until(lambda: "courier.failed" in gateway.log(), "the first attempt fails")
    assert gateway.party.partners["CUHK"].seen == []

    assert [one["event"] for one in reloaded(gateway, (f"127.0.0.1:{wrong}/", f"127.0.0.1:{right}/"))] == ["config.changed"]
    until(lambda: gateway.party.partners["CUHK"].seen, "the partner is asked at its new address")


@pytest.mark.long
def test_reload_reports_keys_that_need_a_restart_and_applies_the_rest(gateway: Gateway) -> None:
    gateway.start()
    free = gateway_ports().sip2
    told = reloaded(
        gateway,
        (f'listen = ["tcp:{gateway.ports.sip2}:', f'idle_timeout_s = 7\nlisten = ["tcp:{free}:'),
        ('login = "counter-1"', 'login = "counter-7"'),
        ("attempts = 9", "attempts = 8"),
    )
    assert [one["event"] for one in told] == ["config.needs_restart", "config.changed"]
    assert told[0]["keys"] == ["sip2.listen", "sip2.idle_timeout_s", "courier.attempts"]
    terminal = gateway.terminal("counter-7")  # the old port is still open
    assert terminal


@pytest.mark.long
def test_reload_with_an_error_keeps_the_old_configuration(gateway: Gateway) -> None:
    gateway.start()
    told = reloaded(gateway, ('login = "counter-1"', "login = 7"))
    assert [one["event"] for one in told] == ["config.not_changed"]
    assert gateway.counter()


def differences(gateway: Gateway, **environ: str) -> list[str]:
    """Return what `check-config --diff` says, without the gateway's name and process."""
    words = [str(COMMAND), "check-config", "--diff", "--config", str(gateway.path)]
    variables = {**gateway.environ, **environ}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [re.sub(r"gateway \S+ \(.*?\)", "gateway", line) for line in done.stdout.splitlines() if line.startswith("diff")]


@pytest.mark.long
def test_difference_between_the_files_and_a_running_gateway_ends_with_a_reload_and_a_restart(gateway: Gateway) -> None:
    same = "diff: gateway holds what the files say"
    gateway.start()
    until(lambda: differences(gateway) == [same], "the gateway has written what it holds")
    text = gateway.path.read_text(encoding="utf-8")
    gateway.path.write_text(text.replace("attempts = 9", "attempts = 8").replace('login = "counter-1"', 'login = "counter-7"'))
    policy = gateway.path.with_name("policy.toml")
    policy.write_text(f'declined_while_suspended = "end"\n{policy.read_text("utf-8")}', "utf-8")
    edited = differences(gateway, HKALL_SECRET_CUHK="the new one")
    reloaded(gateway)
    until(lambda: len(differences(gateway)) == 2, "the gateway has written what it holds after the reload")
    after_reload = differences(gateway)
    gateway.stop()
    gateway.start()

    assert "diff: reload: variable HKALL_SECRET_CUHK: changed" in edited
    assert "diff: reload: sip2.terminals[counter-7].login: new" in edited
    assert "diff: reload: policy file: declined_while_suspended: changed" in edited
    assert "diff: restart: courier.attempts: changed" in edited
    assert "the new one" not in "".join(edited)
    assert after_reload == ["diff: gateway: 0 for a reload, 1 for a restart", "diff: restart: courier.attempts: changed"]
    until(lambda: differences(gateway) == [same], "the restarted gateway has written what it holds")


@pytest.mark.long
def test_difference_without_a_running_gateway_says_so(gateway: Gateway) -> None:
    assert differences(gateway) == ["diff: no gateway runs on this database"]


# ---- systemctl reload


def reload_service(gateway: Gateway, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command of ExecReload as systemd does."""
    variables = {**gateway.environ, **environ, "MAINPID": str(gateway.pid), "HKALL_CONFIG": str(gateway.path)}
    (command,) = keys("ExecReload")
    words = [str(COMMAND), *command.split()[1:]]
    return subprocess.run(words, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def service(gateway: Gateway, tmp_path: Path) -> Gateway:
    """A gateway that runs as a service, with a folder for the outcome of a reload."""
    (tmp_path / "run").mkdir()
    gateway.environ["RUNTIME_DIRECTORY"] = str(tmp_path / "run")
    gateway.start()
    return gateway


def edit(gateway: Gateway, old: str, new: str) -> None:
    text = gateway.path.read_text(encoding="utf-8")
    assert old in text
    gateway.path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.long
def test_systemctl_reload_reports_applied_keys_and_those_that_need_a_restart(service: Gateway) -> None:
    done = reload_service(service)
    assert (done.returncode, done.stdout) == (0, "reloaded\n")
    edit(service, "attempts = 9", "attempts = 8")
    done = reload_service(service)
    assert (done.returncode, done.stdout) == (0, "reloaded; a restart is needed for courier.attempts\n")


@pytest.mark.long
def test_systemctl_reload_fails_for_an_invalid_configuration_without_contacting_the_gateway(service: Gateway) -> None:
    edit(service, 'login = "counter-1"', "login = 7")
    done = reload_service(service)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sip2.terminals[0].login: must be text" in done.stderr
    assert lines(service) == []


@pytest.mark.long
def test_systemctl_reload_fails_for_a_variable_missing_in_the_running_gateway(service: Gateway) -> None:
    """systemd gives the command the current environment file, while the gateway has that of its start."""
    edit(service, '"HKALL_SECRET_LU"', '"HKALL_NEW"')
    done = reload_service(service, HKALL_NEW="new")
    told = "not reloaded: partners[2].secret_env: the environment has no variable 'HKALL_NEW'\n"
    assert (done.returncode, done.stderr) == (1, told)
    assert service.counter()


@pytest.mark.long
def test_systemctl_reload_needs_no_secret_itself(service: Gateway, tmp_path: Path) -> None:
    """systemd 252 shows the credentials of a service to its main process, not to the command that reloads it."""
    service.environ = {name: value for name, value in service.environ.items() if not name.startswith("HKALL_SECRET")}
    done = reload_service(service, CREDENTIALS_DIRECTORY=str(tmp_path / "hidden"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "reloaded\n", "")


@pytest.mark.long
def test_reload_without_an_outcome_folder_refers_to_the_log(gateway: Gateway) -> None:
    gateway.start()
    done = reload_service(gateway)
    assert (done.returncode, "its log says" in done.stdout) == (0, True)


@pytest.mark.long
def test_reload_without_a_running_process_fails(service: Gateway) -> None:
    service.kill()
    done = reload_service(service)
    assert (done.returncode, done.stderr) == (1, f"process {service.pid}: No such process\n")


def test_partner_directory_is_updated_by_a_reload(reactor: Any, site: tuple[Path, dict[str, str]]) -> None:
    path, environ = site

    async def change() -> tuple[Reloaded, tuple[Any, ...]]:
        daemon = Daemon(configuration.load(path, environ), reactor, environ=environ)
        await daemon.start()
        path.write_text(path.read_text("utf-8").replace("priority = 10", "priority = 77"), "utf-8")
        done = await daemon.reload(path)
        known = await daemon.store.write(lambda unit: unit.partners.among(["CUHK"]), LockSet())
        await daemon.stop()
        return done, tuple(known.values())

    work: Any = lambda: ensureDeferred(change())  # noqa: E731
    done, (cuhk,) = blockingCallFromThread(reactor, work)
    assert (done, cuhk.priority) == (Reloaded(), 77)


def looked_up(gateway: Gateway, secret: str) -> str:
    """Ask for a patron as the discovery system with this secret, and return the reply."""
    where = f"http://127.0.0.1:{gateway.ports.ncip}/ncip"
    who = ["--from", "HKU-DISCOVERY", "--to", "HKU", "--secret-env", "OF_THE_CALLER"]
    words = [str(COMMAND), "ncip", where, "LookupUser", "user=P0001", *who]
    done = subprocess.run(words, env={**os.environ, "OF_THE_CALLER": secret}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.long
def test_reload_reads_changed_secrets_from_the_environment_file(gateway: Gateway) -> None:
    name = "HKALL_SECRET_HKU_DISCOVERY"
    former = gateway.environ[name]
    file = gateway.path.parent / "environment"
    file.write_text(f"{name}={former}\n", encoding="utf-8")
    gateway.start()
    assert "Authentication" not in looked_up(gateway, former)
    assert "Authentication" in looked_up(gateway, "the new one")

    file.write_text(f"{name}='the new one'\n", encoding="utf-8")
    told = reloaded(gateway)

    assert [line["keys"] for line in told if line["event"] == "config.secrets_changed"] == [[name]]
    assert "the new one" not in gateway.log()
    assert "Authentication" not in looked_up(gateway, "the new one")
    assert "Authentication" in looked_up(gateway, former)


def with_two_secrets(gateway: Gateway, agency: str) -> str:
    """Let the row of an agency name two variables, the former one first, and return the name of the second."""
    name = demo_setup.secret_variable(agency)
    edit(gateway, f'secret_env = "{name}"', f'secret_env = ["{name}", "{name}_NEW"]')
    return f"{name}_NEW"


def metric(gateway: Gateway, variable: str) -> float:
    """Return when the secret in a variable was last used, or 0."""
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.ports.ops}/metrics", timeout=10) as page:
        text = page.read().decode()
    found = re.search(rf'hkall_secret_last_used_timestamp_seconds\{{[^}}]*variable="{variable}"\}} (\S+)', text)
    return float(found[1]) if found else 0.0


def said_of_secrets(gateway: Gateway, agency: str) -> list[str]:
    """Return what `doctor` says about the two secrets of an agency."""
    words = [str(COMMAND), "doctor", "gateway", "--json", "--config", str(gateway.path)]
    done = subprocess.run(words, env=gateway.environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    found = json.loads(done.stdout)
    return [one["detail"] for one in found if one["check"] == "secrets" and one["about"] == agency]


@pytest.mark.long
def test_secret_is_replaced_without_a_refused_document(gateway: Gateway) -> None:
    former = demo_setup.secret_variable("HKU-DISCOVERY")
    old, new = gateway.environ[former], "the new one"
    file = gateway.path.parent / "environment"
    file.write_text(f"{former}={old}\n", encoding="utf-8")
    gateway.start()
    replies = [looked_up(gateway, old)]

    fresh = with_two_secrets(gateway, "HKU-DISCOVERY")
    file.write_text(f"{former}={old}\n{fresh}='{new}'\n", encoding="utf-8")
    assert [line["event"] for line in reloaded(gateway)] == ["config.secrets_changed", "config.changed"]
    replies += [looked_up(gateway, old), looked_up(gateway, new)]
    at = metric(gateway, fresh)
    gateway.environ[fresh] = new  # for the command, as the environment file of a machine does
    until(lambda: "needed until" in "".join(said_of_secrets(gateway, "HKU-DISCOVERY")), "the heartbeat has written both uses")
    (said,) = said_of_secrets(gateway, "HKU-DISCOVERY")

    edit(gateway, f'secret_env = ["{former}", "{fresh}"]', f'secret_env = "{fresh}"')
    reloaded(gateway)
    replies += [looked_up(gateway, new)]

    assert [reply for reply in replies if "Authentication" in reply or "LookupUserResponse" not in reply] == []
    assert "Authentication" in looked_up(gateway, old)
    assert at > metric(gateway, former) > 0
    assert f"it sent the second ({fresh}) last" in said
    assert f"the first ({former}) is needed until" in said
    assert new not in gateway.log()


@pytest.mark.long
def test_first_of_two_secrets_is_sent_to_a_partner(gateway: Gateway) -> None:
    fresh = with_two_secrets(gateway, "CUHK")
    gateway.environ[fresh] = "the new one"
    gateway.do(gateway.party.start)
    gateway.start()
    gateway.request("d-1")
    until(lambda: gateway.party.partners["CUHK"].seen, "the partner is asked")
    sent = gateway.party.partners["CUHK"].seen[0].text("InitiationHeader/FromAgencyAuthentication")
    assert sent == gateway.environ[demo_setup.secret_variable("CUHK")]


@pytest.mark.long
def test_reload_of_the_pages_reads_credentials_again(reactor: Any, tmp_path: Path) -> None:
    gateway = Gateway(reactor, tmp_path, pages=True)
    name = "HKALL_ERASED_KEY"  # the pages mark erased patrons
    with gateway.path.open("a", encoding="utf-8") as config_file:
        config_file.write(f'\n[privacy]\nerased_key_env = "{name}"\n')
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / name).write_text("the key")
    of_no_page = demo_setup.secret_variable("LU")
    (folder / of_no_page).write_text(gateway.environ.pop(of_no_page))
    gateway.environ["CREDENTIALS_DIRECTORY"] = str(folder)
    try:
        gateway.start()
        (child,) = gateway.children()
        shown = Path(f"/proc/{child}/environ").read_text()
        (folder / name).write_text("the new one")
        os.kill(gateway.pid, signal.SIGHUP)
        told = "config.secrets_changed"
        until(lambda: [line["keys"] for line in lines(gateway) if line["event"] == told] == [[name]] * 2, "both have read it")
    finally:
        gateway.end()
    assert of_no_page not in shown
    assert "the new one" not in gateway.log()


def test_variable_that_a_unit_sets_itself_is_not_taken_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("FROM_FILE=a\nFROM_UNIT=a\n")
    environ = {"FROM_FILE": "a", "FROM_UNIT": "of the unit"}
    files = SecretFiles(tmp_path / "gateway.toml", environ)
    (tmp_path / "environment").write_text("FROM_FILE=b\nFROM_UNIT=b\nNEW=b\n")
    assert files.changed(environ) == {"FROM_FILE": "b", "NEW": "b"}


def test_credentials_are_read_again_without_their_newline(tmp_path: Path) -> None:
    (tmp_path / "SECRET").write_text("a\n")
    environ = {"SECRET": "a"}
    files = SecretFiles(tmp_path / "etc" / "gateway.toml", environ, str(tmp_path))
    (tmp_path / "SECRET").write_text("b\n")
    assert files.changed(environ) == {"SECRET": "b"}


def test_process_of_the_pages_gets_no_variable_that_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text("OF_THE_PAGES=a\nOF_A_PARTNER=a\n")
    environ = {"OF_THE_PAGES": "a"}
    files = SecretFiles(tmp_path / "gateway.toml", environ, adds=False)
    (tmp_path / "environment").write_text("OF_THE_PAGES=b\nOF_A_PARTNER=b\n")
    assert files.changed(environ) == {"OF_THE_PAGES": "b"}
