"""The two doors of a gateway without sockets: a terminal's line and a partner's document go in, the reply comes out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hkall_gateway.desk.asks import Answer
from hkall_gateway.desk.desk import Desk
from hkall_gateway.edge.counters import Counters
from hkall_gateway.lab.worldfile import Start, Terminal, secret_of
from hkall_gateway.ncip import client as ncip_client
from hkall_gateway.ncip import handlers as ncip
from hkall_gateway.rules import calendar
from hkall_gateway.sip2 import handlers as sip2
from hkall_gateway.sip2.codec import checksum, decode
from hkall_gateway.sip2.dialects import DIALECTS
from hkall_gateway.sip2.session import Hang, Say, Session
from hkall_gateway.store.database import Immediate, finished
from hkall_gateway.store.outbox import OutboxRow

HERE = "127.0.0.1"
_NUMBERED = re.compile(r"AY([0-9])(AZ)?$")


@dataclass(slots=True)
class Line:
    """A terminal's connection. `next_number` goes round from 0 to 9."""

    terminal: Terminal
    session: Session
    next_number: int = 0

    def number(self) -> int:
        number, self.next_number = self.next_number, (self.next_number + 1) % 10
        return number
