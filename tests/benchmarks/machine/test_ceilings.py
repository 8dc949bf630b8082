"""Ceilings come from measurements in the workers, the machine's being its best framework's."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from backends.pool.pool import Pool
from backends.pool.selection import Selection, select
from backends.registry import Backend
from backends.worker import capacity
from backends.worker.capacity import _libgomp, barrier_seconds
from backends.worker.capacity import busy_threads as busy_here
from backends.worker.messages import TimeCopy, TimeProduct
from benchmarks.machine import ceilings
from benchmarks.machine.ceilings import SMALLEST_COPY, busy_threads, measure_ceilings
from benchmarks.store.records import Ceiling
from tests.benchmarks.measure.measurable import FAST, NEITHER, SLOW, Timed
from tests.registered import register

Started = tuple[Pool, Selection]
REGISTERED = {backend.name: backend for backend in (FAST, SLOW, NEITHER)}


@pytest.fixture(scope="module")
def started() -> Iterator[Started]:
    """Workers of three made-up backends, one thread each."""
    with pytest.MonkeyPatch.context() as patch, Pool.open(1) as pool:
        register(patch, *REGISTERED.values())
        patch.setattr(ceilings, "SECONDS", 0.05)
        yield pool, select(pool, [])


@pytest.fixture(scope="module")
def measured(started: Started) -> dict[str, Ceiling]:
    measured_ceilings = measure_ceilings(*started, "a run", 1, "float32", "cpu")
    assert len({each.name for each in measured_ceilings}) == len(measured_ceilings)  # a store keeps one of a name
    return {each.name: each for each in measured_ceilings}


def test_each_framework_that_can_has_its_own_and_the_machine_has_the_best(measured: dict[str, Ceiling]) -> None:
    assert measured.keys() >= {"product/fast", "product/slow", "product", "copy/fast", "copy/slow", "copy", "barrier"}
    assert not any("neither" in name for name in measured)
    for name in ("product", "copy"):
        assert measured[name].value == measured[f"{name}/fast"].value > measured[f"{name}/slow"].value
        assert "fast" in measured[name].how
    assert {(each.run, each.threads, each.dtype, each.device) for each in measured.values()} == {
        ("a run", 1, "float32", "cpu")
    }


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    """A framework whose calls alone make the time go on."""
    framework = Timed()
    monkeypatch.setattr("backends.worker.capacity.clock", lambda: framework.now)
    return framework


def test_a_rate_is_twice_the_cube_or_twice_the_bytes_over_the_best_call(timed: Timed) -> None:
    product = capacity.product(timed, TimeProduct(dtype="float32", device="cpu", seconds=0.2))
    assert product.size == 2048, "12 ms are too short, 24 ms long enough"
    assert product.flops_per_second == pytest.approx(2 * 2048**3 / 0.024)
    copy = capacity.copy(timed, TimeCopy(num_bytes=10**6, device="cpu", seconds=0.1))
    assert copy.bytes_per_second == pytest.approx(2 * 10**6 / 0.010)


def test_what_a_machine_can_do_is_measured_in_the_lane_that_is_asked_for(timed: Timed) -> None:
    capacity.copy(timed, TimeCopy(num_bytes=8, device="cpu", seconds=0.0, lane="fast"))
    assert timed.lane == "fast"


def test_a_copy_is_several_times_the_last_cache(measured: dict[str, Ceiling], started: Started) -> None:
    cache = measured["on_chip"].value
    assert f"a copy of {max(SMALLEST_COPY, 4 * cache) / 2**20:.0f} MiB" in measured["copy/fast"].how


def test_one_thread_waits_for_nobody(measured: dict[str, Ceiling]) -> None:
    assert measured["barrier"].value == 0
    assert barrier_seconds(1) == 0


@pytest.mark.skipif(_libgomp() is None, reason="there is no libgomp here")
def test_a_barrier_of_two_threads_takes_between_a_nanosecond_and_a_millisecond() -> None:
    seconds = barrier_seconds(2)
    assert seconds is not None
    assert 1e-9 < seconds < 1e-3


def test_on_a_gpu_the_barriers_are_published_constants_and_say_so(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, selection = started
    assert not [each for each in measure_ceilings(pool, Selection(), "r", 1, "float32", "gpu") if "/fast" in each.name]
    measured_ceilings = measure_ceilings(pool, selection, "r", 1, "float32", "gpu")
    barriers = {each.name: each for each in measured_ceilings if each.name.startswith("barrier")}
    assert {name: each.value for name, each in barriers.items()} == {
        "barrier/sm": 0.5e-6,
        "barrier/cluster": 0.63e-6,
        "barrier/grid": 1.9e-6,
    }
    assert all("published" in each.how and "read, not run" in each.how for each in barriers.values())


@pytest.mark.parametrize("backend", [FAST, SLOW, NEITHER], ids=lambda backend: backend.name)
def test_busy_threads_are_cpu_time_over_wall_time(backend: Backend, started: Started) -> None:
    threads = busy_threads(started[0], backend, 1)
    if backend is NEITHER:
        assert threads == 0
    else:
        assert threads < 1.1
        assert threads > 0.1


def test_a_process_that_sleeps_is_not_busy() -> None:
    assert busy_here(lambda: time.sleep(0.01), 0.1) < 0.3
