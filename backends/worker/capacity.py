"""What the machine can do as a worker sees it: product rate, copy bandwidth, a barrier, and how many threads work.

The controller's side is benchmarks/machine/ceilings.py and benchmarks/machine/doctor.py.
"""

from __future__ import annotations

import ctypes
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from backends.interface.framework import Framework
from backends.worker import messages

clock = time.perf_counter
"""What calls are timed with; tests put another one here, so that made-up costs come out exactly."""
FIRST_SIZE, LARGEST_SIZE = 512, 16384
"""Rows of the smallest and of the largest matrix that is multiplied."""
LONG_ENOUGH = 0.02
"""Seconds that a product should take: its start then costs little."""
LEAST_CALLS = 3
"""Calls of which the best counts, at least."""
BUSY_SIZE = 2048
"""Rows of the matrices that are multiplied while threads are counted."""
REGIONS, BATCHES = 100, 60
"""Parallel regions in a timed batch, and batches of each kind."""


def product(framework: Framework, request: messages.TimeProduct) -> messages.ProductRate:
    """Double the matrices until one product takes long enough, then time that size."""
    framework.use_lane(request.lane)
    size = FIRST_SIZE
    while True:
        multiply = framework.product(size, request.dtype, request.device)
        multiply()
        if size == LARGEST_SIZE or min(_seconds(multiply) for _ in range(LEAST_CALLS)) >= LONG_ENOUGH:
            rate = 2 * size**3 / _best_seconds(multiply, request.seconds)
            return messages.ProductRate(flops_per_second=rate, size=size)
        size *= 2


def copy(framework: Framework, request: messages.TimeCopy) -> messages.CopyRate:
    """Time copies of an array; its bytes count twice, as read and as written."""
    framework.use_lane(request.lane)
    work = framework.copy(request.num_bytes, request.device)
    return messages.CopyRate(bytes_per_second=2 * request.num_bytes / _best_seconds(work, request.seconds))


def barrier(request: messages.TimeBarrier) -> messages.BarrierCost:
    """Time a barrier between threads of this process."""
    return messages.BarrierCost(seconds=barrier_seconds(request.threads))


def threads_at_work(framework: Framework, request: messages.TimeThreads) -> messages.ThreadsAtWork:
    """Count the threads that work on a product on the CPU."""
    multiply = framework.product(BUSY_SIZE, "float32", "cpu")
    return messages.ThreadsAtWork(threads=busy_threads(multiply, request.seconds))


def _seconds(work: Callable[[], None]) -> float:
    """Seconds that one call takes."""
    started = clock()
    work()
    return clock() - started


def _best_seconds(work: Callable[[], None], seconds: float) -> float:
    """The shortest call: others can only make one longer. One call before they count."""
    work()
    end = clock() + seconds
    times: list[float] = []
    while len(times) < LEAST_CALLS or clock() < end:
        times.append(_seconds(work))
    return min(times)


def busy_threads(work: Callable[[], None], seconds: float) -> float:
    """CPU seconds of the whole process over wall seconds, while ``work`` runs again and again."""
    work()
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        work()
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def barrier_seconds(threads: int) -> float | None:
    """What one barrier of OpenMP costs: a parallel region that holds one, less a region that calls an empty function.

    The median over pairs of batches; 0 for one thread, None where no libgomp can be found.
    """
    if threads == 1:
        return 0.0
    gomp = _libgomp()
    if gomp is None:
        return None
    gomp.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    gomp.GOMP_parallel.restype = None
    # GOMP_parallel hands its function an argument, which neither of these two takes or misses.
    barrier, empty = (ctypes.cast(getattr(gomp, name), ctypes.c_void_p) for name in ("GOMP_barrier", "omp_get_level"))

    def regions(function: ctypes.c_void_p) -> float:
        started = time.perf_counter()
        for _ in range(REGIONS):
            gomp.GOMP_parallel(function, None, threads, 0)
        return (time.perf_counter() - started) / REGIONS

    regions(barrier)
    return max(0.0, statistics.median(regions(barrier) - regions(empty) for _ in range(BATCHES)))


def _libgomp() -> ctypes.CDLL | None:
    """The libgomp that this process has loaded already (torch and mxnet bring one), or else the system's."""
    loaded = re.findall(r"\S*/libgomp\S*", Path("/proc/self/maps").read_text())
    for name in [*loaded, "libgomp.so.1"]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
