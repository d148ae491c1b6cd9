"""A protocol of partners from another distribution: its keys, its ports and its rows of the doctor command."""

from __future__ import annotations

import ast
import json
from itertools import count
from pathlib import Path

import pytest

import hkall_gateway
from demo import demo_setup
from hkall_gateway.config import mapping
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.config.reloading import keep_until_restart
from tests.cli.mistakes import Place
from tests.ils.test_installed_adapter import install
from tests.ports import free_ports
from tests.protocols.conftest import NAME, Peer, read, run, run_doctor, speak_slips

NUMBERS = count()
"""A module is imported once, so that each variant has a name of its own."""


def test_no_file_of_the_package_knows_the_name_of_an_installed_protocol() -> None:
    root = Path(hkall_gateway.__file__).parent
    named = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (NAME, "library_slips")
    ]
    assert named == []


def test_keys_of_an_installed_protocol_are_read_strictly(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    partner = next(row.plain() for row in read(site).partners if row.agency == "CUHK")
    assert (partner.protocol, json.loads(partner.terms)) == (NAME, {"url": "https://slips.cuhk.example/"})
    assert read(site).table_of(NAME).listen == ("tcp:7001:interface=127.0.0.1",)

    text = site.read_text(encoding="utf-8")
    site.write_text(text.replace('url = "https://slips', 'urll = "https://slips').replace("motto", "moto"), encoding="utf-8")
    with pytest.raises(ConfigErrors) as refused:
        read(site)
    faults = dict(refused.value.errors)
    assert faults["pigeon.moto"] == "is not a known key (did you mean `motto`?)"
    assert faults["partners[0].pigeon.url"] == "is missing"


def test_key_of_ncip_is_refused_with_an_installed_protocol(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001, 'dialect = "innreach"\n')
    with pytest.raises(ConfigErrors) as refused:
        read(site)
    assert dict(refused.value.errors) == {"partners[0].dialect": "is a key of ncip, and this partner speaks pigeon"}


def speak_like_slips(site: Path, installed: Path, **traits: object) -> None:
    """Change the configuration so that CUHK speaks a protocol like slips, but with these traits."""
    module = f"library_doves_{next(NUMBERS)}"
    code = f"""
from dataclasses import replace
import library_slips
TRAITS = replace(library_slips.TRAITS, **{traits!r})
PROTOCOL = replace(library_slips.PROTOCOL, name="dove", traits=lambda _partner: TRAITS)
"""
    install(installed, "dove", module, code, "hkall_gateway.protocols", "PROTOCOL")
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    site.write_text(site.read_text(encoding="utf-8").replace("pigeon]", "dove]"), encoding="utf-8")


@pytest.mark.parametrize("looks", [True, False])
def test_partner_is_asked_about_its_shelves_if_its_protocol_looks(site: Path, installed: Path, looks: bool) -> None:
    speak_like_slips(site, installed, looks=looks)

    found = read(site)

    partner = next(row.plain() for row in found.partners if row.agency == "CUHK")
    assert (partner.protocol, partner.can_lookup_items) == ("dove", looks)
    (secret,) = next(row.secret_env for row in found.partners if row.agency == "CUHK")
    assert (secret in mapping.variables_of_pages(found)) is looks


def test_renewal_mode_that_the_protocol_lacks_is_refused(site: Path, installed: Path) -> None:
    speak_like_slips(site, installed, renewal_modes=("ask_first",))
    with pytest.raises(ConfigErrors) as refused:
        read(site)
    assert dict(refused.value.errors) == {"partners[0].renewal_mode": "must be ask_first with dove"}


def test_callers_belong_to_their_protocol(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    environ = demo_setup.environment(demo_setup.Ports())
    assert mapping.callers(read(site), environ, NAME).keys() == {"CUHK"}
    assert "CUHK" not in mapping.callers(read(site), environ, "ncip")


def test_port_of_an_installed_protocol_is_checked_like_any_other(site: Path) -> None:
    (port,) = free_ports(1)
    speak_slips(site, "https://slips.cuhk.example/", port)
    text = site.read_text(encoding="utf-8")
    line = f'listen = ["tcp:{port}:interface=127.0.0.1"]'
    site.write_text(text.replace(line, line.replace("]", f', "tcp:{port}"]')), encoding="utf-8")

    told = run("check-config", "--config", str(site)).stderr

    assert f"pigeon.listen[1]: tcp:{port}: pigeon.listen[0] listens there already" in told


def test_certificate_of_an_installed_protocol_is_checked_with_its_own_authorities(installed: Path, tmp_path: Path) -> None:
    place = Place(tmp_path)
    site = place.path
    first, second = free_ports(2)
    old = site.parent / place.pem("old.pem", -9, -1)
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    text = site.read_text(encoding="utf-8")
    plain = 'listen = ["tcp:7001:interface=127.0.0.1"]'
    ports = [f"ssl:{port}:privateKey={old}:certKey={old}:interface=127.0.0.1" for port in (first, second)]
    secure = f"listen = {json.dumps(ports)}"
    site.write_text(text.replace(plain, secure), encoding="utf-8")
    assert "pigeon.listen[0]: port " in run("check-config", "--config", str(site)).stderr
    (expired, *_) = [one for one in run_doctor(site, "gateway") if one["check"] == "certificate"]
    assert (expired["status"], expired["about"]) == ("fail", str(first))

    nowhere = site.parent / "nowhere.pem"
    site.write_text(text.replace(plain, f'client_ca = "{nowhere}"\n{secure}'), encoding="utf-8")
    told = run("check-config", "--config", str(site)).stderr
    assert f"pigeon.listen[1]: port {second}: {nowhere}: no such file or directory" in told


def test_doctor_reports_the_ports_of_an_installed_protocol_and_where_they_are_missing(site: Path) -> None:
    (port,) = free_ports(1)
    speak_slips(site, "https://slips.cuhk.example/", port)
    found = [one for one in run_doctor(site, "gateway") if one["check"] == "ports"]
    assert f"tcp:{port}: free" in [one["detail"] for one in found]

    text = site.read_text(encoding="utf-8")
    site.write_text(text.replace(f'listen = ["tcp:{port}:interface=127.0.0.1"]\n', ""), encoding="utf-8")
    found = [one for one in run_doctor(site, "gateway") if one["check"] == "config"]
    assert "pigeon.listen is missing: no partner can speak to us" in [one["detail"] for one in found]


def test_ports_of_an_installed_protocol_change_at_a_restart_and_its_own_keys_at_a_reload(site: Path) -> None:
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    before = read(site)
    text = site.read_text(encoding="utf-8")
    site.write_text(text.replace("tcp:7001", "tcp:7002").replace("Slips, please.", "One slip."), encoding="utf-8")

    after, waiting = keep_until_restart(before, read(site))

    assert waiting == ("pigeon.listen",)
    table = after.table_of(NAME).model_dump()
    assert (table["listen"], table["motto"]) == (("tcp:7001:interface=127.0.0.1",), "One slip.")


def test_table_of_an_installed_protocol_stays_until_a_restart_when_it_is_taken_out(site: Path) -> None:
    without = site.read_text(encoding="utf-8")
    speak_slips(site, "https://slips.cuhk.example/", 7001)
    before = read(site)
    site.write_text(without, encoding="utf-8")

    after, waiting = keep_until_restart(before, read(site))

    assert waiting == (NAME,)
    assert after.table_of(NAME) == before.table_of(NAME)


def test_doctor_examines_a_partner_by_the_rows_of_its_protocol(site: Path, peer: Peer) -> None:
    speak_slips(site, f"http://127.0.0.1:{peer.port}/", 7001)
    found = {finding["check"]: finding for finding in run_doctor(site, "CUHK")}
    assert list(found) == ["dns", "tcp", "tls.version", "slip.hello", "proof.theirs"]
    assert {name: one["status"] for name, one in found.items()} == dict.fromkeys(found, "ok")
    assert [slip["say"] for slip in peer.heard] == ["hello"]


def test_doctor_gives_the_advice_of_a_failed_row_of_an_installed_protocol(site: Path, peer: Peer) -> None:
    peer.status = 503
    speak_slips(site, f"http://127.0.0.1:{peer.port}/", 7001)
    (failed,) = [finding for finding in run_doctor(site, "CUHK") if finding["status"] == "fail"]
    assert (failed["check"], failed["detail"]) == ("slip.hello", "HTTP 503")
    assert failed["advice"] == "Ask the library whether its slips are read."


def test_doctor_tries_nothing_at_a_partner_that_it_cannot_reach(site: Path) -> None:
    (port,) = free_ports(1)
    speak_slips(site, f"http://127.0.0.1:{port}/", 7001)
    found = {finding["check"]: finding for finding in run_doctor(site, "CUHK")}
    assert found["tcp"]["status"] == "fail"
    assert (found["slip.hello"]["status"], found["slip.hello"]["detail"]) == ("skip", "tcp failed")
