"""Whether a process that should be idle is, by its CPU clock."""

from __future__ import annotations

import time
from collections.abc import Iterable

SETTLED = 0.1
"""A process is idle when it takes less than this part of a core,"""
LOOK_SECONDS = 0.002
"""over so long a time,"""
LONGEST_WAIT = 0.5
"""and if it does not come to rest within this, it spins."""
SCHEDULED = 2


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken so far, all threads, user and system; 0 when it is gone.

    The clock's number is Linux's: the complement of the pid, with the kind of clock in the last three bits
    (include/linux/posix-timers_types.h).
    """
    try:
        return time.clock_gettime((~pid << 3) | SCHEDULED)
    except OSError:
        return 0.0


def total_cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that all of them have taken so far."""
    return sum(cpu_seconds(pid) for pid in pids)


def settle(pid: int) -> bool:
    """Wait until a process has come to rest, as threads that spin after their work do; False if it does not."""
    end = time.perf_counter() + LONGEST_WAIT
    while time.perf_counter() < end:
        before, started = cpu_seconds(pid), time.perf_counter()
        time.sleep(LOOK_SECONDS)
        if cpu_seconds(pid) - before < SETTLED * (time.perf_counter() - started):
            return True
    return False
