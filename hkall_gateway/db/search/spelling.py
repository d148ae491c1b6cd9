"""Other forms of a query for titles: other spellings, divided and joined words, and Pinyin.

The right spelling of a word is looked for among the words of all titles and authors with the same first letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, and_, func, or_, select

from hkall_gateway.db.search.folding import stem
from hkall_gateway.db.search.index import sounds
from hkall_gateway.db.search.parsing import Phrase, TitleQuery
from hkall_gateway.db.tables import SHORTEST_WORD, VOCABULARY

W = VOCABULARY.c
Spelling = tuple[str, str, int]
"""(word, similar word, number of edits)"""
SHORTEST_PART: Final = 3
"""Minimum length of the parts into which a word is divided."""
MOST_SPELLINGS: Final = 6
"""Maximum number of spellings for one word."""
MOST_CORRECTIONS: Final = 16
"""Maximum number of corrected queries."""
MOST_LEFT_OUT: Final = 12
"""Maximum number of words of a query that is corrected, or from which one may be left out."""
FEWEST_WORDS, FEWEST_IDEOGRAPHS = 2, 3
"""Minimum number of words, and of ideographs of a query without blanks, that remain."""


def widened(query: TitleQuery) -> list[TitleQuery]:
    """Return queries of which a title must match any.

    They are the query, with words also divided in two or joined with their neighbours, and the query as Pinyin.
    """
    spelt = sounds(" ".join(map(" ".join, query.phrases))) if query.key.isascii() else ()
    others = (_others(query.phrases, at, has_sound=bool(spelt)) for at in range(len(query.phrases)))
    wide = replace(query, instead=tuple(others))
    return [wide, replace(query, phrases=(spelt,))] if len(spelt) > 1 else [wide]


def _others(phrases: tuple[Phrase, ...], at: int, *, has_sound: bool) -> frozenset[Phrase]:
    found = set[Phrase]()
    if word := _only_word(phrases[at]):
        cuts = range(SHORTEST_PART, len(word) - SHORTEST_PART + 1)
        found |= {(stem(word[:cut]), stem(word[cut:])) for cut in cuts}
        before, after = (_only_word(phrases[near]) if 0 <= near < len(phrases) else "" for near in (at - 1, at + 1))
        found |= {(stem(joined),) for joined in (f"{before}{word}", f"{word}{after}") if joined != word}
        if has_sound and len(sound := sounds(word)) > 1:
            found.add(sound)
    return frozenset(found)


def _only_word(phrase: Phrase) -> str:
    return phrase[0] if len(phrase) == 1 and phrase[0].isalpha() and phrase[0].isascii() else ""


def corrected(connection: Connection, query: TitleQuery) -> Iterator[tuple[int, TitleQuery]]:
    """Yield the query in other spellings, with the number of edits, from the fewest edits.

    Words that are in no title are corrected together. If there is none, each word is corrected alone.
    """
    words = dict.fromkeys(word for phrase in query.phrases for word in phrase if len(word) >= SHORTEST_WORD and word.isalpha())
    known = set(connection.execute(select(W.word).where(W.word.in_([*words]))).scalars())
    unknown = [word for word in words if word not in known]
    if len(unknown or words) > MOST_LEFT_OUT:
        return
    spellings = [_spellings(connection, word) for word in unknown or words]
    best: list[tuple[Spelling, ...]] = [()] if unknown else [(one,) for found in spellings for one in found]
    for found in spellings if unknown else ():  # all combinations of a long query would not fit in memory
        best = sorted(((*some, one) for some in best for one in found), key=_edits)[:MOST_CORRECTIONS]
    for edits in sorted(best, key=_edits)[:MOST_CORRECTIONS]:
        other = {wrong: right for wrong, right, _ in edits}
        phrases = tuple(tuple(other.get(word, word) for word in phrase) for phrase in query.phrases)
        yield _edits(edits), replace(query, phrases=phrases)


def _edits(spellings: tuple[Spelling, ...]) -> int:
    return sum(edits for _, _, edits in spellings)


def _spellings(connection: Connection, word: str) -> list[Spelling]:
    """Return the words most similar to this one."""
    from rapidfuzz.distance import OSA  # distance with transpositions
    from rapidfuzz.process import extract

    most = 1 if len(word) < 6 else 2
    begins = or_(*(and_(W.word >= first, W.word < chr(ord(first) + 1)) for first in sorted({*word[:2]})))
    long = func.length(W.word).between(len(word) - most, len(word) + most)
    near = connection.execute(select(func.aggregate_strings(W.word, " ")).where(begins, long)).scalar() or ""
    found = extract(word, near.split(" "), scorer=OSA.distance, score_cutoff=most, limit=None)
    return [(word, right, int(edits)) for right, edits, _ in found if stem(right) != stem(word)][:MOST_SPELLINGS]


def loosened(query: TitleQuery) -> list[TitleQuery]:
    """Return queries of which a title must match any.

    They are the query by its sound if it is Chinese, and the query without one of several words, or of several ideographs.
    """
    chinese, count = not query.key.isascii(), len(query.phrases)
    alike = tuple(frozenset({sounds(" ".join(phrase))} - {()}) for phrase in query.phrases) if chinese else ()
    found = [replace(query, instead=alike)] if any(alike) else []
    units = [(at, place) for at in range(count) for place in range(len(query.phrases[at]))]
    if len(units) <= MOST_LEFT_OUT and (count > FEWEST_WORDS or (chinese and count == 1 and len(units) > FEWEST_IDEOGRAPHS)):
        found += [replace(query, phrases=tuple(_without(query.phrases, *unit)), instead=()) for unit in units]
    return found


def _without(phrases: tuple[Phrase, ...], at: int, place: int) -> Iterator[Phrase]:
    """Yield the phrases without one word. The words before it and after it are phrases of their own."""
    yield from phrases[:at]
    yield from filter(None, (phrases[at][:place], phrases[at][place + 1 :]))
    yield from phrases[at + 1 :]
