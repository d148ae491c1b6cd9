"""Remnants of deleted rows in an SQLite file, and their removal by a vacuum."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sqlalchemy import Engine

from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.privacy import forgetting
from tests import remains

CARD = "7770001234"
HISTORIES = 30


def lived(file: Path, seed: int) -> Engine:
    """A database in which rows grew, shrank and moved, and from which every row with the card was deleted."""
    chance = random.Random(seed)
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER PRIMARY KEY, patron TEXT, detail TEXT)")
        connection.exec_driver_sql("CREATE INDEX by_patron ON t (patron)")
        connection.exec_driver_sql("BEGIN")
        for number in range(chance.randrange(300, 1500)):
            card = CARD if chance.random() < 0.03 else f"88{chance.randrange(10**8):08}"
            row = (number, card, card + "x" * chance.randrange(300))
            connection.exec_driver_sql("INSERT INTO t VALUES (?, ?, ?)", row)
            if chance.random() < 0.4:
                longer = (card + "z" * chance.randrange(600), chance.randrange(number + 1))
                connection.exec_driver_sql("UPDATE t SET detail = ? WHERE id = ?", longer)
        connection.exec_driver_sql("DELETE FROM t WHERE patron = ? OR detail LIKE ?", (CARD, f"%{CARD}%"))
        connection.exec_driver_sql("COMMIT")
    return engine


def test_moved_rows_leave_remnants_that_only_a_vacuum_removes(tmp_path: Path) -> None:
    before = after = 0
    for seed in range(HISTORIES):
        file = tmp_path / f"{seed}.db"
        engine = lived(file, seed)
        with engine.connect() as connection:
            assert forgetting.empty_the_log(connection)
        before += remains.count(file, [CARD]) > 0
        assert forgetting.vacuum(engine)
        after += remains.count(file, [CARD]) > 0
        engine.dispose()

    assert before > 0  # where this is 0 one day, SQLite has mended it and `db vacuum` has lost its reason
    assert after == 0


def test_reader_that_blocks_the_wal_checkpoint_is_reported(tmp_path: Path) -> None:
    engine = lived(tmp_path / "1.db", 1)
    with engine.connect() as reading, engine.connect() as writing:
        reading.exec_driver_sql("BEGIN")
        reading.exec_driver_sql("SELECT count(*) FROM t").all()
        writing.exec_driver_sql("DELETE FROM t")
        writing.exec_driver_sql("PRAGMA busy_timeout=10")
        assert not forgetting.empty_the_log(writing)
    engine.dispose()


@pytest.mark.parametrize("place", [0, 5])
def test_text_is_counted_once_at_any_place_of_a_file(tmp_path: Path, place: int) -> None:
    file = tmp_path / "bytes"
    file.write_bytes(b"\0" * place + CARD.encode() + b"\0" * 7)
    assert remains.count(file, [CARD, "x"]) == 1


def test_wal_file_is_searched_too(tmp_path: Path) -> None:
    (tmp_path / "hkall.db").write_bytes(b"")
    (tmp_path / "hkall.db-wal").write_bytes(CARD.encode() * 2)
    assert remains.count(tmp_path / "hkall.db", [CARD]) == 2


def test_in_memory_database_has_no_file() -> None:
    assert forgetting.file_of(open_engine("sqlite://")) is None
