"""Names, types and defaults of options, completion, and the API are those of the last release, but for what is meant."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

import click
import pytest

from hkall_gateway.cli import main
from hkall_gateway.web.api.app import make_api
from hkall_gateway.web.api.description import describe
from tests.cli.surface import surface

RELEASE: Final = Path(__file__).parents[2] / "fixtures" / "surface" / "0.3.0.json"
"""The surface of the last release. `surface.py` says how to make it of the next one, when DIFFERENCES begins anew."""
NEW: Final = "new"

_REFUNDS: Final = "what the library owes a patron is given back at the counter, by a page and by a program"
_LEDGER: Final = "the record names the ledger of a charge, and what the library owes"
_MACHINE: Final = "a backup of the whole machine is encrypted"
_INTERVIEW: Final = "`doctor ils` interviews the library's own system with a patron and a copy made for tests"
_FILES: Final = "a file in another encoding, or with another delimiter, is read"

DIFFERENCES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "api POST /refunds": (NEW, _REFUNDS),
        "api record RefundBody": (NEW, _REFUNDS),
        "api record RefundDone": (NEW, _REFUNDS),
        "command fines refund": (NEW, _REFUNDS),
        "command fines settle": (NEW, "every disagreement about money that `doctor` finds can be settled"),
        "api record ChargeRecord.charged_cents": (NEW, _LEDGER),
        "api record ChargeRecord.paid_cents": (NEW, _LEDGER),
        "api record ChargeRecord.waived_cents": (NEW, _LEDGER),
        "api record CirculationRecord.credit_cents": (NEW, _LEDGER),
        "api record CirculationRecord.credits": (NEW, _LEDGER),
        "command backup --with-config": (NEW, _MACHINE),
        "command backup --recipient": (NEW, _MACHINE),
        "command backup --passphrase-file": (NEW, _MACHINE),
        "command restore --machine": (NEW, _MACHINE),
        "command restore --identity": (NEW, _MACHINE),
        "command restore --passphrase-file": (NEW, _MACHINE),
        "command doctor --item": (NEW, _INTERVIEW),
        "command doctor --patron": (NEW, _INTERVIEW),
        "command doctor --pin-env": (NEW, _INTERVIEW),
        "api record LoanRecord.fine_stopped_on": (NEW, "the day from which a fine does not grow"),
        "command check-config --diff": (NEW, "the files are compared with what each running gateway holds"),
        "command hkall-gateway --config": (NEW, "the configuration may be named before the command"),
        **{
            f"command load {kind} {option}": (NEW, _FILES)
            for kind in ("closures", "holdings", "partners", "patrons", "requests")
            for option in ("--delimiter", "--encoding")
        },
    }
)
"""Name on the surface -> (what happened to it, why). A new command, operation or record brings its parts with it."""


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what happened to each name: new, gone, or how its description changed."""
    found: dict[str, str] = {}
    for name in before.keys() | after.keys():
        if name not in before:
            found[name] = NEW
        elif name not in after:
            found[name] = "gone"
        elif before[name] != after[name]:
            found[name] = f"{before[name]} -> {after[name]}"
    added = {name for name, change in found.items() if change == NEW}
    return {name: change for name, change in found.items() if not added & set(wholes(name))}


def wholes(name: str) -> list[str]:
    """Return the names of what a name is a part of."""
    if name.startswith("api record "):
        return [name.partition(".")[0]] if "." in name else []
    words = name.split()
    return [" ".join(words[:count]) for count in range(2, len(words))]


@pytest.fixture(scope="module")
def released() -> dict[str, str]:
    found: dict[str, str] = json.loads(RELEASE.read_text(encoding="utf-8"))
    return found


def test_surface_is_that_of_the_release_but_for_what_is_meant(released: dict[str, str]) -> None:
    assert differences(released, surface()) == {name: change for name, (change, _why) in DIFFERENCES.items()}


def test_released_surface_has_every_kind_of_name(released: dict[str, str]) -> None:
    assert {
        "command request place",
        "command fines pay --transaction",
        "command outbox show ROW",
        "api POST /requests/{number}/{action}",
        "api GET /lists/{name} most",
        "api record ActionBody.reason",
    } <= released.keys()
    assert "default=gateway.toml" in released["command requests list --config"]
    assert released["command request place --json"].endswith("completed")


def _option(*path: str, name: str) -> click.Option:
    command: Any = main
    for word in path:
        command = command.get_command(click.Context(command), word)
    found = next(one for one in command.params if one.name == name)
    assert isinstance(found, click.Option)
    return found


@pytest.mark.parametrize(
    ("attribute", "value", "change"),
    [
        ("opts", ["--payment"], "command fines pay --payment"),
        ("default", "none", "command fines pay --transaction"),
        ("type", click.INT, "command fines pay --transaction"),
        ("required", True, "command fines pay --transaction"),
        ("hidden", True, "command fines pay --transaction"),
    ],
)
def test_planted_change_of_an_option_is_found(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: object, change: str
) -> None:
    before = surface()
    monkeypatch.setattr(_option("fines", "pay", name="transaction"), attribute, value)
    assert change in differences(before, surface())


def _rename_field(document: dict[str, Any]) -> None:
    fields = document["components"]["schemas"]["PlaceBody"]["properties"]
    fields["place"] = fields.pop("pickup")


def _change_default(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["PlaceBody"]["properties"]["pickup"]["default"] = "main"


def _require_field(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["PlaceBody"]["required"].append("pickup")


def _move_operation(document: dict[str, Any]) -> None:
    document["paths"]["/lists/all"] = document["paths"].pop("/lists")


def _drop_answer(document: dict[str, Any]) -> None:
    del document["paths"]["/lists"]["get"]["responses"]["200"]


@pytest.mark.parametrize(
    ("planted", "changed"),
    [
        (_rename_field, {"api record PlaceBody.pickup", "api record PlaceBody.place"}),
        (_change_default, {"api record PlaceBody.pickup"}),
        (_require_field, {"api record PlaceBody.pickup"}),
        (_move_operation, {"api GET /lists", "api GET /lists/all"}),
        (_drop_answer, {"api GET /lists answers 200"}),
    ],
)
def test_planted_change_of_the_api_is_found(
    monkeypatch: pytest.MonkeyPatch, planted: Callable[[dict[str, Any]], None], changed: set[str]
) -> None:
    before = surface()
    document = deepcopy(describe(make_api(cast("Any", None))))
    planted(document)
    monkeypatch.setattr("tests.cli.surface.describe", lambda _api: document)
    assert changed <= differences(before, surface()).keys()
