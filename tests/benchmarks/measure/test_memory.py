"""The memory of one call is that call's, whatever the process has done before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from backends.worker import memory
from backends.worker.memory import call_peak_bytes

MIB = 2**20
ORDERS = """
import json, sys
import numpy as np
from backends.worker.memory import call_peak_bytes

PIECE = 48 * 1024  # bytes, below what glibc takes from the kernel at once
pins = []

def call_of(pieces):
    def call():
        held = [np.ones(PIECE, np.uint8) for _ in range(pieces)]
        # What lies above keeps glibc from giving back what is freed below it.
        pins.append(np.ones(PIECE, np.uint8))
        del held
    return call

print(json.dumps({pieces: call_peak_bytes(call_of(int(pieces))) for pieces in sys.argv[1:]}))
"""


def peaks(*pieces: int) -> dict[str, int | None]:
    """The peaks of calls that take so many pieces of 48 KiB, one after the other in one fresh process."""
    command = [sys.executable, "-c", ORDERS, *map(str, pieces)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_two_orders_of_measuring_agree_within_10_percent() -> None:
    large, small = 1000, 300
    there, back = peaks(large, small), peaks(small, large)
    if not (memory._give_back() and memory._reset_peak()):
        pytest.skip("this kernel or C library does not let a process count its peak anew")
    for pieces in (large, small):
        both = [order[str(pieces)] for order in (there, back)]
        assert both == pytest.approx([pieces * 48 * 1024] * 2, rel=0.1)
        assert both[0] == pytest.approx(both[1], rel=0.1)


@pytest.mark.parametrize(
    ("peaks", "told"),
    [
        ([40 * MIB, 41 * MIB, 43 * MIB], 41 * MIB),
        ([40 * MIB, 41 * MIB, 46 * MIB], None),
        ([0, 0, 0], None),
        ([MIB // 2] * 3, None),
        ([40 * MIB, None, 40 * MIB], None),
    ],
)
def test_calls_that_differ_or_take_next_to_nothing_have_no_number(
    peaks: list[int | None], told: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_one_peak", lambda call: peaks.pop(0))
    assert call_peak_bytes(lambda: None) == told


@pytest.mark.parametrize("name", ["_give_back", "_reset_peak"])
def test_where_the_peak_cannot_be_counted_anew_there_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[None] = []
    monkeypatch.setattr(memory, name, lambda: False)
    assert call_peak_bytes(lambda: called.append(None)) is None
    assert len(called) == memory.TRIALS, "the device's memory is counted over the same calls"
