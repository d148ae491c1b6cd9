"""A terminal that exceeds its role: other messages, other patrons' items and PINs, other terminals' names."""

from __future__ import annotations

import statistics
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest

from demo import demo_setup
from hkall_gateway.net.limits.rate_limiter import OF_A_TERMINAL
from tests.attacks.conftest import PROBE, source, until

pytestmark = pytest.mark.long

if TYPE_CHECKING:
    from tests.attacks.conftest import Site

DATE = "20261127    120000"
BLANK = " " * 18
REFUSED = "AFNot possible at this terminal. Please ask at the counter|"


@pytest.mark.parametrize(
    "line",
    [
        f"63001{DATE}  Y       AOHKU|AAP0001|AC|AD1234|",
        f"23001{DATE}AOHKU|AAP0001|AC|AD1234|",
        f"37{DATE}0400HKDBV500.00|AOHKU|AAP0001|",
        f"01N{DATE}AOHKU|ALtaken|AAP0001|AC|",
        f"25{DATE}AOHKU|AAP0001|AC|",
        f"15+{DATE}AOHKU|AAP0001|AJDune|",
        f"11NN{DATE}{BLANK}AOHKU|AAP0001|ABHKU77|AC|",
        f"29NN{DATE}{BLANK}AOHKU|AAP0001|ABHKU77|AC|",
    ],
)
def test_book_drop_can_only_check_in_and_other_messages_are_not_relayed(site: Site, line: str) -> None:
    drop, before = site.terminal("bookdrop-1"), len(site.ils.lines)
    assert REFUSED in drop.ask(line)
    assert "Chan" not in drop.ask(line)
    assert [heard for heard in site.ils.lines[before:] if not heard.startswith(PROBE)] == []
    assert "BXNNYNYYYNNNYNNNNN|" in drop.ask("9900302.00")


def test_self_check_can_neither_take_payments_nor_block_cards(site: Site) -> None:
    selfcheck = site.terminal("selfcheck-1")
    for line in (
        f"37{DATE}0400HKDBV500.00|AOHKU|AAP0001|",
        f"01N{DATE}AOHKU|ALtaken|AAP0001|AC|",
        f"25{DATE}AOHKU|AAP0001|AC|",
    ):
        assert REFUSED in selfcheck.ask(line)
    assert site.rows("SELECT count(*) FROM card_blocks") == [(0,)]


def test_no_block_checkout_is_refused_at_a_terminal_without_offline_permission(site: Site) -> None:
    selfcheck = site.terminal("selfcheck-1")
    assert selfcheck.ask("9900302.00").startswith("98YYYYNN")
    assert selfcheck.ask(f"11YY{DATE}20300101    235959AOHKU|AAP0002|ABC09001|AC|").startswith("120")


# ---- logins


def wrong(site: Site, name: str, at: str, times: int) -> list[str]:
    heard: list[str] = []
    while len(heard) < times:
        line = site.terminal(at=at)
        heard += [line.ask(f"9300CN{name}|COwrong {len(heard)} {number}|") for number in range(min(3, times - len(heard)))]
    return heard


def test_wrong_logins_lock_out_only_their_own_address(site: Site) -> None:
    here = source()
    assert wrong(site, "counter-1", here, 6) == ["940"] * 6
    assert site.terminal(at=here).ask(f"9300CNcounter-1|CO{demo_setup.PASSWORD}|") == "940"
    assert site.terminal(at=here).ask(f"9300CNselfcheck-1|CO{demo_setup.PASSWORD}|") == "941"
    assert site.terminal(at=source()).ask(f"9300CNcounter-1|CO{demo_setup.PASSWORD}|") == "941"


def seconds(site: Site, name: str, number: int) -> float:
    """Return the duration of a first wrong login with this name, from an address not used before."""
    line = site.terminal(at=source())
    began = time.perf_counter()
    assert line.ask(f"9300CN{name}|COwrong {number}|") == "940"
    return time.perf_counter() - began


def test_wrong_login_takes_the_same_time_for_known_and_unknown_names(site: Site) -> None:
    names = ("counter-1", "no-such-terminal")
    # Alternate the names, so that both meet the same load.
    took = [[seconds(site, name, number) for name in names] for number in range(9)]
    known, unknown = (statistics.median(times) for times in zip(*took, strict=True))
    assert 0.4 < unknown / known < 2.5, f"known {known * 1000:.1f} ms, unknown {unknown * 1000:.1f} ms"


# ---- PINs


def test_pin_guessing_across_cards_is_logged_counted_and_stopped(site: Site) -> None:
    terminal = site.terminal("selfcheck-1")
    counted = 'hkall_wrong_pins_total{door="sip2",who="selfcheck-1"}'
    before = site.metric(counted)
    heard = [terminal.ask(f"63001{DATE}          AOHKU|AAP{1 + n:04}|AC|AD99{n:02}|") for n in range(90)]
    looked_at = [reply for reply in heard if "Too many wrong PINs here" not in reply]
    assert looked_at == heard[:OF_A_TERMINAL]
    assert "Too many wrong PINs here" in heard[-1]
    assert site.metric(counted) - before == OF_A_TERMINAL
    assert len(until(lambda: site.events("sip2.pin_wrong"))) >= 1
    assert "AD99" not in site.log
    assert "CQN" in site.terminal("counter-1").ask(f"63001{DATE}          AOHKU|AAP0001|AC|AD1234|")


# ---- the relay


@pytest.mark.parametrize("control", [b"\x00", b"\x0b", b"\x0c", b"\x1c", b"\xc2\x85", b"\x85", b"\xe2\x80\xa8"])
def test_unusual_line_separator_does_not_reach_the_local_system(site: Site, control: bytes) -> None:
    line, root = site.terminal("counter-1"), f"root{control.hex()}".encode()
    numbers = count()

    def heard() -> list[bytes]:
        """Repeat a request until it reaches the local system, which the gateway pauses after a late reply."""
        line.ask(f"17{DATE}AOHKU|ABHKU".encode() + control + b"99|XX9300CN" + root + b"|AC%d|" % next(numbers))
        return [one for one in site.ils.lines if root in one]

    told = until(heard)[0]
    assert b"ABHKU 99|" in told
