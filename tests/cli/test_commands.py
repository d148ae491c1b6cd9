"""The commands as a system administrator uses them: output and exit codes."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result

from demo import demo_setup
from hkall_gateway.app import machine
from hkall_gateway.cli import ENTRIES, main
from hkall_gateway.clock import now
from hkall_gateway.db import instances
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.instances import Instance
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.simulator.databases import SoleStore
from tests import databases

PORTS = demo_setup.Ports()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = demo_setup.write_config(tmp_path_factory.mktemp("site"), PORTS)
    databases.fill(path, demo_setup.environment(PORTS))
    return path


def run(*words: str, config: Path | None = None, typed: str | None = None) -> Result:
    where = ["--config", str(config)] if config else []
    return CliRunner().invoke(main, [*words, *where], input=typed, env=demo_setup.environment(PORTS))


@pytest.mark.parametrize("command", [entry.name for entry in ENTRIES])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "Example: hkall-gateway" in " ".join(done.output.split())


def test_valid_configuration_is_confirmed(config: Path) -> None:
    done = run("check-config", config=config)
    assert (done.exit_code, "no errors" in done.output) == (0, True)


def test_demo_configuration_has_no_notes(config: Path) -> None:
    done = run("check-config", config=config)
    assert (done.exit_code, done.output) == (0, f"{config}: no errors; 3 partners, 3 terminals\n")


def test_terminal_restrictions_are_noted_for_a_valid_configuration(tmp_path: Path) -> None:
    done = run("check-config", config=demo_setup.write_config(tmp_path, PORTS, ""))
    assert done.exit_code == 0
    assert "note: sip2.terminals bookdrop-1: bookdrop: 01 11 15 19 23 25 29 35 37 63 65 are refused" in done.output


@pytest.mark.parametrize(
    ("names", "languages", "told"),
    [
        ("", '"en", "zh-Hant"', "is missing; letters in en and zh-Hant say 'HKU-MAIN-LENDING'"),
        (
            'place_names_zh = { HKU-MAIN-LENDING = "總館" }',
            '"zh-Hant", "en"',
            "is missing; letters in en say 'HKU-MAIN-LENDING'",
        ),
        ('place_names_zh = { HKU-MAIN-LENDING = "總館" }', '"zh-Hant"', ""),
        ('place_names = { HKU-MAIN-LENDING = "the counter" }', '"en", "zh-Hant"', ""),
    ],
)
def test_location_without_a_display_name_is_noted(config: Path, tmp_path: Path, names: str, languages: str, told: str) -> None:
    lines = [line for line in config.read_text(encoding="utf-8").splitlines() if not line.startswith("place_names")]
    (tmp_path / "policy.toml").write_text("")
    text = "\n".join(lines).replace("[library]\n", f"[library]\nlanguages = [{languages}]\n{names}\n")
    (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
    done = run("check-config", config=tmp_path / "gateway.toml")
    assert done.exit_code == 0
    assert ("note: library.place_names.HKU-MAIN-LENDING: " + told in done.output) == bool(told)
    assert ("note: library" in done.output) == bool(told)


def test_missing_configuration_is_reported(tmp_path: Path) -> None:
    done = run("check-config", config=tmp_path / "none.toml")
    assert done.exit_code == 2
    assert "none.toml" in done.output


def test_empty_database_is_upgraded_to_the_current_revision(tmp_path: Path) -> None:
    path = demo_setup.write_config(tmp_path, PORTS)
    refused = run("status", config=path)
    assert (refused.exit_code, "db upgrade" in refused.output) == (2, True)
    assert "none -> " in run("db", "upgrade", config=path).output
    assert "no differences" in run("db", "check", config=path).output


def test_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = demo_setup.write_config(tmp_path, PORTS)
    run("db", "upgrade", config=path)
    engine = open_engine(f"sqlite:///{tmp_path / 'hkall.db'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    for command in (("status",), ("db", "upgrade"), ("serve",)):
        refused = run(*command, config=path)
        assert refused.exit_code == 2
        assert "install the newer version" in refused.output
        assert "Traceback" not in refused.output


def test_hash_is_printed_without_the_password() -> None:
    done = run("hash-secret", typed="opensesame\n")
    assert done.output.strip().splitlines()[-1].startswith("$argon2id$")
    assert "opensesame" not in done.output


def test_first_line_of_a_pipe_is_the_whole_password() -> None:
    done = run("hash-secret", typed=" two words \nnot this\n")
    assert PasswordHasher().verify(done.output.strip(), " two words ")


@pytest.mark.parametrize("typed", ["", "\n"])
def test_empty_pipe_instead_of_a_password_is_a_usage_error(typed: str) -> None:
    done = run("hash-secret", typed=typed)
    assert (done.exit_code, done.output) == (2, "standard input has no password on its first line\n")


def test_new_secret_is_printed_with_its_hash_and_is_random() -> None:
    secrets = []
    for _ in range(2):
        secret, stored = run("hash-secret", "--new").output.split()
        assert PasswordHasher().verify(stored, secret)
        secrets.append(secret)
    assert secrets[0] != secrets[1]
    assert len(secrets[0]) >= 40


def test_dry_run_reports_changes_without_applying_them(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text("barcode,name,category\nP0001,New Name,undergraduates\nNEW1,Someone,undergraduates\n")
    first = run("load", "patrons", str(file), "--dry-run", config=config)
    again = run("load", "patrons", str(file), "--dry-run", config=config)
    assert "1 new, 1 changed" in first.output
    assert again.output == first.output


def test_full_load_that_removes_most_patrons_is_refused(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text("barcode,category\nP0001,undergraduates\n")
    done = run("load", "patrons", str(file), "--full", config=config)
    assert done.exit_code == 1
    assert "119 of 120 would vanish" in done.output
    assert run("explain", "request", "--patron", "P0002", "--bib", "b9001", config=config).exit_code == 0


def test_invalid_row_is_reported_and_nothing_is_loaded(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text("barcode,category,expires\nX1,undergraduates,soon\n")
    done = run("load", "patrons", str(file), config=config)
    assert done.exit_code == 2
    assert f"{file}:2: expires: 'soon' is not a date" in done.output


def test_unmapped_category_is_listed(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    file.write_text("barcode,category\nX1,circle_of_friends\n")
    done = run("load", "patrons", str(file), "--dry-run", config=config)
    assert f"{file}:2: category 'circle_of_friends' is not in the policy: 1 patrons are not eligible (R2)" in done.output


def test_unknown_words_are_reported_with_their_first_lines(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    rows = "".join(f"X{n},space_cdp,evening\n" for n in range(7))
    file.write_text(f"barcode,category,study_mode\n{rows}")
    done = run("load", "patrons", str(file), "--dry-run", config=config)
    assert done.exit_code == 0
    told = f"{file}:2, 3, 4, 5, 6 and 2 more: study_mode 'evening' is not in the policy: unknown for 7 patrons (R2)"
    assert told in done.output
    assert "patrons: 7 new" in done.output


def test_languages_without_letters_are_listed_with_their_counts(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "patrons.csv"
    rows = "X1,undergraduates,fr\nX2,undergraduates,fr\nX3,undergraduates,yue\nX4,undergraduates,\nX5,undergraduates,de\n"
    file.write_text(f"barcode,category,language\n{rows}")
    done = run("load", "patrons", str(file), "--dry-run", config=config)
    assert done.exit_code == 0
    assert [line for line in done.output.splitlines() if "language" in line] == [
        f"{file}:6: language 'de' is not written here: 1 patrons get letters in en",
        f"{file}:2, 3: language 'fr' is not written here: 2 patrons get letters in en",
    ]


def test_explain_shows_the_rule_of_a_refusal_without_storing_it(config: Path) -> None:
    done = run("explain", "request", "--patron", "P0001", "--bib", "b9002", "--json", config=config)
    assert done.exit_code == 1
    (said,) = json.loads(done.output)
    assert (said["answer"], said["rule"]) == ("no", "R6")
    assert run("requests", "trace", "P0001", config=config).exit_code == 1


def test_explain_shows_a_grant_without_placing_a_request(config: Path) -> None:
    done = run("explain", "request", "--patron", "P0001", "--bib", "b9001", config=config)
    assert (done.exit_code, "yes" in done.output) == (0, True)
    assert json.loads(run("requests", "list", "--json", config=config).output) == []


@pytest.mark.parametrize("at", ["yesterday", "2017-03-09T00:00:00"])
def test_explain_requires_a_time_with_an_offset(config: Path, at: str) -> None:
    done = run("explain", "renew", "--item", "C1", "--at", at, config=config)
    assert done.exit_code == 2
    assert "--at" in done.output


def test_missing_object_is_reported_in_one_line(config: Path) -> None:
    for words in (("requests", "show", "R9"), ("requests", "trace", "nothing")):
        done = run(*words, config=config)
        assert done.exit_code == 1
        assert len(done.output.strip().splitlines()) == 1


def test_status_lists_the_partners(config: Path) -> None:
    lines = json.loads(run("status", "--json", config=config).output)
    assert isinstance(lines, list)


def test_replay_reports_the_failing_scenario(tmp_path: Path) -> None:
    story = Path(__file__).parents[2] / "fixtures/scenarios/the-story.txt"
    assert run("replay", str(story)).exit_code == 0
    broken = tmp_path / "broken.txt"
    broken.write_text("nonsense\n")
    done = run("replay", str(broken))
    assert done.exit_code == 1
    assert "broken.txt:1" in done.output


@pytest.mark.parametrize("words", [("requests", "list"), ("outbox", "list"), ("quarantine", "list")], ids=" ".join)
def test_error_about_an_unknown_partner_lists_the_known_partners(config: Path, words: tuple[str, ...]) -> None:
    done = run(*words, "--partner", "NOBODY", config=config)
    assert (done.exit_code, done.output) == (1, "--partner: 'NOBODY' is no partner; configured are CUHK, HKUST, LU\n")
    assert run(*words, "--partner", "CUHK", config=config).exit_code == 0


def test_error_about_an_unknown_position_lists_the_known_positions(config: Path) -> None:
    done = run("requests", "list", "--position", "RECIEVED", config=config)
    assert done.exit_code == 2
    assert "'RECIEVED' is no position; one of " in done.output


@pytest.mark.parametrize("what", ["R-XX", "X999"])
def test_command_not_allowed_in_the_position_is_reported(config: Path, what: str) -> None:
    done = run("request", "receive", what, config=config)
    assert done.exit_code == 1
    assert done.output.startswith(f"{what}: ")
    assert done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("deed", "dated"), [("return", True), ("claim", True), ("extend", True), ("receive", False), ("ship", False)]
)
def test_command_shows_only_its_own_options(deed: str, dated: bool) -> None:
    told = run("request", deed, "--help").output
    assert ("--on" in told) is dated
    assert "--reason" in told


@pytest.mark.parametrize(("pid", "state"), [(os.getpid(), "silent"), (2**22 + 1, "gone")], ids=["it runs", "it does not"])
def test_silent_gateway_is_gone_only_when_its_process_has_ended(tmp_path: Path, pid: int, state: str) -> None:
    path = demo_setup.write_config(tmp_path, PORTS)
    run("db", "upgrade", config=path)
    engine = open_engine(f"sqlite:///{tmp_path / 'hkall.db'}")
    store, then = SoleStore(engine, lambda connection: UnitOfWork(connection, str)), now() - timedelta(days=3)
    store.now(
        instances.record_instance, Instance(name="a", host=machine.host(), pid=pid, version="1.0", since=then, seen_at=then)
    )
    store.close()
    engine.dispose()
    (line,) = (one for one in json.loads(run("status", "--json", config=path).output) if one["what"] == "gateway")
    assert line["state"] == state


def test_configuration_may_stand_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HKALL_CONFIG", "")
    before = CliRunner().invoke(main, ["--config", str(tmp_path / "none.toml"), "check-config"])
    after = CliRunner().invoke(main, ["check-config", "--config", str(tmp_path / "none.toml")])
    assert before.exit_code == after.exit_code == 2
    assert before.stderr == after.stderr
    assert f"{tmp_path}/none.toml" in before.stderr
