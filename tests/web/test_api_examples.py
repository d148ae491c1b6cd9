"""The examples in the API description, and the page that shows them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import escape

import hkall_gateway.web.api
from hkall_gateway.rules.vocabulary import Holding, Position
from tests.web.conftest import Site
from tests.web.given import given, owe_refund
from tests.web.test_api import program
from tests.web.test_api_patron import put

EXAMPLES: dict[str, Any] = json.loads(Path(hkall_gateway.web.api.__path__[0], "examples.json").read_text(encoding="utf-8"))
PLACED = ("R-7K2M4Q9XW3TD", "R-3H8N5C6VBJ2Y")
"""The numbers that the examples show for the patron's request and for the one that staff place."""
TOKEN = "hkallp_Xb1RkS9y0uJmW4c2QeZ7nVtLhGdPaFoI8sKqTrUiYwM"
LOAN = "R-5T9WQ2K7MXPD"


def fill(site: Site) -> None:
    """Insert a title with two copies, a loan that can be renewed, and a refund that is owed."""
    dune = Holding(
        agency="CUHK",
        barcode="C1",
        bib_id="b-dune",
        title="Dune",
        author="Herbert, Frank",
        isbn="9780441013593",
        call_number="PS3558.E63 D8",
    )
    put(site, dune, replace(dune, agency="HKUST", barcode="S1", status="On Loan"))
    lent = {"due": date(2017, 3, 6), "first_checkout": date(2017, 2, 19), "loan_days": 15}
    owe_refund(site, "UG2", 30_000)
    given(site, Position.ON_LOAN, LOAN, title="Tales of old Kowloon", bib_id="b-kowloon", item_barcode="C20931", **lent)


def play(site: Site, name: str, numbers: dict[str, str], secret: str) -> Any:
    """Send the request of an example, with the real numbers of requests. Return the response."""
    method, _, path = name.partition(" ")
    example = EXAMPLES[name]
    named = {key: numbers.get(value, value) for key, value in example["parameters"].items()}
    for key in re.findall(r"{(\w+)}", path):
        path = path.replace(f"{{{key}}}", quote(named.pop(key)))
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    if key := named.pop("Idempotency-Key", ""):
        headers["Idempotency-Key"] = key
    body = example.get("body") and {key: numbers.get(value, value) for key, value in example["body"].items()}
    return site.app.test_client().open(f"/api/v1{path}", method=method, query_string=named, json=body, headers=headers)


def played(site: Site) -> dict[str, Any]:
    """Play all examples in their order, and return the JSON of each response with the numbers and the token of the examples."""
    fill(site)
    clerk, patron, numbers, found = program(site).secret, "", dict[str, str](), dict[str, Any]()
    for name in EXAMPLES:
        answer = play(site, name, numbers, patron if "/patron" in name else clerk)
        assert answer.status_code in (200, 201, 204), (name, answer.status_code, answer.text)
        text = answer.text
        if name == "POST /patron-token":
            patron = answer.json["token"]
            text = text.replace(patron, TOKEN)
        if answer.status_code == 201 and "request" in answer.json:
            numbers[PLACED[len(numbers)]] = answer.json["request"]
        for shown, real in numbers.items():
            text = text.replace(real, shown)
        found[name] = json.loads(text) if text else None
    return found


def trimmed(found: Any, example: Any) -> Any:
    """Cut the lists of a response to the length that the example shows."""
    if isinstance(found, dict) and isinstance(example, dict):
        return {key: trimmed(value, example.get(key)) for key, value in found.items()}
    if isinstance(found, list) and isinstance(example, list):
        return [trimmed(one, shown) for one, shown in zip(found, example, strict=False)]
    return found


def test_every_operation_has_an_example(site: Site) -> None:
    document = site.browser().get("/api/v1/openapi.json").json
    assert document is not None
    assert {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found} == EXAMPLES.keys()


def test_examples_are_the_responses_of_the_api(site: Site) -> None:
    for name, found in played(site).items():
        assert trimmed(found, EXAMPLES[name].get("response")) == EXAMPLES[name].get("response"), name


def test_page_shows_every_operation_with_its_example(site: Site) -> None:
    page = site.browser().get("/help/api").text
    for name, example in EXAMPLES.items():
        assert f"<h3><code>{escape(name)}</code></h3>" in page
        for key in ("body", "response"):
            assert not example.get(key) or htmlsafe_json_dumps(example[key], indent=2, sort_keys=True) in page


def test_page_needs_no_other_host(site: Site) -> None:
    page = site.browser().get("/help/api").text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
