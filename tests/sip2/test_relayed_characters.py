"""Relayed lines in multi-byte character sets, in which the second byte of a letter may be the byte of a delimiter."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.sip2.codec.body import patch_body, remove_hidden, transcode
from hkall_gateway.sip2.codec.dialects import DIALECTS, Sip2Dialect
from hkall_gateway.sip2.codec.lines import Sip2Message, body_of, decode, encode, seal_body

STANDARD = DIALECTS["standard"]
SETS = ("big5hkscs", "big5", "gbk", "gb18030", "shift_jis", "utf-8", "cp850")
TAGS = ("AU", "AF", "AY", "AY4", "AZ")
HEAD = f"64{' ' * 14}00120170301    100000{'0001' * 6}AOHKU|AAP1|"


def spoken_in(encoding: str) -> Sip2Dialect:
    return replace(STANDARD, name=f"relayed in {encoding}", encoding=encoding)


def is_carried(letter: str, encoding: str) -> bool:
    """Return whether a letter survives in this character set, and is no control, delimiter or blank."""
    if not letter.isprintable() or letter.isspace() or letter == "|":
        return False
    try:
        return letter.encode(encoding).decode(encoding) == letter
    except UnicodeError:
        return False


@cache
def texts(encoding: str) -> st.SearchStrategy[str]:
    """Texts that the character set has.

    Most are made of what looks like the structure of a line if it is read as bytes: letters that contain the byte of the
    delimiter, and the tags of fields and of the seal.
    """
    alphabet = [letter for letter in map(chr, range(0x21, 0x10000)) if is_carried(letter, encoding)]
    with_a_bar = [letter for letter in alphabet if b"|" in letter.encode(encoding)]
    pieces = st.sampled_from([*(with_a_bar or alphabet)]) | st.sampled_from(TAGS) | st.sampled_from(alphabet)
    joined = st.lists(pieces, min_size=1, max_size=6).map("".join)
    return joined.filter(lambda text: text.encode(encoding).decode(encoding) == text)


encodings = st.sampled_from(SETS)


@given(encodings.flatmap(lambda name: st.tuples(st.just(name), st.lists(texts(name), min_size=1, max_size=3), texts(name))))
def test_relayed_text_and_ours_decode_to_exactly_both(case: tuple[str, list[str], str]) -> None:
    encoding, theirs, ours = case
    dialect = spoken_in(encoding)
    for ended in (True, False):
        text = HEAD + "|".join(f"AU{title}" for title in theirs) + ("|" if ended else "")
        unchanged = seal_body(text.encode(encoding), Sip2Message("63", sequence="4", checked=True), dialect)
        assert (decode(unchanged, dialect).all("AU"), decode(unchanged, dialect).sequence) == (tuple(theirs), "4")
        assert "|AY4AZ" in unchanged.decode(encoding)
        merged = patch_body(text.encode(encoding), {"charged_items_count": "0009"}, [("AU", ours), ("AF", ours)], dialect)
        line = seal_body(merged, Sip2Message("63", sequence="4", checked=True), dialect)
        heard = decode(line, dialect)
        assert heard.all("AU") == (*theirs, ours)
        assert heard.all("AF") == (ours,)
        assert (heard.get("charged_items_count"), heard.sequence) == ("0009", "4")
        assert body_of(line, dialect) == merged
        hidden = replace(dialect, name=f"hides AF in {encoding}", hidden=frozenset({"AF"}))
        assert decode(remove_hidden(merged, hidden), hidden).all("AU") == (*theirs, ours)


@pytest.mark.parametrize("title", ["育", "亅", "ポ"])
@pytest.mark.parametrize("encoding", ["big5hkscs", "gbk", "shift_jis"])
def test_letter_whose_second_byte_is_a_bar_is_no_delimiter(encoding: str, title: str) -> None:
    try:
        spelt = title.encode(encoding)
    except UnicodeEncodeError:
        pytest.skip("the character set lacks this letter")
    dialect = spoken_in(encoding)
    merged = patch_body(HEAD.encode() + b"AU" + spelt, {}, [("AU", "C1")], dialect)
    assert decode(merged, dialect).all("AU") == (title, "C1")


def test_half_a_letter_at_the_end_does_not_swallow_the_delimiter() -> None:
    dialect = spoken_in("gbk")
    merged = patch_body(HEAD.encode() + b"AU\x81", {}, [("AU", "C1")], dialect)
    assert decode(merged, dialect).all("AU") == ("?", "C1")


@pytest.mark.parametrize(
    ("encoding", "title"),
    [
        ("ascii", "Élan vital"),
        ("cp850", "Čapek, Déjà vu"),
        ("ascii", "城南舊事 / Cheng nan jiu shi"),
        ("latin-1", "“Quoted” – text"),
        ("big5hkscs", "Déjà 書"),
        ("ascii", "a｜b"),
    ],
)
def test_relayed_text_is_simplified_as_our_own_is(encoding: str, title: str) -> None:
    dialect = spoken_in(encoding)
    ours = encode(Sip2Message("18", {"AJ": title, "AB": "C1"}), dialect)
    relayed = transcode(f"1801000020170301    100000ABC1|AJ{title}|".encode(), STANDARD, dialect)
    assert decode(relayed, dialect).get("AJ") == decode(ours, dialect).get("AJ")
