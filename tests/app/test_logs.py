"""What a log line contains, and what it must never contain."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from hkall_gateway.app.logs import HIDDEN_TAGS, PATRON_TAGS, configure, log_twisted_event, patron_ref, scrub
from hkall_gateway.observability.log_console import line_renderer
from hkall_gateway.observability.log_context import log_context
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.codec.fields import TAGS

KEY = b"sixteen bytes ok"
NOON = datetime(2017, 3, 1, 16, 30, 0, 123456, tzinfo=UTC)
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [cast(dict[str, Any], json.loads(line)) for line in stream.getvalue().splitlines()]


def listening(level: str = "debug", titles: bool = False) -> io.BytesIO:
    stream = io.BytesIO()
    configure(stream, lambda: NOON, level, KEY, titles)
    return stream


def heard(event: dict[str, object]) -> None:
    """Call a log observer as Twisted does; mypy cannot read the signature of a zope interface."""
    log_twisted_event(event)


def logged(**fields: object) -> dict[str, Any]:
    stream = listening()
    structlog.get_logger().info("it.happened", **fields)
    return lines(stream)[0]


def test_line_starts_with_time_level_and_event() -> None:
    stream = listening()
    structlog.get_logger().info("sip2.answered", code="12", ok=True, ms=14)
    assert stream.getvalue() == (
        b'{"ts":"2017-03-01T16:30:00.123Z","hkt_date":"2017-03-02","level":"info","event":"sip2.answered",'
        b'"code":"12","ok":true,"ms":14}\n'
    )


def test_bound_context_is_in_every_line() -> None:
    stream = listening()
    log = structlog.get_logger()
    with log_context(corr_id="c1", channel="sip2"):
        log.info("a")
        with log_context(corr_id="c2"):
            log.info("b")
        log.info("c", channel="cli")
    log.info("d")
    told = [(line.get("corr_id"), line.get("channel")) for line in lines(stream)]
    assert told == [("c1", "sip2"), ("c2", "sip2"), ("c1", "cli"), (None, None)]


def test_fields_of_any_name_and_bound_fields_are_logged() -> None:
    stream = listening()
    structlog.get_logger().bind(card="2001").info("web.answered", method="GET")
    (line,) = lines(stream)
    assert (line["method"], line["patron_ref"]) == ("GET", patron_ref("2001", KEY))


def test_events_below_the_level_are_not_logged() -> None:
    stream = listening("warning")
    log = structlog.get_logger()
    log.info("a")
    log.warning("b")
    log.error("c")
    assert [line["level"] for line in lines(stream)] == ["warning", "error"]


def test_last_configuration_replaces_the_previous_configuration() -> None:
    log = structlog.get_logger()
    first = listening("error")
    log.error("a")
    second = listening("info")
    log.info("b")
    assert [line["event"] for line in lines(first)] == ["a"]
    assert [line["event"] for line in lines(second)] == ["b"]


HIDDEN = """
    pin password secret name email address authentication AD CO AC AE BD BE BF AJ title
    user_name NameInformation pin_hash FromAgencyAuthentication barcodePin GivenName
"""


@pytest.mark.parametrize("key", HIDDEN.split())
def test_value_of_a_secret_or_personal_key_is_masked(key: str) -> None:
    assert logged(**{key: "4711"})[key] == "•"


@pytest.mark.parametrize("key", ["shipping", "filename", "opinion", "addressee_count", "AO", "AB", "why", "peer", "namespace"])
def test_other_keys_show_their_value(key: str) -> None:
    assert logged(**{key: "4711"})[key] == "4711"


def test_secrets_inside_nested_values_are_masked() -> None:
    line = logged(fields={"AA": "P1", "AD": "4711", "deep": [{"pin": "4711"}, ("4711", Sensitive("4711"))]})
    assert "4711" not in json.dumps(line["fields"]["deep"][0])
    assert line["fields"]["deep"][1][1] == "•"
    assert line["fields"]["AD"] == "•"
    assert line["fields"]["patron_ref"] == patron_ref("P1", KEY)


def test_sensitive_text_is_masked_under_any_key() -> None:
    assert logged(thing=Sensitive("Chan Tai Man"))["thing"] == "•"


@pytest.mark.parametrize("value", ["P1", Sensitive("P1")])
@pytest.mark.parametrize("key", ["patron", "borrower", "AA"])
def test_patron_is_logged_as_a_reference(key: str, value: object) -> None:
    line = logged(**{key: value})
    assert key not in line
    assert line["patron_ref"] == patron_ref("P1", KEY)
    assert "P1" not in line["patron_ref"]


def test_titles_are_logged_if_configured() -> None:
    stream = listening(titles=True)
    structlog.get_logger().info("a", title="Dune", AJ="Dune", name="Chan")
    assert [lines(stream)[0][key] for key in ("title", "AJ", "name")] == ["Dune", "Dune", "•"]


@pytest.mark.parametrize(
    "text",
    [
        "11YN20170301    100000                  AOHKU|AA4711|AB1|AD4711|",
        "9300CNcounter-1|CO4711|CPdesk|",
        "64 AOHKU|AEChan 4711|BD4711 Road|BE4711@example.org|BF4711|",
        "<ns1:AuthenticationInputData>4711</ns1:AuthenticationInputData>",
        "<FromAgencyAuthentication>4711</FromAgencyAuthentication>",
        "<ns1:FromAgencyAuthentication>\n  4711\n</ns1:FromAgencyAuthentication>",
        "cut in the middle: <UserIdentifierValue>4711",
        "ValueError: pin='4711' is wrong",
        'password: "4711"',
        "user_secret=4711&x=1",
        "connection to postgresql+psycopg://hkall:4711@db/hkall failed",
        "letter to 4711@connect.hku.hk bounced",
        "$argon2id$v=19$m=19456,t=2,p=1$4711$4711",
    ],
)
def test_secrets_in_free_text_are_masked(text: str) -> None:
    assert "4711" not in scrub(text)
    assert "4711" not in json.dumps(logged(why=text))


@pytest.mark.parametrize("text", ["in: 4 = 2+2", "127.0.0.1:6001", "shipping: yes", "a < b", "AOHKU|AB1|", "2017-03-01T10:00"])
def test_harmless_text_is_unchanged(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "partners[2].secret_env: the environment has no variable 'HKALL_SECRET_LU'",
        "smtp.password_env: must be text, in quotation marks",
        "sip2.terminals[0].secret_hash: must be an Argon2id hash, as `hkall-gateway hash-secret` prints it",
    ],
)
def test_error_mentioning_a_secret_key_is_readable(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("text", ["secret_envelope: 4711", "secret_hash: 4711", "password_environment=4711"])
def test_secret_after_a_similar_key_is_masked(text: str) -> None:
    assert "4711" not in scrub(text)


def test_exception_is_logged_with_its_traceback_and_without_its_secrets() -> None:
    stream = listening()
    name, pin = Sensitive("Chan"), "4711"
    try:
        raise ValueError(f"{name} gave pin={pin}")
    except ValueError:
        structlog.get_logger().exception("web.failed")
    line = lines(stream)[0]
    assert line["level"] == "error"
    assert "Traceback" in line["exception"]
    assert "4711" not in line["exception"]
    assert "Chan" not in line["exception"]


def test_dates_and_unusual_characters_can_be_logged() -> None:
    line = logged(due=date(2017, 3, 16), at=NOON, odd="a\udc80\x00\n", zh="沙丘", many={1}, none=None, path=Path("x"))
    assert line["due"] == "2017-03-16"
    assert line["odd"] == "a\udc80\x00\n"
    assert (line["zh"], line["many"], line["none"], line["path"]) == ("沙丘", [1], None, "x")


def test_event_is_written_in_one_line() -> None:
    stream = listening()
    structlog.get_logger().info("a", text="one\ntwo\r\u2028three")
    assert stream.getvalue().count(b"\n") == 1


def test_failure_inside_twisted_is_logged_as_an_error_with_traceback() -> None:
    stream = listening("info")
    try:
        raise RuntimeError("password=4711")
    except RuntimeError:
        failure = Failure()  # type: ignore[no-untyped-call]  # Twisted does not annotate it
    heard({"log_format": "Unhandled {what}", "what": "error", "log_failure": failure, "log_level": LogLevel.critical})
    line = lines(stream)[0]
    assert (line["level"], line["event"], line["said"]) == ("error", "twisted.failed", "Unhandled error")
    assert "RuntimeError" in line["exception"]
    assert "4711" not in line["exception"]


def test_routine_twisted_messages_are_not_logged_at_info() -> None:
    stream = listening("info")
    heard({"log_format": "Starting factory", "log_level": LogLevel.info, "log_namespace": "x"})
    heard({"log_format": "hm", "log_level": LogLevel.warn, "log_namespace": "x"})
    assert [(line["level"], line["said"]) for line in lines(stream)] == [("warning", "hm")]


def test_patron_reference_depends_on_the_key() -> None:
    assert patron_ref("P1", b"a") != patron_ref("P1", b"b")
    assert patron_ref("P1", b"k" * 100) != patron_ref("P1", b"k" * 99)
    with pytest.raises(ValueError, match="key"):
        patron_ref("P1", b"")


@given(st.text(), st.binary(min_size=1, max_size=200))
def test_patron_reference_is_short_and_stable(barcode: str, key: bytes) -> None:
    assert patron_ref(barcode, key) == patron_ref(barcode, key)
    assert len(patron_ref(barcode, key)) == 12


def test_every_secret_and_personal_field_of_sip2_is_hidden() -> None:
    assert {tag.tag for tag in TAGS.values() if tag.secret or tag.personal} <= HIDDEN_TAGS | PATRON_TAGS
    assert {"AD", "CO", "AC", "AE", "BD", "BE", "BF"} <= HIDDEN_TAGS
    assert "AA" in PATRON_TAGS


def test_logging_an_example_document_shows_no_secret() -> None:
    folder = SHARED / "ncip" / "examples"
    if not folder.is_dir():
        pytest.skip("the shared NCIP examples are not here")
    for document in folder.glob("*.xml"):
        shown = logged(body=document.read_text(encoding="utf-8"))["body"]
        for element in ("AuthenticationInputData", "FromAgencyAuthentication", "UserIdentifierValue"):
            for rest in shown.split(f"<ns1:{element}>")[1:]:
                assert rest.startswith("•"), document.name


def test_console_line_has_the_same_event_without_secrets() -> None:
    stream = io.BytesIO()
    configure(stream, lambda: NOON, "info", KEY, draw=line_renderer(colours=False))
    structlog.get_logger().warning("sip2.pin_wrong", card="P1", pin="4711", peer="\ud83d")
    drawn = stream.getvalue().decode()
    assert drawn.startswith("2017-03-02 00:30:00.123 [warning  ] sip2.pin_wrong ")
    assert f"patron_ref={patron_ref('P1', KEY)}" in drawn
    assert "4711" not in drawn
    assert drawn.count("\n") == 1
