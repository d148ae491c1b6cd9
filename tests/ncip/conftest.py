"""Shared by the NCIP tests: the schemas if available, and a responder with a real circulation service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import insert, select

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Library
from hkall_gateway.circulation.ports import BorrowerFacts, Verb
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.tables import HOLDINGS, LINKS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.ils.local_system import ConnectedSystem
from hkall_gateway.ncip.codec.dialects import DIALECTS, minor
from hkall_gateway.ncip.codec.documents import NISO, decode, encode
from hkall_gateway.ncip.codec.messages import NcipMessage
from hkall_gateway.ncip.codec.niso_xml import serialize_foreign
from hkall_gateway.ncip.handlers import NcipServices, respond
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.callers import Caller, NamedSecret, Peer
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.dates import HONG_KONG
from hkall_gateway.rules.messages.json_records import to_json
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Request, Sensitive, Side
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.xml.tree import Coded, Fields
from tests import databases
from tests.readers import CATEGORY, POLICY

SHARED = Path(__file__).parents[3] / "shared/ncip"


def at_hand(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is not on this machine")
    return SHARED / name


@pytest.fixture(scope="session")
def xsd() -> etree.XMLSchema:
    """The schema of 2.02."""
    return etree.XMLSchema(etree.parse(at_hand("xsd/ncip_v2_02.xsd")))


@pytest.fixture(scope="session")
def xsd_of_2_0() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(at_hand("xsd/ncip_v2_0_official.xsd")))


@pytest.fixture(scope="session")
def dtd() -> etree.DTD:
    """The DTD of 1.0."""
    return etree.DTD(str(at_hand("xsd/ncip_v1_0.dtd")))


@pytest.fixture(scope="session")
def models() -> dict[str, Any]:
    """The content model of every 2.02 element, as the schema nests it."""
    elements: dict[str, Any] = json.loads(at_hand("schema_2_02.json").read_text())["elements"]
    return elements


@pytest.fixture(scope="session")
def spelled() -> Callable[[object], object]:
    """A value including its schemes, which equality ignores."""

    def spell(value: object) -> object:
        if isinstance(value, Mapping):
            return {name: spell(one) for name, one in value.items()}
        if isinstance(value, list):
            return [spell(one) for one in value]
        return (str(value), value.scheme) if isinstance(value, Coded) else value

    return spell


# ---- a real desk behind a door, for the tests of what is answered

FOLDER = SHARED / "xsd"
SCHEMAS: dict[int, etree.XMLSchema] = (
    {
        0: etree.XMLSchema(etree.parse(FOLDER / "ncip_v2_0_official.xsd")),
        1: etree.XMLSchema(etree.parse(FOLDER / "ncip_v2_01.xsd")),
        2: etree.XMLSchema(etree.parse(FOLDER / "ncip_v2_02.xsd")),
    }
    if FOLDER.exists()
    else {}
)
VERSION_XSD = etree.XMLSchema(etree.parse(FOLDER / "ncip_version.xsd")) if FOLDER.exists() else None
DTD_1_0 = etree.DTD(str(FOLDER / "ncip_v1_0.dtd")) if FOLDER.exists() else None
HERE = Peer(address="10.0.0.7")
DISCOVERY, CUHK, LU = "HKU-DISCOVERY", "CUHK", "LU"
BROKER, CENTRAL = "RESHARE", "HKALL1"
"""A broker that controls our requests, and a library behind INN-Reach's central system."""
NOW = datetime(2017, 3, 1, 2, tzinfo=UTC)

UG1 = {"AgencyId": "HKU", "UserIdentifierType": "Barcode Id", "UserIdentifierValue": "UG1"}
DUNE = {"BibliographicRecordId": {"BibliographicRecordIdentifier": "b1", "AgencyId": "HKALL"}}
LOAN = {"RequestType": "Loan", "RequestScopeType": "Bibliographic Item"}


def make_ext(*elements: etree._Element) -> dict[str, Any]:
    """The value of an Ext that contains foreign elements; NCIP's own elements may be added."""
    return {"Ext": [serialize_foreign(element) for element in elements]}


class FakeIls:
    """The local system, replying from loaded data; every PIN is 1234."""

    supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN})

    def __init__(self, store: SoleStore) -> None:
        self._store = store

    async def borrower(self, card: str) -> BorrowerFacts:
        if card == "BOOM":
            raise RuntimeError("a bug behind the desk")
        if card == "AWAY":
            raise Unavailable("OperationalError")
        return BorrowerFacts(
            borrower=await self._store.read(lambda unit: unit.patrons.find(card), is_long=True), source="snapshot"
        )

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        return pin == Sensitive("1234")

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        return None


PEOPLE: tuple[dict[str, Any], ...] = (
    {"barcode": "UG1", "name": "Chan Tai Man", "email": "ug1@lib.test", "category": CATEGORY.key, "total_quota": 60},
    {"barcode": "LATE", "name": "Late Lee", "category": "undergraduates", "expires": date(2017, 1, 31)},
)
BOOKS = (
    Holding(agency="CUHK", barcode="C1", bib_id="b1", title="Dune"),
    Holding(agency="LU", barcode="L1", bib_id="b1", title="Dune"),
    Holding(agency="HKU", barcode="K9", bib_id="blend", title="酒徒"),
)


PARTNERS = {CUHK: "direct", LU: "direct", BROKER: "broker", CENTRAL: "innreach"}
SECRETS = {CUHK: "c-key", LU: "l-key", BROKER: "b-key", CENTRAL: "i-key", "MUTE": ""}


class World:
    """A responder with a real circulation service."""

    def __init__(self) -> None:
        self.now = NOW
        self.engine = engine = databases.empty()
        with engine.connect() as connection:
            connection.execute(insert(PATRONS), [{"expires": None, "email": "", "total_quota": None, **p} for p in PEOPLE])
            connection.execute(insert(HOLDINGS), [asdict(book) for book in BOOKS])
            directory = {agency: Partner(agency=agency, name=agency, dialect=dialect) for agency, dialect in PARTNERS.items()}
            for agency, partner in directory.items():
                connection.execute(insert(LINKS), {"agency": agency, "partner": to_json(partner)})
        numbers = count(1)
        self.store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: f"R{next(numbers)}"))
        library = Library(agency="HKU", name="HKU Libraries", policy=POLICY, pickup_locations=("HKU-MAIN-LENDING",))
        self.ils = FakeIls(self.store)
        self.circulation = desk = Circulation(
            self.store,
            ConnectedSystem(self.store, self.ils, lambda: library, lambda: self.now),
            lambda: library,
            lambda: self.now,
        )
        net = ("10.0.0.0/8",)
        rows = [Caller(access=Client(agency=DISCOVERY, allow_from=net), secrets=(NamedSecret(variable="D_KEY", text="d-key"),))]
        for agency, secret in SECRETS.items():
            access = PartnerAccess(agency=agency, allow_from=net, lookups_per_minute=0)
            rows.append(
                Caller(access=access, secrets=(NamedSecret(variable=agency, text=secret),), partner=directory.get(agency))
            )
        callers = {row.agency: row for row in rows}
        self.services = NcipServices(
            circulation=desk, callers=callers, agency="HKU", timezone=HONG_KONG, metrics=Metrics(), now=lambda: self.now
        )

    def admit(self, agency: str, **facts: Any) -> None:
        """Change the configuration of a caller: its secret or other credentials, its permissions, or its directory row."""
        caller = self.services.callers[agency]
        if "secret" in facts:
            facts["secrets"] = (NamedSecret(variable=agency, text=facts.pop("secret")),)
        for name in ("access", "partner"):
            row: Any = getattr(caller, name)
            own = {field.name for field in fields(row)} & facts.keys() if row else set()
            if own:
                caller = replace(caller, **{name: replace(row, **{key: facts.pop(key) for key in own})})
        self.services = replace(self.services, callers={**self.services.callers, agency: replace(caller, **facts)})

    def document(self, agency: str, service: str, secret: str = "", **fields: Any) -> bytes:
        """A document from an agency, with the agency's own secret by default."""
        caller = self.services.callers.get(agency)
        header: dict[str, Any] = {"FromAgencyId": {"AgencyId": agency}, "ToAgencyId": {"AgencyId": "HKU"}}
        header["FromAgencyAuthentication"] = secret or (caller.secret if caller else "")
        return encode(NcipMessage(service=service, fields={"InitiationHeader": header, **fields}), DIALECTS["direct"])

    def send(self, body: bytes, peer: Peer = HERE) -> NcipMessage:
        """The reply to a document; asserts that it is valid."""
        return read(finished(respond(self.services, body, None, peer)))

    def ask(self, agency: str, service: str, **fields: Any) -> NcipMessage:
        return self.send(self.document(agency, service, **fields))

    def place(self, value: str = "d-77", user: Fields = UG1, **more: Any) -> NcipMessage:
        mine = {"AgencyId": DISCOVERY, "RequestIdentifierValue": value}
        return self.ask(DISCOVERY, "RequestItem", UserId=user, BibliographicId=[DUNE], RequestId=mine, **LOAN, **more)

    def put(self, position: Position, **facts: Any) -> Request:
        """Insert a request at a position; by default UG1 borrows C1 from CUHK."""
        given: dict[str, Any] = {"side": Side.BORROWING, "title": "Dune", "bib_id": "b1", "patron": "UG1", "partner": CUHK}
        given |= {"item_agency": "CUHK", "item_barcode": "C1", "placed_by": DISCOVERY, "placed_id": "d-1", **facts}
        return self.store.now(
            UnitOfWork.open, Request(id="", position=position, **given), self.now, Actor(who="test", channel="world")
        )

    def request(self, value: str) -> Request:
        found: Request | None = self.store.now(lambda unit: unit.requests.find(value))
        assert found is not None
        return found

    def rows(self, table: Any) -> list[Any]:
        return list(self.store.now(lambda unit: unit.connection.execute(select(table)).mappings().all()))


def read(reply: bytes) -> NcipMessage:
    assert_valid(reply)
    return decode(reply)


def assert_valid(reply: bytes) -> None:
    """Assert that a reply is valid in its version; one without a namespace is validated as if it had one."""
    if not SCHEMAS:
        return
    root = etree.fromstring(reply)
    if root.tag == "NCIPVersionMessage":
        assert VERSION_XSD is not None
        VERSION_XSD.assertValid(root)
    elif "1_01" in (root.getroottree().docinfo.system_url or ""):
        pass  # nobody has published the DTD of 1.01; test_classic_made.py holds what is known of it
    elif root.getroottree().docinfo.doctype:
        assert DTD_1_0 is not None
        DTD_1_0.assertValid(root)
    else:
        SCHEMAS[minor(decode(reply).version) or 0].assertValid(namespaced(root))


def namespaced(root: etree._Element) -> etree._Element:
    """The tree in the NCIP 2 namespace, including its attributes."""
    if str(root.tag).startswith("{"):
        return root
    for node in root.iter():
        node.tag = etree.QName(NISO, str(node.tag))
        for name, value in [(str(name), value) for name, value in node.attrib.items()]:
            del node.attrib[name]
            node.set(etree.QName(NISO, name), value)
    return root


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.store.close()
    made.engine.dispose()  # on PostgreSQL the next world takes its schema
