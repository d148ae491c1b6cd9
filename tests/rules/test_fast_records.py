"""Records that nobody changes: as frozen dataclasses are, to mypy and to whoever compares them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hkall_gateway.rules.fast_records import fixed


@fixed(frozen=True, slots=True)
class Shelf:
    number: int
    room: str = "cellar"


@dataclass(frozen=True, slots=True)
class Frozen:
    number: int
    room: str = "cellar"


def test_a_fixed_record_is_equal_hashed_and_made_anew_as_a_frozen_one() -> None:
    assert Shelf(1) == Shelf(1) != Shelf(2)
    assert len({Shelf(1), Shelf(1), Shelf(2)}) == len({Frozen(1), Frozen(1), Frozen(2)})
    assert replace(Shelf(1), room="attic") == Shelf(1, "attic")
    assert not hasattr(Shelf(1), "__dict__")


def test_mypy_alone_refuses_to_change_one() -> None:
    shelf = Shelf(1)
    shelf.number = 2  # type: ignore[misc]  # mypy would call this comment needless if it let the line pass
    assert shelf.number == 2
