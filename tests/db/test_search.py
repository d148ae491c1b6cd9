"""Title search: both databases and a linear search give the same titles in the same order."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select, update

from hkall_gateway.db.engine.connect import MAPPED, open_engine
from hkall_gateway.db.loads import loading
from hkall_gateway.db.search import index, searching
from hkall_gateway.db.search.folding import stem, words
from hkall_gateway.db.search.index import IndexedWords, as_vector, field_words, in_pairs
from hkall_gateway.db.search.parsing import BadQuery, SearchField, TitleQuery, parse
from hkall_gateway.db.search.searching import MOST, PAGE, FoundTitles, Narrowing, Sort, hits, search
from hkall_gateway.db.search.spelling import MOST_CORRECTIONS, corrected
from hkall_gateway.db.tables import TITLES, create_all
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Holding, Title
from hkall_gateway.simulator.databases import SoleStore
from tests import databases
from tests.examples import example_count

pytestmark = pytest.mark.sql_differs

ON_SHELF: Final = "Available On Shelf"
ENGLISH: Final = (
    "history",
    "of",
    "the",
    "Hong",
    "Kong",
    "Café",
    "Müller",
    "naïve",
    "self-check",
    "C++",
    "3rd",
    "O'Neill",
    "IT",
)
CHINESE: Final = "紅红樓楼夢梦香港歷历史後后發发圖图書书館馆研究"
CALLS: Final = ("QA76.73 .P98", "PL2727 .S2", "895.1 CAO", "")
NUMBERS: Final = ("0306406152", "9780306406157", "978-0-441-01359-3", "0-8044-2957-X", "")


def _text(chance: random.Random) -> str:
    english = " ".join(chance.choices(ENGLISH, k=chance.randint(0, 4)))
    chinese = "".join(chance.choices(CHINESE, k=chance.randint(0, 5)))
    return chance.choice((english, chinese, f"{english}：{chinese}", f"《{chinese}》 {english}")) or "Dune"


def _title(chance: random.Random, number: int) -> tuple[Title, Holding]:
    isbn = chance.choice(NUMBERS)
    title = Title(
        bib_id=f"b{number:04d}", title=_text(chance), author=_text(chance), linked_title=chance.choice(("", _text(chance)))
    )
    status = chance.choice((ON_SHELF, "On Loan"))
    call = chance.choice(CALLS)
    copy = Holding(
        agency="CUHK",
        barcode=f"C{number}",
        bib_id=title.bib_id,
        title=title.title,
        author=title.author,
        isbn=isbn,
        call_number=call,
        status=status,
    )
    return replace(title, isbns=tuple(filter(None, (_thirteen(isbn),)))), copy


def _thirteen(isbn: str) -> str:
    known = ("9780306406157", "9780306406157", "9780441013593", "9780804429573", "")
    return dict(zip(NUMBERS, known, strict=True))[isbn]


def _load(store: SoleStore, made: Sequence[tuple[Title, Holding]]) -> None:
    titles = {title.bib_id: title for title, _ in made}
    for start in range(0, len(made), loading.CHUNK):
        rows = [copy for _, copy in made[start : start + loading.CHUNK]]
        store.now(loading.write_copies, rows, 1, None, titles)


# ---- the reference: a plain loop


def _texts(title: Title, copy: Holding, field: SearchField) -> list[str]:
    by_field = {
        SearchField.TITLE: [title.title, title.linked_title],
        SearchField.AUTHOR: [title.author, title.linked_author],
        SearchField.ISBN: list(title.isbns),
        SearchField.CALL: [copy.call_number],
    }
    return [text for texts in by_field.values() for text in texts] if field is SearchField.ANY else by_field[field]


@cache
def _words(text: str) -> list[str]:
    return [stem(word) for word in words(text)]


def _contains(text: list[str], phrase: tuple[str, ...]) -> bool:
    return any(tuple(text[at : at + len(phrase)]) == phrase for at in range(len(text)))


def _reference(made: Sequence[tuple[Title, Holding]], query: TitleQuery) -> set[str]:
    found = set()
    for title, copy in made:
        texts = [_words(text) for text in _texts(title, copy, query.field)]
        phrases = [tuple(map(stem, phrase)) for phrase in query.phrases]
        if all(any(_contains(text, phrase) for text in texts) for phrase in phrases):
            found.add(title.bib_id)
    return found


@cache
def _in_made(query: TitleQuery) -> set[str]:
    """The same for MADE, created once for both databases."""
    return _reference(MADE, query)


def _typed(chance: random.Random, made: Sequence[tuple[Title, Holding]]) -> tuple[str, SearchField]:
    """A query such as a patron types, mostly with hits."""
    title, copy = chance.choice(made)
    text = chance.choice([title.title, title.author, title.linked_title, copy.call_number, copy.isbn, _text(chance)])
    parts = text.split()
    start = chance.randrange(len(parts)) if parts else 0
    piece = " ".join(parts[start : start + chance.randint(1, 3)])
    at = chance.randrange(len(piece)) if piece else 0
    piece = chance.choice(
        (piece, piece[at : at + chance.randint(1, 3)], piece.upper(), f'"{piece}"', piece.replace("樓", "楼"))
    )
    return piece, chance.choice((SearchField.ANY, *SearchField))


QUERIES: Final = example_count(2_000)
MADE: Final = [_title(random.Random(number), number) for number in range(600)]


@pytest.fixture
def both(engine: Engine) -> Iterator[SoleStore]:
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    _load(store, MADE)
    yield store
    store.close()


def _search(store: SoleStore, typed: str, field: SearchField = SearchField.ANY, **more: object) -> FoundTitles | BadQuery:
    def ask(unit: UnitOfWork) -> FoundTitles | BadQuery:
        on_shelf = lambda _agency, status, *_facts: status == ON_SHELF  # noqa: E731
        return search(unit.connection, typed, on_shelf, field, Narrowing(**more))  # type: ignore[arg-type]

    return store.now(ask)


def _all(store: SoleStore, typed: str, field: SearchField = SearchField.ANY, **more: object) -> list[str]:
    """All hits, read page by page."""
    first = _search(store, typed, field, **more)
    assert isinstance(first, FoundTitles)
    found = [title.bib_id for title in first.titles]
    for page in range(2, first.pages + 1):
        other = _search(store, typed, field, page=page, **more)
        assert isinstance(other, FoundTitles)
        found += [title.bib_id for title in other.titles]
    assert len(found) == first.count
    return found


def _matching(store: SoleStore, query: TitleQuery) -> set[str]:
    """The titles that match a query as it stands."""

    def ask(unit: UnitOfWork) -> set[str]:
        ids = hits(unit.connection, [query])
        return set(unit.execute(select(TITLES.c.bib_id).where(TITLES.c.id.in_(ids))).scalars())

    return store.now(ask)


@pytest.mark.thorough
def test_random_queries_match_a_linear_search(both: SoleStore) -> None:
    chance, hit, asked = random.Random(20), 0, 0
    while asked < QUERIES:
        typed, field = _typed(chance, MADE)
        query = parse(typed, field)
        if isinstance(query, BadQuery):
            assert _search(both, typed, field) is query
            continue
        asked += 1
        found = _matching(both, query)
        assert found == _in_made(query), (typed, field)
        hit += bool(found)
    assert hit > 0.4 * QUERIES


LETTERS: Final = st.text(alphabet="ab 紅红樓楼é\"'-.*:^(){}&|!<>\\%_\x00", max_size=12)


@given(st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=6), st.lists(LETTERS, min_size=1, max_size=6))
@settings(max_examples=example_count(100))
def test_any_text_is_searched_literally(titles: list[tuple[str, str]], typed: list[str]) -> None:
    """FTS5 against the linear search; PostgreSQL is tested the same way below."""
    assert _disagreements(titles, typed) == []


def _disagreements(titles: list[tuple[str, str]], typed: list[str]) -> list[str]:
    """The texts for which the index and the linear search find different titles."""
    made = [
        (
            Title(bib_id=f"b{number}", title=title.replace("\0", ""), author=author.replace("\0", "")),
            Holding(
                agency="CUHK",
                barcode=f"C{number}",
                bib_id=f"b{number}",
                title=title.replace("\0", ""),
                author=author.replace("\0", ""),
            ),
        )
        for number, (title, author) in enumerate(titles)
    ]
    engine = databases.MEMORY.fresh()
    store = SoleStore(engine, lambda connection: UnitOfWork(connection, lambda: "R1"))
    _load(store, made)
    queries = [(text, query) for text in typed if isinstance(query := parse(text), TitleQuery)]
    found = [text for text, query in queries if _matching(store, query) != _reference(made, query)]
    store.close()
    engine.dispose()
    return found


# ---- one thing at a time


@pytest.fixture
def few(store: SoleStore) -> SoleStore:
    rows = {
        "b1": ("紅樓夢", "曹雪芹", "9787020002207", "PL2727 .S2"),
        "b2": ("红楼梦研究", "俞平伯", "", ""),
        "b3": ("夢的解析", "Freud, Sigmund", "0-306-40615-2", ""),
        "b4": ("The history of Hong Kong", "Müller, Jürgen", "", "DS796.H757 M85"),
        "b5": ("Hong Kong", "", "", ""),
        "b6": ("Hong Kong : a history", "", "", ""),
        "b7": ("A Kong of Hong", "", "", ""),
    }
    copies = [
        Holding(
            agency="CUHK",
            barcode=f"C{bib}",
            bib_id=bib,
            title=title,
            author=author,
            isbn=isbn,
            call_number=call,
            status="On Loan" if bib == "b5" else ON_SHELF,
        )
        for bib, (title, author, isbn, call) in rows.items()
    ]
    store.now(loading.write, "holdings", [*copies, replace(copies[0], agency="LU", barcode="L1")], 1)
    return store


@pytest.mark.parametrize(
    ("typed", "field", "found"),
    [
        ("夢", "any", ["b3", "b1", "b2"]),
        ("紅樓", "any", ["b1", "b2"]),
        ("红楼", "title", ["b1", "b2"]),
        ("紅樓夢", "any", ["b1", "b2"]),
        ("《红楼梦》", "any", ["b1", "b2"]),
        ("樓紅", "any", []),
        ("紅夢", "any", []),
        ("红楼梦研究", "any", ["b2"]),
        ("曹雪芹", "title", []),
        ("曹雪芹", "author", ["b1"]),
        ("muller", "any", ["b4"]),
        ("MÜLLER", "author", ["b4"]),
        ("Mu\u0308ller", "any", ["b4"]),
        ("hong kong", "any", ["b5", "b6", "b4", "b7"]),
        ('"hong kong"', "any", ["b5", "b6", "b4"]),
        ('"hong kong" history', "any", ["b6", "b4"]),
        ('"hong kong', "any", ["b5", "b6", "b4"]),
        ("0306406152", "any", ["b3"]),
        ("978-0-306-40615-7", "any", ["b3"]),
        ("9780306406157", "isbn", ["b3"]),
        ("0 306 40615 2", "isbn", ["b3"]),
        ("9780306406157", "title", []),
        ("pl2727", "call", ["b1"]),
        ("PL2727.S2", "call", ["b1"]),
        ("pl 2727 s2", "call", ["b1"]),
        ("hong", "call", []),
        ("muller kong", "any", ["b4"]),
        ("no such words", "any", []),
    ],
)
def test_user_input_finds_the_expected_titles(few: SoleStore, typed: str, field: str, found: list[str]) -> None:
    assert _all(few, typed, SearchField(field)) == found


def test_availability_filter_returns_only_titles_with_an_available_item(few: SoleStore) -> None:
    assert _all(few, "hong kong", available=True) == ["b6", "b4", "b7"]


def test_hit_counts_libraries_with_an_available_item(few: SoleStore) -> None:
    for typed, libraries in (("紅樓夢", 2), ("Hong Kong", 0)):
        result = _search(few, typed)
        assert isinstance(result, FoundTitles)
        assert len(result.titles[0].agencies) == libraries


@pytest.mark.parametrize(
    ("typed", "field", "why"),
    [
        ("", "any", BadQuery.NO_WORDS),
        ('  "" ~!@#$%^&*()', "any", BadQuery.NO_WORDS),
        ("a" * 301, "any", BadQuery.TOO_LONG),
        ("a " * 100, "any", BadQuery.TOO_MANY_WORDS),
        ("書" * 65, "title", BadQuery.TOO_MANY_WORDS),
        ("9780306406158", "isbn", BadQuery.NO_ISBN),
        ("Dune", "isbn", BadQuery.NO_ISBN),
    ],
)
def test_invalid_query_is_refused(few: SoleStore, typed: str, field: str, why: BadQuery) -> None:
    assert _search(few, typed, SearchField(field)) is why


HOSTILE: Final = (
    *("title:dune", "a OR b NOT c", "NEAR(a b, 2)", "dune*", "^dune", "{title}: x", "a <-> b & !c | d:*"),
    *("'; DROP TABLE titles; --", "\\", "a\x00b", "\ud83d\ude00 dune", "%", "_", "\ue000", "\ud800 dune"),
)


@pytest.mark.parametrize("typed", HOSTILE)
def test_hostile_query_is_searched_as_plain_words(few: SoleStore, typed: str) -> None:
    result = _search(few, typed)
    assert result is BadQuery.NO_WORDS or isinstance(result, FoundTitles)


@pytest.mark.parametrize("page", [0, -1, 2, MOST])
def test_invalid_page_number_is_refused(few: SoleStore, page: int) -> None:
    assert _search(few, "hong", page=page) is BadQuery.NO_SUCH_PAGE


def test_pages_contain_every_hit_once_in_order(store: SoleStore) -> None:
    copies = [Holding(agency="CUHK", barcode=f"C{n}", bib_id=f"b{n}", title=f"Dune {n:03d}") for n in range(PAGE * 2 + 3)]
    store.now(loading.write, "holdings", copies, 1)
    assert _all(store, "dune") == [copy.bib_id for copy in copies]


def test_exact_title_is_first_even_beyond_the_ranking_limit(store: SoleStore) -> None:
    copies = [Holding(agency="CUHK", barcode=f"C{n}", bib_id=f"b{n}", title=f"A history, {n:05d}") for n in range(MOST + 50)]
    copies += [
        Holding(agency="CUHK", barcode="X1", bib_id="x1", title="History of art"),
        Holding(agency="CUHK", barcode="X2", bib_id="x2", title="History"),
    ]
    for start in range(0, len(copies), loading.CHUNK):
        store.now(loading.write, "holdings", copies[start : start + loading.CHUNK], 1)
    result = _search(store, "history")
    assert isinstance(result, FoundTitles)
    assert (result.count, result.more, result.pages) == (MOST + 52, False, 18)
    assert [title.bib_id for title in result.titles[:2]] == ["x2", "x1"]


def test_phrase_does_not_match_across_texts(store: SoleStore) -> None:
    title = Title(bib_id="b1", title="Hong lou", author="meng", linked_title="meng lou")
    store.now(
        loading.write_copies, [Holding(agency="CUHK", barcode="C1", bib_id="b1", title=title.title)], 1, None, {"b1": title}
    )
    assert [_all(store, typed) for typed in ('"hong lou"', '"lou meng"', '"meng lou"')] == [["b1"], [], ["b1"]]


def test_phrase_matches_only_neighbouring_characters(store: SoleStore) -> None:
    titles = {"b1": Title(bib_id="b1", title="中文 x 文學"), "b2": Title(bib_id="b2", title="中文學 x")}
    copies = [Holding(agency="CUHK", barcode=f"C{bib}", bib_id=bib, title=title.title) for bib, title in titles.items()]
    store.now(loading.write_copies, copies, 1, None, titles)
    assert [_all(store, typed) for typed in ("中文學", "文x", "文學")] == [["b2"], ["b1"], ["b2", "b1"]]


# ---- words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Café", ["cafe"]),
        ("O’Neill's", ["oneills"]),
        ("Straße", ["strasse"]),
        ("Łódź", ["lodz"]),
        ("QA76.73", ["qa", "76", "73"]),
        ("紅樓夢", ["红", "楼", "梦"]),
        ("裏裡臺為爲", ["里", "里", "台", "为", "为"]),
        ("ＡＢＣ１２", ["abc", "12"]),
        ("ガラス", ["ガ", "ラ", "ス"]),
        ("한국 책", ["한국", "책"]),
        ("a_b", ["a", "b"]),
        ("\ue000 …", []),
    ],
)
def test_text_is_split_into_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.text(max_size=30))
def test_words_contain_no_query_syntax(text: str) -> None:
    for word in words(text):
        assert word.isalnum()
        assert words(word) == [word]


def test_vector_has_positions_weights_pairs_and_gaps_between_fields() -> None:
    indexed = IndexedWords(title=field_words(["a b", "a"]), author=field_words(["c"]), isbn="", call="")
    assert as_vector(indexed) == "'a':1A,4A 'b':2A 'a b':1A 'c':6B"


@pytest.mark.parametrize(
    ("phrase", "asked"), [(["a"], ["a"]), (["a", "b"], ["a b"]), (["a", "b", "c"], ["a b", "b c"]), (["中", "文"], ["中 文"])]
)
def test_phrase_query_uses_word_pairs(phrase: list[str], asked: list[str]) -> None:
    assert in_pairs(phrase) == asked


def test_memory_mapping_is_enabled_only_for_search_connections(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'hkall.db'}")
    create_all(engine)

    def mapped(connection: Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA mmap_size").scalar_one())

    with engine.connect() as searching, engine.connect() as writing:
        assert mapped(searching) == 0
        search(searching, "dune", lambda *_facts: True)
        assert (mapped(searching), mapped(writing)) == (MAPPED, 0)
    engine.dispose()


# ---- other spellings, facets and order


@pytest.fixture
def shelves(store: SoleStore) -> SoleStore:
    rows = {
        "s1": ("Quantum dictionaries", "eng", "London: Greywell, 2019", "CUHK"),
        "s2": ("Quantum mechanics", "eng", "Oxford: Greywell, 2012", "LU"),
        "s3": ("Quanten und Quantum", "ger", "Berlin: Tempelhof, c1999", "LU"),
        "s4": ("發展心理學", "chi", "香港：渡輪書社，1998", "CUHK"),
        "s5": ("公共衞生與統計 二", "chi", "", "CUHK"),
        "s6": ("Waste water treatment II", "eng", "[2010?]", "CUHK"),
        "s7": ("Paediatrics: theories of colour", "eng", "", "CUHK"),
    }
    titles = {
        bib: Title(bib_id=bib, title=title, language=tongue, published=when) for bib, (title, tongue, when, _) in rows.items()
    }
    copies = [
        Holding(agency=row[-1], barcode=f"C{bib}", bib_id=bib, title=row[0], status=ON_SHELF) for bib, row in rows.items()
    ]
    store.now(loading.write_copies, copies, 1, None, titles)
    return store


@pytest.mark.parametrize(
    ("typed", "found", "instead", "similar"),
    [
        ("quantum dictionary", ["s1"], "", False),
        ("quantm dictionares", ["s1"], "quantum dictionaries", False),
        ('"quantm mechanics"', [], "", False),
        ("wastewater treatment 2", ["s6"], "", False),
        ("waste watertreatment two", ["s6"], "", False),
        ("pediatric theory color", ["s7"], "", False),
        ("公共卫生 2", ["s5"], "", False),
        ("gonggong weisheng", ["s5"], "", False),
        ("fa1 zhan3 xin1 li3 xue2", ["s4"], "", False),
        ("xīnlǐxué", ["s4"], "", False),
        ("發展心里學", ["s4"], "", True),
        ("發展心瑪學", ["s4"], "", True),
        ("quantum mechanics nowhere", ["s2"], "", True),
        ("nothing alike", [], "", False),
    ],
)
def test_other_spelling_finds_the_title(shelves: SoleStore, typed: str, found: list[str], instead: str, similar: bool) -> None:
    result = _search(shelves, typed)
    assert isinstance(result, FoundTitles)
    assert [title.bib_id for title in result.titles] == found
    assert (result.instead, result.similar) == (instead, similar)


def test_facets_count_hits_by_library_language_and_decade(shelves: SoleStore) -> None:
    result = _search(shelves, "quantum")
    assert isinstance(result, FoundTitles)
    counts = {kind: {one.value: one.count for one in values} for kind, values in result.facets.items()}
    assert counts == {
        "library": {"LU": 2, "CUHK": 1},
        "language": {"eng": 2, "ger": 1},
        "decade": {"2010": 2, "1990": 1},
    }


def test_facets_of_more_hits_than_are_ranked_are_exact(store: SoleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite stores the facets of several titles in one row. A title that changes keeps its place there."""
    monkeypatch.setattr(searching, "MOST", 2)
    monkeypatch.setattr(index, "CODES", 3)
    titles = {
        f"b{n}": Title(bib_id=f"b{n}", title="Quantum", language="eng", published=f"{1960 + 10 * (n % 3)}") for n in range(10)
    }
    copies = [Holding(agency="LU" if bib == "b9" else "CUHK", barcode=f"C{bib}", bib_id=bib, title="Quantum") for bib in titles]
    store.now(loading.write_copies, copies, 1, None, titles)
    titles["b1"] = replace(titles["b1"], language="ger", published="1985")
    store.now(loading.write_copies, [copies[1]], 2, None, titles)
    result = _search(store, "quantum", library="CUHK")
    assert isinstance(result, FoundTitles)
    counts = {kind: {one.value: one.count for one in values} for kind, values in result.facets.items()}
    assert counts == {
        "library": {"CUHK": 9},
        "language": {"eng": 8, "ger": 1},
        "decade": {"1980": 4, "1970": 2, "1960": 3},
    }


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"library": "LU"}, ["s2", "s3"]),
        ({"language": "eng", "decade": "2010"}, ["s1", "s2"]),
        ({"library": "'; --"}, []),
        ({"sort": Sort.YEAR}, ["s1", "s2", "s3"]),
        ({"sort": Sort.TITLE}, ["s3", "s1", "s2"]),
        ({"sort": Sort.TITLE, "available": True, "library": "LU"}, ["s3", "s2"]),
    ],
)
def test_results_are_narrowed_and_sorted(shelves: SoleStore, more: dict[str, Any], found: list[str]) -> None:
    assert _all(shelves, "quantum", **more) == found


@pytest.mark.parametrize("sort", [Sort.YEAR, Sort.TITLE])
def test_more_hits_than_are_counted_are_sorted_completely(
    shelves: SoleStore, sort: Sort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MOST_COUNTED", 2)
    monkeypatch.setattr(searching, "PAGE", 1)
    result = _search(shelves, "quantum", sort=sort)
    assert isinstance(result, FoundTitles)
    assert (result.count, result.more) == (2, True)
    assert result.titles[0].bib_id == {Sort.YEAR: "s1", Sort.TITLE: "s3"}[sort]


def test_title_of_an_earlier_release_is_found_before_the_upgrade(shelves: SoleStore) -> None:
    shelves.now(lambda unit: unit.execute(update(TITLES).values(facets="", year=0)))
    assert set(_all(shelves, "quantum")) == {"s1", "s2", "s3"}


def test_narrowing_by_a_value_of_any_length_finds_nothing(shelves: SoleStore) -> None:
    for kind in ("library", "language", "decade"):
        assert _all(shelves, "quantum", SearchField.ANY, **{kind: "語" * 4_000}) == []


def test_spellings_of_many_words_are_not_all_combined(shelves: SoleStore) -> None:
    """Eight words with six spellings each have more than a million combinations, of which the closest are tried."""
    words = [f"{first}{second}rdling" for first, second in zip("bcdfghkl", "aeioaeio", strict=True)]
    near = [" ".join(word + end for end in "xzqwvj") for word in words]
    copies = [Holding(agency="CUHK", barcode=f"C{text}", bib_id=text, title=text, status=ON_SHELF) for text in near]
    shelves.now(loading.write_copies, copies, 1, None, {text: Title(bib_id=text, title=text) for text in near})
    query = parse(" ".join(words))
    assert isinstance(query, TitleQuery)
    tracemalloc.start()
    try:
        made = shelves.now(lambda unit: list(corrected(unit.connection, query)))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {edits for edits, _ in made} == {len(words)}
    assert len({other.phrases for _, other in made}) == MOST_CORRECTIONS
    assert most_bytes < 5_000_000
