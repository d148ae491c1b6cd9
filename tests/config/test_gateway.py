"""gateway.toml: which keys are read, and how errors are reported."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

import hkall_gateway
from hkall_gateway.config import ConfigErrors, GatewayConfig, load
from hkall_gateway.config import gateway as gateway_keys
from hkall_gateway.config.library import library_of
from hkall_gateway.db.engine.connect import Limits
from hkall_gateway.net.secrets import hash_secret
from hkall_gateway.rules.partners import Partner

PACKAGE: Final = Path(hkall_gateway.__file__).parent
HASH = hash_secret("terminal")
ENVIRON = {"HKALL_SECRET_CUHK": "s1", "HKALL_SECRET_DISCOVERY": "s2", "HKALL_LOG_KEY": "s3"}

LEAST = """
[library]
agency = "HKU"
name = "The University of Hong Kong Libraries"
pickup_locations = ["HKU-MAIN-LENDING"]
[database]
url = "sqlite:///var/hkall.db"
[ils]
connector = "manual"
"""

# The page's own example, with a hash that is one.
PAGE = """
[library]
agency    = "HKU"
name      = "The University of Hong Kong Libraries"
timezone  = "Asia/Hong_Kong"
languages = ["en", "zh-Hant"]
pickup_locations = ["HKU-MAIN-LENDING"]

[database]
url = "sqlite:///var/hkall.db"

[policy]
file = "policy.toml"

[sip2]
listen = ["tcp:6001:interface=127.0.0.1"]
idle_timeout_s = 900
max_connections = 500

[[sip2.terminals]]
login    = "counter-1"
secret_hash = "HASH"
role     = "counter"
location = "HKU-MAIN-LENDING"
dialect  = "standard"
allow_from = ["127.0.0.0/8"]

[ncip]
listen = ["tcp:8080:interface=127.0.0.1"]
listen_v1_tcp = []
max_body_bytes = 1048576

[[partners]]
agency   = "CUHK"
name     = "The Chinese University of Hong Kong Library"
url      = "http://127.0.0.1:9101/ncip"
dialect  = "direct"
secret_env = "HKALL_SECRET_CUHK"
allow_from = ["127.0.0.0/8"]
priority = 10
courier_days = 2

[[clients]]
agency = "HKU-DISCOVERY"
secret_env = "HKALL_SECRET_DISCOVERY"
allow_from = ["127.0.0.0/8"]

[ils]
connector = "snapshot"

[smtp]
host = "127.0.0.1"
port = 25
from = "lending@lib.example.edu.hk"

[ops]
listen = ["tcp:8081:interface=127.0.0.1"]

[courier]
attempts = 12
first_wait_s = 30
longest_wait_s = 21600
""".replace("HASH", HASH)


ONE_PARTNER = LEAST + '[[partners]]\nagency="CUHK"\nname="CUHK"\nurl="https://x.example/ncip"\n'


def read(folder: Path, text: str) -> GatewayConfig:
    file = folder / "gateway.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, ENVIRON)


def faults(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        read(folder, text)
    paths = [path for path, _ in caught.value.errors]
    assert len(paths) == len(set(paths))
    return dict(caught.value.errors)


def test_example_of_the_documentation_is_read_completely(tmp_path: Path) -> None:
    gateway = read(tmp_path, PAGE)
    assert gateway.library.pickup_locations == ("HKU-MAIN-LENDING",)
    assert gateway.sip2.terminals[0].role == "counter"
    assert gateway.partners[0].url == "http://127.0.0.1:9101/ncip"
    assert gateway.clients[0].agency == "HKU-DISCOVERY"
    assert gateway.smtp is not None
    assert gateway.smtp.sender == "lending@lib.example.edu.hk"
    assert gateway.courier.longest_wait_s == 21600


def names_that_are_read() -> set[str]:
    """Return the attributes that the package reads, and its strings, by which a protocol names the keys of its endpoints."""
    nodes = [node for file in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    return attributes | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.walks_a_table
def test_every_key_is_read_somewhere() -> None:
    tables = [one for one in vars(gateway_keys).values() if isinstance(one, type) and issubclass(one, BaseModel)]
    keys = {f"{table.__name__}.{key}" for table in tables for key in table.model_fields}
    names = names_that_are_read()
    assert "LibraryConfig.agency" in keys
    assert sorted(key for key in keys if key.partition(".")[2] not in names) == []


@pytest.mark.walks_a_table
def test_library_has_the_keys_that_rules_read(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    library = library_of(config)
    shared = {field.name for field in fields(library)} & type(config.library).model_fields.keys()
    assert {"agency", "name", "pickup_locations"} <= shared
    assert [name for name in sorted(shared) if getattr(library, name) != getattr(config.library, name)] == []


def test_defaults_of_the_documentation_may_be_omitted(tmp_path: Path) -> None:
    gateway = read(tmp_path, ONE_PARTNER)
    partner = gateway.partners[0]
    shown = (partner.institutional_card, partner.user_sent, partner.renewal_mode, partner.can_lookup_request)
    assert shown == ("", "institution", "local_then_notify", False)
    assert (partner.can_lookup_items, partner.in_flight, partner.silence_days, partner.timeout_s) == (False, 4, 2, 20)
    assert (partner.date_semantics, partner.lookups_per_minute, partner.dialect) == ("instant", 60, "direct")
    assert partner.work_days == ("Mon", "Tue", "Wed", "Thu", "Fri")
    assert gateway.policy.file is None
    assert gateway.smtp is None
    assert gateway.ils.connector == "manual"
    assert read(tmp_path, LEAST.split("[ils]")[0]).ils.connector == "snapshot"
    assert (gateway.sip2.idle_timeout_s, gateway.sip2.max_connections, gateway.courier.attempts) == (900, 500, 12)
    assert (gateway.logs.level, gateway.logs.file, gateway.logs.patron_key_env) == ("info", None, None)


def test_optional_partner_keys_are_read(tmp_path: Path) -> None:
    more = """institutional_card = "I-CUHK"
renewal_mode = "ask_first"
work_days = ["Mon", "Sat"]
date_semantics = "date_only"
[partners.charges]
processing_cents = 10000
"""
    partner = read(tmp_path, ONE_PARTNER + more).partners[0]
    assert partner.charges.processing_cents == 10000
    assert partner.work_days == ("Mon", "Sat")
    assert partner.renewal_mode == "ask_first"


def test_partner_row_is_converted_to_a_partner_record(tmp_path: Path) -> None:
    partner = read(tmp_path, PAGE).partners[0].plain()
    assert partner == Partner(
        agency="CUHK", name="The Chinese University of Hong Kong Library", url="http://127.0.0.1:9101/ncip", priority=10
    )


def test_files_are_relative_to_the_folder_of_the_configuration(tmp_path: Path) -> None:
    tls = '[sip2]\nlisten = ["ssl:6443:privateKey=tls/key.pem:certKey=/etc/tls/cert.pem"]\n'
    gateway = read(tmp_path, LEAST + '[policy]\nfile = "rules/policy.toml"\n[logs]\nfile = "/var/log/hkall"\n' + tls)
    assert gateway.policy.file == tmp_path / "rules" / "policy.toml"
    assert gateway.logs.file == Path("/var/log/hkall")
    assert gateway.database.url == f"sqlite:///{tmp_path}/var/hkall.db"
    assert gateway.sip2.listen == (f"ssl:6443:privateKey={tmp_path}/tls/key.pem:certKey=/etc/tls/cert.pem",)


def test_database_timeouts_are_in_seconds(tmp_path: Path) -> None:
    keys = "statement_timeout_s = 7.5\nlock_timeout_s = 1.0\nidle_timeout_s = 4.0\nconnect_timeout_s = 9\n"
    database = read(tmp_path, PAGE.replace("[database]\n", f"[database]\n{keys}")).database
    assert database.limits() == Limits(statement_s=7.5, lock_s=1.0, idle_s=4.0, connect_s=9)


def test_gateways_on_one_machine_share_ports_or_have_separate_ports(tmp_path: Path) -> None:
    assert not read(tmp_path, PAGE).sip2.share_ports
    shared = PAGE.replace("[sip2]\n", "[sip2]\nshare_ports = true\n").replace("tcp:8080:", "tcp:808{instance}:")
    gateway = read(tmp_path, shared)
    assert gateway.sip2.share_ports
    assert gateway.ncip.listen == ("tcp:808{instance}:interface=127.0.0.1",)


def test_configuration_is_immutable(tmp_path: Path) -> None:
    gateway = read(tmp_path, LEAST)
    with pytest.raises(ValueError, match="frozen"):
        gateway.courier.attempts = 1


WRONG = """
[library]
agency = "HKU"
name = 7
timezone = "Asia/Kowloon"
pickup_locations = []
[database]
url = "mysql://db/hkall"
[sip2]
listen = ["tcp:sixthousand"]
idle_timeout_s = "900"
max_conections = 5
[[sip2.terminals]]
login = "counter-1"
secret_hash = "opensesame"
role = "librarian"
location = "HKU-MAIN-LENDING"
dialect = "standart"
[[sip2.terminals]]
login = "counter-1"
role = "selfcheck"
location = "x"
secret_hash = "HASH"
allow_from = ["127.0.0.1/8"]
[ncip]
max_body_bytes = 0
[[partners]]
agency = "HKU"
url = "ftp://127.0.0.1/ncip"
name = "CUHK"
secret_env = "HKALL_SECRET_NOWHERE"
priority = 100
can_lookup_items = 1
work_days = ["Mon", "Someday"]
[partners.charges]
damage_cents = -1
[ils]
connector = "sip2"
[smtp]
form = "lending@lib.example.edu.hk"
[courier]
attempts = 2.5
[mail]
""".replace("HASH", HASH)

SAID = {
    "library.name": "must be text, in quotation marks",
    "library.timezone": "must be Asia/Hong_Kong",
    "library.pickup_locations": "must have at least 1",
    "database.url": "must begin with sqlite:/// or postgresql+psycopg://",
    "sip2.listen[0]": "'tcp:sixthousand' names no port between 0 and 65535",
    "sip2.idle_timeout_s": "must be a whole number",
    "sip2.max_conections": "is not a known key (did you mean `max_connections`?)",
    "sip2.terminals[0].secret_hash": "must be an Argon2id hash, as `hkall-gateway hash-secret` prints it",
    "sip2.terminals[0].role": "must be counter, selfcheck, bookdrop or lookup",
    "sip2.terminals[1].login": "'counter-1' already stands at sip2.terminals[0].login",
    "sip2.terminals[1].allow_from[0]": "'127.0.0.1/8' is not a network: 127.0.0.1/8 has host bits set",
    "ncip.max_body_bytes": "must be at least 1",
    "partners[0].agency": "'HKU' already stands at library.agency",
    "partners[0].url": "must be a URL that begins with http:// or https://",
    "partners[0].secret_env": "the environment has no variable 'HKALL_SECRET_NOWHERE'",
    "partners[0].priority": "must be at most 99",
    "partners[0].can_lookup_items": "must be true or false",
    "partners[0].work_days[1]": "must be Mon, Tue, Wed, Thu, Fri, Sat or Sun",
    "partners[0].charges.damage_cents": "must be at least 0",
    "ils.host": "is missing; the sip2 connector needs it",
    "smtp.form": "is not a known key (did you mean `from`?)",
    "smtp.from": "is missing",
    "courier.attempts": "must be a whole number",
    "mail": "is not a known key",
}


def test_all_errors_are_reported_with_their_paths(tmp_path: Path) -> None:
    told = faults(tmp_path, WRONG)
    dialect = told.pop("sip2.terminals[0].dialect")
    assert dialect.startswith("must be standard, ")
    assert dialect.endswith("(did you mean `standard`?)")
    assert told == SAID


def test_errors_contain_no_secret(tmp_path: Path) -> None:
    assert "opensesame" not in str(faults(tmp_path, WRONG))


def test_each_error_is_one_line_with_the_file_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, LEAST + "[sip2]\nidle_timeout_s = -1\n")
    assert str(caught.value) == f"{tmp_path}/gateway.toml: sip2.idle_timeout_s: must be at least 1"


def test_empty_file_reports_what_is_missing(tmp_path: Path) -> None:
    assert faults(tmp_path, "") == dict.fromkeys(("library", "database"), "is missing")


def test_table_in_place_of_rows_is_reported(tmp_path: Path) -> None:
    assert faults(tmp_path, LEAST + '[partners]\nagency = "CUHK"\n') == {"partners": "must be a list, in square brackets"}


def test_empty_secret_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(LEAST + '[logs]\npatron_key_env = "KEY"\n', encoding="utf-8")
    with pytest.raises(ConfigErrors, match=r"logs\.patron_key_env: the environment has no variable 'KEY'"):
        load(tmp_path / "gateway.toml", {"KEY": ""})


# ---- proofs of who calls


FINGERPRINT = "AB:" * 31 + "CD"


@pytest.mark.parametrize(("written", "kept"), [(FINGERPRINT, "ab" * 31 + "cd"), ("ncip.cuhk.test", "ncip.cuhk.test")])
def test_certificate_is_identified_by_fingerprint_or_common_name(tmp_path: Path, written: str, kept: str) -> None:
    gateway = read(tmp_path, ONE_PARTNER + f'certificate = "{written}"\n')
    assert gateway.partners[0].certificate == kept


def test_path_of_the_certificate_authorities_is_relative_to_the_file(tmp_path: Path) -> None:
    gateway = read(tmp_path, LEAST + '[ncip]\nclient_ca = "partners.pem"\n')
    assert gateway.ncip.client_ca == tmp_path / "partners.pem"


@pytest.mark.parametrize("proof", ['certificate = "discovery.test"', "by_address = true"])
def test_client_may_authenticate_without_a_secret(tmp_path: Path, proof: str) -> None:
    gateway = read(tmp_path, LEAST + f'[[clients]]\nagency = "D"\n{proof}\n')
    assert gateway.clients[0].secret_env == ()


def test_client_without_any_credential_is_an_error(tmp_path: Path) -> None:
    assert "clients[0].secret_env" in faults(tmp_path, LEAST + '[[clients]]\nagency = "D"\n')
