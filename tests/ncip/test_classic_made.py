"""Every message is written valid in NCIP 1, and content that NCIP 1 supports round-trips."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from hkall_gateway.ncip.codec.dialects import DIALECTS, NCIP_1_0, NCIP_1_01, Dtd, public
from hkall_gateway.ncip.codec.documents import Coded, Fields, NcipMessage, decode, encode
from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.ncip.codec.elements_v1 import CONTENT, KINDS, RENAMED, SERVICES, VISIBLE, ContentPart
from hkall_gateway.ncip.codec.messages import SHAPES
from hkall_gateway.xml.tree import Value
from tests.examples import example_count

DIRECT = DIALECTS["direct"]
MESSAGING = "http://www.niso.org/ncip/v1_0/schemes/messagingerrortype/messagingerrortype.scm"
LATE = {"LookupRequest", "LookupRequestResponse"}
SAYING = {"Pending", "ItemReportedReturned"}
Spelled = Callable[[object], object]


def spoken(version: str, service: str = "") -> Dtd:
    asked = service.removesuffix("Response")
    return Dtd(version, version, public(version), asked if asked in RENAMED else "")


@pytest.fixture(scope="session")
def dtd_of_1_01() -> etree.DTD:
    """The DTD generated from our own table, since the real 1.01 DTD is not available."""
    rows = [f"<!ELEMENT NCIPMessage ({'|'.join(sorted(SERVICES))})><!ATTLIST NCIPMessage version CDATA #REQUIRED>"]
    rows += [f"<!ELEMENT {name} {declared(part)}>" for name, part in CONTENT.items()]
    plain = {"empty": "EMPTY", "scheme": "(Scheme, Value)"}
    rows += [f"<!ELEMENT {name} {plain.get(kind, '(#PCDATA)')}>" for name, kind in KINDS.items()]
    return etree.DTD(StringIO("\n".join(rows)))


def declared(part: ContentPart) -> str:
    mark = {(True, False): "", (False, False): "?", (False, True): "*", (True, True): "+"}[part.required, part.repeats]
    inside = ("|" if part.either else ",").join(declared(inner) for inner in part.parts)
    return part.name + mark if part.name else f"({inside}){mark}"


# Messages that NCIP 1 can say, made along its grammar


def words(kind: str) -> st.SearchStrategy[Value]:
    if kind == "empty":
        return st.just(True)
    letters = st.characters(exclude_categories=("Cc", "Cs", "Cn"))
    text = st.text(letters, min_size=1, max_size=20).map(lambda text: " ".join(text.split())).filter(bool)
    return st.builds(Coded, text, st.sampled_from(["urn:a", "http://x.test/?a=b&c=d"])) if kind == "scheme" else text


@st.composite
def content(draw: st.DrawFn, part: ContentPart, late: bool) -> list[ContentPart]:
    """The children of a content model, repeated as often as it uses them."""
    if (part.late and not late) or (not part.required and not part.repeats and draw(st.integers(0, 3))):
        return []
    if part.name:
        return [part] * draw(st.integers(int(part.required), 2 if part.repeats else 1))
    chosen = [draw(st.sampled_from(part.parts))] if part.either else part.parts
    return [place for inner in chosen for place in draw(content(inner, late))]


@st.composite
def problems(draw: st.DrawFn, scheme: str, times: int) -> list[Value]:
    path = st.sampled_from(["UserId/UserIdentifierValue", "ItemId", "InitiationHeader/FromAgencyId/AgencyId", "RequestType"])
    kind = words("text").map(lambda text: Coded(str(text), scheme))
    problem = st.fixed_dictionaries({"ProblemType": kind, "ProblemElement": path}, optional={"ProblemValue": words("text")})
    return draw(st.lists(problem, min_size=times, max_size=times))


@st.composite
def fields(draw: st.DrawFn, name: str, late: bool) -> dict[str, Value]:
    """Possible content of an NCIP 1 element, in NCIP 2 names."""
    made: dict[str, Value] = {}
    for place in draw(content(CONTENT[name], late)):
        child = place.name
        if child in ("Problem", "MessagingError"):
            scheme = draw(st.sampled_from([MESSAGING, "urn:x"])) if child == "Problem" else "urn:x"
            made["Problem"] = draw(problems(scheme, draw(st.integers(1, 2))))
        elif child == "UserTransaction":
            made |= draw(fields(child, late))
        else:
            value = draw(fields(child, late)) if child in CONTENT else draw(words(KINDS[child]))
            if value != {} or child in SAYING:
                put(made, name, child, value)
    return made


def put(made: dict[str, Value], name: str, child: str, value: Value) -> None:
    path = VISIBLE.get((name, child), RENAMED.get(child, child))
    if path.startswith("Ext/"):
        inside: Any = made.setdefault("Ext", {})
        inside.setdefault(path.removeprefix("Ext/"), []).append(value)
    elif name == "UserTransaction" or ELEMENTS[RENAMED.get(name, name)].children[path].repeats:
        several: Any = made.setdefault(path, [])
        several.append(value)
    else:
        made[path] = value


def assert_it_comes_back(service: str, version: str, spelled: Spelled) -> None:
    @settings(max_examples=example_count(15), suppress_health_check=list(HealthCheck), database=None)
    @given(fields(service, version == NCIP_1_01))
    def comes_back(said: Fields) -> None:
        message = NcipMessage(service=RENAMED.get(service, service), fields=said, version=spoken(version, service))
        assume(message.service not in SHAPES or not SHAPES[message.service].missing(said))
        again = decode(encode(message, DIRECT))
        assert (again.service, spelled(again.fields), again.version) == (message.service, spelled(said), version)

    comes_back()


@pytest.mark.thorough
@pytest.mark.parametrize("service", sorted(SERVICES - LATE))
def test_ncip_1_0_message_round_trips(service: str, spelled: Spelled) -> None:
    assert_it_comes_back(service, NCIP_1_0, spelled)


@pytest.mark.thorough
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_ncip_1_01_message_round_trips(service: str, spelled: Spelled) -> None:
    assert_it_comes_back(service, NCIP_1_01, spelled)


# Messages of NCIP 2, of which NCIP 1 can say a part


def anything(name: str, order: random.Random) -> Value:
    """Any value of an NCIP 2 element, ignoring the schema's alternatives."""
    element = ELEMENTS[name]
    if element.kind != "complex":
        samples: dict[str, Value] = {"empty": True, "scheme": Coded("Loan", "urn:s"), "any": {}}
        return samples.get(element.kind, "7")
    held = order.sample(sorted(element.children), min(len(element.children), order.randint(0, 6)))
    return {child: anything(child, order) for child in held}


@pytest.mark.parametrize("service", sorted(RENAMED.get(service, service) for service in SERVICES - LATE))
def test_any_ncip_2_message_is_written_valid_against_the_1_0_dtd(service: str, dtd: etree.DTD) -> None:
    for seed in range(12):
        said = anything(service, random.Random(seed))
        assert isinstance(said, Mapping)
        written = encode(NcipMessage(service=service, fields=said, version=NCIP_1_0), DIRECT)
        assert dtd.validate(etree.fromstring(written)), dtd.error_log


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_any_ncip_2_message_is_written_valid_against_the_1_01_dtd(service: str, dtd_of_1_01: etree.DTD) -> None:
    for seed in range(4):
        said = anything(RENAMED.get(service, service), random.Random(seed))
        assert isinstance(said, Mapping)
        message = NcipMessage(service=RENAMED.get(service, service), fields=said, version=spoken(NCIP_1_01, service))
        assert dtd_of_1_01.validate(etree.fromstring(encode(message, DIRECT))), dtd_of_1_01.error_log
