"""English texts of the circulation service are shown in Chinese too."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import hkall_gateway
from hkall_gateway.circulation.staff import losses
from hkall_gateway.db.privacy import forgetting, person_file, retention
from hkall_gateway.rules.lenders import SPARE
from hkall_gateway.rules.stored_words import CandidateOutcome
from hkall_gateway.rules.vocabulary import Candidate, Position
from hkall_gateway.web.labels import WORDS
from hkall_gateway.web.staff.words import in_words
from tests.web.conftest import Site
from tests.web.given import given

LENDERS = Path(hkall_gateway.__file__).parent / "rules" / "lenders.py"
CHINESE = {"Accept-Language": "zh-Hant"}


@pytest.mark.parametrize(
    ("said", "english", "chinese"),
    [
        ("declined: not_on_shelf", "declined: not found on the shelf", "已拒絕：書架上找不到"),
        ("asked for by another request, priority 10, balance 0.50, declines 5%",) * 2
        + ("另一申請已索取，優先次序 10，借貸比 0.50，拒絕率 5%",),
        ("closed 2017-03-01", "closed 2017-03-01", "休館 2017-03-01"),
        ("RECEIVED: money is open", "On the hold shelf: money is open", "在預約書架：尚有款項未清"),
        (
            "refused: Temporary Processing Failure",
            "refused: Temporary Processing Failure",
            "被拒絕：Temporary Processing Failure",
        ),
        ("a word of a later release",) * 3,
        ("",) * 3,
    ],
)
def test_text_is_translated_in_parts(site: Site, said: str, english: str, chinese: str) -> None:
    with site.app.test_request_context("/help"):
        assert in_words(said) == english
    with site.app.test_request_context("/help", headers=CHINESE):
        assert in_words(said) == chinese


def _text_of(call: ast.Call, name: str) -> str:
    """The constant that a call gives to the argument `name`, or ""."""
    values = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return "".join(str(value.value) for value in values if isinstance(value, ast.Constant))


def test_erasure_reasons_are_translated() -> None:
    held = set(retention._HOLDS)
    made = [node for module in (forgetting, person_file) for node in ast.walk(ast.parse(inspect.getsource(module)))]
    rows = [n for n in made if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "RemainingRow"]
    kinds = {_text_of(call, "what") for call in rows} - {""}
    plain = {_text_of(call, "why") for call in rows} - {""}

    assert len(rows) >= 8
    assert kinds == WORDS["ends"].keys()
    assert held | plain | kinds <= WORDS["phrases"].keys()


def test_reasons_to_skip_and_to_decline_are_translated() -> None:
    tree = ast.parse(LENDERS.read_text(encoding="utf-8"))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    said = {
        str(node.value)
        for name in ("passed_over",)
        for node in ast.walk(functions[name])
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and not node.value.startswith(("Return", "borrow_request"))
    }
    known = {*WORDS["phrases"], *WORDS["measures"], ""}
    assert {text.strip(": ") for text in said} <= known


def test_texts_about_spare_items_replies_and_losses_are_translated() -> None:
    answers = (CandidateOutcome.ACCEPTED, CandidateOutcome.DECLINED, CandidateOutcome.REFUSED)
    assert {SPARE, *answers, losses.NO_PRICE_KNOWN, losses.PRICED_BEFORE, losses.NOT_THEIRS} <= WORDS["phrases"].keys()


def test_request_page_gives_the_skip_reason_in_chinese(site: Site) -> None:
    made = given(site, Position.REQUESTED, "R-1")
    listed = [
        Candidate(
            request=made.id,
            rank=1,
            agency="CUHK",
            barcode="C1",
            reason="priority 10, balance 0.50, declines 5%",
            outcome="declined: silence",
        )
    ]
    listed += [Candidate(request=made.id, rank=2, agency="LU", barcode="C2", skip="not lendable")]
    site.world.store.now(lambda unit: unit.candidates.replace(made.id, listed))
    page = site.staff().get("/staff/requests/R-1", headers=CHINESE).text
    for words in ("優先次序 10", "已拒絕：沒有回覆", "不可外借"):
        assert words in page
