"""Backends on NumPy alone whose product and copy can be measured, and one that can do neither."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from backends.interface.framework import Framework
from backends.registry import Backend
from tests.numpy_loop.birnn_numpy_loop.framework import Loop

FAST = Backend(name="fast", load="tests.benchmarks.measure.measurable:fast")
SLOW = Backend(name="slow", load="tests.benchmarks.measure.measurable:slow")
NEITHER = Backend(name="neither", load="tests.benchmarks.measure.measurable:neither")
PAUSE = 0.03
MOST_ROWS = 1024
"""Rows of a product that take a core long enough for any test; twice as many take ten times as long."""


class Neither(Framework):
    name = "neither"
    gaps = ()
    implementations = {"loop": Loop}

    def versions(self) -> dict[str, str]:
        return {}

    def devices(self) -> dict[str, str]:
        return {"cpu": "NumPy"}


class Fast(Neither):
    name = "fast"
    pause = 0.0

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        a = np.ones((min(size, MOST_ROWS),) * 2, dtype)
        out = np.empty_like(a)

        def compute() -> None:
            np.matmul(a, a, out=out)
            time.sleep(self.pause)

        return compute

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        source, target = np.ones(num_bytes, np.uint8), np.ones(num_bytes, np.uint8)

        def compute() -> None:
            np.copyto(target, source)
            time.sleep(self.pause)

        return compute


class Slow(Fast):
    """The same, with a rest after each call."""

    name = "slow"
    pause = PAUSE


class Timed(Neither):
    """Calls that take a known time, by ``now``: 6 ms for each 512 rows of a product, 10 ms for a copy."""

    name = "timed"
    lane = "exact"
    now = 0.0

    def use_lane(self, lane: str) -> None:
        self.lane = lane

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        return lambda: self._spend(0.006 * size / 512)

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        return lambda: self._spend(0.010)

    def _spend(self, seconds: float) -> None:
        self.now += seconds


def fast() -> Framework:
    return Fast()


def slow() -> Framework:
    return Slow()


def neither() -> Framework:
    return Neither()
