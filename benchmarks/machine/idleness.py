"""Whether a process that should be idle is, by its CPU clock."""

from __future__ import annotations

import time
from collections.abc import Iterable

SETTLED = 0.1
"""The part of a core below which a process is idle."""
LOOK_SECONDS = 0.002
"""How long one look at a process's CPU clock lasts."""
LONGEST_WAIT = 0.5
"""How many seconds a process has to come to rest; one that does not spins."""
SCHEDULED = 2
"""The kind of clock that counts CPU time, in Linux's clock numbers (CPUCLOCK_SCHED)."""


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
    """CPU time in seconds that these processes together have taken so far."""
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
