"""Messages are written as valid documents and round-trip."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, minor
from hkall_gateway.ncip.codec.documents import NISO, Coded, Fields, NcipMessage, decode, encode
from hkall_gateway.ncip.codec.elements import ELEMENTS, Element
from hkall_gateway.ncip.codec.messages import SHAPES, redacted
from hkall_gateway.xml.tree import Value
from tests.examples import example_count

OURS = Path(__file__).parents[2] / "fixtures" / "ncip"
FIXTURES = sorted(path.name for path in OURS.glob("*.xml"))
DIRECT = DIALECTS["direct"]
SERVICES = sorted(ELEMENTS["NCIPMessage"].children.keys() - {"Ext"})
Spelled = Callable[[object], object]


def fixture(name: str) -> bytes:
    return (OURS / name).read_bytes()


def words(element: Element) -> st.SearchStrategy[Value]:
    """Possible values of an element without children."""
    letters = st.characters(exclude_categories=("Cc", "Cs", "Cn"))
    if element.kind == "empty":
        return st.just(True)
    if element.kind != "scheme":
        return st.text(letters | st.just("\n"), min_size=1).map(str.strip).filter(bool)
    value = st.text(letters, min_size=1).map(lambda text: " ".join(text.split())).filter(bool)
    return st.builds(Coded, value, st.none() | st.sampled_from(["urn:a", "http://x.test/?a=b&c=d"]))


@st.composite
def fields(draw: st.DrawFn, element: Element, needs: tuple[str, ...] = ()) -> Fields:
    """Some of the content of an element, in any order, always including `needs`."""
    if element.kind == "any":
        return {"ItemNote": draw(st.lists(words(ELEMENTS["ItemNote"]), min_size=1, max_size=2))}
    some = draw(st.lists(st.sampled_from(sorted(element.children)), max_size=4, unique=True))
    made: dict[str, Value] = {}
    for name in draw(st.permutations(list(dict.fromkeys([*needs, *some])))):
        inner = ELEMENTS[name]
        first = tuple(inner.children)[:1] if name in needs else ()
        one = fields(inner, first) if inner.kind in ("complex", "any") else words(inner)
        made[name] = draw(st.lists(one, min_size=1, max_size=2) if element.children[name].repeats else one)
    return made


def model(service: str) -> Element:
    only = {"Problem": ELEMENTS["NCIPMessage"].children["Problem"]}
    return Element(name="NCIPMessage", kind="complex", children=only) if service == "Problem" else ELEMENTS[service]


def needs(service: str) -> tuple[str, ...]:
    if service == "Problem":
        return ("Problem",)
    return tuple(names[0] for names in SHAPES[service].needs) if service in SHAPES else ()


@pytest.mark.thorough
@pytest.mark.parametrize("service", SERVICES)
def test_message_round_trips(service: str, spelled: Spelled) -> None:
    @settings(max_examples=example_count(15), suppress_health_check=list(HealthCheck), database=None)
    @given(fields(model(service), needs(service)))
    def comes_back(said: Fields) -> None:
        again = decode(encode(NcipMessage(service=service, fields=said), DIRECT))
        assert (again.service, spelled(again.fields), again.notes) == (service, spelled(said), ())

    comes_back()


def instance(content: Mapping[str, Any], models: Mapping[str, Any], order: random.Random) -> dict[str, Value]:
    """Valid content of an element, drawn from the schema's model rather than from our table."""
    if content["k"] == "any":
        return {}
    times = order.randint(content["min"], 2 if content["max"] is None else content["max"])
    made: dict[str, Value] = {}
    for _ in range(times):
        if content["k"] == "el":
            value = filled(content["n"], models, order)
            known = made.get(content["n"], [])
            made[content["n"]] = [*known, value] if isinstance(known, list) else value
        else:
            for part in [order.choice(content["c"])] if content["k"] == "choice" else content["c"]:
                made |= instance(part, models, order)
    return {name: one[0] if isinstance(one, list) and len(one) == 1 else one for name, one in made.items()}


def filled(name: str, models: Mapping[str, Any], order: random.Random) -> Value:
    if models[name]["kind"] == "complex":
        made = list(instance(models[name]["model"], models, order).items())
        order.shuffle(made)
        return dict(made)
    samples: dict[str, Value] = {"empty": True, "dateTime": "2017-03-01T10:00:00+08:00", "text": "酒徒 & 其他"}
    samples |= {"scheme": Coded("Loan", "urn:s"), "integer": "-5", "count": "0", "ordinal": "1"}
    return samples[ELEMENTS[name].kind]


@pytest.mark.parametrize("service", SERVICES)
def test_valid_content_is_written_valid_for_any_field_order(
    service: str, xsd: etree.XMLSchema, models: Mapping[str, Any]
) -> None:
    for seed in range(4):
        content = filled(service, models, random.Random(seed))
        said = {"Problem": content} if service == "Problem" else content
        assert isinstance(said, Mapping)
        xsd.assertValid(etree.fromstring(encode(NcipMessage(service=service, fields=said), DIRECT)))


def test_document_is_written_with_the_prefix_and_qualified_attributes() -> None:
    written = encode(
        NcipMessage(service="LookupUserResponse", fields={"Problem": [{"ProblemType": Coded("Unknown User", "urn:s")}]}), DIRECT
    )
    assert written == (
        b"<?xml version='1.0' encoding='UTF-8'?>\n"
        b'<ns1:NCIPMessage xmlns:ns1="http://www.niso.org/2008/ncip"'
        b' ns1:version="http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"><ns1:LookupUserResponse><ns1:Problem>'
        b'<ns1:ProblemType ns1:Scheme="urn:s">Unknown User</ns1:ProblemType></ns1:Problem></ns1:LookupUserResponse>'
        b"</ns1:NCIPMessage>"
    )


def test_dialect_without_namespaces_writes_no_namespace() -> None:
    written = encode(NcipMessage(service="ItemShippedResponse", fields={}), replace(DIRECT, namespaced=False))
    assert written.partition(b"\n")[2] == (
        b'<NCIPMessage version="http://www.niso.org/schemas/ncip/v2_02/ncip_v2_02.xsd"><ItemShippedResponse/></NCIPMessage>'
    )


OLD = "http://www.niso.org/schemas/ncip/v2_0/imp1/xsd/ncip_v2_0.xsd"
YOUNG = {"ItemOptionalFields": {"CirculationStatus": "On Loan", "DateDue": "2017-04-20T23:59:59+08:00"}}


def test_reply_has_the_version_of_the_request() -> None:
    assert decode(encode(NcipMessage(service="ItemShippedResponse", fields={}, version=OLD), DIRECT)).version == OLD


@pytest.mark.parametrize("version", ["5.6", "", "http://www.niso.org/schemas/ncip/v2_03/ncip_v2_03.xsd"])
def test_unknown_version_is_answered_in_the_dialect_version(version: str) -> None:
    assert (
        decode(encode(NcipMessage(service="ItemShippedResponse", fields={}, version=version), DIRECT)).version == DIRECT.version
    )


def test_element_unknown_to_an_older_version_is_omitted() -> None:
    again = decode(encode(NcipMessage(service="LookupItemResponse", fields=YOUNG, version=OLD), DIRECT))
    assert again.fields == {"ItemOptionalFields": {"CirculationStatus": "On Loan"}}


def test_document_for_an_older_version_is_valid_in_that_version(xsd_of_2_0: etree.XMLSchema) -> None:
    said = decode(fixture("lookup-user-response.xml"))
    loans = [dict(loan.fields) | {"ReminderLevel": "1"} for loan in said.each("LoanedItem")]
    message = replace(said, fields={**said.fields, "LoanedItem": loans}, version=OLD)
    xsd_of_2_0.assertValid(etree.fromstring(encode(message, DIRECT)))
    assert minor(message.version) == 0


def test_empty_elements_are_omitted() -> None:
    said: Fields = {"LoanedItemsDesired": False, "UserElementType": [], "UserId": {"AgencyId": "", "UserIdentifierValue": "P"}}
    assert decode(encode(NcipMessage(service="LookupUser", fields=said), DIRECT)).fields == {
        "UserId": {"UserIdentifierValue": "P"}
    }


def test_single_value_is_accepted_for_a_repeatable_element() -> None:
    written = encode(NcipMessage(service="ItemShippedResponse", fields={"Problem": {"ProblemType": "Unknown Item"}}), DIRECT)
    assert decode(written).fields == {"Problem": [{"ProblemType": "Unknown Item"}]}


@pytest.mark.parametrize("letter", ["\0", "\x04", "\x1f", "\x7f", "\ud800", "\ufffe", "\uffff"])
def test_character_not_allowed_in_xml_becomes_a_blank(letter: str) -> None:
    written = encode(NcipMessage(service="ItemShippedResponse", fields={"Problem": [{"ProblemDetail": f"a{letter}b"}]}), DIRECT)
    assert decode(written).text("Problem/ProblemDetail") == "a b"


MISTAKES: dict[str, tuple[str, Fields]] = {
    "RequestItem/Umbrella is not": ("RequestItem", {"Umbrella": "1"}),
    "RequestItem/UserId/Barcode is not": ("RequestItem", {"UserId": {"Barcode": "PG7"}}),
    "ItemShipped/Ext/Umbrella is not": ("ItemShipped", {"Ext": {"Umbrella": "1"}}),
    "Problem/ItemId is not": ("Problem", {"Problem": {}, "ItemId": {"ItemIdentifierValue": "L1"}}),
    "ItemShipped/DateShipped may stand only once": ("ItemShipped", {"DateShipped": ["2017", "2018"]}),
    "ItemShipped/ItemId is complex and cannot hold str": ("ItemShipped", {"ItemId": "L1"}),
    "ItemShipped/DateShipped is dateTime and cannot hold dict": ("ItemShipped", {"DateShipped": {"a": "b"}}),
    "LookupUser/LoanedItemsDesired is empty and cannot hold str": ("LookupUser", {"LoanedItemsDesired": "yes"}),
    "LendUmbrella is no NCIP service": ("LendUmbrella", {}),
    "Ext is no NCIP service": ("Ext", {}),
    "Problem holds no Problem": ("Problem", {"Problem": []}),
}


@pytest.mark.parametrize("error", MISTAKES)
def test_programming_error_is_reported_by_its_path(error: str) -> None:
    service, said = MISTAKES[error]
    with pytest.raises(ValueError, match=error):
        encode(NcipMessage(service=service, fields=said), DIRECT)


def test_dialect_with_an_unknown_version_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"dialect 'direct' writes '5\.6'"):
        encode(NcipMessage(service="ItemShippedResponse", fields={}), replace(DIRECT, version="5.6"))


@pytest.mark.parametrize("name", FIXTURES)
def test_masked_document_contains_no_hidden_value(name: str) -> None:
    message = decode(fixture(name))
    nodes = etree.fromstring(fixture(name)).iter(f"{{{NISO}}}*")
    hidden = {node.text for node in nodes if node.text and ELEMENTS[etree.QName(node).localname].hidden}
    shown = json.dumps(redacted(message), ensure_ascii=False) + repr(message)
    assert [text for text in hidden if text.strip() and json.dumps(text) in shown] == []
