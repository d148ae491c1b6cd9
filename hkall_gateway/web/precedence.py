"""The reactor before the pages: what one process changes while it makes pages, so that a terminal's line hardly waits for them.

The reactor and the thread that draws a page need the interpreter's lock in turn, the reactor several times for one line. On two
processors each change wakes a sleeping one; on one, the kernel leaves the page's thread there until its next clock tick. So
where the system grants real-time priority (RLIMIT_RTPRIO of 1, or CAP_SYS_NICE), the reactor has it while pages are made, and
the thread that draws shares its processor. Source of the figures: docs/performance.md.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Set
from typing import Final

from hkall_gateway.app import machine

SWITCH_S: Final = 0.00004
"""While pages are made, a thread that wants the interpreter's lock asks for it after so many seconds, or as much later as
`machine.may_wake_late` lets it; Python's own default is 0.005."""
REACTOR_LATE_NS: Final = 1
PAGE_LATE_NS: Final = 1_000_000
"""How late a thread may ask for the interpreter's lock, beyond SWITCH_S. The reactor gives the lock up for each system call and
each step of a query, so several times for one line of a terminal: with equal waits a page would have its turn as often while
the line is answered."""
YOUNG: Final = (700, 10, 10)
"""Thresholds of the garbage collector while pages are made. A collection keeps the interpreter's lock for 0.5 µs an object."""


class Precedence:
    """The reactor's precedence over the pages of its process.

    `begin` and `end` are called in the reactor's thread, the rest in a page's. Without `real_time`, in a process without
    terminals, neither priority nor processor changes.
    """

    def __init__(self, *, real_time: bool = False) -> None:
        self._may, self._processor, self._pages = real_time, -1, 0
        self._everywhere: Set[int] = frozenset()
        self._usual_switch_s, self._usual_young = sys.getswitchinterval(), gc.get_threshold()

    def start(self) -> bool:
        """Prepare the reactor's thread. Return whether the system grants it real-time priority."""
        self._may = self._may and machine.real_time(on=True)
        if self._may:
            machine.real_time(on=False)
            self._everywhere = os.sched_getaffinity(0)
        machine.may_wake_late(REACTOR_LATE_NS)  # a thread with real-time priority is never late
        return self._may

    def begin(self) -> None:
        """One page more is made from now on."""
        if not self._pages:
            self._usual_switch_s, self._usual_young = sys.getswitchinterval(), gc.get_threshold()
            sys.setswitchinterval(SWITCH_S)
            gc.set_threshold(*YOUNG)
            if self._may:
                machine.real_time(on=True)
        self._pages += 1
        if self._may:
            self._processor = machine.processor()

    def end(self) -> None:
        """One page is made."""
        self._pages -= 1
        if self._pages:
            return
        sys.setswitchinterval(self._usual_switch_s)
        if gc.get_threshold() == YOUNG:  # else the daemon has finished its start meanwhile
            gc.set_threshold(*self._usual_young)
        if self._may:
            machine.real_time(on=False)

    def prepare_page(self) -> None:
        """Prepare this thread to make pages."""
        machine.may_wake_late(PAGE_LATE_NS)

    def share_processor(self) -> None:
        """Let this thread run on the reactor's processor alone: it is about to draw."""
        if self._processor >= 0:
            machine.run_on({self._processor})

    def leave_processor(self) -> None:
        """Let this thread run anywhere: it is about to wait, or to work outside Python."""
        if self._processor >= 0:
            machine.run_on(self._everywhere)
