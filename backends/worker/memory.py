"""The memory that one call takes at its peak, by the kernel's count of a process's resident pages.

What a process has used and freed stays resident, in glibc's arenas, and the next call takes it from there without a
trace: a difference of resident sizes would be 0 after a larger call, whoever made it. So what is free goes back to the
kernel first (malloc_trim(3)), then the high-water mark is set back (proc_pid_clear_refs(5)), and only then comes the
call: what was imported, what is held between calls, and what others took before are in the level that it starts from.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
from collections.abc import Callable
from pathlib import Path

TRIALS = 3
"""Calls whose peaks are compared."""
ALIKE = 0.1
"""The part of their median by which the peaks may differ; where they differ by more, none is believed."""
LEAST_BYTES = 2**20
"""The smallest peak that is believed: the kernel counts pages for each core apart, and adds them up now and then."""
STATUS = Path("/proc/self/status")
"""The kernel's file with this process's resident bytes."""
CLEAR_REFS = Path("/proc/self/clear_refs")
"""The kernel's file that sets the peak of the resident bytes back."""


def call_peak_bytes(call: Callable[[], None]) -> int | None:
    """Bytes that ``call``, which waits until its results are there, takes at its peak over what was resident before it;
    the median of some calls. None where it cannot be told.
    """
    peaks = [_one_peak(call) for _ in range(TRIALS)]
    known = [each for each in peaks if each is not None]
    if len(known) < TRIALS:
        return None
    median = int(statistics.median(known))
    alike = max(known) - min(known) <= ALIKE * median
    return median if alike and median >= LEAST_BYTES else None


def _one_peak(call: Callable[[], None]) -> int | None:
    """Bytes that one call takes at its peak; None where it cannot be told."""
    gc.collect()
    if not _give_back() or not _reset_peak():
        call()
        return None
    before = _status_bytes("VmRSS")
    call()
    peak = _status_bytes("VmHWM")
    return None if before is None or peak is None else peak - before


def _give_back() -> bool:
    """Let glibc return what is free to the kernel; whether this C library can do that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True


def _reset_peak() -> bool:
    """Start counting the peak anew (5 into clear_refs, Linux 4.0); whether that could be done."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _status_bytes(name: str) -> int | None:
    """A line of this process's status, VmRSS or VmHWM, in bytes; None where Linux's /proc is not there."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
