"""Erasure marks: they match their card, do not reveal it, and are not lost."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from threading import get_ident
from time import process_time, sleep

import pytest

from hkall_gateway.db.privacy import erased
from hkall_gateway.db.privacy.erased import (
    Mark,
    OtherKey,
    fingerprint,
    keyed_mark_of,
    make_marks,
    match_cards,
    merge_marks,
    slow_mark_of,
)
from hkall_gateway.simulator.databases import SoleStore

CARDS = ("7770001234", "7770001235")
KEY = b"a key of the site"


def test_mark_matches_only_its_own_card(now: datetime) -> None:
    marks = make_marks(CARDS[:1], (), KEY, now)
    assert list(match_cards(CARDS, marks, KEY)) == [(CARDS[0], marks[0])]


def test_mark_contains_neither_card_nor_key(now: datetime) -> None:
    text = str(make_marks(CARDS, (), KEY, now))
    assert not any(card in text for card in CARDS)
    assert KEY.decode() not in text


def test_marks_of_one_list_share_a_salt_that_differs_between_sites(now: datetime) -> None:
    first = make_marks(CARDS[:1], (), b"", now)
    second = make_marks(CARDS[1:], first, b"", now)
    other = make_marks(CARDS[:1], (), b"", now)
    assert first[0].salt == second[0].salt != other[0].salt
    assert first[0].mark != other[0].mark


def test_mark_depends_on_the_key(now: datetime) -> None:
    without = make_marks(CARDS[:1], (), b"", now)
    with_key = make_marks(CARDS[:1], without, KEY, now)
    assert without[0].mark != with_key[0].mark
    assert (without[0].key, with_key[0].key) == ("", f"keyed-{fingerprint(KEY)}")


def test_slow_marks_of_earlier_releases_are_still_compared(now: datetime) -> None:
    salt = "5a" * 16
    old = [
        Mark(mark=slow_mark_of(CARDS[0], salt, KEY), salt=salt, key=fingerprint(KEY), at=now),
        Mark(mark=slow_mark_of(CARDS[1], salt, b""), salt=salt, key="", at=now),
    ]
    marks = [*old, *make_marks(["7770001236"], old, KEY, now)]
    cards = [*CARDS, "7770001236", "7770001237"]
    assert [card for card, _ in match_cards(cards, marks, KEY)] == cards[:3]


def test_marks_are_stable_across_releases() -> None:
    assert slow_mark_of("7770001234", "5a" * 16, KEY) == "ff00ccdf9ef5aaf65580d5ec506ee3fc"
    assert keyed_mark_of("7770001234", "5a" * 16, KEY) == "ac182e9495f017db6e170f3d32a838e9"


def test_keyed_mark_compares_thousands_of_times_faster_than_a_slow_mark(now: datetime) -> None:
    cards = [str(number) for number in range(5_000)]

    def seconds(cards: list[str], key: bytes) -> float:
        marks = make_marks(["x"], (), key, now)
        began = process_time()
        assert list(match_cards(cards, marks, key)) == []
        return process_time() - began

    assert seconds(cards, KEY) / len(cards) < seconds(cards[:20], b"") / 20 / 100


def test_slow_marks_are_compared_on_all_processors_with_progress_reports(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards, heard, threads = [str(number) for number in range(600)], [], set()

    def quick(card: str, _salt: str, key: bytes) -> str:
        assert key == b""
        threads.add(get_ident())
        sleep(0.001)  # as scrypt does, it lets others run
        return card

    monkeypatch.setattr(erased, "slow_mark_of", quick)
    marks = [Mark(mark="7", salt="", key="", at=now), Mark(mark="599", salt="", key="", at=now)]
    found = list(match_cards(cards, marks, b"", lambda *far: heard.append(far)))
    assert [card for card, _ in found] == ["7", "599"]
    assert heard == [(0, 600), (256, 600), (512, 600), (600, 600)]
    assert len(threads) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("key", [b"", b"another key"])
def test_marks_under_another_key_raise_an_error(now: datetime, key: bytes) -> None:
    with pytest.raises(OtherKey, match="erased_key_env"):
        list(match_cards(CARDS, make_marks(CARDS, (), KEY, now), key))


def test_marks_created_without_a_key_are_still_compared(now: datetime) -> None:
    old = make_marks(CARDS[:1], (), b"", now)
    marks = [*old, *make_marks(CARDS[1:], old, KEY, now)]
    assert [card for card, _ in match_cards(CARDS, marks, KEY)] == list(CARDS)


def test_cards_are_not_compared_without_marks(now: datetime) -> None:
    unread = (pytest.fail("a card was looked at") for _card in CARDS)
    assert list(match_cards(unread, (), KEY)) == []


def test_merged_marks_keep_the_later_date(now: datetime) -> None:
    first = make_marks(CARDS, (), KEY, now)
    later = make_marks(CARDS[:1], first, KEY, now + timedelta(days=1))
    assert [mark.at for mark in merge_marks(later, first)] == [now, now + timedelta(days=1)]


# ---- where they are kept


def test_marks_are_stored_in_the_database(store: SoleStore, now: datetime) -> None:
    marks = make_marks(CARDS, (), KEY, now)
    store.now(erased.store_marks, marks[:1])
    store.now(erased.store_marks, marks)
    assert store.now(erased.stored_marks) == merge_marks(marks)


def test_marks_are_stored_in_a_private_file(tmp_path: Path, now: datetime) -> None:
    file = tmp_path / "hkall.erased"
    assert erased.read_file(file) == ()
    first = erased.add_to_file(file, make_marks(CARDS[:1], (), KEY, now))
    assert erased.add_to_file(file, make_marks(CARDS[1:], first, KEY, now)) == erased.read_file(file)
    assert len(erased.read_file(file)) == 2
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["hkall.erased"]


@pytest.mark.parametrize(
    "text", ["something else\n", '{"mark": "1"}\n', "[]\n", '{"mark":"a","salt":"b","key":"","at":"noon"}\n']
)
def test_file_that_is_not_an_erasure_list_is_reported_and_unchanged(tmp_path: Path, now: datetime, text: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"notes\.txt: is no list of erased marks"):
        erased.add_to_file(file, make_marks(CARDS, (), KEY, now))
    assert file.read_text() == text
