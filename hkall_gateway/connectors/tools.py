"""What a connector is given when it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hkall_gateway.desk.ports import LocalIls
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.store.database import Store


@dataclass(frozen=True, slots=True)
class Tools:
    """The store, our agency, `verify(card, stored hash, pin)` off the reactor's thread, and the [ils] table's own keys."""

    store: Store
    agency: str
    verify: Callable[[str, Sensitive, Sensitive], Awaitable[bool]]
    settings: Mapping[str, Any] = field(default_factory=dict)


Connector = Callable[[Tools], LocalIls]
